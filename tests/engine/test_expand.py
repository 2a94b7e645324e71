"""From names to loaders, loops and evaluators."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ibnseg.datasets import GTA5
from ibnseg.datasets.balance import class_counts
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CAMVID_CLASSES, CLASSES
from ibnseg.engine.expand import expand
from ibnseg.engine.testing import describe_inference, slide_of
from ibnseg.engine.training import check_heads
from ibnseg.evaluation import Slide
from ibnseg.models import Segmentor
from ibnseg.models.recognise import recognise
from ibnseg.models.zoo import PUBLISHED
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from tests.conftest import write_drivable, write_gta5

EXPERIMENTS = [
    f"{pair}_{net}" for pair in ("gta2city", "city2gta") for net in ("r50", "ibn50a", "ibn50b")
]


@pytest.fixture
def cfg(tiny: Config, in_data: Path) -> Config:
    return tiny


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_six_experiments(name: str, in_data: Path) -> None:
    """Each expands, and has the recipe of protocols.md."""
    from ibnseg.engine.read import load_config

    cfg = expand(load_config(name))
    source = "gta5" if name.startswith("gta") else "cityscapes"
    images = 2 if source == "gta5" else 4  # a quarter of eight; all of four
    assert cfg.train_domain == source
    assert set(cfg.test_domains) == {"gta5", "cityscapes"}
    assert cfg.train_cfg.max_iters == 80 * 1
    assert cfg.train_dataloader.dataset.subset == ("quarter" if source == "gta5" else "full")
    assert cfg.train_dataloader.batch_size == 16
    assert images <= 16
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if "size" in t)
    assert resize["size"] == ((1024, 563) if source == "gta5" else None)
    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
    assert cfg.param_scheduler[0].power == 0.9
    assert cfg.model.data_preprocessor.size == (713, 713)
    net = name.split("_")[1]
    assert cfg.model.backbone.get("variant") == {"r50": None, "ibn50a": "a", "ibn50b": "b"}[net]
    weights = cfg.model.backbone.init_cfg.checkpoint
    assert (
        weights
        == {
            "r50": "torchvision://resnet50",
            "ibn50a": "ibnseg://resnet50_ibn_a",
            "ibn50b": "ibnseg://resnet50_ibn_b",
        }[net]
    )


MODEL_FILES = sorted((config_folder() / "_base_" / "models").glob("*.py"))


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_heads_take_what_backbones_give(path: Path) -> None:
    """Every network of the configs goes through its heads, at the stride that its name says; the
    weights that it starts from are published ones of this very network."""
    init_default_scope("mmseg")
    cfg = Config.fromfile(path)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    stride = 4 if "v3plus" in path.stem else int(path.stem.rpartition("-d")[2])
    logits = model(torch.empty(2, 3, 64, 128, device="meta"), mode="tensor")
    assert logits.shape == (2, cfg.model.decode_head.num_classes, 64 // stride, 128 // stride)
    source, name = cfg.model.backbone.init_cfg.checkpoint.split("://")
    own = recognise(model.backbone.state_dict())
    assert (source, name) == ("ibnseg" if "ibn" in own else "torchvision", own)
    assert name in PUBLISHED


@pytest.mark.parametrize("net", ["r50", "ibn50a", "ibn50b"])
def test_the_robustnet_experiments(net: str, in_data: Path) -> None:
    """Each expands, and has the recipe that shachoi/RobustNet's scripts and code say."""
    from ibnseg.engine.read import load_config

    cfg = load_config(f"gta2city_v3plus_{net}_robustnet")
    assert cfg.protocol == "robustnet"
    cfg.protocol = "native"
    cfg = expand(cfg)
    assert (cfg.train_domain, list(cfg.test_domains)) == ("gta5", ["gta5", "cityscapes"])
    loader = cfg.train_dataloader
    assert (loader.dataset.split, loader.dataset.subset) == ("train", "full")
    assert (loader.batch_size, loader.num_workers) == (16, 8)
    assert loader.sampler == dict(type="ibnseg.ClassUniformSampler", share=0.5)
    _, _, resize, crop, flip, jitter, blur, _ = loader.dataset.pipeline
    assert resize == dict(
        type="ibnseg.RandomScaleAspect", scale=(0.5, 2.0), aspect=(1.0, 1.0), size=None,
        sampling="uniform", interpolation="bicubic",
    )  # fmt: skip
    assert crop == dict(type="ibnseg.CropAround", crop_size=(768, 768))
    assert flip == dict(type="RandomFlip", prob=0.5)
    assert jitter == dict(
        type="ibnseg.ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.5
    )
    assert blur == dict(type="ibnseg.GaussianBlur", sigma=(0.15, 1.3))
    assert cfg.train_cfg.max_iters == 40000
    (poly,) = cfg.param_scheduler
    assert (poly.type, poly.power, poly.eta_min, poly.begin) == ("PolyLR", 0.9, 0, 0)
    assert cfg.optim_wrapper.type == "OptimWrapper"  # float32
    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert "paramwise_cfg" not in cfg.optim_wrapper
    assert cfg.sync_bn == "torch"
    backbone, head, auxiliary = (
        cfg.model[key] for key in ("backbone", "decode_head", "auxiliary_head")
    )
    assert backbone.get("variant") == {"r50": None, "ibn50a": "a", "ibn50b": "b"}[net]
    named = {"r50": "torchvision://resnet50", "ibn50a": "resnet50_ibn_a", "ibn50b": "ibn_b"}[net]
    assert named in backbone.init_cfg.checkpoint
    assert (backbone.strides, backbone.dilations) == ((1, 2, 2, 1), (1, 1, 1, 2))
    assert (head.channels, head.dilations, head.low_level) == (256, (1, 6, 12, 18), 48)
    assert (head.dropout_ratio, head.align_corners) == (0.0, True)
    assert "loss_weight" not in head.loss_decode
    assert (auxiliary.in_index, auxiliary.in_channels, auxiliary.channels) == (2, 1024, 512)
    assert (auxiliary.dropout_ratio, auxiliary.loss_decode.loss_weight) == (0.1, 0.4)
    assert not any("class_weight" in each.loss_decode for each in (head, auxiliary))


@pytest.mark.parametrize("net", ["r50", "ibn50a", "ibn101a"])
def test_the_drivable_experiments(net: str, tmp_path: Path) -> None:
    """Each expands, and has the recipe that SysCV/bdd100k-models' drivable configs say."""
    from ibnseg.engine.read import load_config

    write_drivable(tmp_path)
    cfg = expand(load_config(f"drivable_{net}"), {"bdd100k": str(tmp_path)})
    assert (cfg.train_domain, list(cfg.test_domains)) == ("bdd100k_drivable", ["bdd100k_drivable"])
    loader = cfg.train_dataloader
    assert loader.dataset.type == "ibnseg.BDD100KDrivable"
    assert (loader.dataset.split, loader.dataset.subset) == ("train", "full")
    assert (loader.batch_size, loader.sampler.type) == (16, "ibnseg.StreamSampler")
    _, _, resize, crop, flip, distortion, _ = loader.dataset.pipeline
    assert resize == dict(
        type="ibnseg.RandomScaleAspect", scale=(0.5, 2.0), aspect=(1.0, 1.0), size=None,
        sampling="uniform", interpolation="bilinear",
    )  # fmt: skip
    assert crop == dict(type="ibnseg.CropAround", crop_size=(512, 1024))
    assert flip == dict(type="RandomFlip", prob=0.5)
    assert distortion == dict(type="mmseg.PhotoMetricDistortion")
    assert cfg.train_cfg.max_iters == 80000
    (poly,) = cfg.param_scheduler
    assert (poly.type, poly.power, poly.eta_min) == ("PolyLR", 0.9, 0)
    assert cfg.optim_wrapper.type == "OptimWrapper"  # float32
    assert cfg.optim_wrapper.optimizer == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert cfg.sync_bn == "torch"
    shown = [step.type for step in cfg.test_dataloader.bdd100k_drivable.dataset.pipeline]
    assert shown == [f"ibnseg.{x}" for x in ("LoadImage", "LoadLabel", "LoadInstances", "Pack")]
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    assert (backbone.depth, backbone.get("variant")) == {
        "r50": (50, None), "ibn50a": (50, "a"), "ibn101a": (101, "a"),
    }[net]  # fmt: skip
    named = {
        "r50": "resnet50",
        "ibn50a": "ibnseg://resnet50_ibn_a",
        "ibn101a": "ibnseg://resnet101_ibn_a",
    }[net]
    assert named in backbone.init_cfg.checkpoint
    assert (head.type, head.num_classes, head.dilations) == ("ASPPHead", 3, (1, 12, 24, 36))
    assert head.loss_decode == dict(type="CrossEntropyLoss", avg_non_ignore=True)


@pytest.mark.parametrize("net", ["r18", "ibn18a"])
def test_the_drivable_streets(net: str) -> None:
    from ibnseg.engine.read import load_config

    cfg = load_config(f"streets_drivable_{net}")
    assert cfg.train_domain == "streets_virtual_drivable"
    assert cfg.test_domains == ["streets_virtual_drivable", "streets_real_drivable"]
    assert (cfg.iterations, cfg.class_balance, cfg.batch) == (300, 0.5, 8)
    assert cfg.model.backbone.get("variant") == {"r18": None, "ibn18a": "a"}[net]
    head = cfg.model.decode_head
    assert (head.type, head.in_channels, head.channels) == ("FCNHead", 256, 64)
    assert head.num_classes == 3
    assert head.loss_decode == dict(type="CrossEntropyLoss", avg_non_ignore=True)


def weights_of(cfg: Config) -> list[list[float]]:
    return [head.loss_decode.class_weight for head in (cfg.model.decode_head, *others(cfg))]


def others(cfg: Config) -> list:
    return cfg.model.get("auxiliary_head") or []


def test_class_balance_weights_every_head(cfg: Config, tmp_path: Path) -> None:
    """By the counts of the training split; expanded again, and for testing, they stay."""
    plain = expand(cfg)
    assert plain.model.decode_head.loss_decode == cfg.model.decode_head.loss_decode
    head = cfg.model.decode_head
    cfg.model.auxiliary_head = [{**head, "in_index": 2}, {**head, "in_index": 1}]
    cfg.class_balance = 1
    once = expand(cfg)
    own, *auxiliary = weights_of(once)
    assert len(auxiliary) == 2
    assert all(weights == own for weights in auxiliary)
    dataset = GTA5(once.train_dataloader.dataset.data_root, "train")
    counts = class_counts(dataset)
    occur = [CLASSES.index(name) for name in ("road", "building", "sky", "car")]
    assert sorted(occur) == np.flatnonzero(counts).tolist()
    expected = counts.sum() / counts[occur] / 4  # four classes, each of the same weight in all
    np.testing.assert_allclose([own[i] for i in occur], expected, rtol=1e-3)
    assert own == [float(f"{weight:.4g}") for weight in own]
    for each in (once.model.decode_head, *others(once)):
        assert each.loss_decode.avg_non_ignore is False
    assert expand(once)._cfg_dict == once._cfg_dict
    once.dump(tmp_path / "config.py")
    dumped = Config.fromfile(tmp_path / "config.py")
    assert expand(dumped)._cfg_dict.to_dict() == once._cfg_dict.to_dict()
    tested = expand(dumped, training=False)
    assert weights_of(tested) == weights_of(once)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (dict(class_weight=[1.0] * 19), r"model.decode_head.loss_decode.class_weight is \[1.0, .*"),
        (dict(type="DiceLoss"), "model.decode_head.loss_decode is .*DiceLoss.*softmax"),
        (dict(use_sigmoid=True), "model.decode_head.loss_decode is .*use_sigmoid.*softmax"),
    ],
)
def test_class_balance_refuses_a_loss_of_its_own(cfg: Config, loss: dict, message: str) -> None:
    cfg.model.decode_head.loss_decode.update(loss)
    expand(cfg)
    cfg.class_balance = 0.5
    with pytest.raises(UserError, match=message):
        expand(cfg)


def test_class_balance_names_the_auxiliary_head(cfg: Config) -> None:
    head = cfg.model.decode_head
    cfg.model.auxiliary_head = [{**head, "loss_decode": [head.loss_decode]}]
    cfg.class_balance = 0.5
    with pytest.raises(UserError, match=r"model.auxiliary_head\[0\].loss_decode is \[.*alone"):
        expand(cfg)


def test_the_training_size_is_the_domains_or_the_configs(cfg: Config) -> None:
    for given, size in (("domain", (1024, 563)), (None, None), ((640, 352), (640, 352))):
        cfg.train_resize = given
        (resize,) = (t for t in expand(cfg).train_dataloader.dataset.pipeline if "size" in t)
        assert resize["size"] == size


def test_without_augment_and_class_uniform_there_is_the_plain_stream(cfg: Config) -> None:
    loader = expand(cfg).train_dataloader
    assert loader.sampler.type == "ibnseg.StreamSampler"
    assert [t.type for t in loader.dataset.pipeline[3:]] == [
        "ibnseg.CropAround", "RandomFlip", "ibnseg.Pack",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dict(type="ibnseg.Blur"), "augment: cannot be built from the config .*ibnseg.Blur"),
        (dict(type="ibnseg.ColorJitter", hew=1), "augment: cannot be built .*'hew'"),
    ],
)
def test_a_wrong_transform_is_told(cfg: Config, transform: dict, message: str) -> None:
    cfg.augment = [transform]
    with pytest.raises(UserError, match=message):
        expand(cfg)


@pytest.mark.parametrize(
    "name",
    [
        "fcn_r50-d8",
        "fcn_ibn18a-d8",
        "fcn_ibn18b-d8",
        "deeplabv3_r50-d8",
        "deeplabv3_ibn50a-d8",
        "deeplabv3_ibn101a-d8",
        "deeplabv3plus_r50-d8",
        "deeplabv3plus_ibn50a-d8",
        "deeplabv3plus_r50-d16",
        "deeplabv3plus_ibn50a-d16",
        "deeplabv3plus_ibn50b-d16",
    ],
)
def test_model_configs_build(name: str, in_data: Path) -> None:
    """Networks build from their files alone, with their output stride and 19 classes in every
    head."""
    import torch
    from mmengine.registry import init_default_scope

    from ibnseg.support.files import config_folder

    init_default_scope("mmseg")
    cfg = Config.fromfile(config_folder() / "_base_" / "models" / f"{name}.py")
    check_heads(cfg.model, len(CLASSES))
    with torch.device("meta"):
        network = MODELS.build(cfg.model).eval()
        features = network.backbone(torch.zeros(1, 3, 64, 96))
        logits = network.decode_head(features)
    assert isinstance(network, Segmentor)
    output_stride = int(name.split("-d")[1])
    assert features[-1].shape[2:] == (64 // output_stride, 96 // output_stride)
    stride = 4 if "plus" in name else 8  # DeepLabV3+ decodes at a quarter of the input
    assert logits.shape == (1, 19, 64 // stride, 96 // stride)


def test_expanding_twice_changes_nothing(cfg: Config) -> None:
    once = expand(cfg)
    assert expand(once)._cfg_dict == once._cfg_dict


def test_the_dumped_config_is_self_contained(cfg: Config, tmp_path: Path) -> None:
    """What is written to the work dir expands to itself, without the files it was made from."""
    once = expand(cfg)
    once.dump(tmp_path / "config.py")
    again = expand(Config.fromfile(tmp_path / "config.py"))
    assert again._cfg_dict.to_dict() == once._cfg_dict.to_dict()
    assert "_base_" not in (tmp_path / "config.py").read_text()


def test_batch_is_the_total(cfg: Config) -> None:
    cfg.batch, cfg.accumulate = 12, 3
    cfg = expand(cfg, world_size=2)
    assert cfg.train_dataloader.batch_size == 6
    assert cfg.optim_wrapper.accumulative_counts == 3
    with pytest.raises(UserError, match="batch 12 cannot be divided by 5 processes x accumulate 3"):
        expand(cfg, world_size=5)


def test_epochs_count_images(cfg: Config) -> None:
    cfg.iterations, cfg.epochs, cfg.batch = None, 7, 3
    cfg = expand(cfg)
    assert cfg.train_cfg.max_iters == 7 * 3  # ceil(8 / 3) = 3
    assert cfg.param_scheduler[0].end == 7 * 3 + 1


def test_protocols_name_the_tests(cfg: Config) -> None:
    cfg.protocol = ["native", "paper"]
    cfg = expand(cfg)
    names = ["gta5-native", "cityscapes-native", "gta5-paper", "cityscapes-paper"]
    assert [test["name"] for test in cfg.test_cfg.tests] == list(cfg.test_dataloader) == names
    steps = ("LoadImage", "LoadLabel", "LoadInstances", "Pack")
    plain = [dict(type=f"ibnseg.{step}") for step in steps]
    paper = dict(type="ibnseg.RescaleImage", rule="exact", to=(1024, 563))
    assert {name: loader.dataset.pipeline for name, loader in cfg.test_dataloader.items()} == {
        **dict.fromkeys(names, plain),
        "gta5-paper": [*plain[:3], paper, plain[3]],  # of the image alone: labels stay native
    }


def test_a_protocol_decides_windows_maps_and_classes(cfg: Config) -> None:
    cfg.protocol, cfg.test_domains = ["native", "robustnet", "rein"], ["gta5", "camvid"]
    cfg.model.test_cfg = dict(mode="slide", crop_size=(32, 48), stride=(16, 24))
    cfg = expand(cfg)
    tests = {test["name"]: test for test in cfg.test_cfg.tests}
    assert tests["gta5-native-slide32x48-16x24"]["inference"] == dict(
        mode="slide", crop_size=(32, 48), stride=(16, 24)
    )
    assert tests["gta5-robustnet"]["inference"] == dict(mode="whole")
    assert tests["gta5-rein"]["inference"] == dict(
        mode="slide", crop_size=(512, 512), stride=(341, 341)
    )
    assert tests["gta5-rein"]["protocol"] == dict(
        name="rein", version=1, inference="slide 512x512/341x341"
    )
    assert cfg.test_dataloader["gta5-robustnet"].dataset.class_map == "by_color"
    assert "class_map" not in cfg.test_dataloader["camvid-robustnet"].dataset
    assert tuple(cfg.test_evaluator["camvid-robustnet"].eval_classes) == CLASSES
    native = cfg.test_evaluator["camvid-native-slide32x48-16x24"].eval_classes
    assert sorted(native) == sorted(CAMVID_CLASSES)


def test_augmentation_in_testing(cfg: Config) -> None:
    cfg.tta_scales = [0.5, 1]
    cfg = expand(cfg)
    test = cfg.test_cfg.tests[0]
    assert (test["name"], test["protocol"]["name"]) == ("gta5", "native-tta0.5-1-flip")
    assert test["augmented"]
    resize, flip, pack = cfg.test_dataloader.gta5.dataset.pipeline[-1]["transforms"]
    assert [step["to"] for step in resize] == [0.5, 1]
    assert [(step["prob"], step["direction"]) for step in flip] == [
        (0.0, "horizontal"),
        (1.0, "horizontal"),
    ]
    assert pack == [dict(type="ibnseg.Pack")]


def test_one_protocol_leaves_plain_names(cfg: Config) -> None:
    assert list(expand(cfg).test_evaluator) == ["gta5", "cityscapes"]


def test_only_eval_classes_are_averaged(cfg: Config) -> None:
    """Without a list in the domain, the classes that the dataset's labels have."""
    cfg.test_domains = ["camvid", "gta5"]
    evaluators = expand(cfg).test_evaluator
    assert sorted(evaluators.camvid.eval_classes) == sorted(CAMVID_CLASSES)
    assert tuple(evaluators.gta5.eval_classes) == CLASSES
    cfg.domains = {"camvid": {**Domains()["camvid"].as_dict(), "eval_classes": ["road", "sky"]}}
    assert expand(cfg).test_evaluator.camvid.eval_classes == ["road", "sky"]


def test_testing_needs_no_training_data(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg.test_domains = ["cityscapes"]
    roots = {"cityscapes": str(Path(expand(cfg).test_dataloader.cityscapes.dataset.data_root))}
    monkeypatch.setenv("IBNSEG_DATA", "nowhere")
    tested = expand(cfg, roots, training=False)
    assert tested.train_dataloader is None
    with pytest.raises(UserError, match="domain 'gta5'"):
        expand(cfg, roots)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(train_domain="gta"), "unknown domain 'gta'; did you mean gta5"),
        (dict(test_domains=["cityscape"]), "unknown domain 'cityscape'; did you mean cityscapes"),
        (dict(protocol="papre"), "unknown protocol 'papre'; did you mean paper"),
        (dict(precision="bfloat"), "unknown precision 'bfloat'; did you mean bfloat16"),
        (dict(train_subset="half"), "unknown subset 'half'"),
        (dict(batch=None), "no value for batch"),
        (dict(save_best=True), "save_best needs a selection_split"),
        (
            dict(domains={"gta5": {**Domains()["gta5"].as_dict(), "eval_classes": ["rode"]}}),
            "unknown class in eval_classes of domain 'gta5' 'rode'; did you mean road",
        ),
    ],
)
def test_wrong_values_are_told_before_anything_runs(
    change: dict, message: str, cfg: Config
) -> None:
    for key, value in change.items():
        cfg[key] = value
    cfg.iterations, cfg.epochs = None, 1  # so that the training data is listed
    with pytest.raises(UserError, match=message):
        expand(cfg)


@pytest.mark.parametrize("lengths", [dict(epochs=3, iterations=9), dict(iterations=None)])
def test_a_training_has_one_length(lengths: dict, cfg: Config) -> None:
    for key, value in lengths.items():
        cfg[key] = value
    with pytest.raises(UserError, match="expected either 'epochs' or 'iterations'"):
        expand(cfg)


def test_every_head_must_have_the_datasets_classes() -> None:
    right, wrong = dict(num_classes=19), dict(num_classes=21)
    check_heads(dict(decode_head=right, auxiliary_head=[right, right]), 19)
    for model, name in (
        (dict(decode_head=wrong), "model.decode_head.num_classes is 21"),
        (dict(decode_head=right, auxiliary_head=wrong), "model.auxiliary_head.num_classes is 21"),
        (dict(decode_head=[right, wrong]), r"model.decode_head\[1\].num_classes is 21"),
        (
            dict(decode_head=right, auxiliary_head=[right, wrong]),
            r"model.auxiliary_head\[1\].num_classes is 21, the training domain has 19 classes",
        ),
    ):
        with pytest.raises(UserError, match=name):
            check_heads(model, 19)


def test_selection_must_be_disjoint_from_what_is_tested(cfg: Config, tmp_path: Path) -> None:
    """The tested split is refused; another split of the training domain is taken."""
    write_gta5(tmp_path / "gta5", (1, 2, 11, 12, 22, 23))  # train, test, val
    cfg.save_best, cfg.selection_split = True, "val"
    roots = {"gta5": str(tmp_path / "gta5")}
    with pytest.raises(UserError, match=r"selection_split 'val' of 'gta5' shares 2 images"):
        expand(cfg, roots)
    cfg.selection_split = "test"
    expanded = expand(cfg, roots)
    assert expanded.val_dataloader.dataset.split == "test"
    assert expanded.default_hooks.checkpoint.best == "gta5/mIoU"


def test_selection_is_compared_by_image_not_by_name(cfg: Config) -> None:
    """camvid's validation frames are camvid_day's, whatever the domains are called."""
    cfg.train_domain, cfg.test_domains = "camvid", ["camvid_day"]
    cfg.save_best, cfg.selection_split = True, "val"
    with pytest.raises(UserError, match="of 'camvid' shares 3 images .* of 'camvid_day'"):
        expand(cfg)


def test_inference_is_described() -> None:
    assert slide_of({}) is slide_of(dict(mode="whole")) is None
    assert describe_inference(None) == "whole"
    slide = slide_of(dict(mode="slide", crop_size=[512, 1024], stride=(256, 512)))
    assert slide == Slide((512, 1024), (256, 512))
    assert describe_inference(slide) == "slide 512x1024/256x512"
    with pytest.raises(UserError, match="stride 600x512 is larger than crop_size 512x1024"):
        slide_of(dict(mode="slide", crop_size=(512, 1024), stride=(600, 512)))
    with pytest.raises(UserError, match="mode 'slide' without crop_size and stride"):
        slide_of(dict(mode="slide"))
    with pytest.raises(UserError, match="unknown model.test_cfg.mode 'slid'; did you mean slide"):
        slide_of(dict(mode="slid"))


def test_an_unknown_data_root_is_told(cfg: Config) -> None:
    with pytest.raises(UserError, match="unknown name in --data-root 'gta'; did you mean gta5"):
        expand(cfg, {"gta": "/data/gta5"})


def test_links_do_not_hide_that_images_are_the_same(cfg: Config, tmp_path: Path) -> None:
    """Two names for one folder: the selection split is the tested one."""
    write_gta5(tmp_path / "real", (1, 2, 22, 23))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    cfg.domains = {"other": {**Domains()["gta5"].as_dict(), "name": "other", "data_root": "other"}}
    cfg.test_domains, cfg.save_best, cfg.selection_split = ["other"], True, "val"
    cfg.domains["other"]["data_root"] = "cityscapes"  # a name that may be given
    roots = {"gta5": str(tmp_path / "real"), "cityscapes": str(tmp_path / "link")}
    with pytest.raises(UserError, match="shares 2 images"):
        expand(cfg, roots)


def test_a_dumped_config_does_not_resume_the_old_run(cfg: Config) -> None:
    cfg.load_from, cfg.resume = "elsewhere/latest.pth", True
    cfg = expand(cfg)
    assert (cfg.load_from, cfg.resume) == (None, False)


def test_switches(cfg: Config) -> None:
    cfg.tensorboard, cfg.precision = True, "bfloat16"
    cfg = expand(cfg)
    assert [b["type"] for b in cfg.visualizer.vis_backends][-1] == "TensorboardVisBackend"
    assert cfg.optim_wrapper.type == "ibnseg.BFloat16OptimWrapper"


def test_the_config_that_is_expanded_stays_as_it_was(cfg: Config) -> None:
    before = cfg.pretty_text
    expand(cfg)
    assert cfg.pretty_text == before


def test_domains_of_other_classes_are_told(cfg: Config) -> None:
    cfg.test_domains = ["gta5", "bdd100k_drivable"]
    with pytest.raises(UserError, match="domain 'bdd100k_drivable' has the 3 classes of driv"):
        expand(cfg)
    cfg.train_domain = "bdd100k_drivable"
    with pytest.raises(UserError, match="'gta5' has the 19 classes of cityscapes, the training"):
        expand(cfg)
    cfg.test_domains = ["bdd100k_drivable"]
    with pytest.raises(UserError, match="num_classes is 19, the training domain has 3 classes"):
        expand(cfg)


def test_a_protocol_of_19_classes_is_not_for_the_drivable_area(cfg: Config, tmp_path) -> None:
    write_drivable(tmp_path, "2021")
    cfg.train_domain, cfg.test_domains = "bdd100k_drivable", ["bdd100k_drivable"]
    cfg.model.decode_head.num_classes, cfg.protocol = 3, ["native", "rein"]
    with pytest.raises(UserError, match="protocol 'rein' averages classes that domain 'bdd100k_dr"):
        expand(cfg, roots={"bdd100k": str(tmp_path)})
    cfg.protocol = "native"
    expanded = expand(cfg, roots={"bdd100k": str(tmp_path)})
    evaluator = expanded.test_evaluator["bdd100k_drivable"]
    assert evaluator.classes == ["direct", "alternative", "background"]
    assert evaluator.eval_classes == ["direct", "alternative"]
