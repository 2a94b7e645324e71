"""The table of results.json: every field that is missing or of another kind is named."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from ibnseg.evaluation import results
from ibnseg.evaluation.schema import PARTS, problem_in
from ibnseg.support.errors import UserError
from tests.evaluation.test_results import record, run


def whole() -> dict:
    facts = dict(gta5=dict(title="GTA5", group="stretch"))
    content = results.merge(None, run(), [record(counts=dict(own=np.array([1.5])))], facts)
    return json.loads(json.dumps(content))


PLACES = {
    "": (lambda content: content, PARTS["results"]),
    "run.": (lambda content: content["run"], PARTS["run"]),
    "tests[0].": (lambda content: content["tests"][0], PARTS["test"]),
    "tests[0].protocol.": (lambda content: content["tests"][0]["protocol"], PARTS["protocol"]),
    "metrics.mIoU.": (lambda content: content["metrics"]["mIoU"], PARTS["metric"]),
}


def test_whole_results_have_no_problem():
    assert problem_in(whole()) is None


@pytest.mark.parametrize("place", PLACES)
def test_a_field_that_is_missing_or_of_another_kind_is_named(place):
    part, table = PLACES[place]
    for key in table:
        content = whole()
        del part(content)[key]
        assert problem_in(content).startswith(f"{place}{key} is missing, expected ")
        for wrong in (True, {"a": {}}, [None], float("nan"), float("inf")):
            content = whole()
            part(content)[key] = wrong
            assert problem_in(content), (key, wrong)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (dict(mIoU=1.5), "tests[0].mIoU is 1.5, expected a number from 0 to 1 or null"),
        (dict(mIoU=-0.1), "tests[0].mIoU is -0.1, expected a number from 0 to 1 or null"),
        (dict(images=-1), "tests[0].images is -1, expected a whole number of at least 0"),
        (dict(images=2.0), "tests[0].images is 2.0, expected a whole number of at least 0"),
        (dict(classes=[]), "tests[0].classes is [], expected different names"),
        (dict(eval_classes=["x"]), "tests[0].eval_classes are not among its classes"),
        (dict(iou=dict(road=1)), "tests[0].iou is not of its classes"),
        (dict(confusion=[[1, 2], [3]]), "tests[0].confusion is not a matrix of 3x3 counts"),
        (dict(confusion=[[1.0] * 3] * 3), "tests[0].confusion is not a matrix of 3x3 counts"),
        (dict(confusion=[[-1] * 3] * 3), "tests[0].confusion is not a matrix of 3x3 counts"),
        (dict(confusion=[[10**30] * 3] * 3), "tests[0].confusion is not a matrix of 3x3 counts"),
        (dict(confusion=[[2**61] * 3] * 3), "tests[0].confusion is not a matrix of 3x3 counts"),
        (dict(counts=dict(own=["x"])), "tests[0].counts.own is not an array of numbers"),
        (dict(counts=dict(own=[None])), "tests[0].counts.own is not an array of numbers"),
        (dict(counts=dict(own=[1e999])), "tests[0].counts.own is not an array of numbers"),
    ],
)
def test_values_that_no_test_gives_are_named(change, problem):
    content = whole()
    content["tests"][0].update(change)
    assert problem_in(content) == problem


def test_what_only_newer_files_have_may_be_missing_but_not_wrong():
    for recipe, is_right in (
        (None, True),
        ("0123", True),
        (dict(hash="0123", values={}), True),
        (dict(hash="0123"), False),
        (3, False),
    ):
        content = whole()
        content["run"]["recipe"] = recipe
        assert (problem_in(content) is None) == is_right, recipe


def test_the_classes_that_a_network_lacks_and_where_it_was_selected_are_texts():
    for part, key, right, wrong in (
        ("run", "selected_on", (None, "gta5"), (3, ["gta5"])),
        ("test", "without", ([], ["train", "bus"]), (None, "train", [3])),
    ):
        content = whole()
        place = content["run"] if part == "run" else content["tests"][0]
        for value in right:
            place[key] = value
            assert problem_in(content) is None, value
        for value in wrong:
            place[key] = value
            assert f"{key} is {value!r}, expected a" in problem_in(content)


def test_the_same_test_twice_is_named():
    content = whole()
    content["tests"].append(copy.deepcopy(content["tests"][0]))
    assert problem_in(content) == "tests[1] is there twice"


@pytest.mark.parametrize("schema", [1, 2])
def test_damaged_results_of_either_schema_are_refused_when_they_are_read(tmp_path, schema):
    path = tmp_path / "results.json"
    content = whole() | dict(schema=schema)
    if schema == 1:
        del content["domains"], content["metrics"]
        del content["tests"][0]["metrics"], content["tests"][0]["counts"]
    path.write_text(json.dumps(content))
    assert results.read(path)["tests"][0]["metrics"]["mIoU"] == record()["mIoU"]
    content["tests"][0]["pixel_accuracy"] = "0.5"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        results.read(path)
    assert str(error.value) == (
        f"{path}: damaged (tests[0].pixel_accuracy is '0.5', expected a number from 0 to 1 or "
        "null); remove it and test again"
    )
    content["tests"][0]["pixel_accuracy"] = float("nan")
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"not JSON \(it has NaN\)"):
        results.read(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda test: test.update(mIoU=test["mIoU"] + 1e-6), "tests[0].mIoU is "),
        (lambda test: test.update(pixel_accuracy=None), "tests[0].pixel_accuracy is None, "),
        (lambda test: test["iou"].update(road=0.5), "tests[0].iou.road is 0.5, "),
        (lambda test: test["confusion"][0].__setitem__(0, 10**6), "tests[0].mIoU is "),
        (lambda test: test["eval_classes"].pop(0), "tests[0].mIoU is "),
    ],
)
def test_a_score_that_does_not_follow_from_the_confusion_is_refused(tmp_path, change, named):
    path, content = tmp_path / "results.json", whole()
    path.write_text(json.dumps(content))
    assert results.read(path) == content
    change(content["tests"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        results.read(path)
    assert str(error.value).startswith(f"{path}: damaged ({named}")
