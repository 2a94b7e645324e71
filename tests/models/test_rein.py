"""Rein's tokens: the formula, written with loops, the link to queries, and the parameters."""

import copy
import math

import pytest
import timm
import torch
from torch import Tensor, nn

from ibnseg.models.rein import Rein
from ibnseg.registry import MODELS


def attached(depth: int = 2, width: int = 32, **settings) -> Rein:
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_tiny_patch16_224", embed_dim=width, depth=depth, num_heads=2, img_size=32
    )
    rein = Rein(**settings)
    rein.attach(network.double())
    return rein


def formula(rein: Rein, block: int, features: Tensor) -> Tensor:
    """One patch and one token after another."""
    tokens = rein.tokens_a[block] @ rein.tokens_b[block]
    count, width = tokens.shape
    rows = []
    for f in features:
        scores = torch.stack([torch.dot(f, tokens[j]) / math.sqrt(width) for j in range(count)])
        shares = scores.exp() / scores.exp().sum()
        given = torch.zeros_like(f)
        for j in range(1, count):
            given += shares[j] * (rein.mlp_token.weight @ tokens[j] + rein.mlp_token.bias)
        delta = rein.mlp_feature.weight @ (given + f) + rein.mlp_feature.bias
        rows.append(f + rein.scale * delta)
    return torch.stack(rows)


def test_features_and_gradients_are_those_of_the_formula() -> None:
    rein = attached(tokens=5, rank=3, scale=0.7)
    features = torch.randn(2, 4, 32, dtype=torch.float64)
    seen = torch.randn_like(features)
    expected = torch.stack([formula(rein, 1, each) for each in features])
    found = rein.refine(1, features)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = list(rein.parameters())
    grads = [torch.autograd.grad((each * seen).sum(), weights) for each in (found, expected)]
    for own, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-10, atol=1e-12)


def test_the_first_token_takes_weight_and_gives_nothing() -> None:
    rein = attached(tokens=2, rank=1, scale=1.0)
    features = torch.randn(1, 3, 32, dtype=torch.float64)
    with torch.no_grad():
        rein.tokens_a[0] = torch.tensor([[1e3], [0.0]])
        rein.tokens_b[0] = features[0, :1]  # along the first patch: the sink takes all
        plain = features + rein.mlp_feature(features)
        refined = rein.refine(0, features)
        torch.testing.assert_close(refined[0, 0], plain[0, 0])
        rein.tokens_a[0] = 0.0  # half of the weight is the second token's
        given = rein.mlp_token.bias / 2
        expected = features + rein.mlp_feature(features + given)
        torch.testing.assert_close(rein.refine(0, features), expected)


def test_tokens_that_are_no_patches_stay_as_they_are() -> None:
    """The class token and registers in front, queries behind."""
    rein = attached()
    tokens = torch.randn(2, 1 + 4 + 3, 32, dtype=torch.float64)
    after = rein.after(0, tokens, slice(1, 5))
    assert torch.equal(after[:, :1], tokens[:, :1])
    assert torch.equal(after[:, 5:], tokens[:, 5:])
    assert torch.equal(after[:, 1:5], rein.refine(0, tokens[:, 1:5]))
    assert not torch.equal(after[:, 1:5], tokens[:, 1:5])


def test_in_bfloat16_features_are_those_of_float32_but_for_rounding() -> None:
    rein = attached(scale=1.0).float()
    features = torch.randn(2, 5, 32)
    plain = rein.after(0, features, slice(1, 5))
    with torch.autocast("cpu", torch.bfloat16):
        found = rein.after(0, features, slice(1, 5))
    assert found.dtype == torch.float32
    assert (found - plain).abs().mean() < 0.02 * plain.abs().mean()


def test_queries_are_made_of_the_largest_the_mean_and_the_last_tokens() -> None:
    rein = attached(depth=3, tokens=4, rank=2, link=6)
    linked = torch.stack([rein.to_queries(rein.tokens_a[i] @ rein.tokens_b[i]) for i in range(3)])
    rows = torch.cat([linked.max(0).values, linked.sum(0) / 3, linked[2]], dim=1)
    expected = rows @ rein.combine.weight.T + rein.combine.bias
    assert rein.queries().shape == (4, 6)
    torch.testing.assert_close(rein.queries(), expected)
    with pytest.raises(ValueError, match="no queries without link; set e.g. adapter.link=256"):
        attached().queries()


def test_vit_large_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_large_patch14_dinov2", num_classes=0)
    rein = Rein(link=256)
    rein.attach(network)
    assert sum(p.numel() for p in rein.parameters()) == 2_990_081
    assert all(p.requires_grad and p.is_meta for p in rein.parameters())


def test_weights_start_as_those_of_rein() -> None:
    rein = attached(width=64)
    bound = math.sqrt(6 / (3 * 16**2 + math.sqrt(64 * 16)))
    for tokens in (rein.tokens_a, rein.tokens_b):
        assert 0.95 * bound < tokens.abs().max() <= bound
    assert rein.scale.item() == 0.001
    for linear in (rein.mlp_token, rein.mlp_feature):
        assert 0.9 / 8 < linear.weight.abs().max() <= 1 / 8  # Kaiming uniform with a = sqrt 5


def test_a_copy_has_its_own_tokens() -> None:
    rein = attached()
    features, other = torch.randn(1, 4, 32, dtype=torch.float64), copy.deepcopy(rein)
    before = rein.refine(0, features)
    nn.init.zeros_(other.mlp_feature.weight)
    assert torch.equal(rein.refine(0, features), before)
    assert not torch.equal(other.refine(0, features), before)


@pytest.mark.parametrize("settings", [dict(tokens=1), dict(rank=0), dict(link=0)])
def test_wrong_arguments_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected 2 tokens or more"):
        Rein(**settings)


def test_configs_name_it() -> None:
    assert isinstance(MODELS.build(dict(type="ibnseg.Rein")), Rein)
