"""The tests of several runs, read and checked so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ibnseg.evaluation import results
from ibnseg.evaluation.metrics import CONFUSION
from ibnseg.evaluation.per_image import PerImage, read_per_image
from ibnseg.runs.recipe import differences
from ibnseg.runs.revisions import REVISION
from ibnseg.runs.run import CONFIG, RESULTS
from ibnseg.support.data_files import list_folders
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path

PROTOCOL = ("name", "version", "inference")
"""The keys that identify a protocol; results under different ones never share a column."""

RecipeOf = Callable[[Path], "Mapping | None"]
"""Reads the recipe, ``hash`` and ``values``, of a run's folder; None if it is not known."""


@dataclass(frozen=True)
class TestRecord:
    """One test of one run's last tested checkpoint."""

    folder: Path
    """The run's."""
    run: Mapping
    """The ``run`` of its results."""
    record: Mapping
    """The entry of the test in ``tests``."""
    domains: Mapping[str, Mapping]
    """Facts of the domains that occur in the run's results, by name."""
    metrics: Mapping[str, Mapping]
    """Facts of the metrics that occur there, by name."""
    as_tested: Mapping | None = None
    """The record in results, if ``record`` averages fewer classes (``ibnseg.report.common``)."""

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """The sums over images that metrics are read off, by their names; int64 or float64."""
        confusion = np.array(self.record["confusion"], np.int64)
        others = self.record["counts"].items()
        return {CONFUSION: confusion, **{name: np.array(counts) for name, counts in others}}

    def read_images(self) -> PerImage | None:
        """Reads the counts of each image; None if their file is missing.

        Raises:
            UserError: if the file is damaged, does not add up to the record, or has another number
                of images.
        """
        name = self.record["per_image"]
        if name is None or not (self.folder / name).is_file():
            return None
        others = {name: counts for name, counts in self.counts.items() if name != CONFUSION}
        found = read_per_image(self.folder / name, self.counts[CONFUSION], others)
        if len(found.names) != self.record["images"]:
            raise UserError(
                f"{self.folder / name}: has {len(found.names)} images, {RESULTS} has "
                f"{self.record['images']}; test again to write both"
            )
        return found

    def averaged(self) -> list[int]:
        """Returns the indices of the classes that are averaged."""
        return [self.record["classes"].index(name) for name in self.record["eval_classes"]]


def protocol_of(test: TestRecord) -> tuple:
    """Returns what tells a test's protocol from others, the values of ``PROTOCOL``."""
    return tuple(test.record["protocol"][key] for key in PROTOCOL)


class Place(NamedTuple):
    """The split of a domain that was tested on, a column of the matrix."""

    domain: str
    split: str


class Network(NamedTuple):
    """What the seeds of one recipe share, a row of the matrix."""

    train: str
    """The training domain; the names of several are joined by ``+``."""
    config: str
    model: str


def column_of(test: TestRecord) -> Place:
    """Returns the place in which a network was tested."""
    return Place(test.record["domain"], test.record["split"])


def network_of(run: Mapping) -> Network:
    """Returns the network of a ``run`` in results."""
    return Network(run["train_domain"], run["name"], run["model"])


# --- recipes ---


def knows_recipe(run: Mapping) -> bool:
    """Whether a ``run`` in results has the values that decide what is learnt.

    Runs of schema 1 have a hash of some of them, or nothing.
    """
    return isinstance(run.get("recipe"), Mapping)


def check_seeds(runs: Iterable[tuple[Path, Mapping]]) -> None:
    """Makes sure that runs of one network differ in their seed alone.

    Recipes with values are compared with each other, and hashes with hashes: those of schema 1
    cover fewer values, and are of trainings before all revisions.

    Args:
        runs: folders, and ``run`` as in results.

    Raises:
        UserError: for two runs of one config, network and train domain that were trained
            differently, or with the same seed.
    """
    folders: dict[tuple, Path] = {}
    trained: dict[tuple, tuple[Path, str | Mapping, object]] = {}
    for folder, run in runs:
        network, recipe = network_of(run), run.get("recipe")
        if recipe is not None:
            kinds = {knows_recipe(run): _hash_of(recipe), "revisions": _revisions(recipe)}
            for kind, value in kinds.items():
                first, own, same = trained.setdefault((network, kind), (folder, recipe, value))
                if value != same:
                    raise UserError(
                        f"{first} and {folder}: both are {run['name']}, but trained differently"
                        f"{_differing(own, recipe)}; give one of them another name in its "
                        f"{CONFIG} and test it again"
                    )
        key = (*network, run["seed"])
        if key in folders:
            raise UserError(
                f"{folders[key]} and {folder}: both are {run['name']} with seed {run['seed']}; "
                "give one of them"
            )
        folders[key] = folder


def _hash_of(recipe: str | Mapping) -> str:
    return recipe if isinstance(recipe, str) else recipe["hash"]


def _revisions(recipe: str | Mapping) -> set[str]:
    """The revisions that a run was trained under and that concern it."""
    return {name for name in _values(recipe) if name.startswith(REVISION)}


def _values(recipe: str | Mapping) -> Mapping:
    return {} if isinstance(recipe, str) else recipe["values"]


def _differing(one: str | Mapping, other: str | Mapping) -> str:
    if isinstance(one, str) and isinstance(other, str):
        return ""
    if isinstance(one, str) or isinstance(other, str):
        return f" ({', '.join(sorted(_revisions(one) ^ _revisions(other)))})"
    keys = differences(one["values"], other["values"])
    return f" ({', '.join(keys)})" if keys else ""


# --- reading ---


def read_runs(runs: Sequence[str | Path], recipe_of: RecipeOf | None = None) -> list[TestRecord]:
    """Reads the tests of some runs, those of the checkpoint that each was last tested with.

    Args:
        runs: their folders, or their results files.
        recipe_of: reads the recipe of a run whose results have none with values.

    Raises:
        UserError: for a run that cannot be read; for two runs of one config, network and train
            domain with the same seed, or trained differently.
    """
    found = [_read(as_path(path), recipe_of) for path in runs]
    check_seeds((tests[0].folder, tests[0].run) for tests in found)
    return [test for tests in found for test in tests]


def _read(path: Path, recipe_of: RecipeOf | None) -> list[TestRecord]:
    file = path / RESULTS if path.is_dir() else path
    if not file.exists() or file.is_dir():
        below = [each.name for each in list_folders(path) if (each / RESULTS).is_file()]
        if below:
            raise UserError(
                f"{path}: not a run but a folder of runs: {', '.join(below)}; give these"
            )
        raise UserError(f"{path} is not a tested run (no {RESULTS}); train or test it first")
    content = results.current(results.read(file))
    run = content["run"]
    if recipe_of and not knows_recipe(run):
        run = {**run, "recipe": recipe_of(file.parent) or run.get("recipe")}
    tests = [
        TestRecord(file.parent, run, record, content["domains"], content["metrics"])
        for record in content["tests"]
    ]
    if not tests:
        raise UserError(f"{file}: no test of the checkpoint that was tested last; test it again")
    return tests
