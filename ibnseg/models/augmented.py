"""Test-time augmentation: one prediction from several scales and flips of an image."""

from __future__ import annotations

import warnings

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample


class Augmented(SegTTAModel):
    """Averages the softmaxes of all augmented images, each at the size of the label; it is mmseg's
    SegTTAModel over a segmentor.

    Takes what mmcv's ``TestTimeAug`` gives: for each image a list of augmented inputs, and of their
    samples, the first of which has the label as it is. Instance maps are flipped in none of
    them. ``pred_sem_seg`` is uint8 train ids. With ``test_cfg.logits=True`` of the segmentor,
    ``seg_logits`` are the logarithms of the mean, ``(C, H, W)`` float32.
    """

    def test_step(self, data: dict) -> list[SegDataSample]:
        wanted = self._logits = self.module.test_cfg.get("logits", False)
        self.module.test_cfg.logits = True
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The shape of value will convert")
                samples = super().test_step(data)
        finally:
            self.module.test_cfg.logits = wanted
        for sample in samples:
            sample.pred_sem_seg = PixelData(data=sample.pred_sem_seg.data.to(torch.uint8))
            if not wanted:
                del sample.seg_logits
        return samples

    def merge_preds(self, data_samples_list: list[list[SegDataSample]]) -> list[SegDataSample]:
        means = [
            sum(view.seg_logits.data.softmax(dim=0) for view in views) / len(views)
            for views in (data_samples_list if self._logits else ())
        ]
        merged = super().merge_preds(data_samples_list)
        for sample, mean in zip(merged, means, strict=False):
            sample.seg_logits = PixelData(data=mean.log())
        return merged
