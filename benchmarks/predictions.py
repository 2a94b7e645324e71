"""Predictions: from the head's logits to train ids of a whole image, beside mmseg's."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from benchmarks.measure import Row, alternately, compare, peak_memory
from ibnseg.datasets.labels import CITYSCAPES_IDS, lookup_table
from ibnseg.models.largest import MIXED, sure_classes, upsampled_argmax
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise

CLASSES, STRIDE = 19, 8
HEIGHT, WIDTH = 1024, 2048
PLAIN = "upsampling all logits"


def measure(threads: int) -> list[Row]:
    work = f"predictions, {CLASSES}x{HEIGHT // STRIDE}x{WIDTH // STRIDE} logits -> {HEIGHT}x{WIDTH}"
    rows = []
    for name, logits, goal in [("a street", street(), 1 / 20), ("noise", noise(), None)]:
        note = f"classes meet in {share_of_mixed(logits):.0%} of the cells"
        ways = {
            "ibnseg": partial(upsampled_argmax, logits, (HEIGHT, WIDTH)),
            PLAIN: partial(plainly, logits),
        }
        if goal:
            ways["mmseg"] = partial(as_mmseg, logits)
        assert torch.equal(ways["ibnseg"]().long(), ways[PLAIN]())
        times = alternately(ways, seconds=4, warm_up=1)
        if goal:
            rows.append(compare(f"{work}, {name}", times, "mmseg", goal, note=note))
        rows.append(compare(f"{work}, {name}", times, PLAIN, note=note))
    peaks = {
        "ibnseg": [peak_memory(prepared, threads)],
        "mmseg": [peak_memory(prepared_as_mmseg, threads)],
    }
    rows.append(compare(f"{work}, a street, peak memory", peaks, "mmseg", 1 / 8, unit="MiB"))
    return rows


def street() -> Tensor:
    """Logits like those of a network that knows a drawn street, but not its borders exactly."""
    ids = rasterise(draw_layout(0), WIDTH // STRIDE, HEIGHT // STRIDE).labels
    scores = np.eye(256, dtype=np.float32)[lookup_table(CITYSCAPES_IDS)[ids]][..., :CLASSES]
    scores = torch.from_numpy(scores).permute(2, 0, 1)[None]
    blurred = F.avg_pool2d(scores, 5, stride=1, padding=2, count_include_pad=False)
    return (10 * blurred + noise() / 100).contiguous()


def noise() -> Tensor:
    """Logits without any regions."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, CLASSES, HEIGHT // STRIDE, WIDTH // STRIDE, generator=generator)


def share_of_mixed(logits: Tensor) -> float:
    """The share of cells, each between four logits, in which more than one class may be largest."""
    classes = sure_classes(logits[0])
    corners = [classes[:-1, :-1], classes[:-1, 1:], classes[1:, :-1], classes[1:, 1:]]
    mixed = sum(corner != corners[0] for corner in corners).bool() | (corners[0] == MIXED)
    return mixed.float().mean().item()


def plainly(logits: Tensor) -> Tensor:
    """Predicts as Segmentor used to."""
    return F.interpolate(logits, (HEIGHT, WIDTH), mode="bilinear").max(1).indices


def as_mmseg(logits: Tensor) -> list[SegDataSample]:
    """Predicts by mmseg's own methods, from the head's logits on."""
    size = (HEIGHT, WIDTH)
    meta = dict(img_shape=size, pad_shape=size, ori_shape=size, padding_size=[0] * 4)
    resized = mmsegs_network().decode_head.predict_by_feat(logits, [meta])
    return mmsegs_network().postprocess_result(resized, [SegDataSample(metainfo=meta)])


@cache
def mmsegs_network() -> EncoderDecoder:
    """mmseg's segmentor, of which only the steps after the head's logits are called."""
    head = dict(type="FCNHead", in_channels=8, channels=8, num_classes=CLASSES, in_index=3)
    backbone = dict(type="ResNet", depth=18, base_channels=1)
    return EncoderDecoder(backbone=backbone, decode_head=head, test_cfg=dict(mode="whole")).eval()


def prepared() -> partial:
    return partial(upsampled_argmax, street(), (HEIGHT, WIDTH))


def prepared_as_mmseg() -> partial:
    mmsegs_network()
    return partial(as_mmseg, street())
