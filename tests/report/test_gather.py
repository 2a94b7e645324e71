"""The contents of a report, and wrong input."""

import json
from pathlib import Path

import pytest

from ibnseg.evaluation import results
from ibnseg.report.gather import gather
from ibnseg.support.errors import UserError
from tests.conftest import save_run
from tests.report.conftest import road


def test_a_report_can_be_narrowed_to_domains_and_protocols(runs, published):
    both = gather(runs, domains=["cityscapes"], published=True)
    assert [[c.domain for c in m.columns] for m in both.matrices] == [["cityscapes"]]
    assert [dict(row.values) for row in both.beside[0]] == [{"cityscapes": "28.95"}]
    assert both.apart.keys() == {"unknown"}
    native = gather(runs, protocols=["native"], published=True)
    assert len(native.matrices) == 1
    assert native.apart == {}


def test_with_runs_only_published_numbers_of_their_domains_are_shown(runs, published):
    found = gather(runs, published=True)
    (row,) = found.beside[0]
    assert dict(row.values) == {"cityscapes": "28.95", "gta5": "70.0"}
    assert row.train == ("gta5",)
    assert {name: len(rows) for name, rows in found.apart.items()} == {"unknown": 1}


def test_without_runs_all_published_numbers_of_the_metric_are_shown(published):
    found = gather([], published=True)
    assert found.matrices == []
    sizes = {name: [len(row.values) for row in rows] for name, rows in found.apart.items()}
    assert sizes == {"native": [3], "unknown": [1], "rein": [1]}
    (rows,) = gather([], "pixel_accuracy", published=True).apart.values()
    assert [dict(row.values) for row in rows] == [{"cityscapes": "80.0"}]
    narrowed = gather([], protocols=["native"], domains=["bdd100k"], published=True)
    assert [dict(row.values) for row in narrowed.apart["native"]] == [{"bdd100k": "25.14"}]


def test_published_numbers_stand_apart_where_their_protocol_is_ambiguous(runs, published):
    """Two ways of inference under one name: a published number says not which."""
    slide = dict(name="native", version=1, inference="slide 2x2/1x1")
    save_run(runs[0], {"gta5": road(5)}, name="a_plain", protocol=slide)
    found = gather(runs, published=True)
    assert len(found.matrices) == 2
    assert found.beside == [[], []]
    assert found.apart.keys() == {"native", "unknown"}


def test_the_packages_published_numbers_can_be_gathered():
    found = gather([], "pixel_accuracy", published=True)
    assert [row.values["gta5"] for row in found.apart["unknown"]] == ["71.9", "71.4", "78.8"]


def record_titles(run: Path, **titles: str) -> None:
    content = results.read(run / "results.json")
    content["domains"] = {name: dict(title=x, group="image") for name, x in titles.items()}
    results.write(run / "results.json", content)


def test_titles_are_those_that_results_record_then_those_of_the_domains_files(runs):
    record_titles(runs[0], gta5="Own GTA")
    record_titles(runs[1], gta5="Another")
    found = gather(runs)
    assert (found.title("gta5"), found.title("cityscapes")) == ("Own GTA", "Cityscapes")
    assert found.title("gta5", "elsewhere") == "Own GTA + elsewhere"


def test_nothing_of_a_run_is_executed(runs):
    for name in ("config.py", "sitecustomize.py", "mymethod.py"):
        (runs[0] / name).write_text("raise SystemExit('executed')\n")
    assert gather(runs).title("gta5") == "GTA5"


def test_a_run_of_schema_1_is_read_as_one_of_schema_2(runs):
    expected = gather(runs, "f_score")
    for run in runs:
        path = run / "results.json"
        content = json.loads(path.read_text())
        for key in ("domains", "metrics"):
            del content[key]
        for test in content["tests"]:
            del test["metrics"], test["counts"]
        path.write_text(json.dumps(content | dict(schema=1)))
    assert gather(runs, "f_score") == expected


def test_unknown_metrics_protocols_and_domains_are_refused_with_the_nearest_names(runs, published):
    for kwargs, message in (
        (dict(metric="miou"), "metric 'miou'; did you mean mIoU"),
        (dict(metric="roads"), "metric 'roads'; did you mean road"),
        (dict(protocols=["nativ"]), "'nativ'; did you mean native"),
        (dict(protocols=["unknown"]), "'unknown'"),
        (dict(domains=["citiscapes"]), "'citiscapes'; did you mean cityscapes"),
        (dict(domains=["bdd100k"], published=True), "'bdd100k'"),
    ):
        with pytest.raises(UserError, match=f"^unknown .*{message}"):
            gather(runs, **kwargs)


def test_a_report_without_runs_or_published_numbers_is_refused(published):
    with pytest.raises(UserError, match="no run to show"):
        gather([])
    with pytest.raises(UserError, match="nothing to show of car"):
        gather([], "car", published=True)


def test_damaged_matrices_of_images_are_named(runs):
    file: Path = runs[1] / "per_image/cityscapes-native.npz"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=f"{file}: damaged"):
        gather(runs)
