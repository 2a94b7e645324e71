"""Backbones that start from plain weights: only on request, and with a line in the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.logging import MMLogger
from mmengine.model import PretrainedInit
from torch import Tensor, nn

from ibnseg.models import IBN, IBNDenseNet, IBNResNet, IBNResNeXt, IBNSEResNet, Segmentor
from ibnseg.models.pretrained import (
    ANEW,
    BECAME,
    DIVIDED,
    SplitPretrained,
    divide,
    load_backbone,
    split_backbone,
)
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError
from tests.models.cases import case

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
def test_plain_layers_are_divided_become_in_or_start_anew(variant, divided, became, anew):
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


@pytest.mark.parametrize(
    ("network", "depth", "variant", "narrow"),
    [
        (IBNResNet, 18, "a", NARROW),
        (IBNResNet, 18, "ax2", NARROW),
        (IBNResNet, 18, "in", NARROW),
        (IBNResNet, 50, "a", NARROW),
        (IBNResNeXt, 50, "a", dict(NARROW, groups=2)),
        (IBNSEResNet, 50, "a", dict(base_channels=16, stem_channels=16)),
        (IBNDenseNet, 121, "a", dict(growth_rate=4, stem_channels=10)),
    ],
)
def test_divided_plain_weights_give_the_plain_features_on_a_batch_of_one_image(
    network, depth, variant, narrow
):
    """The statistics of a batch of one image are that image's: IN is BN then, if every channel has
    its own scale and shift."""
    weights = plain(network, depth, **narrow)
    other, net = network(depth, **narrow), network(depth, variant, **narrow)
    other.load_state_dict(weights)
    net.load_state_dict(divide(net, weights)[0], strict=False)
    x = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        pairs = zip(net.double().train()(x), other.double().train()(x), strict=True)
        for own, theirs in pairs:
            torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


def test_a_divided_stem_gives_the_plain_features_on_a_batch_of_one_image():
    """The same holds for the stem, before the norms after additions, which start anew."""
    for variant in ["b", "d"]:
        with case(variant=variant):
            weights = plain(**NARROW)
            other, net = IBNResNet(18, **NARROW), IBNResNet(18, variant, **NARROW)
            other.load_state_dict(weights)
            net.load_state_dict(divide(net, weights)[0], strict=False)
            x = torch.rand(1, 8, 6, 6)
            torch.testing.assert_close(net.train().bn1(x), other.train().bn1(x))


@pytest.mark.parametrize("kind", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
def test_every_name_of_pretrained_loads_exactly(tmp_path, kind):
    weights = plain(**NARROW)
    cfg = dict(type=kind, checkpoint=saved(tmp_path, weights))
    net = IBNResNet(18, init_cfg=cfg, **NARROW)
    net.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())
    with pytest.raises(UserError, match="does not fit IBNResNet"):
        IBNResNet(18, "a", init_cfg=cfg, **NARROW).init_weights()
    with pytest.raises(TypeError, match="prefx"):
        IBNResNet(18, init_cfg=dict(cfg, prefx="backbone"), **NARROW).init_weights()


@pytest.mark.parametrize("kind", ["ibnseg.SplitPretrained", SplitPretrained])
def test_plain_weights_below_a_prefix_fill_mmsegs_segmentor(tmp_path, kind):
    narrow = dict(growth_rate=4, stem_channels=10)
    weights = plain(IBNDenseNet, 121, **narrow)
    checkpoint = saved(tmp_path, {f"backbone.{key}": value for key, value in weights.items()})
    init_cfg = dict(type=kind, checkpoint=checkpoint, prefix="backbone")
    backbone = dict(type="ibnseg.IBNDenseNet", depth=121, variant="a", init_cfg=init_cfg, **narrow)
    head = dict(type="mmseg.FCNHead", in_channels=128, in_index=3, channels=8, num_classes=19)
    model = MODELS.build(dict(type="mmseg.EncoderDecoder", backbone=backbone, decode_head=head))
    model.init_weights()
    want, _ = divide(model.backbone, weights)
    own = model.backbone.state_dict()
    assert all(torch.equal(own[key], value) for key, value in want.items())
    assert {key for key in own if not key.endswith("num_batches_tracked")} <= want.keys()


def test_a_start_from_plain_weights_through_a_config_is_logged(tmp_path, caplog):
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
    assert torch.equal(model.backbone.bn1.weight, weights["bn1.weight"])
    assert torch.equal(model.backbone.layer4[1].bn2.weight, weights["layer4.1.bn2.weight"])
    assert (model.backbone.layer1[1].IN.weight == 1).all()
    (said,) = [text for text in caplog.messages if "plain weights" in text]
    assert checkpoint in said
    assert "1 BN layers become IN" in said
    assert "2 normalisations of sums start anew" in said


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
def test_pretrained_refuses_plain_weights_and_names_the_way(tmp_path, variant):
    """``Pretrained`` refuses plain weights and names ``SplitPretrained``."""
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


def test_variant_c_is_not_offered_plain_weights(tmp_path):
    checkpoint = saved(tmp_path, plain(**NARROW))
    with pytest.raises(UserError, match="they look like resnet18, expected resnet18_ibn_c$"):
        load_backbone(IBNResNet(18, "c", **NARROW), checkpoint)


def test_variant_c_refuses_plain_weights_before_a_download(tmp_path):
    """The error is raised before any download."""
    with pytest.raises(UserError, match="cannot fill variant 'c'"):
        split_backbone(IBNResNet(18, "c", **NARROW), str(tmp_path / "nowhere.pth"))


def refused(net: nn.Module, checkpoint: str, load=split_backbone) -> str:
    """The error for a checkpoint that does not fit; the network must stay unchanged."""
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as error:
        load(net, checkpoint)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    return str(error.value)


def test_a_missing_bn_is_refused_instead_of_started_anew(tmp_path):
    for variant in ["a", "b", "d", "in"]:
        for lack in ["bn1", "layer1.0.bn1", "layer2.1.bn2", "layer3.0.downsample.1"]:
            with case(variant=variant, lack=lack):
                weights = {k: v for k, v in plain(**NARROW).items() if not k.startswith(f"{lack}.")}
                said = refused(IBNResNet(18, variant, **NARROW), saved(tmp_path, weights))
                assert f"missing: {lack}." in said
                assert "look like" not in said


def test_half_a_bn_is_refused(tmp_path):
    for lack in ["weight", "bias"]:
        for variant in ["a", "b"]:
            with case(lack=lack, variant=variant):
                name = "layer1.0.bn1" if variant == "a" else "bn1"
                weights = {k: v for k, v in plain(**NARROW).items() if k != f"{name}.{lack}"}
                assert f"missing: {name}." in refused(
                    IBNResNet(18, variant, **NARROW), saved(tmp_path, weights)
                )


def test_plain_weights_of_another_width_are_refused(tmp_path):
    for load in [split_backbone, load_backbone]:
        for variant in ["a", "b", "d", "in"]:
            with case(load=load, variant=variant):
                wide = plain(base_channels=12, stem_channels=12)
                said = refused(IBNResNet(18, variant, **NARROW), saved(tmp_path, wide), load)
                assert ": does not fit IBNResNet: " in said
                assert "(12, 3, 7, 7) for (8, 3, 7, 7)" in said


def test_plain_weights_of_another_densenet_are_refused(tmp_path):
    """DenseNet161 has wider layers than DenseNet121."""
    with torch.device("meta"):
        other = IBNDenseNet(161, growth_rate=6, stem_channels=12).state_dict()
    checkpoint = saved(tmp_path, {k: torch.zeros(v.shape) for k, v in other.items()})
    said = refused(IBNDenseNet(121, "a", growth_rate=4, stem_channels=8), checkpoint)
    assert said.endswith("; they look like densenet161, expected densenet121")


def test_a_missing_key_is_named_even_if_recognition_needs_it(tmp_path):
    """A checkpoint without it is refused like any other."""
    for key in ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.BN.weight"]:
        with case(key=key):
            net = IBNResNet(18, "a", **NARROW)
            weights = {k: v for k, v in net.state_dict().items() if k != key}
            assert f"1 missing: {key}" in refused(net, saved(tmp_path, weights), load_backbone)


def test_ibn_weights_are_not_divided(tmp_path):
    checkpoint = saved(tmp_path, IBNResNet(18, "a", **NARROW).state_dict())
    with pytest.raises(UserError, match=r"has IN layers already.*type='Pretrained'"):
        split_backbone(IBNResNet(18, "b", **NARROW), checkpoint)


def test_plain_weights_of_another_network_are_refused_by_its_name(tmp_path):
    with torch.device("meta"):
        other = IBNResNet(34).state_dict()
    checkpoint = saved(tmp_path, {k: torch.zeros(v.shape) for k, v in other.items()})
    with pytest.raises(UserError, match="they look like resnet34, expected resnet18$"):
        split_backbone(IBNResNet(18, "a"), checkpoint)
