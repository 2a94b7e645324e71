"""results.json, schema 2: what a run is, and what each of its tests measured.

All tables are made from it. Files of schema 1 are read as if they were of schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ibnseg.datasets.labels import CITYSCAPES, DRIVABLE
from ibnseg.evaluation import drivable, official
from ibnseg.evaluation.confusion import iou, mean_iou, pixel_accuracy
from ibnseg.evaluation.metrics import CONFUSION, METRICS, evaluate, none_for_nan
from ibnseg.evaluation.per_image import read_per_image
from ibnseg.evaluation.schema import IDENTITY, problem_in
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.reading import read_json

SCHEMA = 2
UNKNOWN = "unknown"
"""What ``selected_on`` is if a checkpoint is called the best, and nothing says on what."""


def test_record(
    domain: str,
    split: str,
    protocol: dict,
    classes: Sequence[str],
    eval_classes: Sequence[str],
    confusion: np.ndarray,
    images: int,
    skipped: Sequence[str],
    per_image: str,
    weighted: np.ndarray | None = None,
    counts: Mapping[str, np.ndarray] | None = None,
    without: Sequence[str] = (),
) -> dict:
    """Makes the record of one test, an entry of ``tests``.

    Args:
        domain, split: names of what was tested.
        protocol: ``name`` (with what was changed of it, e.g. ``native-tta1-flip``), ``version``
            and ``inference`` (``whole``, or ``slide`` with crop and stride).
        classes: names of the K classes, as :class:`~ibnseg.evaluation.evaluator.Confusion` has them
            after the test.
        eval_classes: names of those that ``mIoU`` averages.
        confusion: (K, K) integer, rows truth.
        images: number of images tested.
        skipped: names of the images left out.
        per_image: path of the npz with each image's matrix, relative to results.json.
        weighted: (19, 19) float64, the weighted confusion of instances, if they are known.
        counts: by the name of a metric, the sum over images of what it counts.
        without: names of the classes that the domain averages and the network does not have.

    Returns:
        A dict that JSON can hold: fractions are not rounded, undefined ones are None. ``metrics``
        has the value of every metric that :func:`~ibnseg.evaluation.metrics.evaluate` gives. A test
        that averages all 19 classes of Cityscapes also has the
        :func:`~ibnseg.evaluation.official.further_scores` of that benchmark, and a test of the
        drivable area has the :func:`~ibnseg.evaluation.drivable.scores_by_way`.
    """
    averaged = [list(classes).index(name) for name in eval_classes]
    benchmark = _BENCHMARKS.get(tuple(classes))
    confusion = np.asarray(confusion)
    further = benchmark(confusion, weighted, set(eval_classes)) if benchmark else {}
    further = {key: _none_for_nan(score) for key, score in further.items()}
    sums = {CONFUSION: confusion, **(counts or {})}
    return dict(
        domain=domain,
        split=split,
        protocol=protocol,
        classes=list(classes),
        eval_classes=list(eval_classes),
        images=images,
        skipped=list(skipped),
        mIoU=none_for_nan(mean_iou(confusion, averaged)),
        pixel_accuracy=none_for_nan(pixel_accuracy(confusion)),
        iou=_none_for_nan(dict(zip(classes, iou(confusion), strict=True))),
        **further,
        metrics=evaluate(classes, eval_classes, sums, further),
        confusion=confusion.tolist(),
        counts={name: np.asarray(array).tolist() for name, array in (counts or {}).items()},
        per_image=per_image,
        **(dict(without=list(without)) if without else {}),
    )


def _cityscapes(confusion: np.ndarray, weighted: np.ndarray | None, averaged: set[str]) -> dict:
    all_averaged = averaged == set(CITYSCAPES.classes)
    return official.further_scores(confusion, weighted) if all_averaged else {}


def _drivable(confusion: np.ndarray, weighted: np.ndarray | None, averaged: set[str]) -> dict:
    return drivable.scores_by_way(confusion)


_BENCHMARKS = {CITYSCAPES.classes: _cityscapes, DRIVABLE.classes: _drivable}
"""The functions that compute the further scores of a benchmark, by its classes."""


def merge(
    old: dict | None,
    run: dict,
    tests: Sequence[dict],
    domains: Mapping[str, Mapping] | None = None,
) -> dict:
    """Adds the tests of a checkpoint to results.

    Each new record is marked with its checkpoint. It replaces the record of the same checkpoint,
    domain, split and protocol, or comes last. All others stay; one whose ``per_image`` file has
    been overwritten loses that entry.

    Args:
        old: what the results file held before; None if there was none.
        run: the run of the checkpoint that was tested.
        tests: from :func:`test_record`.
        domains: facts of domains by name; ``title`` and ``group`` of those that occur are recorded.

    Returns:
        The content of the new results file.
    """
    marked = [
        {**test, **{key: run[key] for key in ("checkpoint_sha256", "iteration")}} for test in tests
    ]
    overwritten = [test["per_image"] for test in marked]
    merged = without_counts(old, overwritten)["tests"] if old else []
    places = [_identity(test) for test in merged]
    for test in marked:
        if _identity(test) in places:
            merged[places.index(_identity(test))] = test
        else:
            merged.append(test)
    occurring = {*trained_in(run), *(test["domain"] for test in merged)}
    found = {name: (domains or {}).get(name) for name in occurring}
    described = {
        name: {key: domain[key] for key in ("title", "group")}
        for name, domain in sorted(found.items())
        if domain is not None
    }
    measured = dict.fromkeys(name for test in merged for name in test["metrics"])
    facts = {
        name: {key: getattr(METRICS[name], key) for key in ("title", "unit", "higher_is_better")}
        for name in measured
        if name in METRICS
    }
    before = old or {}
    return dict(
        schema=SCHEMA,
        run=run,
        tests=merged,
        domains=before.get("domains", {}) | described,
        metrics=before.get("metrics", {}) | facts,
    )


def in_order(results: dict, before: dict | None, run: dict, tests: Sequence[Mapping]) -> dict:
    """Puts the records that a command has added last, in the order of its tests.

    Args:
        results: a results file's content.
        before: what it was before the command; None if there was none.
        run: the run of the checkpoint that was tested.
        tests: ``domain``, ``split`` and ``protocol`` of each.
    """
    checkpoint = run["checkpoint_sha256"]
    old = [_identity(test) for test in before["tests"]] if before else []
    added = [_identity({**test, "checkpoint_sha256": checkpoint}) for test in tests]
    places = [identity for identity in added if identity not in old]

    def place(test: dict) -> int:
        return places.index(_identity(test)) if _identity(test) in places else -1

    return {**results, "tests": sorted(results["tests"], key=place)}


def without_counts(results: dict, files: Collection[str]) -> dict:
    """Makes no test of results name one of some ``per_image`` files any more."""
    tests = [
        {**test, "per_image": None} if test["per_image"] in files else test
        for test in results["tests"]
    ]
    return {**results, "tests": tests}


def trained_in(run: Mapping) -> tuple[str, ...]:
    """Names the domains that a ``run`` of results was trained in."""
    several = run.get("train_domains")
    return tuple(several) if several else (run["train_domain"],)


def selected_on(run: Mapping) -> tuple[str, ...]:
    """Names the domains on whose labels the checkpoint of a ``run`` of results was selected, or
    ``UNKNOWN``; none if it was not selected, as far as is known."""
    names = run.get("selected_on")
    return tuple(names.split("+")) if names else ()


def current(results: dict) -> dict:
    """Keeps only the tests of the checkpoint that was tested last."""
    checkpoint = results["run"]["checkpoint_sha256"]
    tests = [test for test in results["tests"] if test["checkpoint_sha256"] == checkpoint]
    return {**results, "tests": tests}


def is_done(results: dict, run: dict, test: dict, folder: Path) -> bool:
    """Whether results hold a test of a run's checkpoint, with counts of each image that add up to
    what is recorded.

    Args:
        results: a results file's content.
        run: the run of the checkpoint.
        test: ``domain``, ``split`` and ``protocol``; and ``metrics``, names of metrics that count
            something of their own, whose counts have to be there too.
        folder: the one that the results file is in.
    """
    wanted = _identity({**test, "checkpoint_sha256": run["checkpoint_sha256"]})
    return any(
        _identity(found) == wanted
        and set(test.get("metrics", ())) <= found["counts"].keys()
        and _has_counts(found, folder)
        for found in results["tests"]
    )


def _has_counts(test: dict, folder: Path) -> bool:
    if test["per_image"] is None:
        return False
    sums = {name: np.array(counts) for name, counts in test["counts"].items()}
    try:
        read_per_image(folder / test["per_image"], np.array(test["confusion"]), sums)
    except UserError:
        return False
    return True


def _identity(test: dict) -> list:
    return [test[key] for key in IDENTITY]


def read(path: str | Path) -> dict:
    """Reads a results file, of schema 1 or 2, and returns it as schema 2.

    Raises:
        UserError: if it is missing, of another schema or damaged
            (:func:`~ibnseg.evaluation.schema.problem_in`), or has a score that does not follow from
            the confusion.
    """
    advice = "remove it and test again"
    results = read_json(path, advice)
    found = results.get("schema") if isinstance(results, dict) else None
    if type(found) is not int or found not in (1, SCHEMA):
        raise UserError(
            f"{path}: schema {found}, expected 1 or {SCHEMA}; a newer ibnseg may have written it: "
            "use that one, or test again to write it anew"
        )
    if found == 1:
        results = _of_schema_2(results)
    problem = problem_in(results) or _contradiction_in(results["tests"])
    if problem:
        raise UserError(f"{path}: damaged ({problem}); {advice}")
    return _with_metrics(results) if found == 1 else results


def _contradiction_in(tests: Sequence[Mapping]) -> str | None:
    """Names the first score that does not follow from the confusion of its test."""
    for i, test in enumerate(tests):
        counted, classes = np.array(test["confusion"], np.int64), test["classes"]
        averaged = [classes.index(name) for name in test["eval_classes"]]
        recorded = {key: test[key] for key in ("mIoU", "pixel_accuracy")}
        follows = dict(mIoU=mean_iou(counted, averaged), pixel_accuracy=pixel_accuracy(counted))
        recorded |= {f"iou.{name}": test["iou"][name] for name in classes}
        follows |= {f"iou.{n}": score for n, score in zip(classes, iou(counted), strict=True)}
        for key, score in follows.items():
            is_same = np.isclose(
                np.nan if recorded[key] is None else recorded[key], score, 0, 1e-9, equal_nan=True
            )
            if not is_same:
                return f"tests[{i}].{key} is {recorded[key]}, by its confusion it is {score}"
    return None


def _of_schema_2(results: Mapping) -> dict:
    """Results of schema 1 with what schema 2 has besides, empty."""
    tests = results.get("tests")
    if isinstance(tests, list):
        own = dict(metrics={}, counts={})
        tests = [test | own if isinstance(test, dict) else test for test in tests]
    return {**results, "schema": SCHEMA, "tests": tests, "domains": {}, "metrics": {}}


def _with_metrics(results: Mapping) -> dict:
    """Results with the metrics that their confusion matrices allow."""
    tests = []
    for test in results["tests"]:
        counts = {CONFUSION: np.array(test["confusion"], np.int64)}
        metrics = evaluate(test["classes"], test["eval_classes"], counts, test)
        tests.append({**test, "metrics": metrics})
    return {**results, "tests": tests}


def write(path: str | Path, results: dict) -> None:
    """Writes a results file, whole or not at all.

    Raises:
        ValueError: for a number that JSON cannot hold (NaN, infinity).
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


def _none_for_nan(x: float | Mapping[str, float]) -> float | dict[str, float | None] | None:
    if isinstance(x, Mapping):
        return {name: none_for_nan(value) for name, value in x.items()}
    return none_for_nan(x)
