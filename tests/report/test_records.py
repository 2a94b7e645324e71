"""Runs that are read for comparison, and runs that cannot be compared."""

import json
import os

import pytest

from ibnseg.evaluation import results
from ibnseg.report.records import column_of, read_runs
from ibnseg.support.errors import UserError
from tests.conftest import save_run

NULL = object()
IMAGES = [[[5, 5], [0, 0]], [[3, 7], [0, 0]]]


def test_the_same_seed_twice_is_refused_with_both_folders(tmp_path):
    a, b = (save_run(tmp_path / name, {"gta5": IMAGES}) for name in "ab")
    for one, other in ((a, b), (a, a)):
        with pytest.raises(UserError, match=f"{one} and {other}: both are plain with seed 0"):
            read_runs([one, other])


def test_seeds_that_were_trained_differently_are_refused(tmp_path):
    a, b, old = (
        save_run(tmp_path / f"{seed}", {"gta5": IMAGES}, seed=seed, recipe=recipe)
        for seed, recipe in enumerate(("0123456789ab", "ba9876543210", None))
    )
    message = f"{a} and {b}: both are plain, but trained differently"
    for runs in ([a, b], [old, a, b], [a, old, b]):
        with pytest.raises(UserError, match=message):
            read_runs(runs)


def recipe(**values) -> dict:
    return dict(hash=str(sorted(values.items())), values=values)


def test_recipes_that_differ_are_refused_with_the_keys_that_differ(tmp_path):
    own = (
        dict(batch=8, precision="float32"),
        dict(batch=8, precision="bfloat16", augment=["x"], sync_bn=None),
    )
    a, b = (
        save_run(tmp_path / f"{seed}", {"gta5": IMAGES}, seed=seed, recipe=recipe(**values))
        for seed, values in enumerate(own)
    )
    with pytest.raises(UserError, match=r"trained differently \(augment, precision, sync_bn\)"):
        read_runs([a, b])
    same = [
        save_run(tmp_path / f"x{i}", {"gta5": IMAGES}, seed=i, recipe=recipe(batch=8))
        for i in range(2)
    ]
    assert len(read_runs(same)) == 2


def test_runs_of_schema_1_are_compared_by_the_recipe_that_their_config_gives(tmp_path):
    runs = [
        save_run(tmp_path / f"{i}", {"gta5": IMAGES}, seed=i, recipe=old)
        for i, old in enumerate(("0123456789ab", "0123456789ab", recipe(batch=8)))
    ]
    batches = {runs[0]: 8, runs[1]: 16}
    with pytest.raises(UserError, match=r"trained differently \(batch\)"):
        read_runs(runs, lambda folder: recipe(batch=batches[folder]))
    for unknown in (lambda folder: None, None):
        assert [test.run["seed"] for test in read_runs(runs, unknown)] == [0, 1, 2]


def test_a_run_of_schema_1_is_no_seed_of_runs_that_learnt_otherwise_since(tmp_path):
    old, same, new = (
        save_run(tmp_path / f"{i}", {"gta5": IMAGES}, seed=i, recipe=own)
        for i, own in enumerate(("0123", recipe(batch=8), recipe(**{"revision: centred": True})))
    )
    assert len(read_runs([old, same])) == 2
    message = r"both are plain, but trained differently \(revision: centred\)"
    for runs in ([old, new], [new, old]):
        with pytest.raises(UserError, match=message):
            read_runs(runs)


def test_seeds_of_one_recipe_other_names_and_old_results_are_read_together(tmp_path):
    runs = [
        save_run(tmp_path / f"{i}", {"gta5": IMAGES}, name=name, seed=i, recipe=recipe)
        for i, (name, recipe) in enumerate((("p", "a"), ("p", "a"), ("p", None), ("q", "b")))
    ]
    content = results.read(runs[2] / "results.json")
    del content["run"]["recipe"]
    results.write(runs[2] / "results.json", content)
    assert [test.run["seed"] for test in read_runs(runs)] == [0, 1, 2, 3]


def test_a_results_file_can_be_given_for_its_run(tmp_path):
    run = save_run(tmp_path, {"gta5": IMAGES})
    both = [read_runs([path]) for path in (run / "results.json", run)]
    assert both[0] == both[1]
    assert column_of(both[0][0]) == ("gta5", "val")


def test_a_folder_that_is_no_tested_run_is_named(tmp_path):
    with pytest.raises(UserError, match="x is not a tested run"):
        read_runs([tmp_path / "x"])
    with pytest.raises(UserError, match="is not a tested run"):
        read_runs([tmp_path])


def test_results_that_are_no_regular_file_are_refused(tmp_path):
    run = save_run(tmp_path, {"gta5": IMAGES})
    (run / "results.json").unlink()
    os.mkfifo(run / "results.json")
    for path in (run, run / "results.json"):
        with pytest.raises(UserError, match="results.json: is a named pipe, expected a file"):
            read_runs([path])


def test_a_run_without_a_test_of_its_last_checkpoint_is_refused(tmp_path):
    run = save_run(tmp_path, {"gta5": IMAGES})
    content = results.read(run / "results.json")
    content["run"]["checkpoint_sha256"] = "other"
    results.write(run / "results.json", content)
    with pytest.raises(UserError, match="no test of the checkpoint that was tested last"):
        read_runs([run])


DAMAGED = (
    ("run", "seed", None),
    ("run", "title", None),
    ("test", "classes", None),
    ("test", "classes", ["road"]),
    ("test", "eval_classes", ["sky"]),
    ("test", "confusion", [[1, 2], [3]]),
    ("test", "confusion", "x"),
    ("test", "protocol", {}),
    ("test", "protocol", 3),
    ("test", "images", None),
    ("test", "images", "3"),
    ("test", "per_image", 3),
    ("test", "domain", ["gta5"]),
    ("test", "protocol", dict(name=["native"], version=1, inference="whole")),
    ("test", "classes", [["road"], ["car"]]),
    ("test", "iou", {"road": "x", "car": 0.5}),
    ("test", "iou", {"road": 0.5}),
    ("test", "mIoU", "x"),
    ("test", "metrics", None),
    ("test", "metrics", {"mIoU": "x"}),
    ("test", "counts", {"boundary_iou": [["x"]]}),
    ("test", "confusion", [[2**70, 0], [0, 0]]),
    ("run", "seed", [1]),
    ("run", "title", NULL),
    ("run", "title", 3),
    ("run", "checkpoint_sha256", None),
)
"""A part of the results, its key, and the wrong value; None leaves the key out."""


def test_damaged_results_are_refused(tmp_path):
    run = save_run(tmp_path, {"gta5": IMAGES})
    whole = (run / "results.json").read_text()
    assert read_runs([run])
    for place, key, value in DAMAGED:
        content = json.loads(whole)
        part = content["run"] if place == "run" else content["tests"][0]
        if value is None:
            del part[key]
        else:
            part[key] = None if value is NULL else value
        results.write(run / "results.json", content)
        try:
            said = f"read as {read_runs([run])}"
        except UserError as error:
            said = str(error)
        assert "results.json: damaged" in said, (place, key, value)


def test_counts_of_another_number_of_images_are_refused(tmp_path):
    run = save_run(tmp_path / "run", {"gta5": IMAGES})
    path = run / "results.json"
    content = json.loads(path.read_text())
    content["tests"][0]["images"] = 3
    path.write_text(json.dumps(content))
    (test,) = read_runs([run])
    with pytest.raises(UserError, match=r"gta5-native.npz: has 2 images, results.json has 3; test"):
        test.read_images()
