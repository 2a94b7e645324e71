"""A run as data: its folder, its config, its checkpoints, its results and its recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ibnseg.evaluation import results
from ibnseg.runs.literal import read_config_data
from ibnseg.runs.recipe import hash_of, recipe_values
from ibnseg.support.configs import require_run
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path

CONFIG = "config.py"
RESULTS = "results.json"
LATEST = "latest.pth"
"""The name of the link to the checkpoint of the last iteration that was saved."""
BEST = "best.pth"
"""The name of the checkpoint that ``save_best`` selected."""


def default_folder(name: str) -> Path:
    """Returns the folder in which the run of a name is kept unless another one is given."""
    return Path("work_dirs") / name


@dataclass(frozen=True)
class Run:
    """The folder of a training. Nothing in it is executed here: everything is read as data."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Opens the run in a folder.

        Raises:
            UserError: if the folder is missing, or has no ``config.py``.
        """
        folder = as_path(path)
        require_run(folder)
        return cls(folder)

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> Run | None:
        """Finds the run whose folder, or whose ``checkpoints/``, a checkpoint lies in.

        Returns:
            None if there is none.
        """
        path = as_path(checkpoint)
        for folder in (path.parent, path.parent.parent):
            if (folder / CONFIG).is_file():
                return cls(folder)
        return None

    @cached_property
    def config(self) -> dict:
        """The expanded config.

        Raises:
            UserError: if it cannot be read, is not plain data, or is cut.
        """
        path = self.folder / CONFIG
        found = read_config_data(path)
        if found.get("work_dir") is None:  # every run's config has it, near its end
            raise UserError(
                f"{path} is cut off, its last keys are missing; restore the file, or train again"
            )
        return found

    @cached_property
    def results(self) -> dict | None:
        """The content of ``results.json``; None if nothing has been tested.

        Raises:
            UserError: if the file is damaged.
        """
        path = self.folder / RESULTS
        return results.read(path) if path.exists() else None

    @property
    def latest(self) -> Path:
        """The path of the checkpoint of the last iteration that was saved."""
        return self.folder / LATEST

    @property
    def is_begun(self) -> bool:
        """Whether a checkpoint has ever been saved, even if the file is gone."""
        return os.path.lexists(self.latest)

    @property
    def pulled(self) -> Mapping | None:
        """Where ``ibnseg pull`` took the run from; None for a run that was trained here.

        Raises:
            UserError: if the config cannot be read.
        """
        return self.config.get("pulled")

    @property
    def tested(self) -> Path:
        """The path of the checkpoint that is tested: the best one if ``save_best``, else the
        latest."""
        return self.folder / (BEST if self.config.get("save_best") else LATEST)

    @cached_property
    def recipe(self) -> Recipe | None:
        """What the run was trained by; None if its config does not say."""
        try:
            return Recipe.of(self.config)
        except UserError:
            return None


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training learns, but its seed."""

    hash: str
    """12 hexadecimal digits, the same for trainings that differ in their seed alone."""
    values: Mapping[str, object]
    """What decides, by name, as JSON has it."""

    @classmethod
    def of(cls, cfg: Mapping) -> Recipe:
        """Makes the recipe of an expanded config.

        Raises:
            UserError: if the config lacks a value that decides.
        """
        values = recipe_values(cfg)
        return cls(hash_of(values)[:12], values)

    def as_dict(self) -> dict:
        """Returns the recipe in the form that results record."""
        return dict(hash=self.hash, values=dict(self.values))
