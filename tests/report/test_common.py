"""Networks that average different classes of a domain, in one column."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from ibnseg.evaluation import metrics, results
from ibnseg.evaluation.confusion import iou
from ibnseg.evaluation.metrics import Metric
from ibnseg.report.build import build
from ibnseg.report.data import as_csv, as_json
from ibnseg.report.gather import gather
from ibnseg.report.matrix import Matrix
from ibnseg.report.records import read_runs
from ibnseg.support.errors import UserError
from tests.conftest import save_run

CLASSES = ("road", "car", "sky")
KNOWN = ("road", "car")
# rows truth: two images of ten pixels, in which every class is missed once
OWN = [[[3, 1, 0], [1, 2, 0], [0, 1, 2]], [[5, 0, 1], [0, 1, 0], [1, 0, 2]]]
# the same pixels; what would be sky is another class
FOREIGN = [
    [[4, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 3], [0, 0, 0, 0]],
    [[5, 0, 0, 1], [0, 1, 0, 0], [2, 0, 0, 1], [0, 0, 0, 0]],
]
LACKS = "Averaged over 2 of 3 classes, because Foreign does not have sky"


def own(folder: Path, tests: tuple[str, ...] = ("gta5",), **kwargs) -> Path:
    facts = dict(name="own", classes=CLASSES) | kwargs
    return save_run(folder / facts["name"], dict.fromkeys(tests, OWN), **facts)


def foreign(folder: Path, tests: tuple[str, ...] = ("gta5",), **kwargs) -> Path:
    facts = dict(name="foreign", classes=(*CLASSES, "other"), averaged=KNOWN, without=("sky",))
    facts |= kwargs
    return save_run(folder / facts["name"], dict.fromkeys(tests, FOREIGN), **facts)


def matrix(*runs: Path, metric: str = "mIoU", **kwargs) -> Matrix:
    (found,) = build(read_runs(runs), metric, **kwargs)
    return found


def averaged(images: list, classes: list[int]) -> float:
    return float(np.mean(iou(np.sum(images, axis=0))[classes]))


def test_a_column_averages_the_classes_that_all_of_its_networks_average(tmp_path):
    # by hand, road and car: 8 / (10 + 10 - 8), 3 / (4 + 5 - 3); 9 / (10 + 12 - 9), 2 / (4 + 2 - 2)
    expected = (8 / 12 + 3 / 6) / 2, (9 / 13 + 2 / 4) / 2
    found = matrix(own(tmp_path), foreign(tmp_path))
    cells = [row.cells[0] for row in found.blocks[0].rows]
    assert [cell.value for cell in cells] == pytest.approx(expected, abs=1e-15)
    (difference,) = found.blocks[0].differences
    assert difference.cells[0].value == pytest.approx(expected[1] - expected[0])
    assert [tuple(remark) for remark in found.remarks] == [(LACKS, ("gta5",))]
    assert found.columns[0].averaged == KNOWN
    alone = matrix(own(tmp_path)).blocks[0].rows[0].cells[0].value
    assert alone == pytest.approx(averaged(OWN, [0, 1, 2]))


def test_intervals_are_those_of_a_run_that_averaged_the_same_classes(tmp_path):
    two = [own(tmp_path), foreign(tmp_path)]
    same = [own(tmp_path / "same", averaged=KNOWN), foreign(tmp_path / "same")]
    for metric in ("mIoU", "mean_class_accuracy", "frequency_weighted_iou", "f_score"):
        recomputed, measured = (matrix(*runs, metric=metric) for runs in (two, same))
        assert recomputed.blocks == measured.blocks, metric
        assert recomputed.blocks[0].rows[0].cells[0].by_image is not None
        assert recomputed.blocks[0].differences[0].cells[0].by_image is not None


def test_a_network_without_another_class_is_compared_by_name_too(tmp_path):
    """One that knows fewer classes, and never predicts what the domain does not have."""
    few = save_run(
        tmp_path / "few", {"gta5": OWN}, name="few", classes=CLASSES, averaged=("sky", "road")
    )
    found = matrix(own(tmp_path), few, foreign(tmp_path))
    values = [row.cells[0].value for row in found.blocks[0].rows]
    assert values == pytest.approx([8 / 12, 8 / 12, 9 / 13])
    assert found.remarks[0].text == (
        "Averaged over 1 of 3 classes, because Few does not average car; Foreign does not have sky"
    )


def test_classes_that_all_networks_lack_are_remarked_too(tmp_path):
    found = matrix(foreign(tmp_path, name="a"), foreign(tmp_path, name="b"))
    assert [remark.text for remark in found.remarks] == [
        "Averaged over 2 of 3 classes, because A and B do not have sky"
    ]
    assert found.blocks[0].rows[0].cells[0].value == pytest.approx(averaged(FOREIGN, [0, 1]))


def test_other_columns_and_agreeing_networks_are_left_alone(tmp_path):
    both = own(tmp_path, ("gta5", "camvid")), foreign(tmp_path, ("camvid",))
    found = matrix(*both)
    (row, _) = found.blocks[0].rows
    assert row.cells[0].value == pytest.approx(averaged(OWN, [0, 1, 2]))
    assert row.cells[1].value == pytest.approx(averaged(OWN, [0, 1]))
    assert row.cells[1].drop == pytest.approx(0)  # in both domains over road and car
    assert [column.averaged for column in found.columns] == [None, KNOWN]
    assert found.remarks[0].domains == ("camvid",)
    agreeing = matrix(own(tmp_path / "x"), own(tmp_path / "x", name="more"))
    assert agreeing.remarks == ()


def test_metrics_of_one_class_or_of_all_pixels_stay_as_measured(tmp_path):
    runs = own(tmp_path), foreign(tmp_path)
    for metric, values in (
        ("sky", (4 / 7, None)),
        ("car", (3 / 6, 2 / 4)),
        ("pixel_accuracy", (15 / 20, 11 / 20)),
    ):
        found = matrix(*runs, metric=metric)
        cells = [row.cells[0] and row.cells[0].value for row in found.blocks[0].rows]
        assert cells == pytest.approx(values), metric
        assert found.remarks == (), metric
        assert found.columns[0].averaged is None


def test_a_metric_that_is_not_known_over_fewer_classes_is_left_out(tmp_path):
    runs = own(tmp_path), foreign(tmp_path)
    for run, value in zip(runs, (0.5, 0.25), strict=True):
        content = results.read(run / "results.json")
        content["tests"][0]["metrics"]["mine"] = value
        results.write(run / "results.json", content)
    found = matrix(*runs, metric="mine")
    cells = [row.cells[0] and row.cells[0].value for row in found.blocks[0].rows]
    assert cells == [None, 0.25]
    texts = [remark.text for remark in found.remarks]
    assert texts[0] == (
        "Own: no mine, which cannot be computed over 2 of 3 classes; Foreign does not have sky"
    )


def test_a_metric_that_was_not_measured_has_no_values(tmp_path):
    found = matrix(own(tmp_path), foreign(tmp_path), metric="boundary_iou")
    assert [row.cells[0] for row in found.blocks[0].rows] == [None, None]


def test_a_metric_that_counts_for_itself_is_computed_anew(tmp_path, monkeypatch):
    """A row for each class: twice the first number of those that are averaged."""
    monkeypatch.setitem(
        metrics.METRICS,
        "twice",
        Metric(
            "twice",
            "twice",
            lambda counts, classes: 2.0 * counts[..., classes, 0].sum(axis=-1),
            "",
            unit="pixels",
            over_classes=True,
            count=lambda pixels: np.zeros((3, 1)),
        ),
    )
    counts = {"gta5": {"twice": [[[1], [2], [4]], [[0], [1], [2]]]}}
    found = matrix(own(tmp_path, counts=counts), foreign(tmp_path, counts=counts), metric="twice")
    assert [row.cells[0].value for row in found.blocks[0].rows] == [8.0, 8.0]


def test_networks_without_a_common_class_are_refused(tmp_path):
    a = own(tmp_path, averaged=("sky",))
    b = foreign(tmp_path)
    with pytest.raises(UserError, match=f"{a} and {b}: tested over different classes on gta5, whi"):
        matrix(a, b)


def test_classes_of_other_names_or_in_another_order_are_refused(tmp_path):
    a = own(tmp_path)
    for i, classes in enumerate((("road", "car", "person"), ("car", "road", "sky"), KNOWN)):
        images = np.array(OWN)[:, : len(classes), : len(classes)]
        b = save_run(tmp_path / f"{i}", {"gta5": images}, name=f"b{i}", classes=classes)
        with pytest.raises(UserError, match=f"{a} and {b}: tested over different classes on gta5"):
            matrix(a, b)


def test_csv_and_json_name_the_classes_of_a_column_only_if_they_are_fewer(tmp_path):
    alone, both = gather([own(tmp_path)]), gather([own(tmp_path), foreign(tmp_path)])
    for report, names in ((alone, None), (both, [*KNOWN])):
        (column,) = json.loads(as_json(report))["matrices"][0]["columns"]
        assert column.get("averaged") == names
        first = next(csv.DictReader(io.StringIO(as_csv(report))))
        assert first.get("averaged") == (names and "road;car")
