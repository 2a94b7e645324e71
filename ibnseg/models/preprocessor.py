"""mmseg's preprocessor, with labels that every loss takes and with further views."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn

from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

REPLACED = ("SegDataPreProcessor", "mmseg.SegDataPreProcessor")
"""Names of the preprocessor in whose place ours is put, with the same arguments."""


@MODELS.register_module()
class Preprocessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor``, which also

    - turns labels into int64 on the device, as losses want them; loaders give uint8;
    - prepares the further views of each sample, ``views``, as it prepares the images: each becomes
      (3, H, W) float32, of the size of the padded image.
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


def build_network(model: Mapping) -> nn.Module:
    """Builds a segmentor from the ``model`` of a config, mmseg's own included.

    :class:`Preprocessor` takes the place of mmseg's; one of another type stays, and has to turn
    labels into int64 itself. Images are tested whole unless ``test_cfg`` says otherwise.

    Raises:
        UserError: if the config has no preprocessor, without which images would not be normalised.
    """
    given = model.get("data_preprocessor")
    if not isinstance(given, (Mapping, nn.Module)):
        raise UserError(
            f"model.data_preprocessor is {given!r}, but images have to be normalised; expected "
            "e.g. dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], "
            "std=[58.395, 57.12, 57.375], bgr_to_rgb=True)"
        )
    if isinstance(given, Mapping) and given.get("type") in REPLACED:
        given = {**given, "type": "ibnseg.Preprocessor"}
        if given.get("size") is not None:  # that of the crops, and mmseg takes one of the two
            given.pop("size_divisor", None)
    test_cfg = {"mode": "whole", **(model.get("test_cfg") or {})}
    return MODELS.build(ConfigDict({**model, "data_preprocessor": given, "test_cfg": test_cfg}))
