"""The tests of several runs, read and checked so that they can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ibnseg.datasets.labels import DRIVABLE
from ibnseg.evaluation import drivable, results
from ibnseg.evaluation.confusion import iou, mean_iou, pixel_accuracy
from ibnseg.evaluation.results import PerImage
from ibnseg.support.errors import UserError

METRICS = {
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    **{name: f"drivable area, {way.title}" for name, way in drivable.METRICS.items()},
}
"""What can be compared, besides the IoU of a class, and what it is called in text."""

PROTOCOL = ("name", "version", "inference")
"""What makes a protocol: results under different ones never stand in one column."""


@dataclass(frozen=True)
class Test:
    """One test of one run's last tested checkpoint."""

    folder: Path
    run: dict
    record: dict

    @cached_property
    def confusion(self) -> np.ndarray:
        """(K, K) int64."""
        return np.array(self.record["confusion"], np.int64)

    @cached_property
    def images(self) -> PerImage | None:
        """The matrix of each image; None if it is not there."""
        name = self.record["per_image"]
        if name is None or not (self.folder / name).is_file():
            return None
        return results.read_per_image(self.folder / name, self.confusion)

    @cached_property
    def sample(self) -> str | None:
        """A hash of the names of the images and of their truth: of the same sample the same."""
        if self.images is None:
            return None
        truth = self.images.confusion.sum(axis=2, dtype=np.int64)
        return _hash("\0".join(self.images.names).encode(), truth.tobytes())

    def score(
        self, metric: str, averaged: Sequence[str], confusion: np.ndarray
    ) -> float | np.ndarray:
        """A metric of confusion matrices of this test's classes.

        Args:
            metric: one of ``METRICS``, or a class.
            averaged: names of the classes that count.
            confusion: (..., K, K).

        Returns:
            (...) float64; NaN where the class is not one of those that count, or the metric not one
            of the test's classes.
        """
        classes = self.record["classes"]
        if metric == "mIoU":
            return mean_iou(confusion, [classes.index(n) for n in averaged if n in classes])
        if metric == "pixel_accuracy":
            return pixel_accuracy(confusion)
        if metric in drivable.METRICS and tuple(classes) == DRIVABLE.classes:
            return drivable.score(drivable.METRICS[metric], confusion)
        if metric not in averaged or metric not in classes:
            return np.full(confusion.shape[:-2], np.nan)
        return iou(confusion)[..., classes.index(metric)]


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def protocol_of(test: Test) -> tuple:
    """What tells its protocol from others: values of ``PROTOCOL``."""
    return tuple(test.record["protocol"][key] for key in PROTOCOL)


def column_of(test: Test) -> tuple[str, str]:
    """Test domain and split."""
    return test.record["domain"], test.record["split"]


def network_of(run: Mapping) -> tuple[str, str, str]:
    """Train domain, config and network of a ``run`` in results, which seeds share."""
    return run["train_domain"], run["name"], run["model"]


def row_of(test: Test) -> tuple[str, str, str]:
    """The network of a test's run."""
    return network_of(test.run)


def check_seeds(runs: Iterable[tuple[Path, Mapping]]) -> None:
    """Makes sure that runs of one network differ in their seed alone.

    Args:
        runs: folders, and ``run`` as in results.

    Raises:
        UserError: for two runs of one config, network and train domain that were trained
            differently, or with the same seed.
    """
    folders: dict[tuple, Path] = {}
    trained: dict[tuple, tuple[Path, str]] = {}
    for folder, run in runs:
        network, recipe = network_of(run), run.get("recipe")
        if recipe is not None:
            first, own = trained.setdefault(network, (folder, recipe))
            if own != recipe:
                raise UserError(
                    f"{first} and {folder}: both are {run['name']}, but trained "
                    "differently; give one another name in its config.py, and test it again"
                )
        key = (*network, run["seed"])
        if key in folders:
            raise UserError(
                f"{folders[key]} and {folder}: both are {run['name']} with seed {run['seed']}; "
                "give one of them"
            )
        folders[key] = folder


def read_runs(runs: Sequence[str | Path]) -> list[Test]:
    """The tests of some runs, each of the checkpoint that was tested last.

    Args:
        runs: their folders, or their results files.

    Raises:
        UserError: for a run that cannot be read, two of one config, network and train domain with
            the same seed or trained differently, and runs tested over different classes in one
            domain.
    """
    found = [_read(Path(path)) for path in runs]
    check_seeds((tests[0].folder, tests[0].run) for tests in found)
    tests = [test for tests in found for test in tests]
    _check_classes(tests)
    return tests


def _read(path: Path) -> list[Test]:
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        below = sorted(each.parent.name for each in path.glob("*/results.json"))
        if below:
            raise UserError(
                f"{path}: not a run but a folder of runs: {', '.join(below)}; give these"
            )
        raise UserError(f"{path}: no run, which would have a results.json; train or test it first")
    content = results.current(results.read(file))
    tests = [Test(file.parent, content["run"], record) for record in content["tests"]]
    if not tests:
        raise UserError(f"{file}: no test of the checkpoint that was tested last; test it again")
    if not all(map(_is_whole, tests)):
        raise UserError(
            f"{file}: damaged, it lacks the run or parts of its tests; remove it and test again"
        )
    return tests


def _is_whole(test: Test) -> bool:
    try:
        shape = test.confusion.shape
        classes, averaged = (test.record[key] for key in ("classes", "eval_classes"))
        return (
            _has(test.run, _RUN)
            and _has(test.record, _RECORD)
            and _has(test.record["protocol"], _IN_PROTOCOL)
            and all(isinstance(name, str) for name in classes)
            and set(averaged) <= set(classes) == test.record["iou"].keys()
            and all(map(_has_fractions, (test.record["iou"], test.record.get("drivable", {}))))
            and shape == (len(classes), len(classes))
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def _has(part: Mapping, kinds: Mapping[str, type | tuple[type, ...]]) -> bool:
    return all(isinstance(part[key], kind) for key, kind in kinds.items())


def _has_fractions(scores: object) -> bool:
    return isinstance(scores, dict) and all(isinstance(x, _FRACTION) for x in scores.values())


_MAYBE_INT, _MAYBE_STR, _FRACTION = (int, type(None)), (str, type(None)), (int, float, type(None))
_RUN = dict(name=str, model=str, title=str, train_domain=str, seed=_MAYBE_INT, iteration=_MAYBE_INT)
_RECORD = dict(
    domain=str,
    split=str,
    protocol=dict,
    images=int,
    classes=list,
    eval_classes=list,
    mIoU=_FRACTION,
    pixel_accuracy=_FRACTION,
    iou=dict,
    per_image=_MAYBE_STR,
)
_IN_PROTOCOL = dict(name=str, version=int, inference=str)
"""What is read of results, and of which type it has to be."""


def _check_classes(tests: Sequence[Test]) -> None:
    first: dict[tuple, Test] = {}
    for test in tests:
        other = first.setdefault((*protocol_of(test), column_of(test)), test)
        if any(test.record[key] != other.record[key] for key in ("classes", "eval_classes")):
            raise UserError(
                f"{other.folder} and {test.folder}: tested over different classes on "
                f"{test.record['domain']}, which cannot be compared; test both again"
            )
