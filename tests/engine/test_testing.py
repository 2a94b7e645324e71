"""Testing in an expanded config: protocols, windows, augmentation, averaged classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CAMVID_CLASSES, CLASSES
from ibnseg.engine.expand import expand
from ibnseg.engine.testing import describe_inference, slide_of
from ibnseg.evaluation import PROTOCOLS, Slide
from ibnseg.support.errors import UserError
from tests.conftest import write_drivable


@pytest.fixture
def cfg(tiny: Config, in_data: Path) -> Config:
    return tiny


def test_several_protocols_give_each_test_their_name(cfg: Config) -> None:
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


def test_augmented_testing_is_named_by_its_scales_and_flips(cfg: Config) -> None:
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
    """Without ``eval_classes``, the classes that occur in the dataset's labels are averaged."""
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


def test_inference_is_described_by_its_windows() -> None:
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


def test_all_protocols_leave_out_what_a_domain_cannot_honour_unless_it_is_named(
    cfg: Config, tmp_path, capsys
) -> None:
    write_drivable(tmp_path, "2021")
    cfg.train_domain, cfg.test_domains = "bdd100k_drivable", ["bdd100k_drivable"]
    cfg.model.decode_head.num_classes, cfg.protocol = 3, "all"
    tests = expand(cfg, roots={"bdd100k": str(tmp_path)}).test_cfg.tests
    assert [test["protocol"]["name"] for test in tests] == ["native", "paper", "short1024"]
    assert capsys.readouterr().err == (
        "ibnseg: left out of the protocols: robustnet, rein, soma, synthia16, synthia13; domain "
        "'bdd100k_drivable' does not have all classes that they average\n"
    )
    cfg.protocol = ["all", "soma"]
    with pytest.raises(UserError, match="protocol 'soma' averages classes that domain 'bdd100k_dr"):
        expand(cfg, roots={"bdd100k": str(tmp_path)})


def test_all_protocols_are_every_one_in_the_order_of_the_table(cfg: Config, capsys) -> None:
    cfg.protocol, cfg.test_domains = ["all"], ["gta5", "camvid"]
    cfg = expand(cfg)
    assert list(cfg.test_dataloader) == [
        f"{domain}-{protocol}" for protocol in PROTOCOLS for domain in ("gta5", "camvid")
    ]
    assert list(expand(cfg).test_dataloader) == list(cfg.test_dataloader)
    assert capsys.readouterr().err == ""


def test_all_protocols_leave_out_windows_of_logits_that_a_network_does_not_give(
    cfg: Config, capsys
) -> None:
    facts = dict(kind="Python", source="mynet:build", sha256="0", selected_on=None)
    cfg.foreign = dict(facts, classes=list(CLASSES), gives="classes", sees_images=True)
    cfg.protocol, cfg.test_domains = ["all"], ["cityscapes"]
    tests = expand(cfg, training=False).test_cfg.tests
    names = [test["protocol"]["name"] for test in tests]
    others = ["synthia16", "synthia13"]
    assert names == ["native", "paper", "robustnet", "short1024", *others]
    assert capsys.readouterr().err == (
        "ibnseg: left out of the protocols: rein, soma; mynet:build does not give the logits "
        "that they need\n"
    )
