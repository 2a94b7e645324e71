"""Vision transformers as backbones, against timm's own features."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibnseg.models import ViT
from ibnseg.models.complexity import complexity, count_parameters
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError
from tests.models.tiny import images

TINY = dict(embed_dim=32, depth=4, num_heads=4)
DINOV2 = "vit_small_patch14_dinov2"
KINDS = {
    DINOV2: 1,
    "vit_small_patch14_reg4_dinov2": 5,
    "vit_giant_patch14_dinov2": 1,
    "vit_small_patch16_dinov3": 5,
    "vit_small_patch16_dinov3_qkvb": 5,
    "eva02_tiny_patch14_224": 1,
    "vit_base_patch16_clip_224": 1,
    "vit_tiny_patch16_224": 1,
}
"""A network of each kind, and its number of prefix tokens."""


def vit(name: str = DINOV2, **kwargs) -> ViT:
    torch.manual_seed(0)
    settings = dict(image_size=64, out_indices=(0, 1, 3), options=TINY)
    network = ViT(name, **{**settings, **kwargs})
    for parameter in network.parameters():  # so that each of them counts
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def timms(name: str, network: ViT) -> nn.Module:
    sizes = dict(img_size=64, patch_size=16, dynamic_img_size=True)
    plain = timm.create_model(name, num_classes=0, global_pool="", **sizes, **TINY).eval()
    plain.load_state_dict(network.state_dict())  # strict: the names are timm's
    return plain


@pytest.mark.parametrize("name", KINDS)
def test_features_of_any_blocks_are_timms_at_any_size(name: str) -> None:
    network = vit(name)
    plain = timms(name, network)
    assert network.num_prefix_tokens == KINDS[name]
    for size in ((64, 64), (48, 96)):
        x = images(2, 3, *size)
        for norm in (False, True):
            network.final_norm = norm
            wanted = plain.forward_intermediates(
                x, indices=[0, 1, 3], norm=norm, intermediates_only=True
            )
            found = network(x)
            assert len(found) == 3
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_no_indices_give_the_last_block_alone() -> None:
    network = vit(out_indices=None)
    assert network.out_indices == (3,)
    assert network(images(1, 3, 32, 32))[0].shape == (1, 32, 2, 2)
    assert network.out_channels == (32,)
    assert network.feature_strides == (16,)


def test_a_pyramid_has_the_four_strides_of_a_cnn() -> None:
    network = vit(out_indices=(0, 1, 2, 3), pyramid=True)
    x = images(1, 3, 64, 96)
    found = network(x)
    network.pyramid = False
    plain = network(x)
    for each, of_block, factor in zip(found, plain, (4, 2, 1, 0.5), strict=True):
        size = [int(side * factor) for side in (4, 6)]
        assert torch.equal(each, F.interpolate(of_block, size=size, mode="bilinear"))
    network.pyramid = True
    assert network.feature_strides == (4, 8, 16, 32)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_run_and_maps_are_the_parts_of_the_forward_pass(name: str) -> None:
    network = vit(name)
    x = images(2, 3, 48, 32)
    size = network.grid(x)
    tokens = network.tokens(x)
    assert tokens.shape == (2, KINDS[name] + 6, 32)
    wanted = network(x)[-1]
    assert torch.equal(network.maps(network.run(tokens, range(4), size), size), wanted)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_that_are_attended_by_none_change_nothing(name: str) -> None:
    """Queries behind the patches do not shift the positions of the patches."""
    network = vit(name)
    x = images(1, 3, 48, 32)
    size, tokens = network.grid(x), network.tokens(x)
    further = torch.cat([tokens, torch.randn(1, 3, 32)], dim=1)
    count = tokens.shape[1]
    mask = torch.ones(count + 3, count + 3, dtype=torch.bool)
    mask[:, count:] = False
    found = network.run(further, range(4), size, mask)
    torch.testing.assert_close(found[:, :count], network.run(tokens, range(4), size))
    assert found.shape == (1, count + 3, 32)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
def test_queries_have_no_position_under_rotary_embeddings(name: str) -> None:
    network = vit(name)
    x = images(1, 3, 48, 32)
    size, tokens = network.grid(x), network.tokens(x)
    queries = torch.randn(1, 3, 32)
    found = network.run(torch.cat([tokens, queries], 1), range(4), size)
    swapped = network.run(torch.cat([tokens, queries.flip(1)], 1), range(4), size)
    torch.testing.assert_close(found[:, -3:], swapped[:, -3:].flip(1))
    torch.testing.assert_close(found[:, :-3], swapped[:, :-3])


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
def test_queries_behind_the_patches_are_turned_as_little_as_timms_prefix(name: str) -> None:
    network = vit(name)
    x = images(1, 3, 48, 32)
    size, tokens = network.grid(x), network.tokens(x)
    queries = torch.randn(1, 3, 32)
    found = network.run(torch.cat([tokens, queries], 1), range(4), size)
    prefix = network.num_prefix_tokens
    plain = torch.cat([tokens[:, :prefix], queries, tokens[:, prefix:]], dim=1)
    rope = network.rope.get_embed(shape=list(size))
    for block in network.blocks:
        block.attn.num_prefix_tokens = prefix + 3
        plain = block(plain, rope=rope)
    torch.testing.assert_close(found[:, -3:], plain[:, prefix : prefix + 3])
    torch.testing.assert_close(found[:, prefix:-3], plain[:, prefix + 3 :])


def test_the_last_blocks_are_left_to_a_head() -> None:
    whole = vit(out_indices=(0, 3))
    network = vit(out_indices=(0, 1))
    network.load_state_dict(whole.state_dict())
    network.hand_over(2)
    x = images(1, 3, 32, 32)
    *maps, tokens = network(x)
    assert [each.shape for each in maps] == [(1, 32, 2, 2)] * 2
    last = network.maps(network.run(tokens, range(2, 4), (2, 2)), (2, 2))
    assert torch.equal(last, whole(x)[-1])
    with pytest.raises(ValueError, match="its last 3 of 4 blocks cannot be left to the head"):
        network.hand_over(3)


def test_frozen_it_keeps_its_weights_and_no_activations() -> None:
    network = vit().train()
    assert not any(module.training for name, module in network.named_modules() if name)
    found = network(images(1, 3, 32, 32))[-1]
    assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_trained_is_what_the_features_depend_on(name: str) -> None:
    network = vit(name, trained="all", out_indices=(0, 2)).train()
    sum(each.square().sum() for each in network(images(1, 3, 48, 32))).backward()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in network.named_parameters() if p.grad is not None}


def test_blocks_that_are_not_run_are_not_trained_until_a_head_runs_them() -> None:
    network = vit(trained="all", out_indices=(0, 2)).train()
    assert all(module.training for module in network.modules())
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {
        *("cls_token", "pos_embed", "patch_embed", "blocks")
    }
    assert not any(name.startswith("blocks.3.") for name in trained)
    network.hand_over(1)
    left = {name for name, p in network.named_parameters() if p.requires_grad} - trained
    assert {name.split(".")[0] for name in left} == {"blocks", "norm"}


@pytest.mark.parametrize(
    ("size", "millions", "width"),
    [("small", 22.1, 384), ("base", 86.6, 768), ("large", 304.4, 1024), ("giant", 1136.5, 1536)],
)
def test_dinov2_has_its_published_number_of_parameters(
    size: str, millions: float, width: int
) -> None:
    """With patches of 16 pixels and 32 by 32 positions, instead of 14 and 37 by 37, a kernel has 60
    pixels more in each of 3 channels, and there are 345 positions fewer."""
    name = f"vit_{size}_patch14_dinov2"
    with torch.device("meta"):
        published = count_parameters(ViT(name, patch_size=14, image_size=518, out_indices=None))
        ours = count_parameters(ViT(name, out_indices=None))
    assert published / 1e6 == pytest.approx(millions, abs=0.05)
    assert ours == published + (3 * 60 - 345) * width


def test_operations_are_those_of_the_linear_layers_and_of_attention() -> None:
    with torch.device("meta"):
        network = ViT(image_size=64, out_indices=None, options=TINY)
    patches, tokens, width = 4 * 6, 4 * 6 + 1, 32
    embedding = 2 * patches * 3 * 16**2 * width
    block = 2 * tokens * 12 * width**2 + 2 * 2 * tokens**2 * width
    assert complexity(network, 64, 96).flops == embedding + 4 * block


@pytest.mark.parametrize("name", [DINOV2, "vit_small_patch16_dinov3"])
def test_gradients_with_checkpointing_equal_those_without(name: str) -> None:
    gradients = []
    for with_cp in (False, True):
        network = vit(name, trained="all", with_cp=with_cp).train()
        x = images(1, 3, 48, 32).requires_grad_()
        sum(each.square().sum() for each in network(x)).backward()
        named = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
        gradients.append({**named, "x": x.grad})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert all(torch.equal(plain[key], checkpointed[key]) for key in plain)


def saved_bytes(network: ViT, x: Tensor) -> int:
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = network(x)  # alive, so that no address is used twice
    assert kept
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    return sum(size for address, size in found.items() if address not in own)


def test_checkpointing_keeps_less_for_the_backward_pass() -> None:
    x = images(1, 3, 128, 128)
    plain = saved_bytes(vit(trained="all").train(), x)
    assert saved_bytes(vit(trained="all", with_cp=True).train(), x) < plain / 3
    assert saved_bytes(vit(), x) == 0


@pytest.mark.parametrize("name", [DINOV2, "vit_small_patch16_dinov3"])
def test_bfloat16_is_close_to_float32(name: str) -> None:
    network = vit(name)
    x = images(1, 3, 64, 64)
    wanted = network(x)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)[-1]
    assert (found.float() - wanted).norm() < 0.05 * wanted.norm()


@pytest.mark.parametrize("name", KINDS)
def test_attention_is_torchs_fused_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, fused = [], F.scaled_dot_product_attention

    def counted(*args, **kwargs) -> Tensor:
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    vit(name, out_indices=(2,))(images(1, 3, 32, 32))
    assert len(calls) == 3


def test_it_is_found_by_its_type_and_copied_and_pickled() -> None:
    network = MODELS.build(dict(type="ibnseg.ViT", image_size=64, options=TINY, out_indices=None))
    x = images(1, 3, 32, 32)
    copied = pickle.loads(pickle.dumps(deepcopy(network)))
    assert torch.equal(copied.eval()(x)[0], network.eval()(x)[0])
    assert list(copied.state_dict()) == list(network.state_dict())


def test_an_image_that_patches_do_not_fill_is_refused_with_what_to_set() -> None:
    with pytest.raises(UserError) as error:
        vit()(images(1, 3, 375, 500))
    assert str(error.value) == (
        "ViT: an image of 500x375 cannot be cut into patches of 16x16; set "
        "model.data_preprocessor.test_cfg=dict(size_divisor=16), and crops and windows to "
        "multiples of 16"
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(trained="some"), "trained='some', expected one of"),
        (dict(image_size=60), r"image_size=\(60, 60\) has to be a multiple of patch_size=16"),
        (dict(out_indices=(1, 4)), r"out_indices=\(1, 4\), expected ascending numbers of blocks"),
        (dict(out_indices=(1, 0)), "expected ascending numbers of blocks, 0 to 3"),
        (dict(out_indices=(-1,)), "expected ascending numbers of blocks, 0 to 3"),
        (dict(out_indices=()), "expected ascending numbers of blocks, 0 to 3"),
        (dict(pyramid=True), r"a pyramid has 4 maps, out_indices=\(0, 1, 3\)"),
        (
            dict(trained="all", adapter=dict(type="X")),
            "an adapter is trained beside trained='none'",
        ),
    ],
)
def test_wrong_arguments_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vit(**kwargs)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_smal_patch14_dinov2", {}, "unknown network of timm 'vit_smal_patch14_dinov2'; did"),
        ("dinov2_vitb14_reg", {}, "'dinov2_vitb14_reg'; there it is vit_base_patch14_reg4_dinov2"),
        ("vit_small_patch14_dinov2", dict(deph=2), "cannot be built from the config .*deph"),
        ("gmlp_s16_224", {}, "gmlp_s16_224"),
    ],
)
def test_a_network_that_is_no_vit_is_refused_in_a_line(
    name: str, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        ViT(name, options=options)
    assert "\n" not in str(error.value)


def test_a_network_without_a_last_norm_cannot_apply_it() -> None:
    name = "vit_base_patch16_radio_v3"
    with pytest.raises(ValueError, match=f"{name} has no last norm, expected final_norm=False"):
        vit(name, final_norm=True)


def test_missing_timm_is_a_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'ibnseg\[timm\]'$"):
        ViT()
