"""mmseg's EncoderDecoder with lean testing, cheap training accuracy and further losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from ibnseg.models.activations import IMAGE, as_logits, layers_named, views_of
from ibnseg.models.largest import upsampled_argmax
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
class Segmentor(EncoderDecoder):
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

    Testing: the head's logits are resized once, straight to the size of the label, and only where
    classes meet (:func:`~ibnseg.models.largest.upsampled_argmax`); each pixel's class is a uint8
    train id in ``pred_sem_seg``. With ``test_cfg=dict(mode='slide', crop_size=(h,
    w), stride=(h, w))`` windows are averaged at the size of the input first.
    ``test_cfg.logits=True`` adds ``seg_logits``, ``(C, H, W)`` float32.

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

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Computes logits at the size of the input: the mean of the windows that see a pixel.

        The last window of a row or column is moved back so that it ends at the image's border.
        """
        (crop_h, crop_w), (stride_h, stride_w) = self.test_cfg.crop_size, self.test_cfg.stride
        n, _, height, width = inputs.shape
        total = inputs.new_zeros((n, self.out_channels, height, width))
        count = inputs.new_zeros((1, 1, height, width))
        for top in window_starts(height, crop_h, stride_h):
            for left in window_starts(width, crop_w, stride_w):
                window = (..., slice(top, top + crop_h), slice(left, left + crop_w))
                crop = inputs[window]
                total[window] += self._upsample(self.encode_decode(crop), crop.shape[2:])
                count[window] += 1
        return total.div_(count)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predicts the classes of a batch at each sample's ``ori_shape``; if no samples are given,
        at the size of the input.

        Args:
            inputs: (N, 3, H, W) float32.
            data_samples: N samples, to which the predictions are added.
        """
        scores = self.inference(inputs, [])
        if data_samples is None:
            shape = tuple(inputs.shape[2:])
            data_samples = [SegDataSample(metainfo=dict(ori_shape=shape)) for _ in inputs]
        for sample, own in zip(data_samples, scores.split(1), strict=True):
            own, size = self._undo(own, inputs.shape[2:], sample), tuple(sample.ori_shape[:2])
            if self.test_cfg.get("logits", False):
                own = self._upsample(own, size)
                logits = as_logits(self.decode_head, own)
                sample.seg_logits = PixelData(data=logits.squeeze(0))
            prediction = upsampled_argmax(own, size, self.align_corners)
            sample.pred_sem_seg = PixelData(data=prediction)
        return data_samples

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Computes logits by ``test_cfg.mode``: ``whole`` gives them at the head's resolution,
        ``slide`` at the input's size.

        Raises:
            ValueError: for another mode.
        """
        mode = self.test_cfg.get("mode", "whole")
        if mode not in ("whole", "slide"):
            raise ValueError(f"model.test_cfg.mode is {mode!r}, expected 'whole' or 'slide'")
        return self.slide_inference(inputs) if mode == "slide" else self.encode_decode(inputs)

    def _upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(logits.shape[2:]) == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=self.align_corners)

    def _undo(self, logits: Tensor, size: tuple[int, int], sample: SegDataSample) -> Tensor:
        """Crops padding, to the right and below, from the logits and flips them back."""
        meta = sample.metainfo
        _, right, _, below = meta.get("img_padding_size", (0, 0, 0, 0))
        if right or below:
            logits = self._upsample(logits, size)[..., : size[0] - below, : size[1] - right]
        if meta.get("flip"):
            logits = logits.flip(dims=(3 if meta["flip_direction"] == "horizontal" else 2,))
        return logits


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Lists where the windows that cover a length begin; the last one is moved back to the border.

    Args:
        length: the height or width to cover, in pixels.
        window: the length of a window, in pixels.
        stride: the distance between windows, in pixels.

    Raises:
        ValueError: for a stride larger than the window, which would leave gaps.
    """
    if stride > window:
        raise ValueError(f"model.test_cfg: stride {stride} is larger than crop_size {window}")
    last = max(length - window, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]


def upsamples_twice(network: nn.Module) -> bool:
    """Whether a network that sees whole images resizes its logits to the image first, and from
    there to the label, as mmseg's segmentors do; a :class:`Segmentor` resizes them once."""
    return not isinstance(network, Segmentor) and network.test_cfg.get("mode") == "whole"
