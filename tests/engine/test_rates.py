"""Learning rates by layer."""

from __future__ import annotations

import pytest
import timm
import timm.optim
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from ibnseg.engine.rates import layer_factor
from ibnseg.models import IBNResNet, ViT
from ibnseg.support.errors import UserError

LR, WD = 1e-3, 0.05


class Net(nn.Module):
    """A backbone with four blocks, and a head with queries."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = nn.Module()
        self.decode_head.linear = nn.Linear(32, 5)
        self.decode_head.queries = nn.Embedding(7, 32)


def net(**kwargs) -> Net:
    options = dict(embed_dim=32, depth=4, num_heads=4)
    given = dict(image_size=32, out_indices=None, options=options, trained="all", final_norm=True)
    return Net(ViT("vit_small_patch14_reg4_dinov2", **{**given, **kwargs}))


def built(network: nn.Module, **paramwise) -> torch.optim.Optimizer:
    cfg = dict(
        type="OptimWrapper",
        constructor="ibnseg.LayerRates",
        optimizer=dict(type="AdamW", lr=LR, weight_decay=WD),
        paramwise_cfg=paramwise,
    )
    return build_optim_wrapper(network, cfg).optimizer


def settings(network: nn.Module, **paramwise) -> dict[str, tuple[float, float]]:
    """The rate and the decay of each parameter that the optimiser has, by name."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = built(network, **paramwise).param_groups
    found = [(names[p], (g["lr"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len({*dict(found)}) == len(found)
    return dict(found)


def test_each_block_has_a_share_of_the_next_ones_rate() -> None:
    found = settings(net(), layer_decay=0.8, backbone_lr=0.1)
    rates = {
        "decode_head.linear": 1.0,
        "backbone.norm": 0.1,
        "backbone.blocks.3": 0.1,
        "backbone.blocks.2": 0.1 * 0.8,
        "backbone.blocks.1": 0.1 * 0.8**2,
        "backbone.blocks.0": 0.1 * 0.8**3,
        "backbone.patch_embed": 0.1 * 0.8**3,
        "backbone.pos_embed": 0.1 * 0.8**3,
        "backbone.cls_token": 0.1 * 0.8**3,
        "backbone.reg_token": 0.1 * 0.8**3,
        "decode_head.queries": 1.0,
    }
    for name, (rate, _) in found.items():
        (wanted,) = (each for key, each in rates.items() if name.startswith(key))
        assert rate == pytest.approx(LR * wanted, rel=1e-12), name
    assert found.keys() == dict(net().named_parameters()).keys()


def test_norms_biases_positions_tokens_and_queries_do_not_decay() -> None:
    for name, (_, decay) in settings(net()).items():
        matrix = name.endswith("weight") and not any(part in name for part in ("norm", "queries"))
        assert decay == (WD if matrix else 0), name


def test_blocks_decay_as_timms_do() -> None:
    plain = timm.create_model("vit_small_patch14_dinov2", depth=4, embed_dim=32, num_heads=4)
    groups = timm.optim.param_groups_layer_decay(plain, layer_decay=0.8)
    scale = {p: group["lr_scale"] for group in groups for p in group["params"]}
    for name, parameter in plain.named_parameters():
        if name.startswith("blocks."):
            assert scale[parameter] == pytest.approx(layer_factor(name, 4, 0.8)), name
    before = scale[plain.pos_embed]  # EoMT gives it the factor of the first block
    assert before == pytest.approx(0.8 * layer_factor("pos_embed", 4, 0.8))


def test_frozen_weights_are_not_in_the_optimiser() -> None:
    found = settings(net(trained="none"))
    assert {name.partition(".")[0] for name in found} == {"decode_head"}


def test_groups_are_few_and_begin_with_the_heads_rate() -> None:
    groups = built(net(), layer_decay=0.8).param_groups
    assert len(groups) == 8  # four rates, each with decay and without
    assert groups[0]["lr"] == LR


def test_custom_keys_multiply_the_rate_and_set_the_decay() -> None:
    keys = {"qkv": dict(lr_mult=0.5), "queries": dict(decay_mult=1.0, lr_mult=2)}
    found = settings(net(), custom_keys=keys, backbone_lr=0.1)
    assert found["backbone.blocks.1.attn.qkv.weight"] == pytest.approx((LR * 0.05, WD))
    assert found["backbone.blocks.1.attn.qkv.bias"] == pytest.approx((LR * 0.05, 0))
    assert found["decode_head.queries.weight"] == pytest.approx((LR * 2, WD))


def test_a_cnn_has_a_backbone_rate_alone() -> None:
    network = Net(IBNResNet(18, base_channels=8, stem_channels=8))
    rates = {
        name.partition(".")[0]: rate
        for name, (rate, _) in settings(network, backbone_lr=0.1).items()
    }
    assert rates == pytest.approx({"backbone": LR * 0.1, "decode_head": LR})
    with pytest.raises(UserError, match=r"layer_decay=0.8 needs a backbone with blocks"):
        built(network, layer_decay=0.8)


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(layer_decy=0.8), "unknown key of optim_wrapper.paramwise_cfg 'layer_decy'; did you"),
        (dict(layer_decay="0.8"), "layer_decay is '0.8', expected a number, 0 or more"),
        (dict(backbone_lr=-1), "backbone_lr is -1, expected a number, 0 or more"),
        (dict(custom_keys={"qkv": dict(lr=1)}), r"unknown key of .*custom_keys\['qkv'\] 'lr'"),
        (dict(custom_keys={"qqq": dict(lr_mult=1)}), "no parameter's name has 'qqq'"),
    ],
)
def test_wrong_settings_are_refused(paramwise: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(net(), **paramwise)


def test_an_adapters_tokens_do_not_decay_and_have_the_backbones_rate() -> None:
    adapter = dict(type="ibnseg.Rein", tokens=5, rank=4)
    found = settings(net(trained="none", adapter=adapter), backbone_lr=0.5, layer_decay=0.8)
    own = {name: each for name, each in found.items() if name.startswith("backbone.")}
    assert {rate for rate, _ in own.values()} == {LR * 0.5}
    assert own["backbone.adapter.tokens_a"][1] == 0
    decaying = {name for name, (_, decay) in own.items() if decay}
    assert decaying
    assert all(name.endswith(".weight") for name in decaying)
