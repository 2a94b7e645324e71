"""Checks of a training or test that need no torch, whose import takes seconds: names, and whether
data and checkpoint are there. Unknown names are refused first, even without mmengine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibnseg.datasets.domain import Domains
from ibnseg.engine.protocols import protocols_of
from ibnseg.evaluation.protocols import find_protocols
from ibnseg.runs.literal import read_some_values
from ibnseg.runs.recipe import is_foreign_network, train_domains
from ibnseg.support.configs import find_config
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path

if TYPE_CHECKING:
    from mmengine.config import Config

BRINGS_DOMAINS = ("domains", "made_from", "custom_imports")
"""The keys through which a config can bring domains that have no file beside it: their record, the
file that it was made from, and code."""


def check_given_names(
    source: str | Path | None,
    options: Sequence[str] = (),
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
) -> None:
    """Refuses unknown names that were given on the command line, without executing a config.

    If a config or an option may define domains by code, or it cannot be read as plain data, nothing
    is said of domains here, because only the config itself can tell.

    Args:
        source: the folder of a run, or a config by its path or name; None if domains are known by
            their files alone.
        options: changes to the config, ``key=value``.
        domains, protocols: the names.

    Raises:
        UserError: for an unknown name, with the nearest ones.
    """
    if domains:
        known = Domains() if source is None else _domains(source, options)
        if known is not None:
            known.require(domains)
    find_protocols(protocols or ())


def _domains(source: str | Path, options: Sequence[str]) -> Domains | None:
    """The domains that a config can name; None if that cannot be known without executing it."""
    folder = as_path(source)
    path = folder / "config.py" if folder.is_dir() else find_config(source)
    try:
        values = read_some_values(path, ("given", *BRINGS_DOMAINS))
    except UserError:  # as for every config that is code
        return None
    given = values.get("given", {})  # what the user had set of keys that a run has expanded
    changed = {option.partition("=")[0].partition(".")[0] for option in options}
    if not isinstance(given, dict) or changed & {*BRINGS_DOMAINS}:
        return None
    values |= given
    if "custom_imports" in values or not isinstance(values.get("made_from"), str | None):
        return None
    return Domains.named_in(values, path)


def check_training(config: str | Path, options: Sequence[str] = (), **given: object) -> None:
    """Checks what :func:`ibnseg.engine.run.train` is given, as far as that needs no torch.

    Args:
        config, options: as for that function.
        given: its ``roots``, ``domains``, ``protocols`` and ``class_maps``.

    Raises:
        UserError: as that function.
    """
    check_given_names(config, options, given.get("domains"), given.get("protocols"))
    from ibnseg.engine.read import load_config

    _check(load_config(config, options), training=True, **given)


def check_network(cfg: Config, checkpoint: Path | None, **given: object) -> None:
    """Checks what :func:`ibnseg.test` is given, as far as that needs no torch.

    Args:
        cfg: the network's config, not expanded.
        checkpoint: its weights; None for a network that was not trained here.
        given: ``roots``, ``domains``, ``protocols`` and ``class_maps`` as for that function.

    Raises:
        UserError: as that function.
    """
    if checkpoint is not None:
        require_checkpoint(checkpoint)
    _check(cfg, training=False, **given)


def require_checkpoint(path: Path) -> None:
    """Raises a UserError if a checkpoint is not there."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")


def _check(
    cfg: Config,
    *,
    training: bool,
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    class_maps: Mapping[str, str] | None = None,
) -> None:
    from ibnseg.engine.read import with_defaults

    roots = roots or {}
    for key, value in dict(test_domains=domains, protocol=protocols, class_maps=class_maps).items():
        if value is not None:
            cfg[key] = value
    cfg = with_defaults(cfg)
    known = Domains.of(cfg)
    trained = [] if is_foreign_network(cfg) else train_domains(cfg)
    found = {name: known[name] for name in [*trained, *cfg.test_domains]}
    known.check_roots(roots, found.values())
    protocols_of(cfg)
    for name in found if training else cfg.test_domains:
        found[name].root(roots)
