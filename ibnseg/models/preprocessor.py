"""mmseg's preprocessor, which also prepares labels for every loss, and further views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.structures import BaseDataElement, PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor

from ibnseg.registry import MODELS


@MODELS.register_module()
class Preprocessor(SegDataPreProcessor):
    """Prepares batches as mmseg's ``SegDataPreProcessor`` does, and labels and views besides.

    In training, labels become int64 on the device, as losses need them; loaders give uint8. The
    ``views`` of a sample are prepared as its image is: each becomes (3, H, W) float32, of the size
    of the padded image.

    Inputs may also be the maps of a frozen backbone (:mod:`ibnseg.datasets.features`).

    Images and labels go to a GPU as uint8, out of pinned memory, and are prepared there; the host
    waits for nothing.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._non_blocking = True
        # mmseg's way copies a list of the channels' order to the device for each image, and waits
        self._flips, self._channel_conversion = self._channel_conversion, False

    def forward(self, data: dict, training: bool = False) -> dict:
        if isinstance(data["inputs"][0], BaseDataElement):
            return self._stored(data)
        prepared = self._prepared(data, training)
        samples = prepared["data_samples"] or []
        for sample in samples if training else ():
            sample.gt_sem_seg.data = sample.gt_sem_seg.data.long()
        names = samples[0].views.keys() if samples and "views" in samples[0] else ()
        stacks = {}
        for name in names:
            images = [sample.views.get(name) for sample in samples]
            of_view = dict(inputs=images, data_samples=[SegDataSample() for _ in images])
            stacks[name] = self._prepared(of_view, training)["inputs"]
        for i, sample in enumerate(samples if stacks else ()):
            sample.views = PixelData(**{name: stack[i] for name, stack in stacks.items()})
        return prepared

    def _stored(self, data: dict) -> dict:
        """Prepares samples whose inputs are a backbone's maps, by names that are in order: a tuple
        of ``(N, C, h, w)`` float32."""
        if self.device.type == "cuda":
            data = _pinned(data)
        data = self.cast_data(data)
        for sample in data["data_samples"]:
            sample.gt_sem_seg.data = sample.gt_sem_seg.data.long()
        names = sorted(data["inputs"][0].keys())
        inputs = tuple(
            torch.stack([each.get(name) for each in data["inputs"]]).float() for name in names
        )
        return dict(inputs=inputs, data_samples=data["data_samples"])

    def _prepared(self, data: dict, training: bool) -> dict:
        if self.device.type == "cuda":
            data = _pinned(data)
        data = self.cast_data(data)
        if self._flips and data["inputs"][0].shape[0] == 3:
            data = {**data, "inputs": [image.flip(0) for image in data["inputs"]]}
        return super().forward(data, training)


def _pinned(data: object) -> object:
    """A batch, or a part of it, with its tensors in memory that a GPU copies from by itself."""
    if isinstance(data, Tensor):
        return data.pin_memory() if data.device.type == "cpu" else data  # the same if it is pinned
    if isinstance(data, BaseDataElement):
        moved = data.new()
        moved.set_data({name: _pinned(each) for name, each in data.items()})
        return moved
    if isinstance(data, Mapping):
        return {name: _pinned(each) for name, each in data.items()}
    return list(map(_pinned, data)) if isinstance(data, (list, tuple)) else data
