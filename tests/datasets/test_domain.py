"""Domains by name, and where their data lies."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from ibnseg.datasets.domain import Domain, Domains
from ibnseg.datasets.labels import CITYSCAPES, DRIVABLE
from ibnseg.engine.training import build_unshown
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder


def domain(**values: object) -> Domain:
    """GTA5 with other values."""
    return Domain.from_dict({**Domains()["gta5"].as_dict(), **values}, "here")


PACKAGED = sorted(path.stem for path in (config_folder() / "_base_" / "domains").glob("*.py"))


def test_packaged_domains_are_sound() -> None:
    """A domain's file is named for it, its type, splits and classes exist."""
    for name in PACKAGED:
        domain = Domains()[name]
        assert domain.name == name, name
        assert {domain.train_split, domain.test_split} <= set(domain.adapter.SPLITS), name
        assert set(domain.averaged) <= set(domain.class_set.classes), name


def test_the_known_datasets_have_a_domain_each() -> None:
    assert {"gta5", "cityscapes", "camvid", "mapillary", "bdd100k"} <= set(PACKAGED)


def test_the_classes_of_a_domain_are_its_adapters() -> None:
    assert Domains()["bdd100k_drivable"].class_set == DRIVABLE
    assert Domains()["bdd100k"].class_set == CITYSCAPES
    with pytest.raises(UserError, match="dataset type of domain 'x' 'ibnseg.GTA'; did you mean ib"):
        assert domain(name="x", dataset=dict(type="ibnseg.GTA")).class_set


def test_an_unknown_group_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    folder = tmp_path / "_base_" / "domains"
    folder.mkdir(parents=True)
    text = (config_folder() / "_base_" / "domains" / "gta5.py").read_text()
    (folder / "gta5.py").write_text(text.replace('"stretch"', '"strech"'))
    (tmp_path / "my.py").write_text("batch = 1")
    with pytest.raises(UserError, match="group of domain 'gta5' 'strech'; did you mean stretch"):
        Domains.of(Config.fromfile(tmp_path / "my.py"))["gta5"]


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/etc", "..", "a\\b", "C:x", "a\0b", "x" * 300, "", 5, None]
)
def test_a_name_that_could_leave_the_runs_folder_is_refused(name: object) -> None:
    """Files of results are called by it."""
    with pytest.raises(UserError, match="^here: name is .*, expected a short text without slashes"):
        domain(name=name)
    assert domain(name="gta5 v2.1_night-x").name == "gta5 v2.1_night-x"


def test_a_data_root_may_begin_with_a_tilde(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("IBNSEG_DATA", raising=False)
    (tmp_path / "x").mkdir()
    assert domain(data_root="~/x").root({}) == str(tmp_path / "x")
    assert domain().root({"gta5": "~/x"}) == str(tmp_path / "x")
    monkeypatch.setenv("IBNSEG_DATA", "~")
    assert domain(data_root="x").root({}) == str(tmp_path / "x")


def test_an_unknown_domain_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UserError, match="unknown domain 'citiscapes'; did you mean cityscapes"):
        Domains()["citiscapes"]


PLACES = ("made_from", "configs", "first", "second")


def test_domains_are_searched_in_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's record, beside the config that it was made from, ./configs, the folders of
    $IBNSEG_CONFIGS in turn, the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IBNSEG_CONFIGS", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    text = (config_folder() / "_base_" / "domains" / "gta5.py").read_text()
    files = []
    for place in PLACES:
        files.append(tmp_path / place / "_base_" / "domains" / "gta5.py")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_text(text.replace('title="GTA5"', f'title="{place}"'))
    recorded = {**Domains()["gta5"].as_dict(), "title": "recorded"}
    made_from = dict(made_from=str(tmp_path / "made_from" / "my.py"))
    run = Config(dict(domains=dict(gta5=recorded), **made_from))
    assert Domains.of(run)["gta5"].title == "recorded"
    run = Config(made_from)
    for place, file in zip(PLACES, files, strict=True):
        assert Domains.of(run)["gta5"].title == place
        assert Domains.of(run).titles(["gta5"]) == dict(gta5=place)
        file.unlink()
    assert Domains.of(run)["gta5"].title == "GTA5"


def test_a_domains_file_may_have_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IBNSEG_CONFIGS", str(tmp_path))
    folder = tmp_path / "_base_" / "domains"
    folder.mkdir(parents=True)
    text = (config_folder() / "_base_" / "domains" / "gta5.py").read_text()
    (folder / "day.py").write_text(text.replace('name="gta5"', 'name="day"'))
    (folder / "dusk.py").write_text("_base_ = 'day.py'\ndomain = dict(name='dusk', title='Dusk')\n")
    dusk = Domains()["dusk"]
    assert dusk.as_dict() == {**Domains()["gta5"].as_dict(), "name": "dusk", "title": "Dusk"}


def test_a_domain_with_wrong_keys_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "_base_" / "domains"
    folder.mkdir(parents=True)
    (folder / "odd.py").write_text("domain = dict(name='odd', colour=1)")
    (tmp_path / "my.py").write_text("batch = 1")
    with pytest.raises(UserError, match=r"odd.py: missing or unknown keys colour, .*eval_classes"):
        Domains.of(Config.fromfile(tmp_path / "my.py"))["odd"]


def test_the_data_is_taken_from_the_first_place_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--data-root by domain, then by data; $IBNSEG_DATA; data/."""
    own = domain(name="camvid_dusk", data_root="camvid")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IBNSEG_DATA", raising=False)
    for folder in ("data/camvid", "env/camvid", "a", "b"):
        (tmp_path / folder).mkdir(parents=True)
    assert own.root({}) == "data/camvid"
    monkeypatch.setenv("IBNSEG_DATA", "env")
    assert own.root({}) == "env/camvid"
    assert own.root({"camvid": "b"}) == "b"
    assert own.root({"camvid": "b", "camvid_dusk": "a"}) == "a"
    monkeypatch.setenv("IBNSEG_DATA", "elsewhere")
    assert own.root({}) == "data/camvid"


def test_a_missing_root_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IBNSEG_DATA", "env")
    own = domain(name="gta5", data_root="gta5")
    with pytest.raises(UserError, match=r"no folder env/gta5 nor data/gta5.*--data-root gta5=PATH"):
        own.root({})
    with pytest.raises(UserError, match="no folder typo"):
        own.root({"gta5": "typo"})


def test_a_value_of_the_wrong_kind_is_refused_with_what_was_expected() -> None:
    texts = dict.fromkeys(("name", "title", "data_root", "train_split", "test_split", "group"), 5)
    wrong = [
        *texts.items(),
        *((key, ["a"]) for key in texts),
        *((key, " ") for key in texts),
        ("dataset", "GTA5"),
        ("dataset", {"type": 5}),
        ("train_resize", 5),
        ("train_resize", (0, 5)),
        ("train_resize", (True, 5)),
        ("train_resize", (5.0, 5)),
        ("eval_classes", "road"),
        ("eval_classes", [1]),
    ]
    for key, value in wrong:
        with pytest.raises(UserError, match=f"here: {key} is .*, expected "):
            domain(**{key: value})


def test_a_subset_that_is_no_name_is_unknown(data: Path) -> None:
    for key, value in (("subset", ["quarter"]), ("subset", {}), ("class_map", ["a"])):
        with pytest.raises(UserError, match="unknown "):
            build_unshown(domain().dataset_config(str(data / "gta5"), "train", **{key: value}))
