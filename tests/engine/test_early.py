"""Names on the command line are checked before anything is imported that takes long."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg.datasets.domain import Domains
from ibnseg.engine import read
from ibnseg.engine.early import check_given_names, check_training
from ibnseg.networks.sources import check_testing
from ibnseg.support.errors import UserError

CODE = "\nimport os\ndel os\n"
"""Lines with which a config is no longer plain data."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own" / "mine.py"
    path.parent.mkdir()
    (tmp_path / "data/gta5").mkdir(parents=True)
    path.write_text("_base_ = 'gta2city_ibn50a.py'\n")
    return path


def other(name: str) -> dict:
    """The values of a domain, as a config states them."""
    return {**Domains()["gta5"].as_dict(), "name": name, "data_root": name}


def said(config: Path, *options: str, domains: list[str]) -> str:
    with pytest.raises(UserError) as told:
        check_training(config, options, domains=domains)
    return str(told.value)


def test_an_unknown_domain_is_reported_alike_with_and_without_reading_the_config(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "_base_/domains").mkdir(parents=True)
    (config.parent / "_base_/domains/cityscape_by_night.py").touch()
    read_by_mmengine = []
    plain = read.load_config
    monkeypatch.setattr(
        read, "load_config", lambda *args: [read_by_mmengine.append(args), plain(*args)][1]
    )
    for names in (["citiscapes"], ["gta5", "zzz"], ["cityscape_by_nigth"]):
        quick = said(config, "batch=8", domains=names)
        assert not read_by_mmengine, names
        text = config.read_text()
        config.write_text(text + CODE)
        assert said(config, "batch=8", domains=names) == quick
        assert read_by_mmengine, names
        config.write_text(text)
        read_by_mmengine.clear()
    assert "did you mean cityscape_by_night" in said(config, domains=["cityscape_by_nigth"])


WAYS = {
    "in the config": (f"domains = dict(other={other('other')!r})\n", ()),
    "in its base": ("_base_ = 'base.py'\n", ()),
    "in both": (f"_base_ = 'base.py'\ndomains = dict(third={other('third')!r})\n", ()),
    "by code": (f"domains = {{name: {other('other')!r} for name in ['other']}}\n", ()),
    "by an item": (f"domains = {{}}\ndomains['other'] = {other('other')!r}\n", ()),
    "by augmenting": (f"domains = {{}}\ndomains |= dict(other={other('other')!r})\n", ()),
    "in options": ("domains = {}\n", (f"domains=dict(other={other('other')!r})",)),
    "beside another file": ("made_from = 'elsewhere/x.py'\n", ()),
    "beside another file in options": ("made_from = ''\n", ("made_from=elsewhere/x.py",)),
}


def test_a_domain_of_ones_own_is_found_whatever_way_it_comes(config: Path) -> None:
    base = config.read_text()
    config.with_name("base.py").write_text(f"{base}domains = dict(other={other('other')!r})\n")
    folder = config.parents[1] / "elsewhere/_base_/domains"
    folder.mkdir(parents=True)
    (folder / "other.py").write_text(f"domain = {other('other')!r}\n")
    for way, (text, options) in WAYS.items():
        config.write_text(text if "_base_" in text else base + text)
        message = said(config, *options, domains=["other"])
        assert message.startswith("domain 'other': no folder data/other"), way
        assert said(config, *options, domains=["othr"]).startswith("unknown domain 'othr'"), way


def test_a_domain_beside_the_config_is_found(config: Path) -> None:
    folder = config.parent / "_base_/domains"
    folder.mkdir(parents=True)
    (folder / "other.py").write_text(f"domain = {other('other')!r}\n")
    assert said(config, domains=["other"]).startswith("domain 'other': no folder data/other")


def test_names_are_left_to_the_reader_of_configs_that_are_code_or_wrong(config: Path) -> None:
    with pytest.raises(UserError, match="unknown domain 'unknown'"):
        check_given_names(config, (), ["unknown"])
    for text, options in (
        ("custom_imports = dict(imports=['x'])\n", ()),
        ("", ("custom_imports.imports=x",)),
        ("_base_ = 'missing.py'\n", ()),
        ("_base_ = 'mine.py'\n", ()),
        ("train_domain = '{{fileBasenameNoExtension}}'\n", ()),
        ("given = 5\n", ()),
        ("made_from = 5\n", ()),
        ("_base_ = 5\n", ()),
        ("wrong wrong\n", ()),
    ):
        config.write_text(text)
        assert check_given_names(config, options, ["unknown"]) is None, text


def test_the_record_of_a_run_is_read_as_data(trained) -> None:
    config, run, _ = trained
    for name, nearest in (("cityscape", "cityscapes"), ("gta", "gta5")):
        message = f"^unknown domain '{name}'; did you mean {nearest}"
        for source in (run, config):
            with pytest.raises(UserError, match=message):
                check_given_names(source, (), ["gta5", name])
            with pytest.raises(UserError, match=message):
                check_testing(source, run / "latest.pth", domains=["gta5", name])


def test_an_unknown_protocol_is_refused_whatever_the_config_is(config: Path) -> None:
    config.write_text("wrong wrong\n")
    with pytest.raises(UserError, match="unknown protocol 'pape'; did you mean paper"):
        check_given_names(config, (), None, ["native", "pape"])
