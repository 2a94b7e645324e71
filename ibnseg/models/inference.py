"""How a segmentor is tested: whole images or sliding windows, then the class of each pixel."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models.largest import upsampled_argmax


class Inference:
    """What a segmentor needs besides its logits in order to be tested; a base class.

    A subclass has ``encode_decode(inputs)``, which computes logits, (N, C, h, w) float32, of
    images, (N, 3, H, W) float32. They are resized once, straight to the size of the label, and only
    where classes meet (:func:`~ibnseg.models.largest.upsampled_argmax`); each pixel's class is a
    uint8 train id in ``pred_sem_seg``.

    With ``test_cfg=dict(mode='slide', crop_size=(h, w), stride=(h, w))`` windows are averaged at
    the size of the input first. ``test_cfg.logits=True`` adds ``seg_logits``, (C, H, W) float32.
    """

    test_cfg: ConfigDict
    align_corners: bool
    out_channels: int

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
                sample.seg_logits = PixelData(data=self.logits_of(own).squeeze(0))
            sample.pred_sem_seg = PixelData(data=self.classes_of(own, size))
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

    def logits_of(self, scores: Tensor) -> Tensor:
        """Makes logits of what ``encode_decode`` gives, (N, C, H, W)."""
        return scores

    def classes_of(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Finds the class of each pixel.

        Args:
            scores: (1, C, h, w) float32.
            size: (height, width) of the result.

        Returns:
            (1, height, width) uint8.
        """
        return upsampled_argmax(scores, size, self.align_corners)


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
    there to the label, as mmseg's segmentors do; an :class:`Inference` resizes them once."""
    return not isinstance(network, Inference) and network.test_cfg.get("mode") == "whole"
