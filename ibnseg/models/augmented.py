"""Test-time augmentation: one prediction from several scales and flips of an image."""

from __future__ import annotations

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models.largest import argmax


class Augmented(nn.Module):
    """Averages the softmaxes of all augmented images, each at the size of the label, as mmseg's
    ``SegTTAModel`` does; but the logits of one augmented image are in memory at a time.

    Takes what mmcv's ``TestTimeAug`` gives: for each image a list of augmented inputs, and of their
    samples, the first of which has the label as it is. Instance maps are flipped in none of
    them. ``pred_sem_seg`` is uint8 train ids. With ``test_cfg.logits=True`` of the segmentor,
    ``seg_logits`` are the logarithms of the mean, ``(C, H, W)`` float32.

    Args:
        module: a segmentor of mmseg's kind, with two or more output channels.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def test_step(self, data: dict[str, list]) -> list[SegDataSample]:
        """Predicts the classes of a batch of augmented images; returns their first samples."""
        wanted = self.module.test_cfg.get("logits", False)
        self.module.test_cfg.logits = True
        views = len(data["inputs"])
        samples: list[SegDataSample] = []
        sums: list[Tensor] = []
        try:
            for i in range(views):
                view = self.module.test_step({key: values[i] for key, values in data.items()})
                shares = [sample.seg_logits.data.softmax(dim=0) for sample in view]
                if not samples:
                    samples, sums = view, shares
                else:
                    sums = [total.add_(share) for total, share in zip(sums, shares, strict=True)]
        finally:
            self.module.test_cfg.logits = wanted
        for sample, total in zip(samples, sums, strict=True):
            mean = total.div_(views)
            sample.pred_sem_seg = PixelData(data=argmax(mean)[None])
            del sample.seg_logits
            if wanted:
                sample.seg_logits = PixelData(data=mean.log_())
        return samples
