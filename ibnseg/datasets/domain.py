"""A domain by its name: its facts, from one small config file, and where its data lies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.groups import GROUPS
from ibnseg.datasets.labels import ClassSet
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import config_folder

KEYS = (
    "name",
    "title",
    "dataset",
    "data_root",
    "train_split",
    "test_split",
    "train_resize",
    "eval_classes",
    "group",
)


def domain_files(cfg: Config) -> dict[str, Path]:
    """The domains that can be named: the package's, then those beside the config, which win."""
    folders = [config_folder()]
    if cfg.filename is not None:
        folders.append(Path(cfg.filename).resolve().parent)
    return {
        path.stem: path
        for folder in folders
        for path in sorted((folder / "_base_" / "domains").glob("*.py"))
    }


def get_domain(name: str, cfg: Config) -> dict:
    """The domain of that name: out of ``cfg.domains`` if it is there (an expanded config), or its
    file.

    Raises:
        UserError: if there is none, with the nearest names; if its keys are not ``KEYS``, or its
            ``group`` is none of ``GROUPS``.
    """
    expanded = _expanded(cfg)
    if name in expanded:
        return dict(expanded[name])
    known = domain_files(cfg)
    if name not in known:
        raise unknown_name("domain", name, known.keys() | expanded.keys())
    domain = dict(Config.fromfile(known[name]).domain)
    if set(domain) != set(KEYS):
        wrong = ", ".join(sorted(set(domain) ^ set(KEYS)))
        raise UserError(
            f"{known[name]}: missing or unknown keys {wrong}; expected {', '.join(KEYS)}"
        )
    if domain["group"] not in GROUPS:
        raise unknown_name(f"group of domain '{name}'", domain["group"], GROUPS)
    return domain


def class_set_of(domain: Mapping) -> ClassSet:
    """The classes of a domain, which are its adapter's.

    Raises:
        UserError: if there is no such adapter.
    """
    type_ = domain["dataset"]["type"]
    adapter = DATASETS.get(type_)
    if adapter is None:
        known = [f"ibnseg.{name}" for name in DATASETS.module_dict]
        raise unknown_name(f"dataset type of domain '{domain['name']}'", type_, known)
    return adapter.CLASS_SET


def domain_titles(names: Iterable[str], cfg: Config) -> dict[str, str]:
    """What tables call those of some domains that a config, the package or its user's folder has.

    Raises:
        UserError: for the file of a domain whose keys are not ``KEYS``.
    """
    known = _expanded(cfg).keys() | domain_files(cfg).keys()
    found = {name: get_domain(name, cfg).get("title") for name in names if name in known}
    return {name: title for name, title in found.items() if isinstance(title, str)}


def _expanded(cfg: Config) -> dict[str, Mapping]:
    """The domains that an expanded config holds; what is no domain there is ignored."""
    domains = cfg.get("domains")
    found = domains.items() if isinstance(domains, Mapping) else ()
    return {name: domain for name, domain in found if isinstance(domain, Mapping)}


def check_roots(roots: Mapping[str, str], domains: Iterable[str], data: Iterable[str]) -> None:
    """Checks the names that data folders are given by on the command line.

    Args:
        roots: folders by name.
        domains: names of the domains.
        data: their ``data_root``.

    Raises:
        UserError: for another name, with the nearest ones.
    """
    known = {*domains, *data}
    for name in roots:
        if name not in known:
            raise unknown_name("name in --data-root", name, known)


def places(domain: Mapping, roots: Mapping[str, str]) -> list[Path]:
    """Where a domain's data may lie, in order; arguments as for :func:`find_root`."""
    name = domain["data_root"]
    for given in (domain["name"], name):
        if given in roots:
            return [Path(roots[given]).expanduser()]
    found = [Path("data") / name]
    if "IBNSEG_DATA" in os.environ:
        found.insert(0, Path(os.environ["IBNSEG_DATA"]).expanduser() / name)
    return found


def find_root(domain: Mapping, roots: Mapping[str, str]) -> str:
    """Where a domain's data lies, first found of ``roots``, ``$IBNSEG_DATA/<name>``,
    ``data/<name>``.

    Args:
        domain: its ``data_root`` is the <name>: domains of one dataset share it.
        roots: from the command line, by the domain's name or by that of its data.

    Raises:
        UserError: if the folder is missing, saying where it was looked for.
    """
    tried = places(domain, roots)
    for place in tried:
        if place.is_dir():
            return str(place)
    raise UserError(
        f"domain '{domain['name']}': no folder {' nor '.join(map(str, tried))}; put the data "
        "there (see data/README.md), or say where it is with "
        f"--data-root {domain['data_root']}=PATH or IBNSEG_DATA"
    )


def dataset_of(
    domain: Mapping, root: str, split: str, pipeline: Sequence[dict] = (), **kwargs
) -> dict:
    """The config of a domain's dataset.

    Args:
        domain: from :func:`get_domain`.
        root: from :func:`find_root`.
        split: one of its adapter's.
        pipeline: what samples go through.
        kwargs: other arguments of the adapter.
    """
    own = dict(data_root=root, split=split, pipeline=list(pipeline))
    return {**domain["dataset"], **own, **kwargs}
