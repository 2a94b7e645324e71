"""Suites as their files list them, and what distinguishes their runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ibnseg.experiments.plan import read_suite, waves
from ibnseg.support.configs import config_files
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from tests.support.refusals import refused


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_table_6_has_two_directions_and_three_networks():
    suite = read_suite("table6")
    assert [run.config for run in suite.runs] == [
        *("city2gta_r50", "city2gta_ibn50a", "city2gta_ibn50b"),
        *("gta2city_r50", "gta2city_ibn50a", "gta2city_ibn50b"),
    ]
    assert {(run.seed, run.start) for run in suite.runs} == {(0, None)}


def test_table_8_fine_tunes_what_table_6_trains():
    runs = read_suite("table8").runs
    assert len(runs) == 2 + 2 * 4
    six = {run.config: run for run in read_suite("table6").runs}
    for run in runs[:2]:
        assert run.identity == six[run.config].identity  # is trained once
        assert run.name == six[run.config].name
    for run in runs[2:]:
        assert run.config.removeprefix("city2gta") == run.start.config.removeprefix("gta2city")
        found = run.cfg.optimizer.lr, run.cfg.epochs, run.cfg.test_domains
        assert found == (0.003, 40, ["cityscapes"])
    assert [run.cfg.train_subset for run in runs[2:6]] == ["10%", "20%", "30%", "full"]
    assert list(waves(runs)) == [[0, 1], [2, 3, 4, 5, 6, 7, 8, 9]]


def test_a_suite_of_ones_own_goes_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs" / "suites"
    folder.mkdir(parents=True)
    written(folder, "runs = [dict(config='gta2city_r50')]\n")
    assert [run.config for run in read_suite("mine").runs] == ["gta2city_r50"]
    assert {"mine", "table6"} <= config_files("suites").keys()


def test_every_suite_has_each_run_once():
    for name in config_files("suites"):
        runs = read_suite(name).runs
        assert len({run.name for run in runs}) == len(runs), name
        for i, run in enumerate(runs):
            assert run.start is None or run.start in runs[:i], (name, i)


IDENTITIES = dict(table6="41782a03 3defa819 8f2c33d5", table8="bf06b177", evidence="c529df98")


def test_runs_that_exist_already_keep_their_folders() -> None:
    """A new key, with its default, changes no identity; a revision of the training changes those
    that it concerns."""
    for name, identities in IDENTITIES.items():
        known = identities.split()
        assert [run.identity for run in read_suite(name).runs[: len(known)]] == known, name


ENTRY = 'dict(config="streets_r18"{})'


def identity(folder: Path, more: str = "", seeds: str = "(0,)") -> str:
    text = f"seeds = {seeds}\nruns = [{ENTRY.format(more)}]\n"
    return read_suite(written(folder, text)).runs[0].identity


def test_what_changes_a_training_changes_its_identity(tmp_path):
    usual = identity(tmp_path)
    for options in (
        '{"iterations": 400}',
        '{"optimizer.lr": 0.1}',
        '{"train_domain": "streets_real"}',
        '{"model.backbone.variant": "a"}',
        '{"precision": "bfloat16"}',
        '{"save_best": True, "selection_split": "val"}',
        '{"tta_scales": (0.5, 1.0)}',
    ):
        assert identity(tmp_path, f", options={options}") != usual, options


def test_what_does_not_change_a_training_leaves_its_identity(tmp_path):
    usual = identity(tmp_path)
    for more in (
        ', title="other"',
        ', options={"test_domains": ["streets_real"], "protocol": "short1024"}',
        ', options={"workers": 3, "log_interval": 7, "console": "log"}',
        ', options={"iterations": 500, "seed": 0, "class_balance": 0.0, "start_from": None}',
    ):
        assert identity(tmp_path, more) == usual, more


def test_the_split_and_size_of_the_training_domain_change_the_identity(tmp_path):
    """The place of its data and its name do not change it."""
    folder = tmp_path / "_base_" / "domains"
    folder.mkdir(parents=True)
    (tmp_path / "own.py").write_text(f'_base_ = "{config_folder()}/streets_r18.py"\n')
    packaged = (config_folder() / "_base_" / "domains" / "gta5.py").read_text()
    found = []
    for old, new in (("", ""), ("(1024, 563)", "None"), ('"GTA5"', '"G"'), ('"train"', '"val"')):
        (folder / "mine.py").write_text(packaged.replace(old, new).replace('"gta5"', '"mine"'))
        more = ', options={"train_domain": "mine"}'
        text = ENTRY.format(more).replace("streets_r18", str(tmp_path / "own.py"))
        found.append(read_suite(written(tmp_path, f"runs = [{text}]")).runs[0].identity)
    assert found[0] == found[2]
    assert len(set(found)) == 3


def test_options_of_a_run_stay_the_values_that_they_are(tmp_path):
    """Dicts, lists of dicts, and texts with blanks and commas stay what they are."""
    augment = [{"type": "ibnseg.Appearance", "names": ["std x1.5", "a,b"], "prob": 0.5}]
    options = {"augment": augment, "optimizer": {"lr": 0.1}, "model.backbone.stages": (True, False)}
    text = f"runs = [{ENTRY.format(f', options={options!r}')}]"
    cfg = read_suite(written(tmp_path, text)).runs[0].cfg
    assert cfg.augment == augment
    assert (cfg.optimizer.lr, cfg.optimizer.type) == (0.1, "AdamW")
    assert cfg.model.backbone.stages == (True, False)


def test_runs_of_several_seeds_lie_below_one_identity(tmp_path):
    more = ', seeds=(7,), title="as above"'
    text = f"seeds = (3, 5)\nruns = [{ENTRY.format('')}, {ENTRY.format(more)}]\n"
    runs = read_suite(written(tmp_path, text)).runs
    assert [run.seed for run in runs] == [3, 5, 7]
    assert [Path(run.name).name for run in runs] == ["seed3", "seed5", "seed7"]
    assert len({Path(run.name).parent for run in runs}) == 1


def test_a_run_starts_from_that_of_its_seed_or_the_only_one(tmp_path):
    start = ', title="one"', ', title="two", start="one"', ', title="three", start="two"'
    entries = ", ".join(ENTRY.format(more) for more in start)
    text = f"seeds = (0, 1)\nruns = [{entries}]\n"
    runs = read_suite(written(tmp_path, text)).runs
    assert [(run.title, run.seed) for run in runs] == [
        *(("one", 0), ("one", 1), ("two", 0), ("two", 1), ("three", 0), ("three", 1)),
    ]
    assert [run.start for run in runs] == [None, None, *runs[:4]]
    assert len({run.identity for run in runs}) == 3  # each of its seed's
    assert list(waves(runs)) == [[0, 1], [2, 3], [4, 5]]
    single = text.replace('title="one"', 'title="one", seeds=(9,)')
    runs = read_suite(written(tmp_path, single)).runs
    assert [run.start and run.start.seed for run in runs] == [None, 9, 9, 0, 1]
    assert runs[1].identity == runs[2].identity  # all from the one
    other = text.replace('title="one"', 'title="one", seeds=(8,)')
    assert read_suite(written(tmp_path, other)).runs[1].identity != runs[1].identity


WRONG_SUITES = (
    ("runs = []", r"runs is \[\], expected a list of dicts"),
    ("title = 'x'", "runs is None, expected a list of dicts"),
    ("runs = ['streets_r18']", r"runs\[0\] is 'streets_r18', expected a dict with config"),
    ("runs = [dict(options={})]", r"runs\[0\] is .*expected a dict with config"),
    ("runs = [dict(config='streets_r18', sedes=(1,))]", "expected a dict with config"),
    ("runs = [dict(config='streets_r19')]", "unknown config 'streets_r19'; did you mean"),
    ("runs = [dict(config='streets_r18', options=dict(itrations=3))]", "unknown config key"),
    (
        "runs = [dict(config='streets_r18', start='it')]",
        r"runs\[0\]: start is 'it', .*; no entry above has that title",
    ),
    ("runs = [", "cannot be read as a suite"),
    ("runs = 'streets_r18'", "runs is 'streets_r18', expected a list of dicts"),
    ("runs = [dict(config=3)]", r"runs\[0\]: config is 3, expected a name or path"),
    (
        "runs = [dict(config='streets_r18', options=['seed=3'])]",
        r"runs\[0\]: options is \['seed=3'\], expected a dict",
    ),
    (
        "seeds = 3\nruns = [dict(config='streets_r18')]",
        r"runs\[0\]: seeds is 3, expected a list of whole numbers",
    ),
    ("runs = [dict(config='streets_r18', seeds=(-1,))]", r"seeds is \(-1,\), expected a list"),
    (
        "runs = [dict(config='streets_r18', title='a'),"
        " dict(config='streets_r18', title='b', options=dict(workers=3))]",
        r"runs\[1\]: the training of 'a' with seed 0 is listed above already; list it once",
    ),
    (
        "runs = [dict(config='streets_r18', options=dict(train_domain=None))]",
        r"runs\[0\]: train_domain is None, expected a name",
    ),
    (
        "runs = [dict(config='streets_r18', title='a', seeds=(1, 2)),"
        " dict(config='streets_r18', start='a', seeds=(3,))]",
        r"runs\[1\]: start is 'a', .* a run of seed 3; that title has seeds \[1, 2\]",
    ),
)


def test_a_wrong_suite_is_refused_with_the_entry_that_is_wrong(tmp_path):
    for text, message in WRONG_SUITES:
        with pytest.raises(UserError, match=message), refused(text):
            read_suite(written(tmp_path, text))


def test_the_suite_in_the_docs_can_be_read(tmp_path):
    """A run that starts from another run has the same network."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    runs = read_suite(written(tmp_path, page.split("```python\n")[1].split("```")[0])).runs
    assert len(runs) == 4 * 3
    for run in runs[-3:]:
        own, start = run.cfg, run.start.cfg
        assert (own.train_domain, start.train_domain) == ("streets_real", "streets_virtual")
        assert own.model == start.model


def test_a_suite_that_is_no_regular_file_is_refused():
    with pytest.raises(UserError, match="^/dev/zero: is a device, expected a file"):
        read_suite("/dev/zero")


def test_an_unknown_suite_is_answered_by_the_nearest():
    with pytest.raises(UserError, match="unknown suite 'table7'; did you mean table"):
        read_suite("table7")


def test_the_folders_named_in_the_evidence_exist_in_the_suite():
    """Are those of the suite, so that its commands can be copied."""
    page = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text()
    named = set(re.findall(r"\b\w+-[0-9a-f]{8}(?=/seed)", page))
    assert named == {Path(run.name).parent.name for run in read_suite("evidence").runs}
