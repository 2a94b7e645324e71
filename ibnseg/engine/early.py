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


def check_training(
    config: str | Path,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
) -> None:
    """Checks what :func:`ibnseg.engine.run.train` is given, as far as that needs no torch.

    Raises:
        UserError: as that function.
    """
    cfg = load_config(config, options)
    _check(cfg, roots or {}, domains, protocols, training=True)


def check_testing(
    source: str | Path,
    checkpoint: str | Path | None = None,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
) -> None:
    """Checks what :func:`ibnseg.engine.run.test` is given, as far as that needs no torch.

    Raises:
        UserError: as that function.
    """
    cfg, checkpoint = find_network(source, checkpoint, options)
    require_checkpoint(checkpoint)
    _check(cfg, roots or {}, domains, protocols, training=False)


def require_checkpoint(path: Path) -> None:
    """Raises a UserError if a checkpoint is not there."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")


def _check(
    cfg: Config,
    roots: Mapping[str, str],
    domains: Sequence[str] | None,
    protocols: Sequence[str] | None,
    training: bool,
) -> None:
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
