"""The matrix of runs whose numbers are worked out by hand."""

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from ibnseg.evaluation import results
from ibnseg.report import tables
from ibnseg.report.build import build
from ibnseg.report.matrix import Matrix
from ibnseg.report.records import read_runs
from ibnseg.support.errors import UserError
from tests.conftest import save_run

SLIDE = dict(name="native-slide2x2-1x1", version=1, inference="slide 2x2/1x1")
NEWER = dict(name="native", version=2, inference="whole")


def image(right: int, of: int = 10) -> list[list[int]]:
    """An image of road, some of it taken for car: accuracy and IoU of road are right / of."""
    return [[right, of - right], [0, 0]]


def images(*right: int) -> list[list[list[int]]]:
    return [image(n) for n in right]


def matrix(*runs: Path, metric: str = "pixel_accuracy", domains=None) -> Matrix:
    (found,) = build(read_runs(runs), metric, domains)
    return found


def values(cells) -> list[float | None]:
    return [cell if cell is None else round(cell.value, 12) for cell in cells]


# --- values ---


def test_values_and_drops_of_each_metric(tmp_path):
    """Home: road 3 of 4 right, car 3 of 4: IoU 3/5 both. Away: road 2 of 4, car 4 of 4: IoU 2/4 and
    4/6, mean 7/12, accuracy 6/8."""
    tests = {"gta5": [[[3, 1], [1, 3]]], "cityscapes": [[[2, 2], [0, 4]]]}
    run = save_run(tmp_path, tests)
    expected = {"mIoU": (0.6, 7 / 12), "pixel_accuracy": (0.75, 0.75), "car": (0.6, 4 / 6)}
    for metric, (home, away) in expected.items():
        (block,) = matrix(run, metric=metric).blocks
        (row,) = block.rows
        assert values([*row.cells, row.unseen]) == pytest.approx([home, away, away])
        assert [cell.drop for cell in row.cells] == [None, pytest.approx(home - away)]
        assert block.differences == ()


def test_values_of_each_way_of_counting_the_drivable_area(tmp_path):
    """Away no error but 2 of 4 pixels of background taken for direct: IoU 4/6, 1 and 2/4."""
    away = [[4, 0, 0], [0, 4, 0], [2, 0, 2]]
    right = np.diag([4, 4, 4]).tolist()
    run = save_run(
        tmp_path,
        {"gta5": [right, right], "bdd100k": [away, away]},
        classes=("direct", "alternative", "background"),
        averaged=("direct", "alternative"),
    )
    expected = {
        "drivable_with_background": (4 / 6 + 1 + 2 / 4) / 3,
        "drivable_direct_alternative": (4 / 6 + 1) / 2,
        "drivable_background_dropped": 1,
    }
    for metric, value in expected.items():
        cells = matrix(run, metric=metric).blocks[0].rows[0].cells
        assert values(cells) == pytest.approx([1, value], abs=1e-12)
        assert cells[1].drop == pytest.approx(1 - value, abs=1e-15)
        assert cells[1].by_image == pytest.approx((value, value), abs=1e-12)


def test_other_classes_have_no_drivable_area_metrics(tmp_path):
    cells = matrix(save_run(tmp_path, {"gta5": images(9)}), metric="drivable_with_background")
    assert cells.blocks[0].rows[0].cells == (None,)


def test_drops_are_those_of_the_runs_own_table(tmp_path):
    """This also holds if a domain averages fewer classes than the training domain."""
    three = ("road", "car", "sky")
    home = {"gta5": [[[3, 1, 0], [1, 5, 0], [0, 2, 9]]]}
    save_run(tmp_path, home, classes=three)
    away = {"camvid": [[[2, 2, 0], [0, 4, 0], [0, 0, 0]]]}
    save_run(tmp_path, away, classes=three, averaged=("road", "car"))
    found = matrix(tmp_path, metric="mIoU").blocks[0].rows[0].cells
    expected = tables.drops(results.read(tmp_path / "results.json"))
    assert [cell.drop for cell in found] == [expected[0], pytest.approx(expected[1], abs=1e-15)]
    assert found[1].drop == pytest.approx((3 / 5 + 5 / 9) / 2 - (2 / 4 + 4 / 6) / 2)


def test_the_drop_needs_no_column_for_the_training_domain(tmp_path):
    run = save_run(tmp_path, {"gta5": images(9), "cityscapes": images(4)})
    found = matrix(run, domains=["cityscapes"])
    assert [column.domain for column in found.columns] == ["cityscapes"]
    assert found.blocks[0].rows[0].cells[0].drop == pytest.approx(0.5)


def test_no_drop_if_several_splits_of_the_training_domain_are_tested(tmp_path):
    run = save_run(tmp_path, {"gta5": images(9), "cityscapes": images(4)})
    content = results.read(run / "results.json")
    content["tests"].append({**content["tests"][0], "split": "test", "per_image": None})
    results.write(run / "results.json", content)
    found = matrix(run)
    assert [cell.drop for cell in found.blocks[0].rows[0].cells] == [None] * 3
    assert (
        "Plain: no drop, several splits of its train domain are tested",
        ("gta5",),
    ) in [tuple(remark) for remark in found.remarks]


def test_a_class_that_a_domain_does_not_average_is_not_shown(tmp_path):
    save_run(tmp_path, {"gta5": [[[3, 1], [1, 3]]]})
    save_run(tmp_path, {"camvid": [[[2, 2], [0, 0]]]}, averaged=("road",))
    assert values(matrix(tmp_path, metric="car").blocks[0].rows[0].cells) == [0.6, None]


def test_a_class_that_occurs_nowhere_has_no_cell(tmp_path):
    run = save_run(tmp_path, {"gta5": [[[4, 0], [0, 0]]] * 2})
    (row,) = matrix(run, metric="car").blocks[0].rows
    assert row.cells == (None,)
    assert row.unseen is None


def test_the_drop_from_several_training_domains_is_from_their_mean(tmp_path):
    """0.9 and 0.5 in the training domains, 0.4 in another; only the last one is unseen."""
    tests = {"a": images(9), "b": images(5), "c": images(4)}
    run = save_run(tmp_path, tests, train=["b", "a"])
    found = matrix(run)
    assert [column.domain for column in found.columns] == ["b", "a", "c"]
    (block,) = found.blocks
    assert (block.train, block.trains) == ("b+a", ("b", "a"))
    (row,) = block.rows
    assert [cell.drop for cell in row.cells] == [None, None, pytest.approx(0.3)]
    assert row.unseen.value == row.cells[2].value
    other = save_run(tmp_path / "other", {"a": images(9), "c": images(4)}, train=["b", "a"])
    assert [cell.drop for cell in matrix(other).blocks[0].rows[0].cells] == [None, None]


# --- metrics of other counts ---

LOW, HIGH = ([[[0, 0, 0]] * 14 + [[10, 8, own]]] * 2 for own in (9.0, 9.5))
"""Two images of ten pixels each, 8 right: confidence 0.9 or 0.95, an error of 0.1 or 0.15."""


def test_a_metric_of_its_own_counts_has_values_drops_and_intervals(tmp_path):
    away = [[[0, 0, 0]] * 14 + [[10, right, 9.0]] for right in (5, 6, 8)]
    run = save_run(
        tmp_path,
        {"gta5": images(8, 8), "x": images(5, 6, 8)},
        counts={"gta5": dict(calibration=LOW), "x": dict(calibration=away)},
    )
    home, abroad = matrix(run, metric="calibration").blocks[0].rows[0].cells
    assert (home.value, *home.interval) == pytest.approx((0.1, 0.1, 0.1))
    assert abroad.value == pytest.approx((4 + 3 + 1) / 30)
    assert abroad.drop == pytest.approx(0.1 - 8 / 30)
    half = abroad.interval.high - abroad.value
    assert half == pytest.approx(min(classical([0.4, 0.3, 0.1]), 1), rel=0.07)


def test_the_lower_error_is_the_better_one(tmp_path):
    runs = [
        save_run(
            tmp_path / name,
            {"gta5": images(8, 8)},
            name=name,
            counts={"gta5": dict(calibration=own)},
        )
        for name, own in (("a", HIGH), ("b", LOW))
    ]
    block = matrix(*runs, metric="calibration").blocks[0]
    assert [row.cells[0].best for row in block.rows] == [False, True]
    assert block.differences[0].cells[0].value == pytest.approx(-0.05)


def test_a_metric_that_was_not_counted_is_missing(tmp_path):
    found = matrix(save_run(tmp_path, {"gta5": images(8, 8)}), metric="boundary_iou")
    assert found.blocks[0].rows[0].cells == (None,)
    assert found.remarks == ()


def test_counts_of_images_that_do_not_add_up_are_refused(tmp_path):
    counts = {"gta5": dict(calibration=LOW)}
    run = save_run(tmp_path, {"gta5": images(8, 8)}, counts=counts)
    content = results.read(run / "results.json")
    content["tests"][0]["counts"]["calibration"][14][2] += 1
    results.write(run / "results.json", content)
    with pytest.raises(UserError, match="gta5-native.npz: does not add up"):
        matrix(run)


def test_a_recorded_value_that_its_counts_do_not_give_is_refused(tmp_path):
    run = save_run(tmp_path, {"gta5": images(8, 8)})
    content = results.read(run / "results.json")
    content["tests"][0]["metrics"]["pixel_accuracy"] = 0.9
    results.write(run / "results.json", content)
    with pytest.raises(UserError, match="recorded as 0.9, and its counts give 0.8: the metric or"):
        matrix(run)


# --- rows, columns, blocks ---


def test_seeds_of_a_network_are_one_row_with_mean_and_deviation(tmp_path):
    runs = [
        save_run(tmp_path / f"{seed}", {"gta5": images(8), "cityscapes": images(right)}, seed=seed)
        for seed, right in enumerate((4, 5, 9))
    ]
    (row,) = matrix(*runs).blocks[0].rows
    assert row.seeds == (0, 1, 2)
    assert row.cells[1].value == pytest.approx(0.6)
    assert row.cells[1].deviation == pytest.approx(np.std([0.4, 0.5, 0.9], ddof=1))
    assert row.cells[1].drop == pytest.approx(0.2)
    assert row.cells[0].deviation == pytest.approx(0, abs=1e-12)


def test_train_domains_are_blocks_and_their_columns_first(tmp_path):
    tests = {name: images(5) for name in ("camvid", "cityscapes", "gta5")}
    runs = [
        save_run(tmp_path / "a", tests, name="a", train="gta5"),
        save_run(tmp_path / "b", tests, name="b", train="cityscapes"),
        save_run(tmp_path / "c", tests, name="c", train="gta5"),
    ]
    found = matrix(*runs)
    assert [column.domain for column in found.columns] == ["gta5", "cityscapes", "camvid"]
    shape = [(block.train, [row.title for row in block.rows]) for block in found.blocks]
    assert shape == [("gta5", ["A", "C"]), ("cityscapes", ["B"])]
    assert [len(block.differences) for block in found.blocks] == [1, 0]


def test_protocols_are_tables_of_their_own(tmp_path):
    for protocol, right in ((SLIDE, 6), (NEWER, 7)):
        save_run(tmp_path, {"gta5": images(right)}, protocol=protocol)
    other = save_run(tmp_path / "other", {"gta5": images(5)}, name="other")
    found = build(read_runs([tmp_path, other]), "pixel_accuracy")
    assert [(each.protocol["name"], each.protocol["version"]) for each in found] == [
        ("native-slide2x2-1x1", 1),
        ("native", 2),
        ("native", 1),
    ]
    rows = [[row.title for row in each.blocks[0].rows] for each in found]
    assert rows == [["Plain"], ["Plain"], ["Other"]]


def test_mean_of_unseen_is_over_all_that_the_block_has(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": images(9), "x": images(4), "y": images(5)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": images(9), "x": images(4)}, name="b")
    rows = matrix(a, b).blocks[0].rows
    assert rows[0].unseen.value == pytest.approx(0.45)
    assert rows[1].unseen is None
    assert rows[1].cells[2] is None


def test_networks_of_the_same_title_are_told_apart(tmp_path):
    runs = [save_run(tmp_path / n, {"gta5": images(9)}, name=n, title="R") for n in ("a", "b")]
    assert [row.title for row in matrix(*runs).blocks[0].rows] == ["R (a)", "R (b)"]


def test_only_the_checkpoint_that_was_tested_last_counts(tmp_path):
    save_run(tmp_path, {"gta5": images(1), "cityscapes": images(2)}, seed=1)
    save_run(tmp_path, {"gta5": images(9)}, seed=2)
    found = matrix(tmp_path)
    assert values(found.blocks[0].rows[0].cells) == [0.9]
    assert found.blocks[0].rows[0].seeds == (2,)


# --- intervals ---


def classical(shares, confidence: float = 0.95) -> float:
    """Half the interval of a mean of independent values."""
    n = len(shares)
    return student.ppf((1 + confidence) / 2, n - 1) * np.std(shares, ddof=1) / sqrt(n)


def test_intervals_by_image_and_by_group(tmp_path):
    """Six images in three groups of two; accuracy is the mean over images, and over groups."""
    right = [4, 4, 5, 5, 6, 6]
    run = save_run(
        tmp_path, {"cityscapes": images(*right)}, groups={"cityscapes": [*"aabbcc"]}, train="gta5"
    )
    found = matrix(run)
    (cell,) = found.blocks[0].rows[0].cells
    half = (cell.by_image.high - cell.by_image.low) / 2
    assert half == pytest.approx(classical(np.array(right) / 10), rel=0.07)
    half = (cell.by_group.high - cell.by_group.low) / 2
    assert half == pytest.approx(classical([0.4, 0.5, 0.6]), rel=0.07)
    assert cell.interval == cell.by_group
    assert found.columns[0].images == (6,)
    assert found.columns[0].groups == 3


def test_intervals_are_cut_at_0_and_1(tmp_path):
    run = save_run(tmp_path, {"gta5": images(10, 1)})
    assert matrix(run).blocks[0].rows[0].cells[0].by_image == (0, 1)


def test_one_group_has_no_interval_of_groups(tmp_path):
    run = save_run(tmp_path, {"camvid": images(4, 5, 7)}, groups={"camvid": ["0001TP"] * 3})
    found = matrix(run)
    (cell,) = found.blocks[0].rows[0].cells
    assert cell.by_group is None
    assert cell.by_image is not None
    assert found.remarks[0].text.startswith("One group of images")
    assert found.remarks[0].domains == ("camvid",)


RARE = [[[5, 0], [2, 3]], [[5, 0], [1, 4]], [[9, 0], [0, 0]], [[9, 0], [0, 0]]]
MISSED = [[[5, 0], [4, 1]], [[5, 0], [3, 2]], [[9, 0], [0, 0]], [[9, 0], [0, 0]]]


def test_a_class_in_one_of_two_groups_has_no_interval_to_rely_on(tmp_path):
    """Cars in one city: both its images say that b is better, and nothing is known of another."""
    groups = {"x": [*"aabb"]}
    runs = [
        save_run(tmp_path / name, {"x": rare, "y": rare}, name=name, groups=groups)
        for name, rare in (("a", MISSED), ("b", RARE))
    ]
    found = matrix(*runs, metric="car")
    (block,) = found.blocks
    for row in (*block.rows, *block.differences):
        x, y = row.cells
        assert x.by_image is not None
        assert x.by_group is x.interval is row.unseen.by_group is row.unseen.interval is None
        assert x.grouped
        assert row.unseen.grouped
        assert y.interval == y.by_image is not None
    assert block.differences[0].cells[0].by_image.low > 0
    best = [[cell.best for cell in (*row.cells, row.unseen)] for row in block.rows]
    assert best == [[False] * 3, [False, True, False]]
    assert [tuple(remark) for remark in found.remarks] == [
        (f"{name}: defined in one group of images only, no interval by group", ("x",))
        for name in "AB"
    ]
    road = matrix(*runs, metric="road")
    assert road.remarks == ()
    assert road.blocks[0].rows[0].cells[0].by_group is not None


def test_images_that_are_their_own_groups_are_no_groups(tmp_path):
    found = matrix(save_run(tmp_path, {"gta5": images(4, 5, 7)}))
    assert found.blocks[0].rows[0].cells[0].by_group is None
    assert found.columns[0].groups is None


def test_groups_are_known_from_the_run_that_has_them(tmp_path):
    """Files that were written without groups are of the same images."""
    tests = {"cityscapes": images(4, 5, 7, 8)}
    a = save_run(tmp_path / "a", tests, name="a", groups={"cityscapes": [*"aabb"]})
    b = save_run(tmp_path / "b", tests, name="b")
    file = b / "per_image/cityscapes-native.npz"
    content = {key: value for key, value in np.load(file).items() if key != "groups"}
    np.savez(file, **content)
    found = matrix(b, a)
    rows = found.blocks[0].rows
    assert rows[0].cells[0].by_group == rows[1].cells[0].by_group is not None
    assert found.remarks == ()
    alone = matrix(b)
    assert alone.blocks[0].rows[0].cells[0].by_group is None
    assert [tuple(remark) for remark in alone.remarks] == [
        ("Not recorded which images are alike: no interval by group", ("cityscapes",))
    ]


def test_without_the_counts_of_each_image_a_cell_has_no_interval(tmp_path):
    run = save_run(tmp_path, {"gta5": images(9, 8), "cityscapes": images(4, 6)})
    content = results.read(run / "results.json")
    (run / "per_image/cityscapes-native.npz").unlink()
    for file in (content["tests"][1]["per_image"], None):  # gone, or none was kept
        content["tests"][1]["per_image"] = file
        results.write(run / "results.json", content)
        found = matrix(run)
        row = found.blocks[0].rows[0]
        assert row.cells[1].value == 0.5
        assert row.cells[1].interval is row.unseen.interval is None
        assert row.cells[0].interval is not None
        assert [remark.domains for remark in found.remarks] == [("cityscapes",)]


def test_an_interval_does_not_depend_on_the_other_runs(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": images(4, 5, 9, 8)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": images(7, 5, 9, 8)}, name="b")
    alone, beside = matrix(a).blocks[0].rows[0], matrix(b, a).blocks[0].rows[1]
    assert alone.cells[0].interval == beside.cells[0].interval


# --- paired differences, best ---


def pair(tmp_path: Path, a: dict, b: dict, **kwargs) -> Matrix:
    one = save_run(tmp_path / "a", a, name="a", **kwargs)
    return matrix(one, save_run(tmp_path / "b", b, name="b", **kwargs))


def test_one_pixel_more_in_each_image_is_a_sure_difference(tmp_path):
    """One right pixel more in each image: 0.1, whatever the images; best without doubt."""
    a = {"gta5": images(9, 9, 9), "cityscapes": images(2, 5, 8)}
    b = {"gta5": images(9, 9, 9), "cityscapes": images(3, 6, 9)}
    found = pair(tmp_path, a, b)
    (difference,) = found.blocks[0].differences
    assert difference.title == "B"
    home, away = difference.cells
    assert (home.value, *home.interval) == (0, 0, 0)
    np.testing.assert_allclose([away.value, *away.interval], 0.1)
    np.testing.assert_allclose([difference.unseen.value, *difference.unseen.interval], 0.1)
    best = [[c.best for c in (*row.cells, row.unseen)] for row in found.blocks[0].rows]
    assert best == [[False, False, False], [False, True, True]]


def test_a_higher_value_is_not_best_where_the_interval_holds_0(tmp_path):
    """Differences of 0.4, 0.1 and -0.2: 0.1, give or take t(2) 0.3 / sqrt(3) = 0.745."""
    found = pair(tmp_path, {"gta5": images(2, 5, 8)}, {"gta5": images(6, 6, 6)})
    (difference,) = found.blocks[0].differences
    assert difference.cells[0].value == pytest.approx(0.1)
    half = difference.cells[0].interval.high - difference.cells[0].value
    assert half == pytest.approx(classical([0.4, 0.1, -0.2]), rel=0.07)
    assert not any(row.cells[0].best for row in found.blocks[0].rows)


def test_best_must_be_better_than_every_other(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": images(2, 5, 8)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": images(6, 6, 6)}, name="b")
    c = save_run(tmp_path / "c", {"gta5": images(7, 7, 7)}, name="c")
    best = [row.cells[0].best for row in matrix(a, b, c).blocks[0].rows]
    assert best == [False, False, False]  # c is surely better than b, and not surely than a
    assert [row.cells[0].best for row in matrix(b, c).blocks[0].rows] == [False, True]


def test_a_row_that_was_not_tested_there_is_not_compared(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": images(6, 6), "x": images(2, 5)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": images(7, 7), "x": images(3, 6)}, name="b")
    c = save_run(tmp_path / "c", {"gta5": images(5, 5)}, name="c")
    d = save_run(tmp_path / "d", {"y": images(5, 5)}, name="d")
    best = [
        [cell and cell.best for cell in (*row.cells, row.unseen)]
        for row in matrix(a, b, c).blocks[0].rows
    ]
    assert best == [[False] * 3, [True] * 3, [False, None, None]]
    assert not any(
        cell.best for row in matrix(c, d).blocks[0].rows for cell in row.cells if cell is not None
    )


def test_a_single_network_is_not_marked_as_best(tmp_path):
    assert not matrix(save_run(tmp_path, {"gta5": images(9, 9)})).blocks[0].rows[0].cells[0].best


def test_of_several_seeds_the_common_ones_are_compared(tmp_path):
    """Seeds 1 and 2 of both: differences of 0.2 and 0.3, and the images add nothing."""
    runs = [
        save_run(tmp_path / f"{name}{seed}", {"gta5": images(n, n)}, name=name, seed=seed)
        for name, seed, n in (("a", 0, 1), ("a", 1, 4), ("a", 2, 5), ("b", 1, 6), ("b", 2, 8))
    ]
    (difference,) = matrix(*runs).blocks[0].differences
    assert difference.seeds == difference.cells[0].seeds == (1, 2)
    assert difference.cells[0].value == pytest.approx(0.25)
    half = difference.cells[0].interval.high - 0.25
    assert half == pytest.approx(classical([0.2, 0.3]))


def test_one_common_seed_of_several_makes_nothing_best(tmp_path):
    runs = [
        save_run(tmp_path / f"{name}{seed}", {"gta5": images(n, n + 1)}, name=name, seed=seed)
        for name, seed, n in (("a", 0, 1), ("b", 0, 6), ("b", 1, 7))
    ]
    (block,) = matrix(*runs).blocks
    assert block.differences[0].cells[0].interval.low > 0
    assert not any(row.cells[0].best for row in block.rows)


def test_other_images_or_other_labels_of_the_same_are_not_paired(tmp_path):
    for other, why in (
        (images(5, 6, 7), "tested on different images"),
        ([image(5), [[5, 4], [0, 1]]], "tested on the same images with different labels"),
    ):
        found = pair(tmp_path / why, {"gta5": images(4, 5)}, {"gta5": other})
        assert found.blocks[0].differences[0].cells == (None,), why
        ((text, domains),) = found.remarks
        assert text.endswith(why)
        assert domains == ("gta5",)
        assert not any(row.cells[0].best for row in found.blocks[0].rows), why


def test_networks_without_a_common_seed_are_not_paired(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": images(4, 5)}, name="a", seed=0)
    b = save_run(tmp_path / "b", {"gta5": images(4, 5)}, name="b", seed=1)
    found = matrix(a, b)
    assert found.blocks[0].differences[0].cells == (None,)
    assert found.blocks[0].differences[0].seeds == ()
    assert found.remarks[0].text == "B minus A: not paired, no seed in common"


def test_a_network_of_unknown_seed_is_paired_with_a_single_run_by_images(tmp_path):
    """The difference and its interval are those of two runs of one seed."""
    one, other = images(4, 5, 7), images(5, 6, 8)
    same = pair(tmp_path / "same", {"gta5": one}, {"gta5": other})
    a = save_run(tmp_path / "a", {"gta5": one}, name="a", seed=0)
    b = save_run(tmp_path / "b", {"gta5": other}, name="b", seed=None)
    found = matrix(a, b)
    (row,) = found.blocks[0].differences
    (wanted,) = same.blocks[0].differences
    assert row.cells[0].value == wanted.cells[0].value
    assert row.cells[0].interval == wanted.cells[0].interval
    assert "B minus A: one training of each, paired by images alone" in found.remarks[-1].text
    more = save_run(tmp_path / "more", {"gta5": one}, name="a", seed=1)
    several = matrix(a, more, b)
    assert several.blocks[0].differences[0].cells == (None,)


def test_a_row_of_seeds_whose_recipes_are_partly_known_is_marked(tmp_path):
    known = dict(hash="x", values=dict(batch=8))
    for recipes, marked in (((known, known), False), ((known, "0123"), True), ((None,), False)):
        runs = [
            save_run(tmp_path / f"{i}", {"gta5": images(4, 5)}, seed=i, recipe=recipe)
            for i, recipe in enumerate(recipes)
        ]
        texts = [remark.text for remark in matrix(*runs).remarks]
        assert any("recipe partly known" in text for text in texts) == marked


def test_a_checkpoint_that_a_tested_domains_labels_chose_is_remarked(tmp_path):
    tests = {"gta5": images(9), "cityscapes": images(4)}
    said = "the checkpoint was selected on this domain's labels"
    unknown = "the checkpoint's name says best, it may have been selected on a tested domain"
    for selected, remarks in (
        (None, []),
        ("gta5", [(f"Plain: {said}", ("gta5",))]),
        ("cityscapes+gta5", [(f"Plain: {said}", ("cityscapes", "gta5"))]),
        ("acdc", []),
        ("unknown", [(f"Plain: {unknown}", ())]),
    ):
        run = save_run(tmp_path / f"{selected}", tests, selected_on=selected)
        assert [tuple(remark) for remark in matrix(run).remarks] == remarks, selected
    run = save_run(tmp_path / "x", tests, selected_on="gta5")
    (found,) = build(read_runs([run]), "pixel_accuracy", ["cityscapes"])
    assert found.remarks == ()


def test_runs_of_different_length_are_remarked(tmp_path):
    runs = [
        save_run(tmp_path / f"{i}", {"gta5": images(4, 5)}, seed=i, iteration=10 + i)
        for i in range(2)
    ]
    assert "10 of seed 0, 11 of seed 1" in matrix(*runs).remarks[0].text


def test_looks_of_the_same_scenes_are_resampled_together(tmp_path):
    """The same scenes in two looks: their mean is as uncertain as either; of other scenes less."""
    right = [1, 3, 4, 6, 7, 9]
    run = save_run(tmp_path / "a", {"x": images(*right), "y": images(*right)})
    for look in ("x", "y"):
        file = run / f"per_image/{look}-native.npz"
        content = dict(np.load(file))
        content["names"] = np.array([f"{i}.png" for i in range(6)])
        np.savez(file, **content)
    row = matrix(run).blocks[0].rows[0]
    np.testing.assert_allclose(row.unseen.interval, row.cells[0].interval)
    other = save_run(tmp_path / "b", {"x": images(*right), "y": images(*right)})
    row = matrix(other).blocks[0].rows[0]
    assert row.unseen.interval.low > row.cells[0].interval.low + 0.05


def test_different_samples_have_draws_of_their_own(tmp_path):
    """The same counts under other names: intervals that differ by the chance of their draws."""
    right = [1, 3, 4, 6, 7, 9]
    run = save_run(tmp_path, {"x": images(*right), "y": images(*right)})
    x, y = (cell.interval for cell in matrix(run).blocks[0].rows[0].cells)
    assert x != y
    np.testing.assert_allclose(x, y, atol=0.1)
