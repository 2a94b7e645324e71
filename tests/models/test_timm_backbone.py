"""timm's networks as backbones: maps, names of weights, loading, freezing."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from ibnseg.models import Timm, timm_hub
from ibnseg.support.errors import UserError
from tests.models.cases import case
from tests.models.weights import saved

timm = pytest.importorskip("timm")

SMALL = "test_efficientnet"
"""A network of timm's with 0.36 M parameters."""
KINDS = {
    SMALL: {},  # of a class of its own for features
    "test_resnet": {},  # its parts are taken, by their own names
    "convnext_atto": dict(options=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))),  # others' names
    "hieradet_small": dict(options=dict(embed_dim=8)),  # gives features itself
    "legacy_xception": {},  # hooks
}
"""A network of each kind that timm makes of those with ``features_only``."""


def tiny(**kwargs) -> Timm:
    torch.manual_seed(0)
    return Timm(SMALL, **kwargs)


def test_features_are_timms_whatever_way_they_are_found(tmp_path):
    image = torch.randn(1, 3, 64, 96)
    for name, kwargs in KINDS.items():
        with case(name=name):
            options = kwargs.get("options", {})
            torch.manual_seed(1)
            whole = timm.create_model(name, **options).eval()
            file = saved(tmp_path / f"{name}.pth", whole.state_dict())
            backbone = Timm(name, file, **kwargs)
            backbone.init_weights()
            weights = whole.state_dict()
            own = backbone.state_dict()
            assert own
            assert all(torch.equal(value, weights[key]) for key, value in own.items())
            assert {*weights} == {*own, *backbone.left_out}
            seen = []
            for i in backbone.out_indices:
                module = whole.get_submodule(backbone.maps[i].module)
                module.register_forward_hook(lambda m, a, out, seen=seen: seen.append(out.clone()))
            features = deepcopy(backbone).eval()(image)
            (whole.forward_features if name != "hieradet_small" else whole)(image)
            if name == "hieradet_small":  # its channels are the last axis inside
                seen = [each.permute(0, 3, 1, 2) for each in seen]
            for found, expected in zip(features, seen, strict=True):
                torch.testing.assert_close(found, expected)
            assert tuple(f.shape[1] for f in features) == backbone.out_channels
            strides = tuple(round(64 / f.shape[2]) for f in features)
            assert strides == backbone.feature_strides == (4, 8, 16, 32)


def test_output_strides_are_timms_and_others_are_refused():
    backbone = tiny(output_stride=8)
    assert backbone.feature_strides == (4, 8, 8, 8)
    features = backbone.eval()(torch.randn(1, 3, 64, 64))
    assert [f.shape[-1] for f in features] == [16, 8, 8, 8]
    assert Timm(SMALL, output_stride=32).feature_strides == (4, 8, 16, 32)
    for name in ("densenet121", "hrnet_w18_small"):
        with (
            case(name=name),
            torch.device("meta"),
            pytest.raises(ValueError, match=f"{name} cannot have output_stride=16"),
        ):
            Timm(name, output_stride=16)


def test_frozen_stages_are_not_trained():
    backbone = tiny(frozen_stages=1).train()
    first = ("conv_stem", "bn1", "blocks.0", "blocks.1.")
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad != name.startswith(first), name
    before = deepcopy(backbone.state_dict())
    backbone(torch.randn(2, 3, 64, 64))
    changed = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not any(k.startswith(first) for k in changed)


def test_a_frozen_network_computes_the_same_in_training_and_keeps_no_graph():
    backbone = tiny(frozen_stages=4, options=dict(drop_path_rate=0.9))
    image = torch.randn(2, 3, 64, 64)
    in_training, in_testing = backbone.train()(image), backbone.eval()(image)
    assert all(map(torch.equal, in_training, in_testing))
    assert not any(f.requires_grad for f in in_training)


def test_a_network_without_modules_for_its_maps_is_frozen_as_a_whole_or_not_at_all():
    with torch.device("meta"):
        with pytest.raises(ValueError, match="hrnet_w18_small can only be frozen as a whole.*or 4"):
            Timm("hrnet_w18_small", frozen_stages=1)
        backbone = Timm("hrnet_w18_small", frozen_stages=4)
    assert not any(p.requires_grad for p in backbone.parameters())


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    weights = timm.create_model(SMALL).state_dict()
    del weights["blocks.0.0.conv.weight"]
    weights["blocks.9.weight"] = torch.zeros(1)
    backbone = tiny()
    backbone.init_cfg = dict(type="Pretrained", checkpoint=saved(tmp_path / "w.pth", weights))
    with pytest.raises(UserError, match=r"missing: blocks\.0\.0.*left over: blocks\.9\.weight"):
        backbone.init_weights()


def test_the_log_says_once_for_which_images_weights_were_made(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(timm_hub, "print_log", lambda line, *_: lines.append(line))
    timm_hub.report_weights.cache_clear()
    file = saved(tmp_path / "own.pth", timm.create_model(SMALL).state_dict())
    for _ in range(2):
        tiny(weights=file).init_weights()
    (line,) = lines
    assert line.startswith(f"timm's entry {SMALL}.r160_in1k: licence of the weights apache-2.0, ")
    assert "images of mean [123.675, 116.28, 103.53] and std [58.395, 57.12, 57.375]" in line


def test_a_network_of_one_size_needs_to_be_given_it():
    name = "swin_tiny_patch4_window7_224"
    with torch.device("meta"):
        with pytest.raises(ValueError, match="takes images of 224x224 alone.*img_size"):
            Timm(name)
        backbone = Timm(name, options=dict(img_size=(64, 96)))
        features = backbone(torch.empty(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features[:2]] == [(96, 16, 24), (192, 8, 12)]


def test_wrong_arguments_are_refused():
    with pytest.raises(UserError, match="unknown network of timm 'resnet5O'.*resnet50"):
        Timm("resnet5O")
    with pytest.raises(UserError, match=f"{SMALL}: cannot be built.*depthh"):
        Timm(SMALL, options=dict(depthh=3))
    with torch.device("meta"):
        for wrong in ((5,), (2, 1), ()):
            with case(wrong=wrong), pytest.raises(ValueError, match="out_indices=.* 0 to 4"):
                Timm(SMALL, out_indices=wrong)
        with pytest.raises(ValueError, match="weights and init_cfg exclude each other"):
            Timm(SMALL, "a.pth", init_cfg=dict(type="Pretrained", checkpoint="b.pth"))


def test_the_registry_builds_it():
    backbone = MODELS.build(dict(type="ibnseg.Timm", name=SMALL, out_indices=(-1,)))
    assert isinstance(backbone, Timm)
    assert isinstance(backbone.blocks[0], nn.Module)
