"""Builds the segmentor of a config, mmseg's own included, so that the rest sees no difference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from torch import nn

from ibnseg.models.inference import Inference
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

REPLACED = ("SegDataPreProcessor", "mmseg.SegDataPreProcessor")
"""The names of mmseg's preprocessor, which ``ibnseg.Preprocessor`` replaces with its arguments."""


def build_network(model: Mapping) -> nn.Module:
    """Builds a segmentor from the ``model`` of a config.

    Labels reach its losses as int64, because ``ibnseg.Preprocessor`` takes the place of mmseg's; a
    preprocessor of another type stays, and has to do that itself. Its predictions are uint8 train
    ids. Images are tested whole unless ``test_cfg`` says otherwise.

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
        if given.get("size") is not None:  # the size of the crops; mmseg takes only one of the two
            given.pop("size_divisor", None)
    test_cfg = {"mode": "whole", **(model.get("test_cfg") or {})}
    network = MODELS.build(ConfigDict({**model, "data_preprocessor": given, "test_cfg": test_cfg}))
    if not isinstance(network, Inference):
        network.register_forward_hook(_shorten, with_kwargs=True)
    return network


def _shorten(network: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
    """Turns the predictions of a network into uint8; values that are no train ids become 255, which
    is no class either."""
    for sample in output if kwargs.get("mode") == "predict" else ():
        data = sample.pred_sem_seg.data.clamp(0, 255).to(torch.uint8)
        sample.pred_sem_seg = PixelData(data=data)
