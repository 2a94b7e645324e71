"""A domain by its name: its facts, from one small config file, and where its data lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

import ibnseg
from ibnseg.errors import UserError, unknown_name

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


def config_folder() -> Path:
    """The folder of the configs that come with the package, or with the checkout that is run in
    place."""
    package = Path(ibnseg.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


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
        UserError: if there is none, with the nearest names; if its keys are not ``KEYS``.
    """
    expanded = cfg.get("domains") or {}
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
    return domain


def find_root(domain: Mapping, roots: Mapping[str, str]) -> str:
    """Where a domain's data lies, first found of ``roots``, ``$IBNSEG_DATA/<name>``,
    ``data/<name>``.

    Args:
        domain: its ``data_root`` is the <name>: domains of one dataset share it.
        roots: from the command line, by the domain's name or by that of its data.

    Raises:
        UserError: if the folder is missing, saying where it was looked for.
    """
    name = domain["data_root"]
    for given in (domain["name"], name):
        if given in roots:
            places = [Path(roots[given]).expanduser()]
            break
    else:
        places = [Path("data") / name]
        if "IBNSEG_DATA" in os.environ:
            places.insert(0, Path(os.environ["IBNSEG_DATA"]).expanduser() / name)
    for place in places:
        if place.is_dir():
            return str(place)
    raise UserError(
        f"domain '{domain['name']}': no folder {' nor '.join(map(str, places))}; put the data "
        "there (see "
        f"data/README.md), or say where it is with --data-root {name}=PATH or IBNSEG_DATA"
    )
