"""Checks of a training or test that need no torch, whose import takes seconds: names, and whether
data and checkpoint are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.read import find_network, load_config, with_defaults
from ibnseg.evaluation.protocols import get_protocol
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError


def check_training(config: str | Path, options: Sequence[str] = (), **given: object) -> None:
    """Checks what :func:`ibnseg.engine.run.train` is given, as far as that needs no torch.

    Args:
        config, options: as for that function.
        given: its ``roots``, ``domains`` and ``protocols``.

    Raises:
        UserError: as that function.
    """
    _check(load_config(config, options), training=True, **given)


def check_testing(
    source: str | Path,
    checkpoint: str | Path | None = None,
    options: Sequence[str] = (),
    **given: object,
) -> None:
    """Checks what :func:`ibnseg.engine.run.test` is given, as far as that needs no torch.

    Args:
        source, checkpoint, options: as for that function.
        given: its ``roots``, ``domains`` and ``protocols``.

    Raises:
        UserError: as that function.
    """
    cfg, checkpoint = find_network(source, checkpoint, options)
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
) -> None:
    roots = roots or {}
    for key, value in dict(test_domains=domains, protocol=protocols).items():
        if value is not None:
            cfg[key] = value
    cfg = with_defaults(cfg)
    known = Domains.of(cfg)
    found = {name: known[name] for name in [*train_domains(cfg), *cfg.test_domains]}
    known.check_roots(roots, found.values())
    for name in cfg.protocol:
        get_protocol(name)
    for name in found if training else cfg.test_domains:
        found[name].root(roots)
