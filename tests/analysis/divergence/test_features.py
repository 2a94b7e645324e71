"""Features: which layers, their values against a direct float64 computation, what is refused."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS as MMSEG
from torch import nn

from ibnseg.analysis.divergence.features import (
    feature_moments,
    find_layers,
    spatial_means,
    watching,
)
from ibnseg.analysis.divergence.formula import EPSILON, divergence
from ibnseg.models import Segmentor, Torchvision
from ibnseg.support.errors import UserError

PREPROCESSOR = dict(
    type="SegDataPreProcessor",
    mean=[120.0, 110.0, 100.0],
    std=[50.0, 55.0, 60.0],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)


def build(backbone: dict, channels: int) -> nn.Module:
    init_default_scope("mmseg")
    torch.manual_seed(0)
    head = dict(
        type="FCNHead", in_channels=channels, in_index=-1, channels=4, num_convs=1, num_classes=3
    )
    network = MMSEG.build(
        dict(
            type="EncoderDecoder",
            data_preprocessor=PREPROCESSOR,
            backbone=backbone,
            decode_head=head,
            test_cfg=dict(mode="whole"),
        )
    ).eval()
    for module in network.modules():  # as after training: no two channels alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.bias, 0.2, 0.6)
    return network


def resnet(depth: int = 18, type_: str = "ibnseg.IBNResNet", **kwargs) -> nn.Module:
    backbone = dict(type=type_, depth=depth, base_channels=4, stem_channels=4, **kwargs)
    return build(backbone, 32 if depth < 50 else 128)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return resnet(variant="b", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))


def images(seed: int, count: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    brightness = rng.uniform(30, 200, (count, 1, 1, 1))
    return rng.normal(brightness, 20, (count, 32, 40, 3)).clip(0, 255).astype(np.uint8)


def names(network: nn.Module) -> list[str]:
    return [layer.name for layer in find_layers(network)]


def test_without_patterns_the_stem_and_all_blocks_are_found() -> None:
    """The stem and the 16 blocks of ResNet50; any of mmseg's ResNets; dense blocks."""
    blocks = [f"layer{i + 1}.{j}" for i, n in enumerate((3, 4, 6, 3)) for j in range(n)]
    assert names(resnet(50)) == ["stem", *blocks]
    assert len(names(resnet(50))) == 17
    deep = resnet(50, "ResNetV1c")
    assert names(deep) == ["stem", *blocks]
    assert find_layers(deep)[0].module == "backbone.stem"
    dense = build(
        dict(type="ibnseg.IBNDenseNet", depth=121, growth_rate=2, stem_channels=4), channels=58
    )
    assert names(dense) == ["stem", *(f"denseblock{i}" for i in range(1, 5))]


def test_layers_are_found_by_pattern(network: nn.Module) -> None:
    found = find_layers(network, ["decode_head.convs", "backbone.layer[12]"])
    assert [layer.name for layer in found] == [
        "backbone.layer1",
        "backbone.layer2",
        "decode_head.convs",
    ]
    with pytest.raises(UserError, match=r"unknown layer of the network 'backbone.layr1'; did you "):
        find_layers(network, ["backbone.layr1"])
    with pytest.raises(
        UserError, match=r"'\*\?zzz'; known: backbone, .*backbone.layer4, "
    ) as error:
        find_layers(network, ["*?zzz"])
    assert "layer4.0" not in str(error.value)


def test_a_backbone_without_known_blocks_needs_layers_by_name() -> None:
    other = nn.Module()
    other.backbone = nn.Conv2d(3, 4, 1)
    with pytest.raises(UserError, match="for Conv2d; name modules with --layers, e.g. backbone$"):
        find_layers(other)
    assert [layer.name for layer in find_layers(other, ["*"])] == ["backbone"]
    other.backbone = nn.ModuleDict(dict(stem=nn.Identity(), stage1=nn.Identity()))
    with pytest.raises(UserError, match="--layers, e.g. backbone.stem,backbone.stage1$"):
        find_layers(other)


def test_modules_with_channels_as_the_last_axis_are_refused() -> None:
    network = nn.Module()
    with torch.device("meta"):
        network.backbone = Torchvision("swin_t")
    with pytest.raises(UserError, match="modules of swin_t have channels as the last axis"):
        find_layers(network, ["backbone.features.?"])
    assert [layer.name for layer in find_layers(network, ["backbone"])] == ["backbone"]


def direct(network: nn.Module, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Block by block in float64, from the images on."""
    backbone = copy.deepcopy(network.backbone).double()
    mean, std = (np.array(PREPROCESSOR[key]) for key in ("mean", "std"))
    x = torch.from_numpy(((batch - mean) / std).transpose(0, 3, 1, 2).copy())
    found = {}
    with torch.no_grad():
        x = found["stem"] = backbone.relu(backbone.bn1(backbone.conv1(x)))
        x = backbone.maxpool(x)
        for stage in backbone.res_layers:
            for name, block in getattr(backbone, stage).named_children():
                x = found[f"{stage}.{name}"] = block(x)
    return {name: y.numpy().mean(axis=(2, 3)) for name, y in found.items()}


def test_divergence_is_that_of_a_direct_computation_in_float64(network: nn.Module) -> None:
    a, b = images(0), images(1, 9)
    found = divergence(
        feature_moments(network, np.split(a, 3), replicates=0),
        feature_moments(network, (torch.from_numpy(image[None]) for image in b), replicates=0),
    )
    means = direct(network, a), direct(network, b)
    assert [layer.layer for layer in found] == list(means[0])
    for layer in found:
        x, y = (own[layer.layer] for own in means)
        m, n = x.mean(axis=0), y.mean(axis=0)
        s, t = (np.sqrt(np.maximum(own.var(axis=0), EPSILON)) for own in (x, y))
        kl = np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5
        kl += np.log(s / t) + (t**2 + (m - n) ** 2) / (2 * s**2) - 0.5
        dead = tuple(tuple(np.flatnonzero((own == 0).all(axis=0))) for own in (x, y))
        assert layer.constant == dead
        assert layer.divergence == pytest.approx(kl.mean(), rel=1e-3)
        assert layer.interval is None
    assert any(found[-2].constant)  # a ReLU that never opens


def test_dense_blocks_are_seen_after_their_relu() -> None:
    """The backbone's own outputs are what the next layers see."""
    network = build(
        dict(type="ibnseg.IBNDenseNet", depth=121, growth_rate=2, stem_channels=4), channels=58
    )
    with watching(network, find_layers(network)) as means_of:
        found = means_of(images(0, 2))
    with torch.no_grad():
        x = torch.from_numpy(images(0, 2)).movedim(-1, 1).flip(1)
        inputs = network.data_preprocessor(dict(inputs=list(x)))["inputs"]
        for i, y in enumerate(network.backbone(inputs), start=1):
            expected = y.mean(dim=(2, 3))
            np.testing.assert_allclose(found[f"denseblock{i}"], expected, rtol=1e-5)
    assert found["stem"].min() >= 0


def test_floating_point_images_are_not_clipped(network: nn.Module) -> None:
    """300 and more are seen as such: the stem's IN takes a constant away, the pixels' own do."""
    batch = images(0, 2).astype(np.float32)
    layers = find_layers(network, ["backbone.conv1"])
    with watching(network, layers) as means_of:
        plain = means_of(batch)["backbone.conv1"]
        shifted = means_of(batch + 200)["backbone.conv1"]
        twice = means_of(batch + 400)["backbone.conv1"]
    np.testing.assert_allclose(twice - shifted, shifted - plain, rtol=1e-3, atol=1e-4)
    assert abs(shifted - plain).max() > 0.1


def test_layers_of_the_head_are_seen_and_no_hook_is_left(network: nn.Module) -> None:
    with watching(network, find_layers(network, ["decode_head.conv_seg"])) as means_of:
        found = means_of(images(0, 2))
    logits = network(_inputs(network, images(0, 2)), mode="tensor").detach().mean(dim=(2, 3))
    np.testing.assert_allclose(found["decode_head.conv_seg"], logits, rtol=1e-5)
    assert not any(module._forward_hooks for module in network.modules())


def _inputs(network: nn.Module, batch: np.ndarray) -> torch.Tensor:
    mean, std = (np.array(PREPROCESSOR[key], np.float32) for key in ("mean", "std"))
    return torch.from_numpy(((batch - mean) / std).transpose(0, 3, 1, 2).copy())


def test_maps_and_tokens_are_averaged_and_other_outputs_refused() -> None:
    """Maps, tokens, several of which the first counts; anything else is refused."""
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert spatial_means("l", x).tolist() == [[2.5, 8.5]]
    assert spatial_means("l", (x, 1)).tolist() == [[2.5, 8.5]]
    tokens = torch.tensor([[[1.0, 10], [3, 30]]])
    assert spatial_means("l", tokens).tolist() == [[2, 20]]
    with pytest.raises(UserError, match=r"layer 'l': its output is of shape \(2, 3\), expected"):
        spatial_means("l", torch.zeros(2, 3))
    with pytest.raises(UserError, match="layer 'l': its output is of dict, expected"):
        spatial_means("l", {})


def test_images_that_run_backwards_in_memory_are_seen_the_same(network: nn.Module) -> None:
    """OpenCV's images, seen as RGB, run backwards."""
    bgr = np.ascontiguousarray(images(0, 2)[..., ::-1])
    with watching(network, find_layers(network, ["decode_head.convs"])) as means_of:
        (one,), (other,) = (m.values() for m in (means_of(bgr[..., ::-1]), means_of(images(0, 2))))
    np.testing.assert_array_equal(one, other)


def test_images_of_another_shape_are_refused(network: nn.Module) -> None:
    for wrong in (np.zeros((32, 32, 3), np.uint8), np.zeros((1, 3, 32, 32), np.uint8)):
        with pytest.raises(UserError, match=r"images: found an array of shape .*RGB"):
            feature_moments(network, [wrong])


def test_a_layer_that_is_not_run_is_refused(network: nn.Module) -> None:
    with pytest.raises(UserError, match="layer 'decode_head.loss_decode' is not run in testing"):
        feature_moments(network, [images(0, 2)], ["decode_head.loss_decode"])


def vit(**kwargs) -> nn.Module:
    settings = dict(image_size=32, options=dict(embed_dim=16, depth=4, num_heads=2))
    name = "vit_small_patch14_reg4_dinov2"
    return build(dict(type="ibnseg.ViT", name=name, **settings, **kwargs), 16)


def test_a_vits_layers_are_the_blocks_that_it_runs_and_its_patches_alone_are_measured() -> None:
    network = vit(out_indices=(0, 2))
    layers = find_layers(network)
    assert [layer.name for layer in layers] == ["block0", "block1", "block2"]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    with watching(network, layers) as means_of:
        found = means_of(images)
    mean, std = (np.array(PREPROCESSOR[key], np.float32) for key in ("mean", "std"))
    inputs = torch.from_numpy((images - mean) / std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        for index, features in zip((0, 2), network.backbone(inputs), strict=True):
            wanted = features.double().mean((2, 3)).numpy()
            np.testing.assert_allclose(found[f"block{index}"], wanted, atol=1e-5)


def test_the_blocks_that_a_head_runs_are_not_among_a_vits_layers() -> None:
    network = vit(out_indices=(0,))
    network.backbone.hand_over(1)
    assert [layer.name for layer in find_layers(network)] == ["block0", "block1", "block2"]


def joined_vit() -> Segmentor:
    """A ViT of three blocks, the last of which a query head runs, in which each patch token is the
    mean of its normalised pixels in all channels, and blocks change nothing."""
    options = dict(embed_dim=16, depth=3, num_heads=2)
    name = "vit_small_patch14_reg4_dinov2"
    vit = dict(type="ibnseg.ViT", name=name, image_size=32, out_indices=(1,), options=options)
    head = dict(type="ibnseg.QueryHead", in_channels=16, num_classes=3, queries=5, blocks=1)
    preprocessor = {**PREPROCESSOR, "mean": [100.0] * 3, "std": [50.0] * 3}
    network = Segmentor(
        vit, head, test_cfg=dict(mode="whole"), data_preprocessor=preprocessor
    ).eval()
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.zero_()
        network.backbone.patch_embed.proj.weight.fill_(1 / (3 * 16 * 16))
        network.backbone.cls_token.fill_(1000)
        network.backbone.reg_token.fill_(2000)
        network.decode_head.queries.fill_(3000)
    return network


def test_the_divergence_of_a_vits_blocks_is_that_of_the_means_of_patches_by_hand() -> None:
    """Blocks that the query head runs, too, where queries stand behind the patches."""
    network = joined_vit()
    layers = ["backbone.patch_embed", *(f"backbone.blocks.{i}" for i in range(3))]
    # two images each, dark on the left and light on the right
    halves = [[(0, 100), (50, 250)], [(100, 200), (150, 250)]]
    sets = []
    for pairs in halves:
        batch = np.zeros((2, 32, 64, 3), np.uint8)
        for image, (left, right) in zip(batch, pairs, strict=True):
            image[:, :32], image[:, 32:] = left, right
        sets.append(feature_moments(network, [batch], layers, replicates=0))
    # normalised means: -1 and 1, of mean 0 and variance 1; 1 and 2, of mean 1.5 and variance 0.25:
    # ((1 - 0.25)^2 + 1.5^2 (1 + 0.25)) / (2 x 1 x 0.25)
    for layer in divergence(*sets):
        assert layer.divergence == pytest.approx(6.75, rel=1e-4), layer.layer


def test_what_an_adapter_makes_of_patches_is_measured_as_a_whole() -> None:
    network = vit(out_indices=(0, 2), adapter=dict(type="ibnseg.Rein", tokens=4, rank=2))
    seen = []
    name = "backbone.adapter.mlp_feature"
    network.backbone.adapter.mlp_feature.register_forward_hook(lambda *args: seen.append(args[-1]))
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    with watching(network, find_layers(network, [name])) as means_of:
        found = means_of(images)[name]
    np.testing.assert_allclose(found, seen[-1].mean(1).numpy(), atol=1e-6)
