"""Training in an expanded config: data, length, classes' weights, selection."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ibnseg.datasets import GTA5
from ibnseg.datasets.balance import class_counts, class_weights
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.expand import expand
from ibnseg.engine.training import build_unshown, check_heads
from ibnseg.support.errors import UserError
from tests.conftest import write_gta5
from tests.support.refusals import refused


@pytest.fixture
def cfg(tiny: Config, in_data: Path) -> Config:
    return tiny


def weights_of(cfg: Config) -> list[list[float]]:
    return [head.loss_decode.class_weight for head in (cfg.model.decode_head, *others(cfg))]


def others(cfg: Config) -> list:
    return cfg.model.get("auxiliary_head") or []


def test_class_balance_weights_every_head(cfg: Config, tmp_path: Path) -> None:
    """Weights follow the training split's counts, and stay when the config is expanded again."""
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
        (
            dict(class_weight=[1.0] * 19, avg_non_ignore=False),
            r"model.decode_head.loss_decode.class_weight is \[1.0, .*",
        ),
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
    assert [t.type for t in loader.dataset.pipeline[2:]] == [
        "ibnseg.ScaleCrop", "RandomFlip", "ibnseg.Pack",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dict(type="ibnseg.Blur"), "augment: unknown type 'ibnseg.Blur'"),
        (dict(type="ibnseg.ColorJitter", hew=1), "augment: cannot be built .*'hew'"),
        (dict(type="Resize", scale=(32, 32)), "augment: mmcv's Resize moves labels half a pixel"),
    ],
)
def test_a_wrong_augmentation_is_named(cfg: Config, transform: dict, message: str) -> None:
    cfg.augment = [transform]
    with pytest.raises(UserError, match=message):
        expand(cfg)


def test_a_length_in_epochs_follows_the_number_of_images(cfg: Config) -> None:
    cfg.iterations, cfg.epochs, cfg.batch = None, 7, 3
    cfg = expand(cfg)
    assert cfg.train_cfg.max_iters == 7 * 3  # ceil(8 / 3) = 3
    assert cfg.param_scheduler[0].end == 7 * 3 + 1


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


def test_batch_is_the_total_over_processes_and_parts(cfg: Config) -> None:
    cfg.batch, cfg.accumulate = 12, 3
    expanded = expand(cfg, world_size=2)
    assert expanded.train_dataloader.batch_size == 6
    assert expanded.optim_wrapper.accumulative_counts == 3
    with pytest.raises(UserError, match="batch 12 cannot be divided by 5 processes x accumulate 3"):
        expand(cfg, world_size=5)


TWO = ["gta5", "cityscapes"]


def test_several_training_domains_are_one_dataset_each_resized_in_its_own_way(cfg: Config) -> None:
    cfg.train_domain = TWO
    loader = expand(cfg).train_dataloader
    assert loader.sampler.type == "ibnseg.StreamSampler"  # by size
    sizes = [
        next(step["size"] for step in part.pipeline if "size" in step)
        for part in loader.dataset.datasets
    ]
    assert sizes == [Domains()[name].train_resize for name in TWO]
    assert sizes[0] != sizes[1]


def test_an_epoch_over_several_domains_is_the_sum_of_their_images(cfg: Config) -> None:
    cfg.train_domain, cfg.batch, cfg.epochs, cfg.iterations = TWO, 5, 2, None
    assert expand(cfg).train_cfg.max_iters == 2 * 3  # eight and four images
    cfg.train_subset = "quarter"
    assert expand(cfg).train_cfg.max_iters == 2 * 1  # two and one


def test_shares_are_those_of_the_domains_whatever_their_order(cfg: Config) -> None:
    cfg.train_domain, cfg.train_shares = TWO, dict(cityscapes=0.9, gta5=0.1)
    sampler = expand(cfg).train_dataloader.sampler
    assert sampler == dict(type="ibnseg.ShareSampler", shares=[0.1, 0.9])


@pytest.mark.parametrize("name", ["class_uniform", "class_balance"])
def test_classes_are_counted_over_all_training_domains(name: str, cfg: Config) -> None:
    cfg.train_domain, cfg[name] = TWO, 0.5
    joined = expand(cfg)
    if name == "class_uniform":
        assert joined.train_dataloader.sampler.type == "ibnseg.ClassUniformSampler"
    else:
        counts = class_counts(build_unshown(joined.train_dataloader.dataset))
        expected = class_weights(counts, 0.5)
        np.testing.assert_allclose(weights_of(joined), [expected], rtol=1e-3)
    cfg.train_shares = dict(gta5=0.5, cityscapes=0.5)
    with pytest.raises(UserError, match=f"{name} is 0.5 and train_shares .*; set one of them"):
        expand(cfg)


def test_what_is_not_defined_over_several_domains_is_refused(cfg: Config) -> None:
    select = dict(test_domains=["camvid"], save_best=True, selection_split="val")
    for changes, message in (
        (dict(train_shares=dict(gta5=1.0)), "expected a share for each of several"),
        (dict(train_domain=TWO, train_shares=dict(gta5=1.0)), "which are gta5, cityscapes"),
        (dict(train_domain=TWO, train_shares=dict(gta5=0.5, camvid=0.5)), "a share for each"),
        (dict(train_domain=TWO, **select), "save_best is not defined over several training"),
    ):
        changed = copy.deepcopy(cfg)
        for key, value in changes.items():
            changed[key] = value
        with pytest.raises(UserError, match=message), refused(changes):
            expand(changed)


def test_the_training_domains_must_have_the_same_classes(cfg: Config) -> None:
    cfg.train_domain = ["gta5", "bdd100k_drivable"]
    with pytest.raises(UserError, match="domain 'bdd100k_drivable' has the 3 classes"):
        expand(cfg)
