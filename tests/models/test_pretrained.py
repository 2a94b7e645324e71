"""Backbones that start from plain weights, on request and not without a word."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.logging import MMLogger
from torch import Tensor, nn

from ibnseg.errors import UserError
from ibnseg.models import IBN, IBNDenseNet, IBNResNet, IBNResNeXt, Segmentor
from ibnseg.models.pretrained import ANEW, BECAME, DIVIDED, divide, split_backbone
from ibnseg.registry import MODELS

NARROW = dict(base_channels=8, stem_channels=8)


def plain(network=IBNResNet, depth: int = 18, **kwargs) -> dict[str, Tensor]:
    """The weights of a plain network, every entry different."""
    torch.manual_seed(0)
    return {
        key: torch.rand(value.shape) if value.ndim else torch.tensor(3)
        for key, value in network(depth, **kwargs).state_dict().items()
    }


def saved(folder: Path, weights: dict) -> str:
    torch.save(weights, folder / "plain.pth")
    return str(folder / "plain.pth")


def split(checkpoint: str, **kwargs) -> dict:
    return dict(type="ibnseg.SplitPretrained", checkpoint=checkpoint, **kwargs)


@pytest.mark.parametrize(
    ("variant", "divided", "became", "anew"),
    [
        (None, 0, 0, 0),
        ("a", 6, 0, 0),  # two blocks in each of three stages
        ("b", 0, 1, 2),
        ("d", 1, 0, 2),
        ("a&d", 7, 0, 2),
        ("ax2", 12, 0, 0),
        ("in", 0, 14, 0),  # and the shortcuts of stages 2 and 3
    ],
)
def test_what_becomes_of_each_layer(variant, divided, became, anew):
    weights, net = plain(**NARROW), IBNResNet(18, variant, **NARROW)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    given = {key: value.clone() for key, value in weights.items()}
    own, counts = divide(net, weights)
    assert counts == {DIVIDED: divided, BECAME: became, ANEW: anew}
    assert all(torch.equal(weights[key], given[key]) for key in given)  # left as they were
    net.load_state_dict(own, strict=False)
    for name, module in net.named_modules():
        if isinstance(module, IBN) and not name.endswith(".IBN"):
            for key in ("weight", "bias"):
                halves = [getattr(module.IN, key), getattr(module.BN, key)]
                assert torch.equal(torch.cat(halves), given[f"{name}.{key}"])
            for key in ("running_mean", "running_var"):
                of_bn = getattr(module.BN, key)
                assert torch.equal(of_bn, given[f"{name}.{key}"][-len(of_bn) :])
        elif isinstance(module, nn.InstanceNorm2d) and f"{name}.weight" in given:
            assert torch.equal(module.weight, given[f"{name}.weight"])
            assert torch.equal(module.bias, given[f"{name}.bias"])
        elif isinstance(module, (nn.BatchNorm2d, nn.Conv2d)) and f"{name}.weight" in given:
            for key, value in module.state_dict().items():
                assert torch.equal(value, given[f"{name}.{key}"])
    for key in before:
        if "layer1.1.IN." in key or "layer1.1.IBN." in key:
            assert torch.equal(net.state_dict()[key], before[key])


def test_dense_layers_have_bn_first():
    narrow = dict(growth_rate=4, stem_channels=10)
    weights, net = plain(IBNDenseNet, 121, **narrow), IBNDenseNet(121, "a", **narrow)
    own, counts = divide(net, weights)
    assert counts == {DIVIDED: 2 + 4 + 8, BECAME: 0, ANEW: 0}
    name = "features.denseblock1.denselayer1.norm1"
    for key in ("weight", "bias", "running_mean"):
        assert torch.equal(own[f"{name}.BN.{key}"], weights[f"{name}.{key}"][:6])
    assert torch.equal(own[f"{name}.IN.weight"], weights[f"{name}.weight"][6:])
    assert f"{name}.IN.running_mean" not in own
    net.load_state_dict(own, strict=False)


def test_ratio_0_from_plain_weights_computes_what_the_plain_network_does():
    weights, other = plain(**NARROW), IBNResNet(18, **NARROW)
    other.load_state_dict(weights)
    net = IBNResNet(18, "a", ratio=0, **NARROW)
    net.load_state_dict(divide(net, weights)[0], strict=False)
    x = torch.rand(2, 3, 64, 64)
    pairs = zip(net.eval()(x), other.eval()(x), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_through_a_config_and_the_log_says_so(tmp_path, caplog):
    checkpoint = saved(tmp_path, plain(**NARROW))
    model = MODELS.build(
        dict(
            type="ibnseg.Segmentor",
            backbone=dict(
                type="ibnseg.IBNResNet",
                depth=18,
                variant="b",
                init_cfg=split(checkpoint),
                **NARROW,
            ),
            decode_head=dict(
                type="FCNHead", in_channels=64, in_index=3, channels=8, num_classes=19
            ),
        )
    )
    assert isinstance(model, Segmentor)
    logger = MMLogger.get_instance("split", log_level="INFO")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        model.init_weights()
    logger.removeHandler(caplog.handler)
    weights = torch.load(checkpoint)
    assert torch.equal(model.backbone.norm1.weight, weights["bn1.weight"])
    assert torch.equal(model.backbone.layer4[1].bn2.weight, weights["layer4.1.bn2.weight"])
    assert (model.backbone.layer1[1].IN.weight == 1).all()
    (said,) = [text for text in caplog.messages if "plain weights" in text]
    assert said == (
        f"IBNResNet starts from plain weights, not from an IBN-Net's ({checkpoint}): "
        "1 BN layers become IN, 2 normalisations of sums start anew"
    )


@pytest.mark.parametrize(
    ("network", "theirs", "depth"),
    [
        (IBNResNet, "resnet18", 18),
        (IBNResNeXt, "resnext50_32x4d", 50),
        (IBNDenseNet, "densenet121", 121),
    ],
)
def test_torchvisions_weights_fill_a_plain_network(tmp_path, network, theirs, depth):
    weights = getattr(torchvision.models, theirs)(weights=None).state_dict()
    checkpoint = saved(tmp_path, weights)
    net = network(depth, init_cfg=dict(type="Pretrained", checkpoint=checkpoint))
    net.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


def test_torchvisions_old_names_of_dense_layers(tmp_path):
    weights = torchvision.models.densenet121(weights=None).state_dict()
    old = {
        key.replace("norm1", "norm.1").replace("norm2", "norm.2")
        .replace("conv1", "conv.1").replace("conv2", "conv.2"): value
        for key, value in weights.items()
        if not key.endswith("num_batches_tracked")
    }  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    checkpoint = saved(tmp_path, old)
    net = IBNDenseNet(121, init_cfg=dict(type="Pretrained", checkpoint=checkpoint))
    net.init_weights()
    own = net.state_dict()
    assert all(torch.equal(own[key], v) for key, v in weights.items() if key in own)


# ---- wrong input -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["a", "b"])
def test_plain_weights_are_no_ibn_weights(tmp_path, variant):
    """Not by ``Pretrained``, which names the way to ask for it."""
    checkpoint = saved(tmp_path, torchvision.models.resnet18(weights=None).state_dict())
    cfg = dict(type="Pretrained", checkpoint=checkpoint)
    net = IBNResNet(18, variant, init_cfg=cfg)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as error:
        net.init_weights()
    said = str(error.value)
    assert said.startswith(f"{checkpoint}: does not fit IBNResNet: ")
    assert f"they look like resnet18, expected resnet18_ibn_{variant}" in said
    assert "init_cfg.type='ibnseg.SplitPretrained'" in said
    buffers = [key for key in before if "running" in key]
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in buffers)


def test_c_has_no_plain_weights(tmp_path):
    with pytest.raises(UserError, match="cannot fill variant 'c'"):
        split_backbone(IBNResNet(18, "c", **NARROW), saved(tmp_path, plain(**NARROW)))


def test_ibn_weights_are_not_divided(tmp_path):
    checkpoint = saved(tmp_path, IBNResNet(18, "a", **NARROW).state_dict())
    with pytest.raises(UserError, match=r"has IN layers already.*type='Pretrained'"):
        split_backbone(IBNResNet(18, "b", **NARROW), checkpoint)


def test_plain_weights_of_another_network(tmp_path):
    with torch.device("meta"):
        other = IBNResNet(34).state_dict()
    checkpoint = saved(tmp_path, {k: torch.zeros(v.shape) for k, v in other.items()})
    with pytest.raises(UserError, match="they look like resnet34, expected resnet18$"):
        split_backbone(IBNResNet(18, "a"), checkpoint)
