"""Files of ViTs in the layouts that their authors publish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.logging import MMLogger
from safetensors.torch import save_file
from torch import Tensor, nn

from ibnseg.models import ViT, timm_hub
from ibnseg.support.errors import UserError
from tests.models.tiny import images
from tests.models.weights import saved

TINY = dict(embed_dim=32, depth=2, num_heads=4)
SMALL = "vit_small_patch14_dinov2"
REGISTERS = "vit_small_patch14_reg4_dinov2"
GIANT = "vit_giant_patch14_dinov2"
DINOV3 = "vit_small_patch16_dinov3"
EVA02 = "eva02_tiny_patch14_224"
CLIP = "vit_base_patch16_clip_224"


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    """What is logged, in single lines."""
    lines: list[str] = []
    logger = MMLogger.get_current_instance()
    found = lambda record: lines.append(record.getMessage()) or True  # noqa: E731
    logger.addFilter(found)
    timm_hub.report_weights.cache_clear()
    yield lines
    logger.removeFilter(found)


def timms(name: str, patch: int = 14, side: int = 70, **kwargs) -> nn.Module:
    """timm's network as it is published, of another width and depth, with weights that count."""
    torch.manual_seed(0)
    network = timm.create_model(name, img_size=side, patch_size=patch, **{**TINY, **kwargs}).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def official(name: str, side: int = 70, **kwargs) -> tuple[nn.Module, dict[str, Tensor]]:
    """timm's network, and its weights under the names of the file that DINOv2's authors publish."""
    network = timms(name, side=side, num_classes=0, **kwargs)
    weights = dict(network.state_dict())
    if "reg_token" in weights:  # theirs have a position for the class token, timm has it added
        position = torch.randn(1, 1, 32)
        weights["register_tokens"] = weights.pop("reg_token")
        weights["cls_token"] = weights["cls_token"] - position
        weights["pos_embed"] = torch.cat([position, weights["pos_embed"]], dim=1)
    swiglu = {"fc1": "w12", "fc2": "w3"} if "giant" in name else {}
    for ours, theirs in swiglu.items():
        weights = {key.replace(f".{ours}.", f".{theirs}."): v for key, v in weights.items()}
    return network, {**weights, "mask_token": torch.zeros(1, 32)}


def loaded(name: str, file: str, patch: int = 14, side: int = 70, **kwargs) -> ViT:
    given = dict(patch_size=patch, image_size=side, out_indices=(0, 1), options=TINY)
    cfg = dict(type="Pretrained", checkpoint=file)
    network = ViT(name, **{**given, **kwargs}, init_cfg=cfg)
    network.init_weights()
    return network.eval()


def assert_same_features(network: ViT, plain: nn.Module, side: int = 70) -> None:
    x = images(1, 3, side, side)
    wanted = plain.forward_intermediates(x, indices=[0, 1], intermediates_only=True)
    for found, each in zip(network(x), wanted, strict=True):
        torch.testing.assert_close(found, each)


@pytest.mark.parametrize("name", [SMALL, REGISTERS, GIANT])
def test_official_files_of_dinov2_give_timms_features(
    name: str, tmp_path: Path, log: list[str]
) -> None:
    plain, weights = official(name)
    file = saved(tmp_path / "dinov2_pretrain.pth", weights)
    assert_same_features(loaded(name, file), plain)
    assert f"{file}: left out, because {name} does not use them: mask_token" in log


def test_the_published_grid_of_37_positions_is_loaded_exactly(tmp_path: Path) -> None:
    plain, weights = official(SMALL, side=518)
    assert weights["pos_embed"].shape == (1, 1370, 32)
    network = loaded(SMALL, saved(tmp_path / "file.pth", weights), side=518)
    own = plain.state_dict()
    assert network.state_dict().keys() == own.keys()
    assert all(torch.equal(each, own[key]) for key, each in network.state_dict().items())


def test_timms_files_have_a_classifier_that_is_left_out(tmp_path: Path, log: list[str]) -> None:
    plain = timms(CLIP, patch=16, side=64, num_classes=7)
    save_file(plain.state_dict(), tmp_path / "model.safetensors")
    network = loaded(CLIP, str(tmp_path / "model.safetensors"), patch=16, side=64)
    assert_same_features(network, plain, side=64)
    assert any("left out" in line and "head.bias, head.weight" in line for line in log)


def test_openais_file_of_clip_gives_timms_features(tmp_path: Path) -> None:
    plain = timms(CLIP, patch=16, side=64, num_classes=8)
    own, theirs = plain.state_dict(), {}
    names = {
        "patch_embed.proj": "conv1",
        "pos_embed": "positional_embedding",
        "cls_token": "class_embedding",
        "norm_pre": "ln_pre",
        r"^norm\.": "ln_post.",
        r"^blocks": "transformer.resblocks",
        r"\.norm": ".ln_",
        r"qkv\.": "in_proj_",
        r"attn\.proj": "attn.out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    for key, value in own.items():
        name = key
        for ours, official_name in names.items():
            name = re.sub(ours, official_name, name)
        theirs[f"visual.{name}"] = value
    theirs["visual.class_embedding"] = theirs["visual.class_embedding"].flatten()
    theirs["visual.positional_embedding"] = theirs["visual.positional_embedding"][0]
    theirs["visual.proj"] = theirs.pop("visual.head.weight").T.clone()
    del theirs["visual.head.bias"]
    theirs["token_embedding.weight"] = torch.ones(3, 3)
    network = loaded(CLIP, saved(tmp_path / "ViT-B-16.pt", theirs), patch=16, side=64)
    assert_same_features(network, plain, side=64)


def dinov3(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """timm's network, and its weights under the names of the file that DINOv3's authors publish."""
    plain = timms(name, patch=16, side=64, num_classes=0)
    theirs = {}
    for key, value in plain.state_dict().items():
        for ours, official_name in (
            ("gamma_1", "ls1.gamma"),
            ("gamma_2", "ls2.gamma"),
            ("reg_token", "storage_tokens"),
        ):
            key = key.replace(ours, official_name)
        theirs[key] = value
    for i in range(2):
        q = theirs.pop(f"blocks.{i}.attn.q_bias", torch.zeros(32))
        v = theirs.pop(f"blocks.{i}.attn.v_bias", torch.zeros(32))
        theirs[f"blocks.{i}.attn.qkv.bias"] = torch.cat([q, torch.ones(32), v])
        mask = torch.ones(96)
        mask[32:64] = 0
        theirs[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    theirs |= {"rope_embed.periods": torch.ones(2), "mask_token": torch.zeros(1, 32)}
    return plain, theirs


@pytest.mark.parametrize("name", [DINOV3, f"{DINOV3}_qkvb"])
def test_official_files_of_dinov3_give_timms_features(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plain, weights = dinov3(name)
    network = loaded(name, saved(tmp_path / "dinov3.pth", weights), patch=16, side=64)
    assert_same_features(network, plain, side=64)
    assert capsys.readouterr().out == ""


def test_biases_that_the_network_does_not_have_are_not_lost(tmp_path: Path) -> None:
    _, weights = dinov3(f"{DINOV3}_qkvb")
    with pytest.raises(UserError, match=f"biases in blocks.0.attn.qkv.bias, .* {DINOV3}_qkvb$"):
        loaded(DINOV3, saved(tmp_path / "dinov3.pth", weights), 16, 64)


def test_eva02s_norm_is_found_if_the_file_has_it_behind_the_pooling(tmp_path: Path) -> None:
    plain = timms(EVA02, side=70)
    assert "fc_norm.weight" in plain.state_dict()
    file = saved(tmp_path / "eva.pth", {"model": plain.state_dict()})
    network = loaded(EVA02, file, final_norm=True)
    assert torch.equal(network.norm.weight, plain.fc_norm.weight)
    network.final_norm = False
    assert_same_features(network, plain)


# --- another patch, another grid ---


def bicubic(before: int, after: int) -> np.ndarray:
    """The linear map of cubic convolution (Keys, 1981; a = -0.75) along one axis, the border
    repeated, corners not aligned."""

    def weight(t: float) -> float:
        t, a = abs(t), -0.75
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    matrix = np.zeros((after, before))
    for i in range(after):
        at = (i + 0.5) * before / after - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            matrix[i, min(max(j, 0), before - 1)] += weight(at - j)
    return matrix


@pytest.mark.parametrize(("before", "after"), [(518, 512), (70, 64), (70, 128)])
def test_reins_way_is_plain_bicubic_for_kernel_and_positions(
    before: int, after: int, tmp_path: Path
) -> None:
    _, weights = official(SMALL, side=before)
    file = saved(tmp_path / "file.pth", weights)
    found = loaded(SMALL, file, 16, after, resample="rein").state_dict()
    of_kernel = bicubic(14, 16)
    kernel = of_kernel @ weights["patch_embed.proj.weight"].double().numpy() @ of_kernel.T
    np.testing.assert_allclose(found["patch_embed.proj.weight"], kernel, atol=1e-5)
    old, new = before // 14, after // 16
    grid = weights["pos_embed"][0, 1:].double().numpy().reshape(old, old, 32)
    rows = bicubic(old, new)
    positions = np.einsum("ia,jb,abc->ijc", rows, rows, grid).reshape(-1, 32)
    np.testing.assert_allclose(found["pos_embed"][0, 1:], positions, atol=1e-5)
    assert torch.equal(found["pos_embed"][0, 0], weights["pos_embed"][0, 0])
    same = found.keys() - {"patch_embed.proj.weight", "pos_embed"}
    assert all(torch.equal(found[key], weights[key]) for key in same)


def test_timms_way_is_the_pseudo_inverse_of_enlarging_the_patch(tmp_path: Path) -> None:
    """A patch that is enlarged gives the same token (FlexiViT, Beyer et al., CVPR 2023)."""
    _, weights = official(SMALL)
    network = loaded(SMALL, saved(tmp_path / "file.pth", weights), 16, 80)
    patch = images(1, 3, 14, 14)
    larger = nn.functional.interpolate(patch, size=(16, 16), mode="bicubic", antialias=True)
    wanted = (weights["patch_embed.proj.weight"] * patch).sum((1, 2, 3))
    found = (network.patch_embed.proj.weight * larger).sum((1, 2, 3))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(network.pos_embed, weights["pos_embed"])  # 5 by 5, before and now


def test_the_two_ways_differ_and_timms_is_timms(tmp_path: Path) -> None:
    _, weights = official(SMALL)
    file = saved(tmp_path / "file.pth", weights)
    ours = loaded(SMALL, file, 16, 64)
    cfg = dict(pretrained_cfg_overlay=dict(file=file), num_classes=0)
    plain = timm.create_model(SMALL, pretrained=True, patch_size=16, img_size=64, **TINY, **cfg)
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in ours.state_dict().items())
    rein = loaded(SMALL, file, 16, 64, resample="rein")
    for name in ("patch_embed.proj.weight", "pos_embed"):
        a, b = ours.get_parameter(name), rein.get_parameter(name)
        assert (a - b).norm() > 0.05 * a.norm()


def test_a_file_that_rein_converted_needs_no_resampling(tmp_path: Path) -> None:
    _, weights = official(SMALL)
    file = saved(tmp_path / "file.pth", weights)
    converted = dict(loaded(SMALL, file, 16, 64, resample="rein").state_dict())
    converted["mask_token"] = torch.zeros(1, 32)
    again = saved(tmp_path / "dinov2_converted.pth", converted)
    for way in ("timm", "rein"):
        found = loaded(SMALL, again, 16, 64, resample=way).state_dict()
        assert all(torch.equal(found[key], converted[key]) for key in found)


# --- what does not fit ---


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (SMALL, dict(embed_dim=16, num_heads=4), "a ViT of width 16, 2 blocks, 0 registers; "),
        (SMALL, dict(depth=3), "a ViT of width 32, 3 blocks, 0 registers; vit_small_.*, 2 blocks"),
        (REGISTERS, {}, "a ViT of width 32, 2 blocks, 4 registers; vit_small_patch14_dinov2 has"),
        (GIANT, {}, r"does not fit ViT: .*blocks.0.mlp.fc1.weight"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_a_line(
    name: str, options: dict, message: str, tmp_path: Path
) -> None:
    _, weights = official(name, **options) if "embed_dim" not in options else _narrow()
    with pytest.raises(UserError, match=message) as error:
        loaded(SMALL, saved(tmp_path / "file.pth", weights))
    assert "\n" not in str(error.value)
    assert str(tmp_path / "file.pth") in str(error.value)


def _narrow() -> tuple[nn.Module, dict[str, Tensor]]:
    plain = timms(SMALL, embed_dim=16, num_classes=0)
    return plain, plain.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("blocks.1.attn.qkv.bias"), "1 missing: blocks.1.attn.qkv.bias"),
        (lambda w: w.update(blocks_extra=torch.ones(2)), "1 left over: blocks_extra"),
        (lambda w: w.update(cls_token=torch.ones(1, 1, 31)), "1 of another shape: cls_token"),
        (lambda w: w.update(pos_embed=torch.ones(1, 8, 32)), "does not fit vit_small_patch14"),
        (lambda w: w["norm.bias"].fill_(np.nan), "NaN or infinity in norm.bias"),
    ],
)
def test_every_name_and_shape_must_fit(change, message: str, tmp_path: Path) -> None:
    _, weights = official(SMALL)
    change(weights)
    with pytest.raises(UserError, match=message) as error:
        loaded(SMALL, saved(tmp_path / "file.pth", weights))
    assert "\n" not in str(error.value)


# --- by name ---


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub folder, an empty cache, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_timms_name_finds_the_official_file_in_torchs_folder(hub: Path, log: list[str]) -> None:
    plain, weights = official(SMALL)
    saved(hub / "dinov2_vits14_pretrain.pth", weights)
    for name in (SMALL, f"{SMALL}.lvd142m"):
        assert_same_features(loaded(SMALL, f"timm://{name}"), plain)
    assert len(entries(log)) == 2
    assert all("licence of the weights apache-2.0" in line for line in entries(log))


def test_timms_name_finds_a_file_that_was_put_there_by_hand(hub: Path) -> None:
    plain = timms(EVA02)
    save_file(plain.state_dict(), hub / "eva02_tiny_patch14_224.mim_in22k.safetensors")
    assert_same_features(loaded(EVA02, f"timm://{EVA02}"), plain)


def test_timms_name_finds_a_file_in_the_cache_of_the_hub(hub: Path) -> None:
    plain = timms(CLIP, patch=16, side=64, num_classes=0)
    repository = hub.parents[1] / "cache" / f"models--timm--{CLIP}.openai"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    place = repository / "snapshots" / ("0" * 40)
    place.mkdir(parents=True)
    save_file(plain.state_dict(), place / "model.safetensors")
    network = loaded(CLIP, f"timm://{CLIP}.openai", patch=16, side=64)
    assert_same_features(network, plain, side=64)


def test_without_a_network_a_line_says_which_file_to_get(hub: Path) -> None:
    with pytest.raises(UserError) as error:
        loaded(EVA02, f"timm://{EVA02}")
    said = str(error.value)
    assert said.startswith(f"timm://{EVA02}: cannot be downloaded (")
    assert said.endswith(
        "); download timm/eva02_tiny_patch14_224.mim_in22k elsewhere, and give the path of the file"
    )
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_smal_patch14_dinov2", "unknown network of timm 'vit_smal_patch14_dinov2'; did you"),
        (f"{SMALL}.lvd", f"unknown weights of {SMALL} 'lvd'; did you mean lvd142m"),
        ("vit_giant_patch14_224", "^timm://vit_giant_patch14_224: timm has no weights for it$"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, message: str, hub: Path) -> None:
    with pytest.raises(UserError, match=message):
        loaded(SMALL, f"timm://{name}")


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(UserError, match="truncated or not a checkpoint") as error:
        loaded(SMALL, str(tmp_path / "model.safetensors"))
    assert "\n" not in str(error.value)


def entries(log: list[str]) -> list[str]:
    return [line for line in log if line.startswith("timm's entry")]


def test_licence_and_normalisation_are_logged_once(tmp_path: Path, log: list[str]) -> None:
    _, weights = dinov3(DINOV3)
    file = saved(tmp_path / "dinov3.pth", weights)
    for _ in range(2):
        loaded(DINOV3, file, patch=16, side=64)
    assert entries(log) == [
        f"timm's entry {DINOV3}.lvd1689m: licence of the weights dinov3-license, images of mean "
        "[123.675, 116.28, 103.53] and std [58.395, 57.12, 57.375] (RGB)"
    ]


def test_clip_says_that_its_images_have_another_mean(tmp_path: Path, log: list[str]) -> None:
    plain = timms(CLIP, patch=16, side=64, num_classes=0)
    loaded(CLIP, saved(tmp_path / "clip.pth", plain.state_dict()), patch=16, side=64)
    assert "images of mean [122.771, 116.746, 104.094]" in entries(log)[0]
