"""A training step on a processor, with what `auto` comes to, beside float32 and beside mmseg."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from mmengine.registry import init_default_scope
from torch import nn

from benchmarks.measure import Row, alternately, compare
from benchmarks.step import CLASSES, Step, sgd
from ibnseg.engine.automatic import AUTOMATIC, resolved
from ibnseg.engine.precision import WRAPPERS, autocast, fast_bfloat16
from ibnseg.models.build import build_network
from ibnseg.registry import MODELS

IMAGES, SIDE = 2, 256
LARGE = 448
"""Height and width of larger crops, in which the optimiser and casts of weights weigh less."""
CONVOLUTIONS = "its convolutions alone"
PRODUCT = "a product of two matrices of 2048x2048"

PREPROCESSOR = dict(
    type="SegDataPreProcessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size_divisor=1,
)
BACKBONE = dict(depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), norm_cfg=dict(type="BN"))
HEAD = dict(
    type="FCNHead",
    in_channels=512,
    in_index=3,
    channels=128,
    num_convs=1,
    concat_input=False,
    num_classes=CLASSES,
    norm_cfg=dict(type="BN"),
    loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
)
COMMON = dict(data_preprocessor=PREPROCESSOR, decode_head=HEAD)
OURS = dict(COMMON, type="ibnseg.Segmentor", backbone=dict(BACKBONE, type="ibnseg.IBNResNet"))
MMSEG = dict(COMMON, type="EncoderDecoder", backbone=dict(BACKBONE, type="ResNet"))


def measure(threads: int) -> list[Row]:
    init_default_scope("mmseg")
    chosen = resolved(dict.fromkeys(AUTOMATIC, "auto") | dict(model=OURS, iterations=500))
    network = build_network(OURS)
    if chosen["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    wrapper = WRAPPERS[chosen["precision"]]
    note = ", ".join(f"{name} {value}" for name, value in chosen.items())
    convolutions = _convolutions_alone(OURS, chosen)
    rows = []
    for side, rounds in {SIDE: 7, LARGE: 4}.items():
        ways = {
            "ibnseg": step(network, wrapper, side=side),
            "float32": step(build_network(OURS), "OptimWrapper", side=side),
            CONVOLUTIONS: partial(convolutions, side),
        }
        if side == SIDE:
            ways["mmseg"] = step(MODELS.build(MMSEG), "OptimWrapper", torch.int64)
        times = alternately(ways, seconds=0, warm_up=1, rounds=rounds)
        most = {"float32": 1 / 4} if side == LARGE and fast_bfloat16() else {}
        work = f"training step, R18 at output stride 8, {IMAGES} crops of {side}x{side}"
        peers = [name for name in ways if name != "ibnseg"]
        rows += [compare(work, times, peer, most.get(peer), note=note) for peer in peers]
    rows.append(compare(CONVOLUTIONS, times, "float32", ours=CONVOLUTIONS, note=note))
    scaled = partial(convolutions, SIDE)
    return rows if threads == 1 else [*rows, *_scaling(scaled, threads, chosen, note)]


def _scaling(
    convolutions: Callable[[], object], threads: int, chosen: dict[str, object], note: str
) -> list[Row]:
    """Compares all threads with one, in work that torch and oneDNN do alone."""
    dtype = getattr(torch, chosen["precision"])
    matrix = torch.randn(2048, 2048).to(dtype)
    works = {CONVOLUTIONS: convolutions, PRODUCT: lambda: matrix @ matrix}
    rows = []
    for work, way in works.items():
        ways = {work: way, "one thread": partial(_on_one_thread, way, threads)}
        rows.append(compare(work, alternately(ways, seconds=2), "one thread", ours=work, note=note))
    return rows


def _on_one_thread(way: Callable[[], object], threads: int) -> None:
    torch.set_num_threads(1)
    way()
    torch.set_num_threads(threads)


def step(
    network: nn.Module, wrapper: str, labels: torch.dtype = torch.uint8, side: int = SIDE
) -> Step:
    """Makes a step of this batch.

    Args:
        network: a segmentor, which is put into training mode.
        wrapper: the type of its optimiser's wrapper.
        labels: the type of the labels; mmseg takes int64.
        side: height and width of the crops.
    """
    return Step(network, sgd(network, wrapper), IMAGES, (side, side), labels)


def _convolutions_alone(model: dict, chosen: dict[str, object]) -> Callable[[int], None]:
    """Makes the bound that faster arithmetic comes to: forward and backward through a model's
    convolutions alone, as a function of the side of the crops."""
    network = build_network(model)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.BatchNorm2d, nn.ReLU, nn.Dropout2d)):
                setattr(module, name, nn.Identity())
    if chosen["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    images = {side: torch.randn(IMAGES, 3, side, side) for side in (SIDE, LARGE)}

    def passes(side: int) -> None:
        with autocast(chosen["precision"]):
            logits = network.decode_head(network.extract_feat(images[side]))
        logits.sum().backward()
        network.zero_grad()

    return passes
