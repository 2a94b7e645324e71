"""mmseg's EncoderDecoder with lean testing, cheap training accuracy and further losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from ibnseg.models.activations import IMAGE, as_logits, layers_named, views_of
from ibnseg.models.inference import Inference
from ibnseg.models.upsampling import upsampled
from ibnseg.registry import MODELS


def accuracy_of_logits(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """Computes the share of right pixels: those whose label's logit no other exceeds, among those
    that are not ignored.

    Args:
        logits: ``(N, C, H, W)``, floating point.
        labels: ``(N, H, W)``, integer, train ids.
        ignore_index: the label of pixels that do not count.

    Returns:
        A float tensor of one value in [0, 1]; 0 if every pixel is ignored.
    """
    logits, labels = logits.detach(), labels.long()
    counted, known = labels != ignore_index, labels.clamp(0, logits.shape[1] - 1)
    # the largest value is found several times as fast as the place where it is
    correct = logits.gather(1, known[:, None])[:, 0] == logits.amax(dim=1)
    correct &= known == labels
    return (correct & counted).sum() / counted.sum().clamp(min=1)


def head_losses(head: BaseDecodeHead, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Computes the losses of a head and its pixel accuracy in percent, under the names that mmseg's
    ``loss_by_feat`` gives them.

    The logits are upsampled in float32, whatever the precision of the network.

    Args:
        head: a decode or auxiliary head.
        logits: what it gives, (N, K, h, w).
        labels: (N, 1, H, W) int64 train ids, at the size of the input.
    """
    logits = upsampled(logits.float(), labels.shape[2:], head.align_corners)
    weight = None if head.sampler is None else head.sampler.sample(logits, labels)
    labels = labels.squeeze(1)
    criteria = (
        head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    )
    losses: dict[str, Tensor] = {}
    for criterion in criteria:
        value = criterion(logits, labels, weight=weight, ignore_index=head.ignore_index)
        losses[criterion.loss_name] = losses.get(criterion.loss_name, 0) + value
    losses["acc_seg"] = 100 * accuracy_of_logits(logits, labels, head.ignore_index)
    return losses


@MODELS.register_module()
class Segmentor(Inference, EncoderDecoder):
    """mmseg's segmentor with cheaper training and testing, and a place for further losses.

    Training: the heads' losses, and their accuracy by ``max`` instead of ``topk``. A head with a
    loss of its own keeps it. A head with ``join(backbone)`` is given the backbone, part of which it
    may run itself.

    ``further_losses`` are modules that are called in training as
    ``loss(views, data_samples) -> dict[str, Tensor]``. ``views`` has the
    :class:`~ibnseg.models.activations.Activations` of the image, ``views["image"]``, and of each
    view that an ``ibnseg.FurtherView`` in ``augment`` adds: ``features``, ``logits``, ``inputs``,
    and in ``layers`` the outputs of the modules that the loss names in its attribute ``layers``,
    e.g. ``("backbone.layer1.*.IN",)``. They are computed when they are asked for, so a loss that is
    off costs nothing. As in mmengine, what is called ``loss...`` is added to the sum, with whatever
    weight the loss gives it, and the rest is logged. Parameters and buffers are in the checkpoint.

    Testing: see :class:`~ibnseg.models.inference.Inference`.

    Raises:
        ValueError: for a head with one output channel, because the predicted class is the one with
            the largest logit; for a head with a prediction of its own, which this segmentor would
            pass over; for a head whose input has another width than the feature that it takes, if
            the backbone states the widths; for a head that counts features from behind, where
            tokens for another head are; for a loss that names a module which does not exist.
    """

    def __init__(self, *args, further_losses: Sequence[dict] = (), **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.further_losses = nn.ModuleList(MODELS.build(loss) for loss in further_losses)
        self.layers_looked_at = layers_named(self, self.named_further_losses())
        for head in self.heads().values():
            if hasattr(head, "join"):
                self._require_no_neck(head)
                head.join(self.backbone)
        for name, head in self.heads().items():
            self._require_width(name, head)
            self._require_map(name, head)

    def _require_no_neck(self, head: nn.Module) -> None:
        if self.with_neck:
            raise ValueError(
                f"Segmentor: {type(head).__name__} runs blocks of the backbone, so no neck can be "
                "between them; remove model.neck"
            )

    def _require_width(self, name: str, head: nn.Module) -> None:
        widths, at = getattr(self.backbone, "out_channels", None), getattr(head, "in_index", None)
        if not isinstance(widths, (list, tuple)) or self.with_neck or at is None:
            return
        places = at if isinstance(at, (list, tuple)) else [at]
        found = [widths[i] for i in places if -len(widths) <= i < len(widths)]
        wanted = head.in_channels if isinstance(head.in_channels, (list, tuple)) else None
        if wanted is None and len(places) > 1:  # their features are concatenated
            found = [sum(found)]
        if found != list(wanted or [head.in_channels]):
            raise ValueError(
                f"Segmentor: the {name} head has in_index {at} and in_channels "
                f"{head.in_channels}, the features of {type(self.backbone).__name__} have "
                f"{', '.join(map(str, widths))} channels"
            )

    def _require_map(self, name: str, head: nn.Module) -> None:
        """Refuses a head that would take the tokens which are there for a head that joins."""
        if not getattr(self.backbone, "handed_over", 0) or hasattr(head, "join"):
            return
        at = getattr(head, "in_index", None)
        if any(i < 0 for i in (at if isinstance(at, (list, tuple)) else [at]) if i is not None):
            raise ValueError(
                f"Segmentor: the {name} head has in_index {at}, but the last feature of this "
                f"{type(self.backbone).__name__} is tokens for the head that runs its last blocks; "
                f"count from the front, 0 to {len(self.backbone.out_indices) - 1}"
            )

    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(decode_head)
        if not 2 <= self.out_channels <= 255:
            raise ValueError(
                f"Segmentor: decode_head.out_channels is {self.out_channels}, expected 2 to 255"
            )
        if type(self.decode_head).predict_by_feat is not BaseDecodeHead.predict_by_feat:
            raise ValueError(
                f"Segmentor: {type(self.decode_head).__name__} makes its predictions in a way of "
                "its own; take model.type='EncoderDecoder'"
            )

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            inputs: (N, 3, H, W) float32.
            data_samples: N samples, each with ``gt_sem_seg``, (1, H, W) int64, and perhaps
                ``views``, which holds (3, H, W) float32 tensors.
        """
        views = views_of(self, inputs, data_samples, self.layers_looked_at)
        image = views[IMAGE]
        labels = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
        losses = {}
        for prefix, head in self.heads().items():
            if type(head).loss is not BaseDecodeHead.loss:
                of_head = head.loss(image.features, data_samples, self.train_cfg)
            else:
                outputs = image.outputs if head is self.decode_head else head(image.features)
                if type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
                    of_head = head.loss_by_feat(outputs, data_samples)
                else:
                    of_head = head_losses(head, outputs, labels)
            losses.update(add_prefix(of_head, prefix))
        for prefix, loss in self.named_further_losses().items():
            losses.update(add_prefix(loss(views, data_samples), prefix))
        return losses

    def named_further_losses(self) -> dict[str, nn.Module]:
        """The further losses by their prefixes in the log: ``further_0``, ``further_1``, ..."""
        return {f"further_{i}": loss for i, loss in enumerate(self.further_losses)}

    def extract_feat(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Computes the features of images ``(N, 3, H, W)``; a tuple is the backbone's maps, which
        were computed before, and the backbone is passed over."""
        if isinstance(inputs, Tensor):
            return super().extract_feat(inputs)
        return self.neck(inputs) if self.with_neck else inputs

    def heads(self) -> dict[str, nn.Module]:
        """The heads by their prefixes in the log: ``decode``, and ``aux`` or ``aux_0``, ``aux_1``,
        ..."""
        heads = {"decode": self.decode_head}
        if self.with_auxiliary_head:
            if isinstance(self.auxiliary_head, nn.ModuleList):
                heads |= {f"aux_{i}": head for i, head in enumerate(self.auxiliary_head)}
            else:
                heads["aux"] = self.auxiliary_head
        return heads

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Computes the decode head's logits at its own resolution: (N, C, H / stride, W / stride)
        float32."""
        logits = self.decode_head(self.extract_feat(inputs))
        # some heads give further outputs, for their losses
        return (logits[0] if isinstance(logits, (list, tuple)) else logits).float()

    def logits_of(self, scores: Tensor) -> Tensor:
        """Makes logits of what the decode head gives, (N, C, H, W)."""
        return as_logits(self.decode_head, scores)
