"""torchvision's networks as backbones: maps, names of weights, loading, freezing."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torchvision import models

from ibnseg.models import Torchvision
from ibnseg.support.errors import UserError
from tests.models.cases import case
from tests.models.weights import other_weights, saved

TINY = dict(width_mult=0.25)


@cache
def built(**kwargs) -> Torchvision:
    torch.manual_seed(0)
    return Torchvision("mobilenet_v2", options=TINY, **kwargs)


def tiny(**kwargs) -> Torchvision:
    """A narrow MobileNetV2, which may be changed."""
    return deepcopy(built(**kwargs))


def on_meta(name: str, *args, **kwargs) -> Torchvision:
    with torch.device("meta"):
        return Torchvision(name, *args, **kwargs)


def plain() -> nn.Module:
    torch.manual_seed(3)
    return models.mobilenet_v2(width_mult=0.25).eval()


def test_features_are_the_outputs_of_torchvisions_modules(tmp_path):
    network = plain()
    file = saved(tmp_path / "mobilenet.pth", network.state_dict())
    backbone = Torchvision("mobilenet_v2", file, out_indices=(0, 2, 4), options=TINY)
    backbone.init_weights()
    seen = {}
    for i in (1, 6, 18):
        network.features[i].register_forward_hook(lambda m, a, out, i=i: seen.update({i: out}))
    image = torch.randn(2, 3, 64, 96)
    features = backbone.eval()(image)
    network(image)
    assert len(features) == 3
    assert all(torch.equal(a, seen[i]) for a, i in zip(features, (1, 6, 18), strict=True))


def test_widths_and_strides_are_those_of_the_features():
    expected = {
        "mobilenet_v2": ((24, 32, 96, 1280), (4, 8, 16, 32)),
        "resnet50": ((256, 512, 1024, 2048), (4, 8, 16, 32)),
        "swin_t": ((96, 192, 384, 768), (4, 8, 16, 32)),  # its channels are the last axis
        "densenet121": ((256, 512, 1024, 1024), (4, 8, 16, 32)),
        "squeezenet1_1": ((128, 256, 512), (4, 8, 16)),
        "convnext_tiny": ((96, 192, 384, 768), (4, 8, 16, 32)),
    }
    for name, (channels, strides) in expected.items():
        with case(name=name):
            backbone = on_meta(name).eval()
            assert (backbone.out_channels, backbone.feature_strides) == (channels, strides)
            features = backbone(torch.empty(1, 3, 128, 192, device="meta"))
            assert tuple(f.shape[1] for f in features) == channels
            sides = [(128 // s, 192 // s) for s in strides]
            if name != "squeezenet1_1":  # which pads nothing
                assert [tuple(f.shape[2:]) for f in features] == sides


def test_names_of_weights_are_torchvisions_and_the_classifier_is_left_out_and_named(
    tmp_path, caplog
):
    backbone = tiny()
    own = plain().state_dict()
    assert {*own} - {*backbone.state_dict()} == {"classifier.1.weight", "classifier.1.bias"}
    weights = other_weights(plain())
    backbone.init_cfg = dict(type="Pretrained", checkpoint=saved(tmp_path / "w.pth", weights))
    backbone.init_weights()
    assert all(torch.equal(v, weights[k]) for k, v in backbone.state_dict().items())


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    weights = plain().state_dict()
    del weights["features.3.conv.0.0.weight"]
    weights["features.19.0.weight"] = torch.zeros(1)
    backbone = tiny()
    backbone.init_cfg = dict(type="Pretrained", checkpoint=saved(tmp_path / "w.pth", weights))
    before = deepcopy(backbone.state_dict())
    with pytest.raises(UserError, match=r"missing: features\.3\.conv.*left over: features\.19"):
        backbone.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_what_lies_behind_the_last_map_is_not_built_and_may_be_in_the_file(tmp_path):
    backbone = Torchvision("mobilenet_v2", out_indices=(1, 2), options=TINY)
    assert [name for name, _ in backbone.features.named_children()] == [*"0123456"]
    backbone.init_cfg = dict(
        type="Pretrained", checkpoint=saved(tmp_path / "w.pth", plain().state_dict())
    )
    backbone.init_weights()
    assert torch.equal(
        backbone.get_submodule("features.6.conv.2").weight, plain().features[6].conv[2].weight
    )


def test_weights_have_torchvisions_names():
    backbone = on_meta("resnet50", "IMAGENET1K_V1")
    assert backbone.init_cfg["checkpoint"].endswith("resnet50-0676ba61.pth")
    backbone = on_meta("resnet50", "DEFAULT")
    assert backbone.init_cfg["checkpoint"].endswith("resnet50-11ad3fa6.pth")
    with pytest.raises(UserError, match="unknown weights of resnet50 'IMAGENET1K_V3'.*V1"):
        on_meta("resnet50", "IMAGENET1K_V3")
    with pytest.raises(ValueError, match="weights and init_cfg exclude each other"):
        on_meta("resnet50", "DEFAULT", init_cfg=dict(type="Pretrained", checkpoint="x.pth"))


def test_bottlenecks_can_be_dilated_and_others_are_refused():
    backbone = on_meta("resnet50", output_stride=8)
    assert backbone.feature_strides == (4, 8, 8, 8)
    features = backbone(torch.empty(2, 3, 64, 96, device="meta"))
    assert [tuple(f.shape[2:]) for f in features] == [(16, 24), (8, 12), (8, 12), (8, 12)]
    assert on_meta("mobilenet_v2", output_stride=32).feature_strides == (4, 8, 16, 32)
    for name, stride in (("resnet18", 8), ("mobilenet_v2", 16), ("resnet50", 4)):
        with case(name=name), pytest.raises(ValueError, match=f"{name} cannot have output_stride"):
            on_meta(name, output_stride=stride)


def test_frozen_stages_are_not_trained():
    backbone = tiny(frozen_stages=2).train()
    frozen = [f"features.{i}." for i in range(7)]
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad != name.startswith(tuple(frozen)), name
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training != name.startswith(tuple(frozen)), name
    before = deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    changed = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(k.startswith(tuple(frozen)) for k in changed)


def test_a_frozen_network_computes_the_same_in_training_and_keeps_no_graph():
    backbone, image = tiny(frozen_stages=4), torch.randn(2, 3, 64, 64)
    in_training, in_testing = backbone.train()(image), backbone.eval()(image)
    assert all(map(torch.equal, in_training, in_testing))
    assert not any(f.requires_grad for f in in_training)
    assert not any(p.requires_grad for p in backbone.parameters())


def test_random_depth_of_frozen_stages_is_off():
    options = dict(stochastic_depth_prob=0.9)
    torch.manual_seed(0)
    backbone = Torchvision("efficientnet_b0", frozen_stages=4, options=options).train()
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone(image)[-1], backbone(image)[-1])


def test_norm_eval_keeps_running_statistics():
    backbone = tiny(norm_eval=True).train()
    before = deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert all(p.requires_grad for p in backbone.parameters())


def test_gradients_reach_all_that_is_trained():
    backbone = tiny().train()
    backbone(torch.randn(2, 3, 64, 64))[-1].square().mean().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_wrong_arguments_are_refused():
    with pytest.raises(
        UserError, match="unknown network of torchvision 'mobilnet_v2'.*mobilenet_v2"
    ):
        Torchvision("mobilnet_v2")
    with pytest.raises(UserError, match="mobilenet_v2: cannot be built.*depth"):
        Torchvision("mobilenet_v2", options=dict(depth=3))
    for wrong in ((5,), (2, 1), (), ("0",), (1, 1)):
        with case(out_indices=wrong), pytest.raises(ValueError, match="out_indices=.* 0 to 4"):
            on_meta("mobilenet_v2", out_indices=wrong)
    assert on_meta("mobilenet_v2", out_indices=(-2, -1)).feature_strides == (16, 32)
    with pytest.raises(ValueError, match="frozen_stages=5, expected -1"):
        on_meta("mobilenet_v2", frozen_stages=5)
    with pytest.raises(ValueError, match="vit_b_32 takes images of one size alone.*ibnseg.ViT"):
        on_meta("vit_b_32")


def test_the_registry_builds_it():
    backbone = MODELS.build(dict(type="ibnseg.Torchvision", name="mobilenet_v2", options=TINY))
    assert isinstance(backbone, Torchvision)
