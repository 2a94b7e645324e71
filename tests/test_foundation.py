"""The recipes of docs/foundation.md: their networks at full size, what of them is trained, at which
rates."""

from __future__ import annotations

import re
from functools import cache
from math import cos, pi
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from timm.models import get_pretrained_cfg
from torch import nn

from ibnseg.engine.rates import parameter_groups
from ibnseg.engine.read import load_config
from ibnseg.models.build import build_network
from ibnseg.support.files import config_folder

RECIPES = sorted(path.stem for path in config_folder().glob("gta2city_dinov2*.py"))
KINDS = ("linear", "frozen", "lora", "soma", "rein", "full", "query")
PUBLISHED = {"lora": 3_145_728, "soma": 4_718_592 + 147_456, "rein": 2_990_081 - 459_264}
"""What the adapters train of ViT-L; Rein's number without its link to queries, which has two linear
layers, 1024 to 256 and 768 to 256."""


class Size(NamedTuple):
    """The width w and depth of a ViT, and how many of its last blocks queries join."""

    w: int
    depth: int
    joined: int

    def backbone(self) -> int:
        """Embeddings of patches and positions, the class token and the last norm beside blocks."""
        return (3 * 16**2 + 1) * self.w + (32**2 + 1) * self.w + 3 * self.w + self.blocks()

    def blocks(self) -> int:
        """Four linear layers, two norms and two scales each."""
        return self.depth * (12 * self.w**2 + 15 * self.w)

    def adapter(self, kind: str) -> int:
        w, depth = self.w, self.depth
        adapted = depth - depth // 3
        return {
            "lora": depth * 32 * (w + 3 * w),
            # q, k, v and proj; fc1 and fc2; and the biases
            "soma": adapted * (16 * (4 * 2 * w + 2 * 5 * w) + 9 * w),
            "rein": 2 * (w**2 + w) + depth * 16 * (100 + w) + 1,
        }.get(kind, 0)

    def head(self, kind: str) -> int:
        w = self.w
        if kind == "linear":
            return 19 * (w + 1)
        if kind == "query":
            upscaling = 4 * w**2 + w + 9 * w + 2 * w
            return 100 * w + 20 * (w + 1) + 3 * (w**2 + w) + 2 * upscaling
        joined, norms = 4 * w * w, 2 * w + 2 * w // 2
        enlarged = 4 * w * w // 2 + w // 2 + 4 * (w // 2) * (w // 4) + w // 4
        return joined + norms + enlarged + 19 * (w // 4 + 1)


SIZES = {"s": Size(384, 12, 3), "b": Size(768, 12, 3), "l": Size(1024, 24, 4)}


def parts(recipe: str) -> tuple[Size, str]:
    found = re.fullmatch(r"gta2city_dinov2([sbl])_(\w+)", recipe)
    return SIZES[found[1]], found[2]


@cache
def config_of(recipe: str) -> Config:
    return load_config(recipe)


@cache
def network_of(recipe: str) -> nn.Module:
    init_default_scope("mmseg")
    with torch.device("meta"):
        return build_network(config_of(recipe).model)


def count(network: nn.Module, begin: str = "") -> int:
    """The number of weights that are trained."""
    weights = network.named_parameters()
    return sum(p.numel() for n, p in weights if p.requires_grad and n.startswith(begin))


def test_there_is_a_recipe_of_each_kind_for_each_size() -> None:
    assert sorted(f"gta2city_dinov2{size}_{kind}" for size in SIZES for kind in KINDS) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_as_many_weights_as_it_is_meant_to(recipe: str) -> None:
    size, kind = parts(recipe)
    network = network_of(recipe)
    assert count(network, "decode_head.") == size.head(kind)
    trained = size.adapter(kind)
    if kind in ("full", "query"):
        last_norm = 2 * size.w * (kind == "full")  # the light head is given maps in front of it
        trained = size.backbone() - last_norm
    assert count(network, "backbone.") == trained
    if size is SIZES["l"]:
        assert trained == PUBLISHED.get(kind, trained)
    vit = network.backbone
    pretrained = [n for n, _ in vit.named_parameters() if not vit.is_adapters(n)]
    assert sum(vit.get_parameter(n).numel() for n in pretrained) == size.backbone()
    assert vit.handed_over == (size.joined if kind == "query" else 0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_weights_are_trained_at_the_stated_rates(recipe: str) -> None:
    """Vectors, positions and the tokens of ViT and Rein do not decay, all else does."""
    size, kind = parts(recipe)
    cfg, network = config_of(recipe), network_of(recipe)
    assert cfg.optim_wrapper.constructor == "ibnseg.LayerRates"
    given = cfg.optim_wrapper.get("paramwise_cfg", {})
    groups = parameter_groups(network, cfg.optimizer.lr, cfg.optimizer.weight_decay, **given)
    assert {group["weight_decay"] for group in groups} == {0, 0.05}
    rates = {p: group["lr"] for group in groups for p in group["params"]}
    decays = {p: group["weight_decay"] > 0 for group in groups for p in group["params"]}
    still = ("adapter.tokens", "pos_embed", "cls_token")
    for name, p in network.named_parameters():
        if not p.requires_grad:
            assert p not in rates
            continue
        factor = 1.0
        if name.startswith("backbone."):
            factor = {"soma": 0.5, "full": 0.1}.get(kind, 1.0)
            block = re.match(r"backbone\.blocks\.(\d+)\.", name)
            if kind == "query" and not name.startswith("backbone.norm."):
                factor = 0.8 ** (size.depth - 1 - int(block[1] if block else 0))
        assert rates[p] == pytest.approx(1e-4 * factor), name
        assert decays[p] == (p.ndim > 1 and not any(each in name for each in still)), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_starts_from_the_official_file_of_its_network(recipe: str) -> None:
    backbone = config_of(recipe).model.backbone
    assert backbone.init_cfg.checkpoint == get_pretrained_cfg(backbone.name).url


def test_sizes_of_a_kind_differ_in_nothing_but_the_network() -> None:
    for kind in KINDS:
        large = config_of(f"gta2city_dinov2l_{kind}")
        for size in "sb":
            own = config_of(f"gta2city_dinov2{size}_{kind}")
            assert {k for k in {*own, *large} if own.get(k) != large.get(k)} <= {
                "model",
                "model_name",
                "model_title",
            }
            adapters = [cfg.model.backbone.get("adapter") or {} for cfg in (own, large)]
            assert all(
                {**each, "blocks": None} == {**adapters[0], "blocks": None} for each in adapters
            )


def scheduled(recipe: str, steps: int = 40) -> list[list[tuple[float, float]]]:
    """Rate and decay of two groups, one of which does not decay, before each step of a training
    that is a thousandth as long."""
    first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [dict(params=[first]), dict(params=[second], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.05)
    schedulers = []
    for given in load_config(recipe).param_scheduler:
        short = {key: round(given[key] / 1000) for key in ("begin", "end")}
        schedulers.append(PARAM_SCHEDULERS.build({**given, **short, "optimizer": optimizer}))
    found = []
    for _ in range(steps):
        found.append([(g["lr"], g["weight_decay"]) for g in optimizer.param_groups])
        optimizer.step()
        for each in schedulers:
            each.step()
    return found


def test_weight_decay_falls_in_a_cosine_and_stays_off_where_it_is_off() -> None:
    found = scheduled("gta2city_dinov2l_soma")
    for i, ((rate, decay), (other_rate, no_decay)) in enumerate(found):
        assert rate == other_rate == pytest.approx(1e-4 * (1 - i / 39) ** 0.9)
        assert decay == pytest.approx(1e-5 + (0.05 - 1e-5) * (1 + cos(pi * i / 40)) / 2)
        assert no_decay == 0


def test_rates_of_the_query_recipe_rise_and_fall() -> None:
    rates = [rate for (rate, _), _ in scheduled("gta2city_dinov2l_query")]
    assert rates[0] == pytest.approx(1e-7)
    top = max(range(40), key=rates.__getitem__)
    assert rates[top] == pytest.approx(1e-4)
    assert rates == [*sorted(rates[: top + 1]), *sorted(rates[top + 1 :], reverse=True)]
    assert rates[-1] == pytest.approx(0, abs=1e-9)
