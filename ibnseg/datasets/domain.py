"""Domains: what is known of each from a small config file, and the order in which they are looked
for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ibnseg.datasets.groups import GROUPS
from ibnseg.datasets.labels import ClassSet
from ibnseg.datasets.own_maps import read_own_map
from ibnseg.support.configs import first_by_name, read_config
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import as_path, config_folders, is_file_name

if TYPE_CHECKING:  # whether a name is known is said without mmengine
    from mmengine.config import Config


@dataclass(frozen=True)
class Domain:
    """A dataset in one appearance, to train in or to test on. Its file states
    ``domain = dict(...)`` with these keys and no others."""

    name: str
    """What configs, commands and results call it."""
    title: str
    """What tables call it."""
    dataset: Mapping
    """The adapter's type and arguments."""
    data_root: str
    """The folder's name below ``$IBNSEG_DATA`` or ``data/``; domains of one dataset share it."""
    train_split: str
    """The adapter's split to train on."""
    test_split: str
    """The adapter's split to test on."""
    train_resize: tuple[int, int] | None
    """(width, height) that the random scale starts from; the stored size if None."""
    eval_classes: Sequence[str] | None
    """The names of the classes that are averaged; if None, all that the labels can have."""
    group: str
    """The rule for which images are alike, by its name in ``ibnseg.datasets.groups.GROUPS``."""

    @classmethod
    def from_dict(cls, values: Mapping, source: str | Path) -> Domain:
        """Makes a domain of its values by key, which are checked.

        Args:
            values: a value for each of the keys above.
            source: what errors call the place that the values are from.

        Raises:
            UserError: for a missing, unknown or wrong key.
        """
        keys = {field.name for field in fields(cls)}
        if set(values) != keys:
            wrong = ", ".join(sorted(set(values) ^ keys))
            raise UserError(
                f"{source}: missing or unknown keys {wrong}; expected "
                f"{', '.join(field.name for field in fields(cls))}"
            )
        for key, (accepts, words) in KINDS.items():
            if not accepts(values[key]):
                raise UserError(f"{source}: {key} is {values[key]!r}, expected {words}")
        if values["group"] not in GROUPS:
            raise unknown_name(f"group of domain '{values['name']}'", values["group"], GROUPS)
        return cls(**values)

    def as_dict(self) -> dict:
        """The values by key, as a config holds them."""
        return asdict(self)

    @property
    def adapter(self) -> type:
        """The dataset's class.

        Raises:
            UserError: if no adapter of that type is registered (it names the nearest ones), or the
                type is not a ``DrivingDataset``.
        """
        from ibnseg.registry import DATASETS

        type_ = self.dataset["type"]
        adapter = DATASETS.get(type_)
        if adapter is None:
            known = [f"ibnseg.{name}" for name in DATASETS.module_dict]
            known += DATASETS.parent.module_dict
            raise unknown_name(f"dataset type of domain '{self.name}'", type_, known)
        if not hasattr(adapter, "CLASS_SET"):
            raise UserError(
                f"dataset type {type_} of domain '{self.name}' is not a subclass of "
                "ibnseg.datasets.base.DrivingDataset; docs/domains.md shows how to write one"
            )
        return adapter

    @property
    def class_set(self) -> ClassSet:
        """The classes, which are the adapter's."""
        return self.adapter.CLASS_SET

    @property
    def own_map(self) -> Mapping[str, str] | None:
        """What the dataset's classes become, by name; None if a map of the adapter is used."""
        stated = self.dataset.get("class_map")
        return stated if isinstance(stated, Mapping) else None

    @property
    def averaged(self) -> tuple[str, ...]:
        """Names of the classes that are averaged.

        Raises:
            UserError: for a name in ``eval_classes`` that is not a class of the domain.
        """
        names, classes = tuple(self.eval_classes or ()), self.class_set.classes
        for name in names:
            if name not in classes:
                raise unknown_name(f"class in eval_classes of domain '{self.name}'", name, classes)
        if names or self.own_map is None:
            return names or self.adapter.labelled_classes()
        return tuple(name for name in classes if name in self.own_map.values())

    def places(self, roots: Mapping[str, str]) -> list[Path]:
        """Lists the folders in which the data may lie, in the order of :meth:`root`.

        Args:
            roots: as for :meth:`root`.
        """
        for given in (self.name, self.data_root):
            if given in roots:
                return [as_path(roots[given])]
        own = as_path(self.data_root)
        found = [Path("data") / own]
        if "IBNSEG_DATA" in os.environ:
            found.insert(0, as_path(os.environ["IBNSEG_DATA"]) / own)
        return found

    def root(self, roots: Mapping[str, str]) -> str:
        """Finds the folder of the data: that in ``roots``, else ``$IBNSEG_DATA/<data_root>``, else
        ``data/<data_root>``.

        Args:
            roots: folders from the command line, by the domain's name or by its ``data_root``.

        Raises:
            UserError: if the folder is missing; it says where it was looked for.
        """
        tried = self.places(roots)
        for place in tried:
            if place.is_dir():
                return str(place)
        raise UserError(
            f"domain '{self.name}': no folder {' nor '.join(map(str, tried))}; put the data "
            "there (see data/README.md), or say where it is with "
            f"--data-root {self.data_root}=PATH or IBNSEG_DATA"
        )

    def dataset_config(
        self, root: str, split: str, pipeline: Sequence[dict] = (), **kwargs: object
    ) -> dict:
        """Makes the config of the dataset, for ``ibnseg.registry.DATASETS.build``.

        Args:
            root: from :meth:`root`.
            split: one of the adapter's.
            pipeline: the transforms that each sample goes through.
            kwargs: other arguments of the adapter.
        """
        own = dict(data_root=root, split=split, pipeline=list(pipeline))
        return {**self.dataset, **own, **kwargs}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_size(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(type(side) is int and side > 0 for side in value)
    )


KINDS = {
    **dict.fromkeys(
        ("title", "data_root", "train_split", "test_split", "group"),
        (_is_text, "a text that is not empty"),
    ),
    "name": (
        lambda value: _is_text(value) and is_file_name(value),
        "a short text without slashes, because files are called by it",
    ),
    "dataset": (
        lambda value: isinstance(value, Mapping) and _is_text(value.get("type")),
        "a dict with type",
    ),
    "train_resize": (lambda value: value is None or _is_size(value), "(width, height), or None"),
    "eval_classes": (
        lambda value: (
            value is None or (isinstance(value, (list, tuple)) and all(map(_is_text, value)))
        ),
        "a list of names, or None",
    ),
}
"""What the value of each key of a domain has to be."""


class Domains:
    """The domains that can be named, each found in the first place that has it: the run's own
    record, the folder beside the config that the run was made from, ``./configs``, the folders of
    ``$IBNSEG_CONFIGS``, the package.

    Args:
        recorded: domains that a run's config holds, by name.
        beside: the folders of configs.
        class_maps: files with class maps of one's own (:mod:`ibnseg.datasets.own_maps`), by the
            names of the domains that are read by them.
    """

    def __init__(
        self,
        recorded: Mapping[str, Mapping] | None = None,
        beside: Iterable[Path] = (),
        class_maps: Mapping[str, str] | None = None,
    ) -> None:
        self._class_maps = dict(class_maps or {})
        self._recorded = dict(recorded or {})
        folders = [*beside, *config_folders()]
        self._files = first_by_name(folder / "_base_" / "domains" for folder in folders)

    @classmethod
    def of(cls, cfg: Config) -> Domains:
        """The domains that a config can name, be it an experiment's or a run's."""
        return cls.named_in(cfg, cfg.filename)

    @classmethod
    def named_in(cls, cfg: Mapping, file: str | Path | None) -> Domains:
        """The domains that the values of a config can name, which are read from a file."""
        recorded = cfg.get("domains")
        values = recorded.items() if isinstance(recorded, Mapping) else ()
        found = {name: domain for name, domain in values if isinstance(domain, Mapping)}
        files = [path for path in (file, cfg.get("made_from")) if path]
        maps = cfg.get("class_maps")
        beside = [Path(path).resolve().parent for path in files]
        return cls(found, beside, maps if isinstance(maps, Mapping) else None)

    def __contains__(self, name: str) -> bool:
        return name in self._recorded or name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._recorded.keys() | self._files.keys()))

    def __getitem__(self, name: str) -> Domain:
        """The domain of that name.

        Raises:
            UserError: if there is none (it names the nearest ones), or its file or that of its
                class map is wrong.
        """
        domain = self._found(name)
        if name not in self._class_maps:
            return domain
        own = read_own_map(as_path(self._class_maps[name]))
        return replace(domain, dataset={**domain.dataset, "class_map": own})

    def _found(self, name: str) -> Domain:
        if name in self._recorded:
            return Domain.from_dict(dict(self._recorded[name]), f"domain '{name}'")
        self.require([name])
        path = self._files[name]
        try:
            values = read_config(path).get("domain")
        except Exception as error:  # a config is code: anything may be wrong with it
            raise UserError(f"{path}: cannot be read as a domain ({error})") from error
        if not isinstance(values, Mapping):
            raise UserError(f"{path}: expected domain = dict(...), as docs/domains.md shows")
        return Domain.from_dict(dict(values), path)

    def require(self, names: Iterable[str]) -> None:
        """Raises a UserError for a name that no domain has (it names the nearest ones); no domain's
        file is read."""
        for name in names:
            if name not in self:
                raise unknown_name("domain", name, self)

    def titles(self, names: Iterable[str]) -> dict[str, str]:
        """Looks up the titles of domains by name; unknown ones and those without a title are left
        out."""
        found = {}
        for name in names:
            recorded = self._recorded.get(name)
            if recorded is not None:
                found[name] = recorded.get("title")
            elif name in self._files:
                found[name] = self[name].title
        return {name: title for name, title in found.items() if isinstance(title, str)}

    def check_class_maps(self, used: Iterable[str]) -> None:
        """Raises a UserError for the class map of a domain that is not among those in use."""
        for name in self._class_maps:
            if name not in used:
                raise unknown_name("domain of a class map", name, used)

    def check_roots(self, roots: Mapping[str, str], used: Iterable[Domain] = ()) -> None:
        """Checks the names for which data folders are given on the command line.

        Args:
            roots: folders by name.
            used: domains that may be named by their ``data_root``, too.

        Raises:
            UserError: for another name; it names the nearest ones.
        """
        known = {*self, *(domain.data_root for domain in used)}
        for name in roots:
            if name not in known:
                raise unknown_name("name in --data-root", name, known)
