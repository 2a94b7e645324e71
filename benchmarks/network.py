"""Whole networks in inference: FCN on IBN-Net50-a and -b beside ResNet50."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from benchmarks.measure import Row, alternately, compare
from ibnseg.models.create import create
from ibnseg.models.fuse import fuse
from ibnseg.models.largest import upsampled_argmax

MOST = {"resnet50_ibn_a": 1.03, "resnet50_ibn_b": 1.05}
TITLES = {"resnet50_ibn_a": "IBN-Net50-a", "resnet50_ibn_b": "IBN-Net50-b", "resnet50": "ResNet50"}
PEER = "resnet50"

MODES = {
    "float32": (torch.contiguous_format, False, (96, 192)),
    "float32, channels-last": (torch.channels_last, False, (96, 192)),
    "bfloat16": (torch.contiguous_format, True, (128, 256)),
    "bfloat16, channels-last": (torch.channels_last, True, (128, 256)),
}
"""Memory layout, whether in bfloat16, and the size of the image: larger where it is faster."""

LARGE = (1536, 3072)
"""The size at which fused and unfused predictions are compared: of many pixels, for few differ."""


def measure(threads: int) -> list[Row]:
    torch.manual_seed(0)
    networks = {name: create("fcn", name).eval() for name in TITLES}
    unfused = _rows("float32", networks, "unfused", {}, seconds=1)
    fused = {name: fuse(copy.deepcopy(network)) for name, network in networks.items()}
    moved = [_moved(networks[name], fused[name]) for name in MOST]
    changed, pixels = map(sum, zip(*moved, strict=True))
    counted = f"{changed} of {pixels / 1e6:.0f} million pixels"
    note = f"fusing changes the class of {counted}, a and b together, with random weights"
    rows = []
    for mode in MODES:
        of_mode = note if mode == "float32" else ""
        rows += _rows(mode, fused, "fused", MOST, seconds=3, note=of_mode)
    return rows + unfused


def _rows(
    mode: str,
    networks: dict[str, nn.Module],
    how: str,
    most: dict[str, float],
    seconds: float,
    note: str = "",
) -> list[Row]:
    layout, is_bfloat16, size = MODES[mode]
    x = torch.randn(1, 3, *size).contiguous(memory_format=layout)
    ways = {
        name: partial(network.to(memory_format=layout), x) for name, network in networks.items()
    }
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
        times = alternately(ways, seconds, warm_up=1)
    what = f"{size[1]}x{size[0]}, {mode}, {how}"
    return [
        compare(f"FCN on {TITLES[name]}, {what}", times, PEER, most.get(name), ours=name, note=note)
        for name in MOST
    ]


@torch.inference_mode()
def _moved(network: nn.Module, fused: nn.Module) -> tuple[int, int]:
    """Counts the pixels that another class is predicted for, and all pixels."""
    x = torch.randn(2, 3, *MODES["float32"][2])
    before, after = (upsampled_argmax(each(x), LARGE) for each in (network, fused))
    return int((before != after).sum()), before.numel()
