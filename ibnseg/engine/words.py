"""Merges mmengine's own words in a config with what this package sets; none is lost in silence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmengine.config import Config

from ibnseg.engine import schedule
from ibnseg.engine.precision import WRAPPERS
from ibnseg.runs.keys import KEYS
from ibnseg.runs.kinds import SWITCH, TYPED_LIST, is_number, is_typed
from ibnseg.runs.mmengine_keys import WORDS
from ibnseg.support.errors import UserError, unknown_name

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""The values of ``log_level``."""


def given_words(cfg: Config) -> dict[str, object]:
    """Collects what the user set in mmengine's words, for the run to keep."""
    words = (name for name in WORDS if name != "custom_imports")
    return {name: cfg[name] for name in words if cfg.get(name) is not None}


def optim_wrapper(cfg: Config) -> dict:
    """Makes the optimiser wrapper: ours, with the user's ``optim_wrapper`` merged into it.

    Raises:
        UserError: if both ``optimizer`` and ``optim_wrapper.optimizer`` are set, or neither; for
            ``accumulative_counts``; for an unknown precision; and if both a type and another
            precision than float32 are set.
    """
    own = _mapping(cfg, "optim_wrapper")
    inner = own.get("optimizer")
    if (cfg.get("optimizer") is None) == (inner is None):
        found = "neither" if inner is None else "both"
        raise UserError(
            f"{_source(cfg)}: expected either optimizer or optim_wrapper.optimizer, found {found}; "
            "set the other to None"
        )
    if inner is not None and not is_typed(inner):
        raise UserError(
            f"{_source(cfg)}: optim_wrapper.optimizer is {inner!r}, expected a dict with "
            "type, e.g. dict(type='AdamW', lr=6e-5)"
        )
    for name, value in (inner or cfg.optimizer).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"{_source(cfg)}: {name} of the optimizer is {value}, expected a number"
            )
    if "accumulative_counts" in own:
        raise UserError(
            f"{_source(cfg)}: optim_wrapper.accumulative_counts cannot be honoured: set accumulate"
        )
    if "type" in own and cfg.precision != "float32":
        raise UserError(
            f"{_source(cfg)}: optim_wrapper.type is {own['type']!r} and precision "
            f"{cfg.precision!r}; set one of them"
        )
    ours = dict(
        type=WRAPPERS[cfg.precision],
        optimizer=cfg.get("optimizer"),
        accumulative_counts=cfg.accumulate,
    )
    return merged(ours, own)


def param_scheduler(cfg: Config, total: int) -> list[dict]:
    """Returns the user's schedules if there are any, else the poly schedule.

    Args:
        cfg: the config.
        total: the number of steps.

    Raises:
        UserError: for a schedule by epochs, and if ``poly_power`` is set beside other schedules.
    """
    given = cfg.get("param_scheduler")
    if not given:
        return [schedule.poly(total, cfg.poly_power)]
    if cfg.poly_power != KEYS["poly_power"].default:
        raise UserError(
            f"{_source(cfg)}: poly_power is {cfg.poly_power}, and param_scheduler replaces that "
            "schedule; set one of them"
        )
    schedulers = [given] if isinstance(given, Mapping) else given
    if not isinstance(schedulers, (list, tuple)):
        raise UserError(f"{_source(cfg)}: param_scheduler is {given!r}, expected a dict or a list")
    for i, scheduler in enumerate(schedulers):
        if not is_typed(scheduler):
            raise UserError(
                f"{_source(cfg)}: param_scheduler[{i}] is {scheduler!r}, expected a dict with type"
            )
        if scheduler.get("by_epoch", True):
            raise UserError(
                f"{_source(cfg)}: param_scheduler[{i}] counts epochs, and a training counts steps; "
                f"set by_epoch=False, and begin and end in steps (of {total})"
            )
    return schedulers


def default_hooks(cfg: Config, checkpoints: dict) -> dict:
    """Makes the default hooks: ours, with the user's merged into them.

    Args:
        cfg: the config.
        checkpoints: the config of the hook that saves checkpoints.

    Raises:
        UserError: for another checkpoint hook, which would not save all that a run needs.
    """
    given = _mapping(cfg, "default_hooks")
    if "checkpoint" in given:
        raise UserError(
            f"{_source(cfg)}: default_hooks.checkpoint cannot be honoured: set "
            "checkpoint_interval, keep_checkpoints and save_best"
        )
    logger = dict(type="LoggerHook", interval=cfg.log_interval, log_metric_by_epoch=False)
    info = dict(type="ibnseg.RuntimeInfo")
    return merged(dict(runtime_info=info, logger=logger, checkpoint=checkpoints), given)


def custom_hooks(cfg: Config) -> list[dict]:
    """Lists our hooks, and the user's after them.

    Raises:
        UserError: if ``custom_hooks`` is not a list of dicts with type, or one begins after the
            last step of the training.
    """
    given = _typed(cfg, "custom_hooks", cfg.get("custom_hooks"))
    steps = (cfg.get("train_cfg") or {}).get("max_iters", math.inf)
    for hook in given:
        begin = hook.get("begin_iter", 0)
        if is_number(begin) and begin > steps:
            raise UserError(
                f"{_source(cfg)}: {hook['type']} of custom_hooks begins at step {begin}, and the "
                f"training has {steps}; set its begin_iter to {steps} or less"
            )
    return [dict(type="ibnseg.HostMemory"), *given]


def visualizer(cfg: Config) -> dict:
    """Makes the visualizer, which logs to more than the log file: ours, with the user's merged in.

    The user's backends are appended to ours; one of the same name as ours is merged into it.

    Raises:
        UserError: if ``vis_backends`` is not a list of dicts with type.
    """
    given = dict(_mapping(cfg, "visualizer"))
    ours = [dict(type="LocalVisBackend")]
    if cfg.tensorboard:
        ours.append(dict(type="TensorboardVisBackend"))
    backends = {_named(each): each for each in ours}
    for each in _typed(cfg, "visualizer.vis_backends", given.pop("vis_backends", None)):
        backends[_named(each)] = {**backends.get(_named(each), {}), **each}
    return merged(dict(type="Visualizer", vis_backends=list(backends.values())), given)


def _named(backend: Mapping) -> str:
    """What mmengine's visualizer calls a backend."""
    return backend.get("name") or backend["type"]


def env_cfg(cfg: Config) -> dict:
    """Makes the processes' environment: ours, with the user's merged into it.

    Raises:
        UserError: for ``dist_cfg``, because the processes are joined before it is read.
    """
    given = _mapping(cfg, "env_cfg")
    if given.get("dist_cfg"):
        raise UserError(
            f"{_source(cfg)}: env_cfg.dist_cfg cannot be honoured: processes are joined with NCCL "
            "on GPUs, and with gloo elsewhere; leave it out"
        )
    ours = dict(
        cudnn_benchmark=not cfg.deterministic,  # training crops have one size
        mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    )
    return merged(ours, given)


def check_process(cfg: Config) -> None:
    """Checks the words that mmengine reads itself: ``model_wrapper_cfg``, ``log_level`` and
    ``find_unused_parameters``.

    Raises:
        UserError: if the first is not a dict, the second is not one of ``LEVELS``, or the third is
            not True or False.
    """
    _mapping(cfg, "model_wrapper_cfg")
    if cfg.get("log_level") not in (None, *LEVELS):
        raise unknown_name("log_level", str(cfg.log_level), LEVELS)
    unused = cfg.get("find_unused_parameters")
    if not (unused is None or SWITCH.accepts(unused)):
        raise UserError(
            f"{_source(cfg)}: find_unused_parameters is {unused!r}, expected {SWITCH.words}"
        )


def merged(ours: Mapping, given: Mapping) -> dict:
    """Merges ``given`` into ``ours`` key by key, as a config is merged with its base.

    A dict with ``_delete_=True`` replaces ours as a whole. Neither argument is changed.
    """
    if given.get("_delete_"):
        return {name: each for name, each in given.items() if name != "_delete_"}
    result = dict(ours)
    for name, each in given.items():
        both = isinstance(each, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], each) if both else each
    return result


def _mapping(cfg: Config, name: str) -> Mapping:
    value = cfg.get(name) or {}
    if not isinstance(value, Mapping):
        raise UserError(f"{_source(cfg)}: {name} is {value!r}, expected a dict")
    return value


def _typed(cfg: Config, name: str, value: object) -> Sequence[Mapping]:
    if value is None:
        return ()
    if not TYPED_LIST.accepts(value):
        raise UserError(f"{_source(cfg)}: {name} is {value!r}, expected a list of dicts with type")
    return value


def _source(cfg: Config) -> str:
    return cfg.filename or "config"
