"""The published networks: the names and shapes of their weights, and what they compute."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from ibnseg.models.classifier import Classifier
from ibnseg.models.names import build_backbone
from tests.models.cases import case
from tests.models.conftest import DATA

with gzip.open(DATA / "ibn_state_dicts.json.gz", "rt") as file:
    NETWORKS = tuple(json.load(file))
COMPUTED = tuple(json.loads((DATA / "ibn_features.json").read_text()))


def test_weights_have_the_published_names_shapes_and_number(published):
    for name in NETWORKS:
        with case(name=name):
            shapes = published[name]["state_dict"]
            with torch.device("meta"):
                net = Classifier(build_backbone(name))
            classifier = "classifier" if name.startswith("densenet") else "fc"
            own = {key: list(value.shape) for key, value in net.backbone.state_dict().items()}
            own |= {f"{classifier}.{key}": list(p.shape) for key, p in net.fc.named_parameters()}
            assert own == shapes
            assert sum(p.numel() for p in net.parameters()) == published[name]["parameters"]


@pytest.mark.parametrize("name", COMPUTED)
def test_features_are_those_of_the_authors_code(features, filled, name):
    with torch.device("meta"):
        net = build_backbone(name)
    net.load_state_dict(filled(name), strict=True, assign=True)
    x = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 96, 128)))
    for mode in ("eval", "train"):
        stages, expected = {}, features[name][mode]
        hooks = [
            net.get_submodule(key).register_forward_hook(
                lambda _, __, out, key=key, stages=stages: stages.update({key: out.clone()})
            )
            for key in expected
        ]
        with torch.no_grad():
            outs = net.train(mode == "train")(x)
        for hook in hooks:
            hook.remove()
        assert list(stages) == list(expected)
        for key, stage in stages.items():
            want = expected[key]
            assert list(stage.shape) == want["shape"]
            assert stage.mean().item() == pytest.approx(want["mean"], rel=1e-9)
            assert stage.std(correction=0).item() == pytest.approx(want["std"], rel=1e-9)
            at, values = zip(*want["samples"], strict=True)
            np.testing.assert_allclose(stage.flatten()[list(at)], values, rtol=1e-9, atol=1e-11)
        *_, last = stages.values()
        assert torch.equal(outs[-1], last.relu())  # that of a ResNet is its own ReLU
