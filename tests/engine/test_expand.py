"""A short config expands to one that needs no other file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ibnseg.datasets.domain import Domains
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.models.recognise import recognise
from ibnseg.models.zoo import PUBLISHED
from ibnseg.registry import MODELS
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from tests.conftest import write_drivable


@pytest.fixture
def cfg(tiny: Config, in_data: Path) -> Config:
    return tiny


MODEL_FILES = sorted((config_folder() / "_base_" / "models").glob("*.py"))


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_heads_take_what_backbones_give(path: Path) -> None:
    """Every network of the configs goes through its heads, at the stride that its name says; the
    weights that it starts from are published ones of this very network (those of ViTs:
    tests/test_foundation.py)."""
    init_default_scope("mmseg")
    cfg = Config.fromfile(path)
    with torch.device("meta"):
        model = MODELS.build(cfg.model).eval()
    stride = 4 if "v3plus" in path.stem else int(path.stem.rpartition("-d")[2])
    logits = model(torch.empty(2, 3, 64, 128, device="meta"), mode="tensor")
    assert logits.shape == (2, cfg.model.decode_head.num_classes, 64 // stride, 128 // stride)
    if cfg.model.backbone.type == "ibnseg.ViT":
        return
    source, name = cfg.model.backbone.init_cfg.checkpoint.split("://")
    own = recognise(model.backbone.state_dict())
    assert (source, name) == ("ibnseg" if "ibn" in own else "torchvision", own)
    assert name in PUBLISHED


PACKAGED = sorted(path.stem for path in config_folder().glob("*.py"))


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_experiment_expands(name: str, data: Path, tmp_path: Path) -> None:
    """Every experiment expands, on small data in the layout of each domain."""
    cfg = load_config(name)
    known = Domains.of(cfg)
    trained = train_domains(cfg)
    roots = {}
    for domain in {*trained, *cfg.test_domains}:
        adapter = known[domain].dataset["type"].removeprefix("ibnseg.")
        if adapter == "BDD100KDrivable":
            write_drivable(tmp_path / domain, known[domain].dataset.get("release", "2021"))
            roots[domain] = str(tmp_path / domain)
        else:
            roots[domain] = str(data / adapter.lower())
    cfg = expand(cfg, roots)
    assert cfg.train_cfg.max_iters > 0
    assert {test["domain"] for test in cfg.test_cfg.tests} == set(cfg.test_domains)
    assert cfg.name == name


def test_the_dumped_config_is_self_contained(cfg: Config, tmp_path: Path) -> None:
    """The config in the work dir expands to itself, without the files that it was made from."""
    once = expand(cfg)
    once.dump(tmp_path / "config.py")
    again = expand(Config.fromfile(tmp_path / "config.py"))
    assert again._cfg_dict.to_dict() == once._cfg_dict.to_dict()
    assert "_base_" not in (tmp_path / "config.py").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(train_domain="gta"), "unknown domain 'gta'; did you mean gta5"),
        (dict(test_domains=["cityscape"]), "unknown domain 'cityscape'; did you mean cityscapes"),
        (dict(protocol="papre"), "unknown protocol 'papre'; did you mean paper"),
        (dict(precision="bfloat"), "precision is 'bfloat', expected 'float32' or"),
        (dict(train_subset="half"), "unknown subset 'half'"),
        (dict(batch=None), "no value for batch"),
        (dict(save_best=True), "save_best needs a selection_split"),
        (
            dict(domains={"gta5": {**Domains()["gta5"].as_dict(), "eval_classes": ["rode"]}}),
            "unknown class in eval_classes of domain 'gta5' 'rode'; did you mean road",
        ),
    ],
)
def test_a_wrong_value_is_named_before_anything_runs(
    change: dict, message: str, cfg: Config
) -> None:
    for key, value in change.items():
        cfg[key] = value
    cfg.iterations, cfg.epochs = None, 1  # so that the training data is listed
    with pytest.raises(UserError, match=message):
        expand(cfg)


def test_an_unknown_name_in_data_root_is_refused(cfg: Config) -> None:
    with pytest.raises(UserError, match="unknown name in --data-root 'gta'; did you mean gta5"):
        expand(cfg, {"gta": "/data/gta5"})


def test_tensorboard_and_bfloat16_are_switched_on(cfg: Config) -> None:
    cfg.tensorboard, cfg.precision = True, "bfloat16"
    cfg = expand(cfg)
    assert [b["type"] for b in cfg.visualizer.vis_backends][-1] == "TensorboardVisBackend"
    assert cfg.optim_wrapper.type == "ibnseg.BFloat16OptimWrapper"


def test_the_config_that_is_expanded_stays_as_it_was(cfg: Config) -> None:
    before = cfg.pretty_text
    expand(cfg)
    assert cfg.pretty_text == before


def test_domains_of_other_classes_are_refused(cfg: Config) -> None:
    cfg.test_domains = ["gta5", "bdd100k_drivable"]
    with pytest.raises(UserError, match="domain 'bdd100k_drivable' has the 3 classes of driv"):
        expand(cfg)
    cfg.train_domain = "bdd100k_drivable"
    with pytest.raises(UserError, match="'gta5' has the 19 classes of cityscapes, the training"):
        expand(cfg)
    cfg.test_domains = ["bdd100k_drivable"]
    with pytest.raises(UserError, match="num_classes is 19, the training domain has 3 classes"):
        expand(cfg)
