"""Networks by name as plain modules: against those of the configs, and weights from files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor

from ibnseg import create, list_models
from ibnseg.models import zoo
from ibnseg.models.create import list_heads
from ibnseg.models.names import FAMILIES, NAMES, VITS, build_backbone
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from tests.models.cases import case
from tests.models.reference import images

CONFIGS = sorted(
    path
    for path in (config_folder() / "_base_" / "models").glob("*.py")
    if path.stem.partition("_")[0] in list_heads()
)


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """Weights of ResNet18-IBN-a with a classifier of five classes."""
    torch.manual_seed(1)
    weights = {k: torch.rand_like(v, dtype=torch.float32) for k, v in
               build_backbone("resnet18_ibn_a").state_dict().items()}  # fmt: skip
    return weights | {"fc.weight": torch.randn(5, 512), "fc.bias": torch.randn(5)}


@pytest.fixture
def published(imagenet, tmp_path, monkeypatch) -> Path:
    """The weights under their published name in ``$TORCH_HOME``; nothing can be downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(imagenet, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "new.pth").rename(folder / f"resnet18_ibn_a-{digest}.pth")
    row = zoo.PUBLISHED["resnet18_ibn_a"]._replace(url=zoo.AUTHORS + path.name)
    monkeypatch.setitem(zoo.PUBLISHED, "resnet18_ibn_a", row)
    return path


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in module.state_dict().items() if "auxiliary" not in k}


def family_of(kind: str) -> str:
    return next(name for name, cls in FAMILIES.items() if kind == f"ibnseg.{cls.__name__}")


def test_created_networks_have_the_layers_of_the_configs():
    """Names and shapes are those of the config's network, and so a run's checkpoint fits."""
    for path in CONFIGS:
        with case(path=path):
            cfg = Config.fromfile(path).model
            preprocessing = cfg.pop("data_preprocessor")
            head, _, stride = path.stem.partition("_")[0], *path.stem.rpartition("-d")[1:]
            variant = cfg.backbone.get("variant")
            name = f"{family_of(cfg.backbone.type)}{cfg.backbone.depth}"
            name += f"_ibn_{variant}" if variant else ""
            with torch.device("meta"):
                own = create(head, name, output_stride=int(stride))
                theirs = MODELS.build(cfg)
            assert shapes(own) == shapes(theirs)
            assert own.decode_head.align_corners == theirs.decode_head.align_corners
            geometry = [
                (name, module.stride, module.dilation, module.padding)
                for name, module in theirs.named_modules()
                if isinstance(module, torch.nn.Conv2d) and not name.startswith("auxiliary")
            ]
            assert geometry == [
                (name, module.stride, module.dilation, module.padding)
                for name, module in own.named_modules()
                if isinstance(module, torch.nn.Conv2d)
            ]
            assert (own.mean, own.std) == (tuple(preprocessing.mean), tuple(preprocessing.std))
            assert (own.channel_order, own.input_range, own.num_classes) == ("RGB", (0, 255), 19)


def test_a_runs_checkpoint_gives_the_runs_logits(tmp_path):
    cfg = Config.fromfile(config_folder() / "_base_/models/fcn_ibn18a-d8.py").model
    del cfg.data_preprocessor
    cfg.backbone.init_cfg = None
    cfg.decode_head.num_classes = 4
    cfg.auxiliary_head = dict(cfg.decode_head, in_channels=256, in_index=2)
    torch.manual_seed(0)
    run = MODELS.build(cfg)
    torch.nn.init.normal_(run.decode_head.conv_seg.weight)
    torch.save({"state_dict": run.state_dict(), "meta": {}}, tmp_path / "latest.pth")
    checkpoint = tmp_path / "latest.pth"
    own = create("fcn", "resnet18_ibn_a", num_classes=4, pretrained=checkpoint)
    x = images(2, 3, 64, 80)
    with torch.no_grad():
        coarse = run.eval().encode_decode(x)
        logits = own.eval()(x)
    assert coarse.shape == (2, 4, 8, 10)
    assert logits.shape == (2, 4, 64, 80)
    want = torch.nn.functional.interpolate(coarse, (64, 80), mode="bilinear", align_corners=False)
    assert torch.equal(logits, want)

    backbone = create("resnet18_ibn_a", features_only=True, output_stride=8, pretrained=checkpoint)
    with torch.no_grad():
        assert all(map(torch.equal, backbone.eval()(x), run.backbone(x)))
    with pytest.raises(UserError, match=r"of another shape: decode_head\.conv_seg\.weight"):
        create("fcn", "resnet18_ibn_a", num_classes=5, pretrained=checkpoint)
    with pytest.raises(UserError, match=r"does not fit Classifier: 2 missing: fc\.weight, fc\.b"):
        create("resnet18_ibn_a", pretrained=checkpoint)


@pytest.mark.parametrize("how", [True, "path", "ibnseg://resnet18_ibn_a"])
@pytest.mark.parametrize("kind", ["segmentation", "classifier", "features"])
def test_published_weights_fill_each_kind_of_network(published, imagenet, kind, how):
    pretrained = str(published) if how == "path" else how
    names, options = {
        "segmentation": (("fcn", "resnet18_ibn_a"), dict(num_classes=3)),
        "classifier": (("resnet18_ibn_a",), dict()),
        "features": (("resnet18_ibn_a",), dict(features_only=True)),
    }[kind]
    network = create(*names, pretrained=pretrained, **options)
    assert network.training
    backbone = network if kind == "features" else network.backbone
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, imagenet[key].to(value.dtype)), key
    if kind == "classifier":
        assert network.num_classes == 5
        assert torch.equal(network.fc.weight, imagenet["fc.weight"])
        other = create(*names, pretrained=pretrained, num_classes=2)
        assert other.fc.out_features == other.num_classes == 2
        assert torch.equal(other.backbone.conv1.weight, imagenet["conv1.weight"])


def test_features_have_the_strides_and_channels_that_they_say():
    for stride, strides in [(None, (4, 8, 16, 32)), (16, (4, 8, 16, 16)), (8, (4, 8, 8, 8))]:
        for name in ["resnet50_ibn_b", "densenet121_ibn_a"]:
            with case(stride=stride, strides=strides, name=name):
                with torch.device("meta"):
                    backbone = create(name, features_only=True, output_stride=stride)
                    features = backbone.eval()(torch.empty(1, 3, 64, 96))
                assert backbone.feature_strides == strides
                want = [
                    (1, c, 64 // s, 96 // s)
                    for c, s in zip(backbone.out_channels, strides, strict=True)
                ]
                assert [tuple(feature.shape) for feature in features] == want
                assert (backbone.channel_order, backbone.input_range) == ("RGB", (0, 255))
                assert backbone.mean == (123.675, 116.28, 103.53)


def test_random_weights_follow_the_seed_and_nothing_is_printed(capsys):
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(create("fcn", "resnet18", num_classes=2).state_dict().values())
    assert all(map(torch.equal, *nets))
    out, err = capsys.readouterr()
    assert out + err == ""


def test_lists_name_every_network_and_head():
    published = {*zoo.PUBLISHED, *VITS}
    assert list_models() == [*NAMES, *VITS]
    assert list_models(pretrained=True) == [n for n in list_models() if n in published]
    assert set(list_models(pretrained=True)) == published
    assert list_heads() == {"deeplabv3": [8], "deeplabv3plus": [8, 16], "fcn": [8]}


def test_wrong_names_and_options_are_refused():
    for names, options, message in [
        (["fcnn", "resnet18"], {}, "unknown head 'fcnn'; did you mean fcn?"),
        (["fcn", "resnet20"], {}, "unknown network 'resnet20'; did you mean resnet"),
        (["resnet18_ibn_e"], {}, "unknown network 'resnet18_ibn_e'; did you mean resnet18_ibn_"),
        (["fcn"], {}, "fcn needs a backbone"),
        (["resnet18"], dict(output_stride=8), "create: a classifier has no output_stride"),
        (["fcn", "resnet18"], dict(output_stride=16), "output_stride=16, expected 8 with fcn"),
        (
            ["deeplabv3plus", "resnet18"],
            dict(output_stride=4),
            "output_stride=4, expected 8 or 16 with deeplabv3plus",
        ),
        (
            ["resnet18"],
            dict(features_only=True, output_stride=4),
            "output_stride=4, expected 8 or 16 or 32",
        ),
        (["resnet18"], dict(features_only=True, num_classes=3), "features have no classes"),
        (["fcn", "resnet18"], dict(num_classes=0), "num_classes=0, expected an integer of at"),
        (
            ["fcn", "resnet18_ibn_d"],
            dict(pretrained=True),
            "unknown published weights 'resnet18_ibn_d'; did you mean resnet18_ibn_",
        ),
        (["resnet18"], dict(pretrained="nowhere.pth"), "nowhere.pth: no such checkpoint"),
    ]:
        with case(names=names, options=options):
            with pytest.raises(UserError) as error, torch.device("meta"):
                create(*names, **options)
            assert message in str(error.value)


def test_torch_hub_has_every_network_and_head():
    """``torch.hub.load(..., source="local")`` finds them in ``hubconf.py``."""
    checkout = str(Path(__file__).parents[2])
    options = dict(source="local", trust_repo=True)
    with torch.device("meta"):
        network = torch.hub.load(checkout, "fcn", "resnet18_ibn_a", num_classes=3, **options)
        assert network.eval()(torch.empty(1, 3, 32, 32)).shape == (1, 3, 32, 32)
        features = torch.hub.load(checkout, "resnet34_ibn_a&d", features_only=True, **options)
        assert features.variant == "a&d"
        classifier = torch.hub.load(checkout, "densenet121", **options)
        assert classifier.num_classes == 1000


def test_a_vit_is_had_by_name_as_a_backbone_of_four_maps() -> None:
    with torch.device("meta"):
        backbone = create("vit_large_patch14_dinov2", features_only=True)
        features = backbone(torch.empty(1, 3, 64, 96))
    assert backbone.out_indices == (5, 11, 17, 23)
    assert [tuple(each.shape) for each in features] == [(1, 1024, 4, 6)] * 4
    assert backbone.feature_strides == (16,) * 4
    assert backbone.mean == pytest.approx([255 * v for v in backbone.pretrained_cfg["mean"]])
    assert backbone.std == pytest.approx([255 * v for v in backbone.pretrained_cfg["std"]])


@pytest.mark.parametrize(
    "kwargs", [{}, dict(features_only=True, output_stride=8), dict(num_classes=5)]
)
def test_a_vit_is_no_classifier_and_has_one_stride(kwargs: dict) -> None:
    with pytest.raises(UserError, match="is a backbone of stride 16 alone; give features_only"):
        create("vit_small_patch14_dinov2", **kwargs)
    with pytest.raises(UserError, match="is a backbone of stride 16 alone"):
        create("fcn", "vit_small_patch14_dinov2")
