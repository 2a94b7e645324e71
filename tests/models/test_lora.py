"""LoRA: the formula, its starts, merging, and where it may be attached."""

import copy
import math

import pytest
import scipy.linalg
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ibnseg.models.fuse import fuse
from ibnseg.models.lora import LoRA, LoRALinear, minor_factors, qr_factors
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

NAMES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
SOMA = dict(rank=16, alpha=16, blocks=range(8, 24), start="minor", split_qkv=True, bias=True)


def vit(name: str = "vit_tiny_patch16_224", **options) -> nn.Module:
    tiny = dict(embed_dim=32, depth=2, num_heads=2, img_size=32, num_classes=0, global_pool="")
    torch.manual_seed(0)
    return timm.create_model(name, **{**tiny, **options}).eval().requires_grad_(False)


def adapted(network: nn.Module, **settings) -> nn.Module:
    """The network with an adapter that has started."""
    adapter = LoRA(**settings)
    adapter.attach(network)
    adapter.start(network)
    return network


def layer(parts: int = 1, out: int = 12, into: int = 8, *, seed: int = 0, **settings) -> LoRALinear:
    torch.manual_seed(seed)
    linear = nn.Linear(into, out, dtype=torch.float64).requires_grad_(False)
    return LoRALinear(linear, LoRA(**settings), parts)


def shaken(module: nn.Module) -> nn.Module:
    """The module after something like a training."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def trained(network: nn.Module) -> dict[str, int]:
    return {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}


# ---- the formula -----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("start", ["zero", "minor", "qr"])
def test_a_layer_and_its_gradients_are_those_of_the_formula(parts: int, start: str) -> None:
    """W x + b + alpha / r (B A - B0 A0) x, with a dense matrix for each part, in float64."""
    adapted = layer(parts, rank=2, alpha=3, start=start, sub_rank=start == "qr")
    adapted.start(start)
    shaken(adapted)
    x, seen = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 5, 12, dtype=torch.float64)
    weights = [p for p in adapted.parameters() if p.requires_grad]
    found = torch.autograd.grad((adapted(x) * seen).sum(), weights)
    dense = []
    for i in range(parts):
        change = adapted.lora_b[i] @ adapted.lora_a[i]
        if start == "qr":
            change = change + adapted.lora_sub_b[i] @ adapted.lora_sub_a[i]
        if start != "zero":
            change = change - adapted.lora_start_b[i] @ adapted.lora_start_a[i]
        dense.append(change)
    weight = adapted.weight + 3 / 2 * torch.cat(dense)
    expected = x @ weight.T + adapted.bias
    torch.testing.assert_close(adapted(x), expected, rtol=1e-12, atol=1e-12)
    for own, wanted in zip(
        found, torch.autograd.grad((expected * seen).sum(), weights), strict=True
    ):
        torch.testing.assert_close(own, wanted, rtol=1e-12, atol=1e-12)


def test_the_minor_start_is_the_smallest_singular_triplets() -> None:
    weight = torch.randn(12, 8, dtype=torch.float64)
    a, b = minor_factors(weight, 3)
    u, s, vh = scipy.linalg.svd(weight.numpy(), full_matrices=False)
    expected = u[:, 5:] * s[5:] @ vh[5:]
    torch.testing.assert_close(b @ a, torch.from_numpy(expected))
    torch.testing.assert_close((a * a).sum(1), torch.from_numpy(s[5:]))  # sqrt(S) is in both
    torch.testing.assert_close((b * b).sum(0), torch.from_numpy(s[5:]))


def test_the_qr_start_is_the_last_and_first_columns_of_the_pivoted_decomposition() -> None:
    weight = torch.randn(6, 8, dtype=torch.float64)
    q, r, pivots = scipy.linalg.qr(weight.numpy(), mode="economic", pivoting=True)
    a, b = qr_factors(weight, 2, 1)
    permuted = (b @ a)[:, pivots]
    columns = [4, 5, 0]
    torch.testing.assert_close(permuted, torch.from_numpy(q[:, columns] @ r[columns]))
    torch.testing.assert_close(b, torch.from_numpy(q[:, columns]))
    whole = qr_factors(weight, 6)
    torch.testing.assert_close(whole[1] @ whole[0], weight)


def test_the_parts_of_qkv_start_each_from_its_own_rows() -> None:
    adapted = layer(3, 12, 8, rank=2, start="minor")
    adapted.start("minor")
    for i, rows in enumerate(adapted.weight.split(4)):
        a, b = minor_factors(rows, 2)
        torch.testing.assert_close(adapted.lora_b[i] @ adapted.lora_a[i], b @ a)


def test_plain_lora_starts_as_a_linear_layer_does_and_from_zero() -> None:
    adapted = layer(1, 64, 256, rank=8)
    bound = 1 / math.sqrt(256)  # of Kaiming uniform with a = sqrt 5
    assert 0.9 * bound < adapted.lora_a.abs().max() <= bound
    assert not adapted.lora_b.any()


def test_no_gradient_is_as_large_as_the_weight() -> None:
    adapted = layer(rank=2, start="minor", bias=False)
    adapted.start("minor")
    adapted(torch.randn(3, 8, dtype=torch.float64)).sum().backward()
    assert {name for name, p in adapted.named_parameters() if p.grad is not None} == {
        "lora_a",
        "lora_b",
    }


def test_dropout_stands_in_front_of_what_is_trained_alone() -> None:
    adapted = layer(rank=2, start="minor", dropout=0.5)
    adapted.start("minor")
    x = torch.randn(4, 8, dtype=torch.float64)
    torch.manual_seed(1)
    found = adapted(x)
    torch.manual_seed(1)
    dropped = nn.functional.dropout(x, 0.5)
    a, b = adapted.lora_a[0], adapted.lora_b[0]
    plain = x @ adapted.weight.T + adapted.bias
    torch.testing.assert_close(found, plain + dropped @ (b @ a).T - x @ (b @ a).T)
    adapted.lora_dropout.eval()
    torch.testing.assert_close(adapted(x), plain)


# ---- invariants ------------------------------------------------------------------------------

SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 6))


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(["zero", "minor", "qr"]), st.data())
def test_the_function_does_not_change_at_the_start_and_merging_never_changes_it(
    shape: tuple[int, int, int], start: str, data: st.DataObject
) -> None:
    parts, out, into = shape
    most = min(out, into)
    rank = data.draw(st.integers(1, 9 if start == "zero" else most))
    sub_rank = data.draw(st.integers(0, most - rank)) if start == "qr" else 0
    alpha = data.draw(st.sampled_from([None, 1, 7.5]))
    ranks = dict(rank=rank, sub_rank=sub_rank, alpha=alpha)
    adapted = layer(parts, parts * out, into, start=start, **ranks)
    adapted.start(start)
    x = torch.randn(7, into, dtype=torch.float64)
    plain = nn.functional.linear(x, adapted.weight, adapted.bias)
    torch.testing.assert_close(adapted(x), plain, rtol=1e-9, atol=1e-9)
    shaken(adapted)
    torch.testing.assert_close(adapted.merged()(x), adapted(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("start", ["zero", "minor", "qr"])
def test_a_network_is_unchanged_at_the_start_and_by_fusing(start: str) -> None:
    """In float32; fusing leaves plain layers only."""
    network = vit("vit_small_patch14_dinov2", patch_size=16, init_values=1.0)
    x = torch.randn(2, 3, 32, 32)
    before, names = network(x), list(network.state_dict())
    adapted(network, rank=4, start=start, split_qkv=True, bias=True)
    torch.testing.assert_close(network(x), before, rtol=1e-5, atol=1e-5)
    shaken(network)
    changed = network(x)
    assert (changed - before).abs().max() > 0.01
    torch.testing.assert_close(fuse(network)(x), changed, rtol=1e-5, atol=1e-5)
    assert list(network.state_dict()) == names
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("start", ["zero", "minor", "qr"])
def test_in_bfloat16_the_change_is_that_of_float32_but_for_rounding(start: str) -> None:
    network = vit("eva02_tiny_patch14_224", embed_dim=64, patch_size=16)
    shaken(adapted(network, rank=4, start=start, split_qkv=True))
    x = torch.randn(1, 3, 32, 32)
    plain = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    assert (found - plain).abs().mean() < 0.02 * plain.abs().mean()


def test_a_layer_that_is_looked_at_is_not_merged() -> None:
    network = adapted(vit(), rank=2)
    network.blocks[0].mlp.fc1.register_forward_hook(lambda *args: None)
    fuse(network)
    assert [m for m in network.modules() if isinstance(m, LoRALinear)] == [
        network.blocks[0].mlp.fc1
    ]


def test_a_copy_has_its_own_adapter() -> None:
    """As averaging weights needs."""
    network = shaken(adapted(vit(), rank=2))
    x = torch.randn(1, 3, 32, 32)
    other = copy.deepcopy(network)
    before = network(x)
    shaken(other)
    assert torch.equal(network(x), before)
    assert not torch.equal(other(x), before)


# ---- where it is attached --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "weights", "biases"),
    [
        (SOMA, 4_718_592, 147_456),
        (dict(rank=32, layers=["attn.qkv"], dropout=0.1), 3_145_728, 0),  # VFMNet
        (dict(rank=32, sub_rank=4, start="qr"), 14_155_776, 0),  # RecycleLoRA
    ],
    ids=["SoMA", "VFMNet", "RecycleLoRA"],
)
def test_vit_large_has_the_published_number_of_parameters(
    settings: dict, weights: int, biases: int
) -> None:
    with torch.device("meta"):
        network = timm.create_model("vit_large_patch14_dinov2", num_classes=0)
    LoRA(**settings).attach(network.requires_grad_(False))
    found = trained(network)
    assert sum(n for name, n in found.items() if "lora_" in name) == weights
    assert sum(n for name, n in found.items() if name.endswith(".bias")) == biases
    assert sum(found.values()) == weights + biases


def test_chosen_layers_of_chosen_blocks_are_adapted() -> None:
    network = adapted(vit(depth=3), layers=["attn.qkv", "mlp.fc2"], blocks=[2, 0], rank=2)
    expected = {
        f"blocks.{i}.{name}.lora_{factor}"
        for i in (0, 2)
        for name in ("attn.qkv", "mlp.fc2")
        for factor in "ab"
    }
    assert trained(network).keys() == expected
    adapter = LoRA()
    assert all(map(adapter.owned, expected))
    assert not adapter.owned("blocks.0.attn.qkv.weight")
    assert adapter.owned("blocks.0.attn.qkv.lora_dropout")


def test_all_linear_layers_are_adapted_unless_some_are_named() -> None:
    network = adapted(vit("vit_giant_patch14_dinov2", patch_size=16), rank=2)  # gated MLPs
    layers = {n for n, m in network.blocks[0].named_modules() if isinstance(m, nn.Linear)}
    assert layers == set(NAMES)
    assert all(isinstance(network.blocks[1].get_submodule(name), LoRALinear) for name in layers)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "eva02_base_patch14_224"]
)
def test_networks_whose_attention_uses_the_weight_itself_are_adapted_too(name: str) -> None:
    """timm's EVA multiplies by ``qkv.weight`` and adds biases of its own."""
    network = vit(name, embed_dim=64, patch_size=16, dynamic_img_size=True)
    x = torch.randn(1, 3, 32, 32)
    before = network(x)
    adapted(network, rank=4, start="minor", bias=True, split_qkv=True)
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)
    network(x).square().mean().backward()
    reached = [n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()]
    assert reached == list(trained(network))
    shaken(network)
    changed = network(x)
    torch.testing.assert_close(fuse(network)(x), changed, rtol=1e-4, atol=1e-5)


def refusal(network: nn.Module, **settings) -> str:
    with pytest.raises(UserError) as error:
        LoRA(**settings).attach(network)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_layer_or_block_that_is_not_there_is_named_with_what_is() -> None:
    assert refusal(vit(), layers=["attn.q"]) == (
        "LoRA: block 0 has no linear layer 'attn.q'; it has attn.qkv, attn.proj, mlp.fc1, mlp.fc2"
    )
    assert refusal(vit(), blocks=[1, 2]) == ("LoRA: there is no block 2; the network has 0 to 1")
    for start in ("zero", "minor"):
        found = refusal(vit(), rank=33, start=start)
        assert "attn.qkv of block 0 has a rank of at most 32" in found


def test_an_adapter_on_a_block_that_is_not_run_is_refused() -> None:
    network = vit()
    network.out_indices = (0,)
    adapter = LoRA(rank=2)
    adapter.attach(network)
    with pytest.raises(UserError, match=r"block 1 is adapted, and the features end at block 0"):
        adapter.start(network)
    network.handed_over = 1  # to a head that runs it
    adapter.start(network)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(start="major"), "expected one of zero, minor, qr"),
        (dict(rank=0), "expected a rank of 1"),
        (dict(dropout=1.0), r"a dropout in \[0, 1\)"),
        (dict(sub_rank=4), "needs start='qr'"),
        (dict(layers="attn.qkv"), "expected a list of names"),
        (dict(layers=[]), "expected a list of names"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LoRA(**settings)


def test_configs_name_it() -> None:
    assert isinstance(MODELS.build(dict(type="ibnseg.LoRA", rank=2)), LoRA)
