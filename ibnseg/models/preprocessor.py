"""mmseg's preprocessor, which also prepares labels for every loss, and further views."""

from __future__ import annotations

from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from ibnseg.registry import MODELS


@MODELS.register_module()
class Preprocessor(SegDataPreProcessor):
    """Prepares batches as mmseg's ``SegDataPreProcessor`` does, and labels and views besides.

    In training, labels become int64 on the device, as losses need them; loaders give uint8. The
    ``views`` of a sample are prepared as its image is: each becomes (3, H, W) float32, of the size
    of the padded image.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        prepared = super().forward(data, training)
        samples = prepared["data_samples"] or []
        for sample in samples if training else ():
            sample.gt_sem_seg.data = sample.gt_sem_seg.data.long()
        names = samples[0].views.keys() if samples and "views" in samples[0] else ()
        stacks = {}
        for name in names:
            images = [sample.views.get(name) for sample in samples]
            of_view = dict(inputs=images, data_samples=[SegDataSample() for _ in images])
            stacks[name] = super().forward(of_view, training)["inputs"]
        for i, sample in enumerate(samples if stacks else ()):
            sample.views = PixelData(**{name: stack[i] for name, stack in stacks.items()})
        return prepared
