"""results.json, schema 1: what a run is and what each test of it measured. All else is made from
it."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ibnseg.datasets.labels import CITYSCAPES, DRIVABLE
from ibnseg.evaluation import drivable, official
from ibnseg.evaluation.confusion import iou, mean_iou, pixel_accuracy
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole

SCHEMA = 1
RECORDED = ("checkpoint_sha256", "domain", "split", "protocol", "per_image", "confusion")
"""What a record of a test is read for here; the first four say which test it is."""


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
) -> dict:
    """One entry of ``tests``.

    Args:
        domain, split: what was tested.
        protocol: ``name`` (with what was changed of it, as ``native-tta1-flip``), ``version`` and
            ``inference`` (``whole``, or ``slide`` with crop and stride).
        classes: names of the K classes.
        eval_classes: names of those that ``mIoU`` averages.
        confusion: (K, K) integer, rows truth.
        images: number of images tested.
        skipped: names of the images left out.
        per_image: path of the npz with each image's matrix, relative to results.json.
        weighted: (19, 19) float64, the weighted confusion of instances, where they are known.

    Returns:
        A dict that JSON can hold: fractions are not rounded, undefined ones are None. A test that
        averages all 19 classes of Cityscapes also has the
        :func:`~ibnseg.evaluation.official.further_scores` of its benchmark, and one of the drivable
        area :func:`those <ibnseg.evaluation.drivable.further_scores>` of BDD100K's.
    """
    averaged = [list(classes).index(name) for name in eval_classes]
    benchmark = _BENCHMARKS.get(tuple(classes))
    further = benchmark(np.asarray(confusion), weighted, set(eval_classes)) if benchmark else {}
    return dict(
        domain=domain,
        split=split,
        protocol=protocol,
        classes=list(classes),
        eval_classes=list(eval_classes),
        images=images,
        skipped=list(skipped),
        mIoU=_none_for_nan(mean_iou(confusion, averaged)),
        pixel_accuracy=_none_for_nan(pixel_accuracy(confusion)),
        iou=_none_for_nan(dict(zip(classes, iou(confusion), strict=True))),
        **{key: _none_for_nan(score) for key, score in further.items()},
        confusion=np.asarray(confusion).tolist(),
        per_image=per_image,
    )


def _cityscapes(confusion: np.ndarray, weighted: np.ndarray | None, averaged: set[str]) -> dict:
    all_averaged = averaged == set(CITYSCAPES.classes)
    return official.further_scores(confusion, weighted) if all_averaged else {}


def _drivable(confusion: np.ndarray, weighted: np.ndarray | None, averaged: set[str]) -> dict:
    return drivable.further_scores(confusion)


_BENCHMARKS = {CITYSCAPES.classes: _cityscapes, DRIVABLE.classes: _drivable}
"""By the classes of a test, what gives the further scores of their benchmark."""


def merge(old: dict | None, run: dict, tests: Sequence[dict]) -> dict:
    """The results after some tests of a checkpoint.

    Each new record is marked with its checkpoint. It takes the place of the one of the same
    checkpoint, domain, split and protocol, or comes last; all others stay, but without
    ``per_image`` where that file has been written over.

    Args:
        old: what the results file held before, if anything.
        run: of the checkpoint that was tested.
        tests: from :func:`test_record`.
    """
    marked = [
        {**test, **{key: run[key] for key in ("checkpoint_sha256", "iteration")}} for test in tests
    ]
    overwritten = {test["per_image"] for test in marked}
    merged = [
        {**test, "per_image": None} if test["per_image"] in overwritten else test
        for test in (old["tests"] if old else ())
    ]
    places = [_identity(test) for test in merged]
    for test in marked:
        if _identity(test) in places:
            merged[places.index(_identity(test))] = test
        else:
            merged.append(test)
    return dict(schema=SCHEMA, run=run, tests=merged)


def current(results: dict) -> dict:
    """The results with only the tests of the checkpoint that was tested last."""
    checkpoint = results["run"]["checkpoint_sha256"]
    tests = [test for test in results["tests"] if test["checkpoint_sha256"] == checkpoint]
    return {**results, "tests": tests}


def is_done(results: dict, run: dict, test: dict, folder: Path) -> bool:
    """Whether results hold a test of a run's checkpoint, with the matrix of each image.

    Args:
        results: a results file's content.
        run: of the checkpoint.
        test: ``domain``, ``split`` and ``protocol``.
        folder: the results file's.
    """
    wanted = _identity({**test, "checkpoint_sha256": run["checkpoint_sha256"]})
    files = [found["per_image"] for found in results["tests"] if _identity(found) == wanted]
    return any(file is not None and (folder / file).is_file() for file in files)


def _identity(test: dict) -> list:
    return [test[key] for key in RECORDED[:4]]


def read(path: str | Path) -> dict:
    """Reads a results file.

    Raises:
        UserError: if it is missing, damaged (a test that is recorded twice too) or of another
            schema.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); remove it and test again") from error
    found = results.get("schema") if isinstance(results, dict) else None
    if found != SCHEMA:
        raise UserError(f"{path}: schema {found}, expected {SCHEMA}; test again to write it anew")
    if not _is_whole(results):
        raise UserError(
            f"{path}: damaged, it lacks the run or parts of its tests; remove it and test again"
        )
    return results


def _is_whole(results: dict) -> bool:
    """Whether there are a run of some checkpoint and records of tests, each of another test."""
    run, tests = results.get("run"), results.get("tests")
    if not (isinstance(run, dict) and isinstance(run.get("checkpoint_sha256"), str)):
        return False
    if not isinstance(tests, list):
        return False
    if not all(isinstance(test, dict) and set(RECORDED) <= set(test) for test in tests):
        return False
    identities = [_identity(test) for test in tests]
    return all(each not in identities[:i] for i, each in enumerate(identities))


class PerImage(NamedTuple):
    """The matrix of each image of a test, in order of the names."""

    names: np.ndarray
    """(N,) str."""
    confusion: np.ndarray
    """(N, K, K) unsigned, rows truth."""
    groups: np.ndarray | None
    """(N,) str, the group (city, sequence) that each image is of; None if not recorded."""


def read_per_image(path: str | Path, total: np.ndarray) -> PerImage:
    """Reads the matrices of a test's images.

    Args:
        path: the npz.
        total: (K, K) integer, the confusion that is recorded of the test.

    Raises:
        UserError: if the file is damaged, or does not add up to the total.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in ("names", "confusion", "groups") if key in file}
        names, confusion = content["names"], content["confusion"]
        groups = content.get("groups", names)
        if not (len(names) == len(groups) == len(confusion) and confusion.dtype.kind == "u"):
            raise ValueError(f"{len(names)} names, {len(groups)} groups, {len(confusion)} matrices")
        if names.dtype.kind != "U" or groups.dtype.kind != "U":
            raise ValueError("names or groups that are no text")
        if not 0 < len(names) == len(np.unique(names)):
            raise ValueError("no images" if len(names) == 0 else "an image twice")
    except _UNREADABLE as error:
        raise UserError(f"{path}: damaged ({error}); test again to write it anew") from error
    if confusion.shape[1:] != total.shape or (confusion.sum(axis=0, dtype=np.int64) != total).any():
        raise UserError(
            f"{path}: does not add up to the confusion in results.json; test again to write both"
        )
    order = np.argsort(names)
    known = groups[order] if "groups" in content else None
    return PerImage(names[order], confusion[order], known)


_UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


def write(path: str | Path, results: dict) -> None:
    """Writes a results file whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


def write_per_image(
    path: str | Path, matrices: dict[str, np.ndarray], groups: Sequence[str]
) -> None:
    """Writes ``names`` and ``groups`` (N,) and ``confusion`` (N, K, K) uint32 as a compressed npz,
    whole.

    Args:
        path: the file.
        matrices: (K, K) integer each, by the image's path below its domain's root.
        groups: for each image, what it is alike to; see ``ibnseg.datasets.groups``.
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        stack = np.stack(list(matrices.values())).astype(np.uint32)
        np.savez_compressed(
            file, names=np.array(list(matrices)), groups=np.array(list(groups)), confusion=stack
        )


def _none_for_nan(x: float | dict[str, float]) -> float | dict[str, float | None] | None:
    if isinstance(x, dict):
        return {name: _none_for_nan(value) for name, value in x.items()}
    return None if math.isnan(x) else float(x)
