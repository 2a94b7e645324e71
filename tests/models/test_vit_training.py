"""Vision transformers learn eight streets by heart, with each adapter and head; gradients."""

from __future__ import annotations

import copy
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ibnseg.datasets.labels import CITYSCAPES_IDS, lookup_table
from ibnseg.evaluation.confusion import confusion_matrix
from ibnseg.models import Segmentor
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render
from tests.models.tiny import CROSS_ENTROPY, config

CLASSES = 19
HEIGHT, LENGTH, PATCH = 24, 48, 4
QUERIES = 20

ADAPTERS = {
    "none": None,
    "all": None,
    "zero": dict(type="ibnseg.LoRA", rank=8),
    "minor": dict(type="ibnseg.LoRA", rank=8, start="minor", split_qkv=True, bias=True),
    "qr": dict(type="ibnseg.LoRA", rank=8, start="qr", sub_rank=4),
    "rein": dict(type="ibnseg.Rein", tokens=20, rank=8),
    "linked": dict(type="ibnseg.Rein", tokens=QUERIES, rank=20, link=64, scale=0.3),
}
WEIGHTS = dict(type="Kaiming", layer=["Linear", "Conv2d"], mode="fan_in", nonlinearity="linear")
"""Weights that keep the size of what they get, in place of pretrained ones."""


class Case(NamedTuple):
    """A network, and how it is trained."""

    adapter: str
    head: str
    width: int = 64
    depth: int = 2
    rate: float = 0.02
    steps: int = 120


PIXELWISE = (
    Case("none", "linear", width=256, depth=1, rate=0.03),
    Case("none", "light"),
    Case("all", "linear", rate=0.01),
    Case("zero", "segformer"),
    Case("minor", "segformer"),
    Case("qr", "linear"),
    Case("rein", "light"),
)
QUERY = Case("all", "query", width=96, rate=3e-3, steps=100)
LINKED = Case("linked", "query", width=96, rate=0.01, steps=200)


def head_cfg(case: Case) -> dict:
    every = dict(in_channels=[case.width] * case.depth, in_index=[*range(case.depth)])
    common = dict(
        num_classes=CLASSES, align_corners=False, dropout_ratio=0, loss_decode=CROSS_ENTROPY
    )
    norm = dict(norm_cfg=dict(type="BN"))
    query = dict(queries=QUERIES, blocks=1, points=256, upscalings=1, link=case.adapter == "linked")
    return {
        "linear": dict(type="ibnseg.LinearHead", in_channels=case.width, **norm, **common),
        "light": dict(type="ibnseg.LightHead", **every, **common),
        "segformer": dict(type="SegformerHead", channels=64, **norm, **every, **common),
        "query": dict(
            type="ibnseg.QueryHead", in_channels=case.width, num_classes=CLASSES, **query
        ),
    }[case.head]


def build(case: Case) -> Segmentor:
    torch.manual_seed(0)
    blocks = range(case.depth - (case.head == "query"))
    backbone = dict(
        type="ibnseg.ViT",
        name="vit_small_patch14_dinov2",
        patch_size=PATCH,
        image_size=(HEIGHT, LENGTH),
        out_indices=tuple(blocks),
        trained="all" if case.adapter == "all" else "none",
        adapter=ADAPTERS[case.adapter],
        options=dict(embed_dim=case.width, depth=case.depth, num_heads=4, init_values=1.0),
        init_cfg=WEIGHTS,
    )
    network = Segmentor(**config(head_cfg(case), backbone=backbone))
    network.init_weights()
    if case.adapter == "linked":
        for tokens in (network.backbone.adapter.tokens_a, network.backbone.adapter.tokens_b):
            tokens.data *= 3  # Rein's start for patches of 4 pixels; its bound is that for 16
    return network.train()


@cache
def streets() -> tuple[Tensor, Tensor]:
    """Eight streets, (8, 3, H, W) float32 normalised, and their train ids, (8, 1, H, W), of which
    each patch has one: its commonest."""
    images, labels = [], []
    for seed in range(8):
        raster = rasterise(draw_layout(seed), LENGTH, HEIGHT)
        images.append(render(raster, "virtual", seed))
        labels.append(lookup_table(CITYSCAPES_IDS)[raster.labels])
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    ids = torch.from_numpy(np.stack(labels)).long()
    patches = ids.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH)).transpose(2, 3).flatten(3)
    commonest = patches.mode(dim=-1).values
    full = commonest.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return (pixels - 110) / 60, full[:, None]


def samples(labels: Tensor) -> list[SegDataSample]:
    shape = dict(ori_shape=labels.shape[2:], img_shape=labels.shape[2:])
    return [SegDataSample(gt_sem_seg=PixelData(data=each), metainfo=shape) for each in labels]


def loss(network: Segmentor, count: int = 8) -> Tensor:
    images, labels = (each[:count] for each in streets())
    dtype = next(network.parameters()).dtype
    losses = network.loss(images.to(dtype), samples(labels))
    return sum(value for name, value in losses.items() if "loss" in name)


def scores(network: Segmentor) -> tuple[float, float]:
    """Pixel accuracy and mean IoU over the streets."""
    images, labels = streets()
    found = network.eval().predict(images, samples(labels))
    predicted = torch.stack([each.pred_sem_seg.data for each in found])
    flat = (each.byte().flatten(0, 2).numpy() for each in (labels, predicted))
    counts = confusion_matrix(*flat, CLASSES)
    right, either = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
    return right.sum() / counts.sum(), (right[either > 0] / either[either > 0]).mean()


def learn(case: Case, set_progress, accuracy: float = 0.9, mean_iou: float = 0.5) -> None:
    """Trains on the eight streets, all in each step, and compares with the least pixel accuracy and
    mean IoU on them.

    Whoever answers with the commonest class everywhere is right in a third of the pixels, and has a
    mean IoU of 0.02.
    """
    network = build(case)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, case.rate, betas=(0.9, 0.95))
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 10, max(1 - step / case.steps, 0.05))
    )
    for step in range(case.steps):
        set_progress(step, case.steps)
        optimiser.zero_grad()
        loss(network).backward()
        optimiser.step()
        decay.step()
    found = scores(network)
    assert found[0] > accuracy
    assert found[1] > mean_iou


@pytest.mark.parametrize("case", [*PIXELWISE, QUERY], ids=lambda case: "-".join(case[:2]))
def test_it_learns_eight_streets_by_heart(case: Case, training) -> None:
    """The query head does so while its masked attention fades, and has none at the end."""
    learn(case, training)


def test_queries_that_come_from_reins_tokens_learn(training) -> None:
    learn(LINKED._replace(steps=40), training, accuracy=0.5, mean_iou=0.1)


@pytest.mark.extras
def test_queries_that_come_from_reins_tokens_learn_eight_streets_by_heart(
    training, request: pytest.FixtureRequest
) -> None:
    if "extras" not in request.config.getoption("-m"):
        pytest.skip("takes ten seconds; runs with -m extras")
    learn(LINKED, training)


@pytest.mark.parametrize("case", PIXELWISE, ids=lambda case: "-".join(case[:2]))
def test_gradients_of_a_whole_network_are_those_of_float64(case: Case) -> None:
    network = build(case)
    exact = copy.deepcopy(network).double()
    for each in (network, exact):
        loss(each, 2).backward()
    for (name, own), wanted in zip(network.named_parameters(), exact.parameters(), strict=True):
        assert (own.grad is not None) == own.requires_grad, name
        if own.grad is not None:
            error = (own.grad - wanted.grad).norm()
            assert error <= 1e-3 * wanted.grad.norm() + 1e-7, name
