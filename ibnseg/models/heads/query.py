"""The query head: learnt queries join the tokens of a ViT's last blocks, and predict masks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from ibnseg.models.heads.annealing import (
    attention_mask,
    default_spans,
    masked_share,
    progress,
    require_spans,
)
from ibnseg.models.heads.query_losses import QueryPrediction, query_losses
from ibnseg.models.segmentor import accuracy_of_logits
from ibnseg.registry import MODELS


class Upscaling(nn.Sequential):
    """Doubles a map's size: transposed convolution 2x2, GELU, depthwise 3x3, LayerNorm over the
    channels (EoMT's ``ScaleBlock``).

    Args:
        width: channels C.

    Shape:
        ``(N, C, h, w)`` to ``(N, C, 2 h, 2 w)``.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(width, width, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            LayerNorm2d(width, eps=1e-6),
        )


@MODELS.register_module()
class QueryHead(BaseDecodeHead):
    """Mask classification by a plain ViT, as in EoMT (Kerssies et al., CVPR 2025).

    Q learnt queries stand behind the patch tokens in the ViT's last L blocks, which this head runs;
    it takes an ``ibnseg.ViT`` in an ``ibnseg.Segmentor``. From a query, a linear layer predicts one
    of K classes or no object, and an MLP of three layers a vector; its product with the patch
    tokens, which are enlarged fourfold, is the query's mask. In training it predicts in front of
    each of the L blocks, too, and these masks say which patches a query attends to in the block.
    This masked attention fades out over the training, block by block, and tests have none.

    Its scores are class x mask products: the softmax of the classes without that of no object,
    times the sigmoid of the masks, summed over the queries. So they are no logits; windows and
    upsampling average the scores, as in Mask2Former, and :meth:`as_logits` makes logits of them.

    The loss compares all L + 1 predictions with the masks of the classes that are in an image, one
    matched query each (Hungarian method): cross entropy of the classes x2, with 0.1 for no object,
    and of the masks x5, and dice x5, at 12 544 points (Mask2Former, Cheng et al., CVPR 2022). The
    divisors are those of the batch over all processes; with ``accumulate``, each part has its own.
    Matching runs on the host, and so waits for the device once a step.

    Ignored pixels do not count: points in them have no weight, neither in costs nor in losses, and
    an image that is ignored as a whole gives no loss. In official Mask2Former, mmseg and EoMT such
    pixels are in no mask, so that masks are trained to be empty there.

    Args:
        in_channels: the ViT's width C.
        num_classes: number of classes K.
        queries: number of queries Q, K or more.
        blocks: number of the last blocks L, 1 or more.
        anneal: for each of these blocks, the share of the training at which its masked attention
            begins to fade, and that at which it has ended; ``None`` for EoMT's.
        link: whether the queries are those of the ViT's adapter, an ``ibnseg.Rein`` with a link.
        upscalings: how often the patch tokens' map is doubled: 2 gives masks of stride 4 if the
            patch has 16 pixels.
        points: number of points of a mask in costs and losses.
        ignore_index: the label of pixels that do not count.
        align_corners: how the segmentor resizes the scores.

    Shape:
        ``(*maps, tokens)`` of a ViT, with tokens ``(N, P + h w, C)``, to scores
        ``(N, K, 4 h, 4 w)`` float32 of at least 0; in training, to these and all predictions.

    Raises:
        ValueError: for fewer queries than classes, and for spans that are not in order.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        queries: int = 100,
        blocks: int = 4,
        anneal: Sequence[tuple[float, float]] | None = None,
        link: bool = False,
        upscalings: int = 2,
        points: int = 12544,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            in_channels,
            num_classes=num_classes,
            loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=None,
        )
        del self.conv_seg, self.dropout, self.loss_decode
        if queries < num_classes:
            raise ValueError(
                f"QueryHead: queries={queries}, expected at least one for each of {num_classes} "
                "classes"
            )
        self.anneal = default_spans(blocks) if anneal is None else tuple(anneal)
        require_spans(self.anneal, blocks)
        self.count, self.blocks, self.points = queries, blocks, points
        self.is_linked = link
        if not link:
            self.queries = nn.Parameter(torch.randn(queries, in_channels))
        self.classifier = nn.Linear(in_channels, num_classes + 1)
        self.mask_mlp = nn.Sequential(
            nn.Linear(in_channels, in_channels),
            nn.GELU(),
            nn.Linear(in_channels, in_channels),
            nn.GELU(),
            nn.Linear(in_channels, in_channels),
        )
        self.upscaling = nn.Sequential(*(Upscaling(in_channels) for _ in range(upscalings)))
        self.backbone: nn.Module | None
        object.__setattr__(self, "backbone", None)

    def join(self, backbone: nn.Module) -> None:
        """Takes over the last blocks of a ViT, whose weights stay among the ViT's.

        Raises:
            ValueError: for a backbone that is no ``ibnseg.ViT``, has too few blocks, or has no
                queries to be linked.
        """
        if not hasattr(backbone, "hand_over"):
            raise ValueError(
                f"QueryHead: {type(backbone).__name__} has no blocks that queries can join; take "
                "model.backbone.type='ibnseg.ViT'"
            )
        if self.is_linked:
            queries = getattr(backbone.adapter, "queries", None)
            if queries is None:
                raise ValueError(
                    "QueryHead: link=True, but the backbone has no adapter with queries; take "
                    "model.backbone.adapter=dict(type='ibnseg.Rein', link=256)"
                )
            count, width = queries().shape
            if count != self.count:
                raise ValueError(
                    f"QueryHead: queries={self.count}, but the adapter it is linked to has {count}"
                )
            self.linked = nn.Linear(width, self.in_channels)
        backbone.hand_over(self.blocks)
        object.__setattr__(self, "backbone", backbone)  # no child: its weights would be there twice

    def forward(
        self, inputs: tuple[Tensor, ...]
    ) -> Tensor | tuple[Tensor, tuple[QueryPrediction, ...]]:
        vit, tokens = self._vit(), inputs[-1]
        size = _grid(inputs, vit.num_prefix_tokens)
        queries = self.linked(vit.adapter.queries()) if self.is_linked else self.queries
        tokens = torch.cat(
            [tokens, queries.to(tokens.dtype).expand(tokens.shape[0], -1, -1)], dim=1
        )
        predictions = []
        first = len(vit.blocks) - self.blocks
        for i in range(self.blocks):
            mask = None
            if self.training:
                predictions.append(self._predict(tokens, size))
                mask = self._mask(predictions[-1].masks, size, i)
            tokens = vit.run(tokens, [first + i], size, mask)
        predictions.append(self._predict(tokens, size))
        scores = class_scores(predictions[-1])
        return (scores, tuple(predictions)) if self.training else scores

    def _vit(self) -> nn.Module:
        if self.backbone is None:
            raise RuntimeError(
                "QueryHead runs a ViT's last blocks, and was not joined to one; take "
                "model.type='ibnseg.Segmentor', or call its join(backbone)"
            )
        return self.backbone

    @torch.compiler.disable
    def _mask(self, masks: Tensor, size: tuple[int, int], i: int) -> Tensor | None:
        share = masked_share(progress(), self.anneal[i])
        return attention_mask(masks, size, self.backbone.num_prefix_tokens, share)

    def _predict(self, tokens: Tensor, size: tuple[int, int]) -> QueryPrediction:
        tokens = self.backbone.norm(tokens)
        queries = tokens[:, -self.count :]
        pixels = self.upscaling(self.backbone.maps(tokens, size))
        masks = torch.einsum("nqc,nchw->nqhw", self.mask_mlp(queries), pixels)
        return QueryPrediction(self.classifier(queries), masks)

    def as_logits(self, scores: Tensor) -> Tensor:
        """Takes the logarithm of scores, whose softmax are the scores' shares of their sum."""
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()

    def loss_by_feat(
        self,
        outputs: tuple[Tensor, tuple[QueryPrediction, ...]],
        batch_data_samples: list[SegDataSample],
    ) -> dict[str, Tensor]:
        """Computes ``loss_class``, ``loss_mask`` and ``loss_dice``, each summed over all
        predictions, and the pixel accuracy in percent.

        Args:
            outputs: scores and predictions, of ``forward`` in training.
            batch_data_samples: N samples with ``gt_sem_seg``, ``(1, H, W)``.
        """
        scores, predictions = outputs
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1).long()
        with _exactly(scores):
            exact = [QueryPrediction(*map(_at_least_float32, each)) for each in predictions]
            losses = query_losses(exact, labels, self.points, self.ignore_index)
        with torch.no_grad():
            full = resize(
                scores,
                labels.shape[1:],
                mode="bilinear",
                align_corners=self.align_corners,
                warning=False,
            )
            losses["acc_seg"] = 100 * accuracy_of_logits(full, labels, self.ignore_index)
        return losses


def class_scores(prediction: QueryPrediction) -> Tensor:
    """Computes each pixel's score of each class: over the queries, the sum of the class's
    probability times the mask's (MaskFormer, Cheng et al., NeurIPS 2021, section 3.4).

    Returns:
        ``(N, K, H, W)`` float32 or float64, of at least 0.
    """
    with _exactly(prediction.masks):
        classes, masks = map(_at_least_float32, prediction)
        shares = classes.softmax(dim=-1)[..., :-1]
        return torch.einsum("nqk,nqhw->nkhw", shares, masks.sigmoid())


def _exactly(x: Tensor) -> AbstractContextManager[None]:
    """Leaves autocast, on devices that have it."""
    kind = x.device.type
    has_autocast = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if has_autocast else nullcontext()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _grid(inputs: tuple[Tensor, ...], prefix: int) -> tuple[int, int]:
    """The size in patches: that of the map with as many pixels as there are patch tokens."""
    patches = inputs[-1].shape[1] - prefix
    return next(tuple(each.shape[2:]) for each in inputs[:-1] if each[0, 0].numel() == patches)
