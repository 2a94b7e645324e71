"""Vision transformers with each adapter and pixelwise heads: eight streets, and gradients."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ibnseg.datasets.labels import CITYSCAPES_IDS, lookup_table
from ibnseg.models import Segmentor
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render
from tests.models.tiny import CROSS_ENTROPY, config

WIDTH, DEPTH, CLASSES = 32, 4, 19
HEIGHT, LENGTH = 32, 64

ADAPTERS = {
    "none": None,
    "all": None,
    "zero": dict(type="ibnseg.LoRA", rank=8),
    "minor": dict(type="ibnseg.LoRA", rank=8, start="minor", split_qkv=True, bias=True),
    "qr": dict(type="ibnseg.LoRA", rank=8, start="qr", sub_rank=4),
    "rein": dict(type="ibnseg.Rein", tokens=20, rank=8),
}
FOUR = dict(in_channels=[WIDTH] * 4, in_index=[0, 1, 2, 3])
PIXELWISE = dict(
    num_classes=CLASSES, align_corners=False, dropout_ratio=0, loss_decode=CROSS_ENTROPY
)
SEGFORMER = dict(channels=32, norm_cfg=dict(type="BN"))
HEADS = {
    "linear": dict(type="ibnseg.LinearHead", in_channels=WIDTH, in_index=3, **PIXELWISE),
    "light": dict(type="ibnseg.LightHead", **FOUR, **PIXELWISE),
    "segformer": dict(type="SegformerHead", **FOUR, **PIXELWISE, **SEGFORMER),
}


def build(adapter: str, head: str) -> Segmentor:
    torch.manual_seed(0)
    backbone = dict(
        type="ibnseg.ViT",
        name="vit_small_patch14_dinov2",
        patch_size=4,
        image_size=(HEIGHT, LENGTH),
        out_indices=(0, 1, 2, 3),
        trained="all" if adapter == "all" else "none",
        adapter=ADAPTERS[adapter],
        options=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=4, init_values=1.0),
    )
    network = Segmentor(**config(HEADS[head], backbone=backbone))
    network.init_weights()
    return network


@cache
def streets() -> tuple[Tensor, Tensor]:
    """Eight streets, (8, 3, H, W) float32 normalised, and their train ids, (8, 1, H, W)."""
    images, labels = [], []
    for seed in range(8):
        raster = rasterise(draw_layout(seed), LENGTH, HEIGHT)
        images.append(render(raster, "real", seed))
        labels.append(lookup_table(CITYSCAPES_IDS)[raster.labels])
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (pixels - 110) / 60, torch.from_numpy(np.stack(labels))[:, None].long()


def samples(labels: Tensor) -> list[SegDataSample]:
    shape = dict(ori_shape=labels.shape[2:], img_shape=labels.shape[2:])
    return [SegDataSample(gt_sem_seg=PixelData(data=each), metainfo=shape) for each in labels]


def loss(network: Segmentor, count: int = 8) -> Tensor:
    images, labels = (each[:count] for each in streets())
    dtype = next(network.parameters()).dtype
    losses = network.loss(images.to(dtype), samples(labels))
    return sum(value for name, value in losses.items() if "loss" in name)


def accuracy(network: Segmentor) -> float:
    images, labels = streets()
    found = network.eval().predict(images, samples(labels))
    right = torch.stack([each.pred_sem_seg.data for each in found]) == labels
    return right[labels != 255].float().mean().item()


CASES = [
    ("none", "light", 0.63),
    ("all", "linear", 0.7),
    ("zero", "light", 0.67),
    ("minor", "segformer", 0.74),
    ("qr", "linear", 0.6),
    ("rein", "light", 0.6),
]
STEPS = 100


@pytest.mark.parametrize(("adapter", "head", "least"), CASES)
def test_eight_streets_are_learnt_in_a_hundred_steps(adapter: str, head: str, least: float) -> None:
    """Whoever answers with the commonest class everywhere is right in a third of the pixels."""
    network = build(adapter, head).train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 5e-3 if adapter == "all" else 2e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(network).backward()
        optimiser.step()
        decay.step()
    assert accuracy(network) > least


@pytest.mark.parametrize(("adapter", "head"), [case[:2] for case in CASES])
def test_gradients_of_a_whole_network_are_those_of_float64(adapter: str, head: str) -> None:
    network = build(adapter, head).train()
    exact = copy.deepcopy(network).double()
    for each in (network, exact):
        loss(each, 2).backward()
    for (name, own), wanted in zip(network.named_parameters(), exact.parameters(), strict=True):
        assert (own.grad is not None) == own.requires_grad, name
        if own.grad is not None:
            error = (own.grad - wanted.grad).norm()
            assert error <= 1e-3 * wanted.grad.norm() + 1e-7, name
