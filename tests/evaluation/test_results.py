"""results.json: its records, what a further test does to them, and damaged files."""

import copy
import json

import numpy as np
import pytest

from ibnseg.datasets.labels import CATEGORIES
from ibnseg.datasets.labels import CLASSES as LABELLED
from ibnseg.evaluation import results
from ibnseg.evaluation.per_image import read_per_image, write_per_image
from ibnseg.support.errors import UserError

CLASSES = ("road", "car", "sky")
NATIVE = dict(name="native", version=1, inference="whole")
PAPER = dict(name="paper", version=1, inference="whole")
# road 1 / (3 + 1 - 1), car 2 / (2 + 4 - 2), sky undefined
COUNTS = np.array([[1, 2, 0], [0, 2, 0], [0, 0, 0]])


def record(**kwargs) -> dict:
    facts = dict(
        domain="gta5",
        split="val",
        protocol=NATIVE,
        classes=CLASSES,
        eval_classes=CLASSES,
        confusion=COUNTS,
        images=5,
        skipped=["20803.png"],
        per_image="per_image/gta5-native.npz",
    )
    return results.test_record(**(facts | kwargs))


def run(sha: str = "aa", iteration: int = 10) -> dict:
    return dict(
        name="tiny",
        model="m",
        title="Tiny",
        train_domain="gta5",
        seed=0,
        checkpoint_sha256=sha,
        iteration=iteration,
    )


def refusal(read, *given) -> str:
    """The error for a file that cannot be read, or an empty string if it can."""
    try:
        read(*given)
    except UserError as error:
        return str(error)
    return ""


def merged(*steps: tuple[dict, list[dict]]) -> dict:
    """The results after several commands, each read back from JSON."""
    old = None
    for checkpoint, tests in steps:
        old = json.loads(json.dumps(results.merge(old, checkpoint, tests)))
    return old


def summary(content: dict) -> list[tuple]:
    return [
        (t["checkpoint_sha256"], t["domain"], t["protocol"]["name"], t["images"], t["per_image"])
        for t in content["tests"]
    ]


def test_a_record_holds_scores_counts_and_protocol_as_json():
    assert json.loads(json.dumps(record(), allow_nan=False)) == {
        "domain": "gta5",
        "split": "val",
        "protocol": {"name": "native", "version": 1, "inference": "whole"},
        "classes": ["road", "car", "sky"],
        "eval_classes": ["road", "car", "sky"],
        "images": 5,
        "skipped": ["20803.png"],
        "mIoU": (1 / 3 + 1 / 2) / 2,  # not rounded
        "pixel_accuracy": 3 / 5,
        "iou": {"road": 1 / 3, "car": 1 / 2, "sky": None},
        "metrics": {
            "mIoU": (1 / 3 + 1 / 2) / 2,
            "pixel_accuracy": 3 / 5,
            "mean_class_accuracy": (1 / 3 + 2 / 2) / 2,
            "frequency_weighted_iou": (3 * (1 / 3) + 2 * (1 / 2)) / 5,
            "f_score": (2 / 4 + 4 / 6) / 2,
        },
        "confusion": [[1, 2, 0], [0, 2, 0], [0, 0, 0]],
        "counts": {},
        "per_image": "per_image/gta5-native.npz",
    }


def official(**kwargs) -> dict:
    """3 of 4 pixels of road are right and one is predicted as car; a car is missed."""
    counts = np.zeros((19, 19), np.int64)
    counts[0, 0], counts[0, 13], counts[13, 0] = 3, 1, 1
    return record(classes=LABELLED, **(dict(eval_classes=LABELLED, confusion=counts) | kwargs))


def test_a_record_of_all_classes_has_scores_of_categories():
    of_category = dict.fromkeys(CATEGORIES) | dict(flat=3 / 5, vehicle=0.0)
    content = official()
    assert content["category_iou"] == of_category
    assert content["category_mIoU"] == 3 / 10
    assert content.keys() - record().keys() == {"category_iou", "category_mIoU"}
    json.dumps(content, allow_nan=False)


def test_a_record_has_scores_of_instances_if_they_are_known():
    weighted = np.zeros((19, 19))
    weighted[13, 0] = 12794.0202738185
    content = official(weighted=weighted)
    assert content["iIoU"] == dict.fromkeys(LABELLED[11:]) | dict(car=0.0)
    assert content["category_iIoU"] == dict(human=None, vehicle=0.0)
    assert (content["mean_iIoU"], content["category_mean_iIoU"]) == (0.0, 0.0)
    nothing = official(weighted=np.zeros((19, 19)), confusion=np.zeros((19, 19), np.int64))
    assert (nothing["mean_iIoU"], nothing["category_mean_iIoU"]) == (None, None)
    json.dumps([content, nothing], allow_nan=False)


def test_a_record_of_some_classes_has_no_scores_of_categories_or_instances():
    some = official(eval_classes=LABELLED[:18], weighted=np.zeros((19, 19)))
    assert some.keys() == record().keys()


def test_record_of_the_drivable_area_has_it_by_each_way_of_counting():
    """Direct 6 of 8 right and 1 and 2 too many; alternative 4 of 6, 1 and 1; background 3 of 6, 2.

    Whatever classes mIoU averages."""
    counts = np.array([[6, 1, 1], [1, 4, 1], [2, 1, 3]])
    classes = ("direct", "alternative", "background")
    for averaged in (classes, classes[:2], classes[:1]):
        content = record(classes=classes, eval_classes=averaged, confusion=counts)
        assert content["drivable"] == pytest.approx(
            {
                "with_background": (6 / 11 + 4 / 8 + 3 / 8) / 3,
                "direct_alternative": (6 / 11 + 4 / 8) / 2,
                "background_dropped": (6 / 9 + 4 / 7) / 2,
            },
            abs=1e-15,
        )
        assert content.keys() - record().keys() == {"drivable"}
        json.dumps(content, allow_nan=False)


def test_a_record_without_drivable_pixels_has_none_for_what_is_undefined():
    counts = np.diag([0, 0, 7])
    content = record(
        classes=("direct", "alternative", "background"), eval_classes=("direct",), confusion=counts
    )
    assert content["drivable"] == {
        "with_background": 1.0, "direct_alternative": None, "background_dropped": None
    }  # fmt: skip


def test_record_of_other_three_classes_has_no_drivable_area():
    assert "drivable" not in record()
    permuted = ("alternative", "direct", "background")
    assert "drivable" not in record(classes=permuted, eval_classes=permuted)


def test_a_record_without_images_has_none_for_every_score():
    empty = record(confusion=np.zeros((3, 3), np.int64), images=0)
    assert (empty["mIoU"], empty["pixel_accuracy"]) == (None, None)
    assert empty["iou"] == dict.fromkeys(CLASSES)
    json.dumps(empty, allow_nan=False)


def test_record_keeps_counts_beyond_32_bits():
    counts = np.zeros((3, 3), np.int64)
    counts[0, 0] = 10**12 + 1
    assert json.loads(json.dumps(record(confusion=counts)))["confusion"][0][0] == 10**12 + 1


def test_record_refuses_another_number_of_classes():
    with pytest.raises(ValueError, match="zip"):
        record(confusion=np.ones((4, 4), int))


def test_first_results_hold_the_run_and_its_tests():
    content = results.merge(None, run(), [record()])
    assert content["schema"] == 2
    assert content["run"] == run()
    assert content["tests"] == [{**record(), "checkpoint_sha256": "aa", "iteration": 10}]


def test_same_test_again_replaces_its_record():
    content = merged((run(), [record()]), (run(), [record(images=4)]))
    assert summary(content) == [("aa", "gta5", "native", 4, "per_image/gta5-native.npz")]


def test_other_domain_and_other_protocol_are_added():
    other = record(domain="camvid", per_image="per_image/camvid-native.npz")
    paper = record(protocol=PAPER, per_image="per_image/gta5-paper.npz")
    content = merged((run(), [record()]), (run(), [other]), (run(), [paper]))
    assert summary(content) == [
        ("aa", "gta5", "native", 5, "per_image/gta5-native.npz"),
        ("aa", "camvid", "native", 5, "per_image/camvid-native.npz"),
        ("aa", "gta5", "paper", 5, "per_image/gta5-paper.npz"),
    ]


def test_other_split_version_or_inference_is_another_test():
    for change in (
        dict(split="test"),
        dict(protocol={**NATIVE, "version": 2}),
        dict(protocol={**NATIVE, "inference": "slide 512x512/384x384"}),
    ):
        content = merged((run(), [record()]), (run(), [record(images=4, **change)]))
        assert [test["images"] for test in content["tests"]] == [5, 4], change
        # they share the file of matrices, which is now the second's
        files = [test["per_image"] for test in content["tests"]]
        assert files == [None, "per_image/gta5-native.npz"], change


def test_another_checkpoints_record_stays_without_the_file_that_was_written_over():
    other = record(domain="camvid", per_image="per_image/camvid-native.npz")
    content = merged((run("aa", 10), [record(), other]), (run("bb", 20), [record(images=4)]))
    assert summary(content) == [
        ("aa", "gta5", "native", 5, None),
        ("aa", "camvid", "native", 5, "per_image/camvid-native.npz"),
        ("bb", "gta5", "native", 4, "per_image/gta5-native.npz"),
    ]
    assert [test["iteration"] for test in content["tests"]] == [10, 10, 20]
    assert content["run"] == run("bb", 20)
    assert content["tests"][0]["mIoU"] == record()["mIoU"]


def test_going_back_to_an_old_checkpoint_replaces_its_record():
    content = merged(
        (run("aa"), [record()]), (run("bb"), [record(images=4)]), (run("aa"), [record(images=3)])
    )
    assert summary(content) == [
        ("aa", "gta5", "native", 3, "per_image/gta5-native.npz"),
        ("bb", "gta5", "native", 4, None),
    ]


def test_the_order_of_a_protocols_keys_makes_no_other_test():
    turned = dict(reversed(NATIVE.items()))
    content = merged((run(), [record(protocol=turned)]), (run(), [record(images=4)]))
    assert [test["images"] for test in content["tests"]] == [4]


def test_merge_changes_none_of_its_arguments():
    old, tests = results.merge(None, run("aa"), [record()]), [record()]
    before = copy.deepcopy((old, tests))
    results.merge(old, run("bb"), tests)
    assert (old, tests) == before


def test_only_tests_of_the_last_checkpoint_are_current():
    other = record(domain="camvid", per_image="per_image/camvid-native.npz")
    content = merged((run("aa"), [record(), other]), (run("bb"), [record(images=4)]))
    shown = results.current(content)
    assert [(t["checkpoint_sha256"], t["images"]) for t in shown["tests"]] == [("bb", 4)]
    assert shown["run"] == run("bb")
    assert len(content["tests"]) == 3


# --- files ---


def test_results_are_read_back_as_they_were_written(tmp_path):
    content = results.merge(None, run(), [record()])
    results.write(tmp_path / "results.json", content)
    assert results.read(tmp_path / "results.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_nan_is_not_written_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    content = results.merge(None, run(), [record()])
    results.write(path, content)
    with pytest.raises(ValueError, match="JSON"):
        results.write(path, {**content, "x": float("nan")})
    assert results.read(path) == content


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"results\.json: no such file"):
        results.read(tmp_path / "results.json")


def test_a_file_that_is_not_json_is_refused(tmp_path):
    for content in (b"", b'{"schema": 1, "tests": [', b"\xff\xfe\x00"):
        (tmp_path / "results.json").write_bytes(content)
        with pytest.raises(UserError, match=r"results\.json: not JSON"):
            results.read(tmp_path / "results.json")


def test_a_file_of_another_schema_is_refused(tmp_path):
    for content, found in (('{"schema": 3}', "3"), ("{}", "None"), ("[]", "None"), ("3", "None")):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(UserError, match=rf"results\.json: schema {found}, expected 1 or 2"):
            results.read(tmp_path / "results.json")


def test_a_file_whose_run_or_tests_are_damaged_is_refused(tmp_path):
    for change in (
        dict(tests=[1]),
        dict(tests=["x"]),
        dict(tests={}),
        dict(tests=[{"domain": "gta5"}]),
        dict(run=3),
        dict(run={}),
        dict(run=dict(checkpoint_sha256=["aa"])),
    ):
        content = results.merge(None, run(), [record()]) | change
        results.write(tmp_path / "results.json", content)
        said = refusal(results.read, tmp_path / "results.json")
        assert "results.json: damaged" in said, change


def test_counts_outside_of_the_run_are_not_read(tmp_path):
    for file in ("../x.npz", "/etc/x.npz", "per_image/../../x.npz"):
        content = results.merge(None, run(), [{**record(), "per_image": file}])
        results.write(tmp_path / "results.json", content)
        with pytest.raises(UserError, match=r"results\.json: damaged"):
            results.read(tmp_path / "results.json")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    content = results.merge(None, run(), [record()])
    results.write(tmp_path / "results.json", content)
    path = tmp_path / "results.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert results.read(path) == content


def test_a_file_with_the_same_test_twice_is_refused(tmp_path):
    content = results.merge(None, run(), [record(), record(split="test")])
    results.write(tmp_path / "results.json", content)
    assert results.read(tmp_path / "results.json") == content
    content["tests"].append({**content["tests"][0], "images": 3})
    results.write(tmp_path / "results.json", content)
    with pytest.raises(UserError, match=r"results\.json: damaged"):
        results.read(tmp_path / "results.json")


def test_matrices_of_images_are_read_back(tmp_path):
    path = tmp_path / "per_image" / "gta5-native.npz"
    large = np.array([[2**32 - 1, 0, 0], [0, 7, 0], [0, 0, 0]])
    matrices = {"images/ü 2.png": COUNTS, "images/1.png": large}
    write_per_image(path, matrices, ["münchen", "1"])
    with np.load(path) as stored:  # without pickle
        assert set(stored) == {"names", "groups", "confusion"}
        assert stored["groups"].tolist() == ["münchen", "1"]
        assert stored["names"].tolist() == ["images/ü 2.png", "images/1.png"]
        assert stored["confusion"].dtype == np.uint32
        assert stored["confusion"].shape == (2, 3, 3)
        np.testing.assert_array_equal(stored["confusion"], [COUNTS, large])
    assert [file.name for file in path.parent.iterdir()] == ["gta5-native.npz"]


# --- the matrices of images ---

MATRICES = {"b/2.png": np.array([[3, 1], [0, 4]]), "a/1.png": np.array([[1, 0], [2, 2**31]])}
TOTAL = sum(MATRICES.values())


def test_matrices_of_images_are_read_in_order_of_names(tmp_path):
    write_per_image(tmp_path / "x.npz", MATRICES, ["b", "a"])
    names, confusion, groups, _ = read_per_image(tmp_path / "x.npz", TOTAL)
    assert names.tolist() == ["a/1.png", "b/2.png"]
    assert groups.tolist() == ["a", "b"]
    assert confusion.tolist() == [MATRICES["a/1.png"].tolist(), MATRICES["b/2.png"].tolist()]


def test_files_of_matrices_without_groups_are_read(tmp_path):
    stack = np.stack(list(MATRICES.values())).astype(np.uint32)
    np.savez(tmp_path / "x.npz", names=list(MATRICES), confusion=stack)
    assert read_per_image(tmp_path / "x.npz", TOTAL).groups is None


def test_matrices_of_images_that_do_not_add_up_to_the_results_are_refused(tmp_path):
    write_per_image(tmp_path / "x.npz", MATRICES, ["b", "a"])
    for total in (TOTAL + np.eye(2, dtype=int), np.zeros((3, 3), int)):
        with pytest.raises(UserError, match=r"x\.npz: does not add up to the confusion in"):
            read_per_image(tmp_path / "x.npz", total)


STACK = np.stack(list(MATRICES.values())).astype(np.uint32)
NAMES = list(MATRICES)
DAMAGED_ARRAYS = {
    "no names": dict(confusion=STACK),
    "too few names": dict(names=["a"], confusion=STACK),
    "too few groups": dict(names=NAMES, confusion=STACK, groups=["a"]),
    "floats": dict(names=NAMES, confusion=STACK.astype(float)),
    "a name twice": dict(names=["a", "a"], confusion=STACK),
    "no images": dict(names=np.array([], str), confusion=STACK[:0]),
    "names that are numbers": dict(names=[1, 2], confusion=STACK),
    "no array": dict(names=np.array("a"), confusion=np.uint32(1)),
}


def test_damaged_matrices_of_images_are_refused(tmp_path):
    path = tmp_path / "x.npz"

    for kind, arrays in DAMAGED_ARRAYS.items():
        np.savez(path, **arrays)
        total = 0 * TOTAL if kind == "no images" else TOTAL
        assert "x.npz: damaged (" in refusal(read_per_image, path, total), kind
    np.savez(path, names=NAMES, confusion=STACK)
    whole = path.read_bytes()
    for content in (whole[:-100], b"nothing", b""):
        path.write_bytes(content)
        assert "x.npz: damaged (" in refusal(read_per_image, path, TOTAL), content[-20:]
    with path.open("wb") as file:
        np.save(file, STACK)
    assert "x.npz: damaged (" in refusal(read_per_image, path, TOTAL)
