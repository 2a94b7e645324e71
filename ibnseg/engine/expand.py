"""Expands a config in this package's keys to one that mmengine can run without other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ibnseg.datasets.domain import Domain, Domains
from ibnseg.datasets.labels import ClassSet
from ibnseg.engine import words
from ibnseg.engine.automatic import resolved
from ibnseg.engine.protocols import protocols_of
from ibnseg.engine.read import with_defaults
from ibnseg.engine.testing import expand_testing
from ibnseg.engine.training import check_heads, expand_selection, expand_training
from ibnseg.runs.mmengine_keys import REFUSED
from ibnseg.runs.recipe import domain_label, is_foreign_network, train_domains
from ibnseg.runs.revisions import REVISIONS
from ibnseg.runs.run import LATEST
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path


def expand(
    cfg: Config,
    roots: Mapping[str, str] | None = None,
    world_size: int = 1,
    training: bool = True,
) -> Config:
    """Makes mmengine's loaders, loops, evaluators and hooks from the keys of a config.

    The training data is listed on the way, because the schedule's length depends on its size. The
    result keeps the keys, contains the domains, and keeps in ``given`` what the user set in
    mmengine's words. So it can be read without any other file, and expanding it again changes
    nothing.

    Args:
        cfg: an experiment; see ``docs/configs.md`` for its keys.
        roots: data folders from the command line, by a domain's name or its ``data_root``.
        world_size: number of processes, which share the batch.
        training: whether to expand what training needs; if false, the data of the training domains
            need not exist.

    Returns:
        A new config.

    Raises:
        UserError: for a key that is missing or contradicts another; an unknown domain, protocol or
            split; missing data; domains of different classes; and a head with another number of
            classes, or with a loss that ``class_balance`` cannot weight.
    """
    cfg, roots = with_defaults(cfg), roots or {}
    cfg.update(resolved(cfg))
    if cfg.get("name") is None:
        cfg.name = Path(cfg.filename or "unnamed").stem
    if cfg.get("made_from") is None and cfg.filename is not None:
        cfg.made_from = str(Path(cfg.filename).resolve())
    foreign, known = is_foreign_network(cfg), Domains.of(cfg)
    trained = [] if foreign else train_domains(cfg)
    names = list(dict.fromkeys([*trained, *cfg.test_domains]))
    domains = {name: known[name] for name in names}
    titled = [name for name in train_domains(cfg) if name in known]
    cfg.domains = {name: known[name].as_dict() for name in dict.fromkeys([*titled, *names])}
    known.check_class_maps(names)
    cfg.class_maps = {}  # they are in the domains
    class_set = domains[names[0]].class_set
    for domain in domains.values():
        _require_same_classes(domain, class_set, names[0], foreign)
    if foreign:
        cfg.model.target = list(class_set.classes)
    else:
        check_heads(cfg.model, len(class_set.classes))
    known.check_roots(roots, domains.values())
    protocols = protocols_of(cfg)
    read = names if training else cfg.test_domains
    found = {name: domains[name].root(roots) for name in read}
    given = words.given_words(cfg)
    for key in REFUSED:
        cfg[key] = None
    cfg.experiment_name, cfg.default_scope = cfg.name, "mmseg"
    cfg.launcher = "none"
    cfg.load_from, cfg.resume = _start_of(cfg) if training else None, False
    if cfg.model.get("data_preprocessor") is not None and not foreign:
        cfg.model.data_preprocessor.size = tuple(cfg.crop_size)
    if training:
        cfg.revisions = list(REVISIONS)
        expand_training(cfg, domains, found, world_size)
        expand_selection(cfg, domains, found)
    else:
        cfg.optim_wrapper = cfg.param_scheduler = None
    expand_testing(cfg, domains, found, protocols)
    _expand_runtime(cfg)
    cfg.given = given
    return cfg


def _start_of(cfg: Config) -> str | None:
    """The checkpoint whose weights a training starts from."""
    if cfg.get("start_from") is None:
        return None
    path = as_path(cfg.start_from)
    path = path / LATEST if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"start_from: no checkpoint {path}; expected a finished run's folder or a checkpoint"
        )
    return str(path)


def _require_same_classes(domain: Domain, class_set: ClassSet, first: str, foreign: bool) -> None:
    found, kind = domain.class_set, "domain" if foreign else "training domain"
    if found.classes != class_set.classes:
        raise UserError(
            f"domain '{domain.name}' has the {len(found.classes)} classes of {found.name}, the "
            f"{kind} '{first}' the {len(class_set.classes)} of {class_set.name}; "
            "test on domains with the same classes"
        )


def _expand_runtime(cfg: Config) -> None:
    checkpoints = dict(
        type="ibnseg.Checkpoints",
        interval=cfg.checkpoint_interval,
        keep=cfg.keep_checkpoints,
        best=f"{domain_label(cfg)}/mIoU" if cfg.save_best else None,
    )
    cfg.default_hooks = words.default_hooks(cfg, checkpoints)
    cfg.custom_hooks = words.custom_hooks(cfg)
    cfg.log_processor = dict(by_epoch=False, window_size=cfg.log_interval)
    cfg.visualizer = words.visualizer(cfg)
    cfg.randomness = dict(seed=cfg.seed, deterministic=cfg.deterministic)
    cfg.env_cfg = words.env_cfg(cfg)
    words.check_process(cfg)
