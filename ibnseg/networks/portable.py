"""The part of a run's config that leaves the machine, as plain JSON, and what of such a part is let
in again: data that names nothing but registered types, so that it runs no code of its maker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from ibnseg.runs.check import check_values
from ibnseg.runs.keys import KEYS
from ibnseg.runs.mmengine_keys import WORDS
from ibnseg.runs.recipe import OF_A_PROCESS, contracted, recipe_values
from ibnseg.support.errors import UserError, unknown_name

OF_THE_MACHINE = ("workers", "console", "tensorboard", "log_interval", "keep_checkpoints", "extra")
"""Keys that say how a training went on its machine, and nothing of the network; they stay."""

KEPT = (
    *(name for name in KEYS if name not in OF_THE_MACHINE),
    *(name for name, word in WORDS.items() if word.decides and name != "custom_imports"),
    "domains",
    "revisions",
)
"""The keys that leave: what decides what is learnt or measured, names, and the domains' facts."""

TYPES = (".type", ".constructor", ".ema_type", "._scope_")
"""The ends of dotted keys that name types, or where to look for them. Other keys that end in
``_type`` may do so, too; what they name without a dot is often something else."""

IMPORTING = ("Foreign", "TIMMBackbone", "VPD")
"""Registered types that import what their arguments name."""

FILES = (".class_weight", ".checkpoint_path")
"""The ends of dotted keys whose texts name files that may be read as pickles, which run code."""

HOOKS = (
    "DistSamplerSeedHook",
    "EMAHook",
    "EarlyStoppingHook",
    "EmptyCacheHook",
    "IterTimerHook",
    "ParamSchedulerHook",
    "SyncBuffersHook",
)
"""mmengine's hooks that write no files; they, and this package's, are let in. A test runs hooks."""


def portable(cfg: Mapping, source: str) -> dict:
    """Selects the values of a run's config that leave the machine, as JSON has them.

    Args:
        cfg: the run's expanded config, as data.
        source: what errors call it.

    Raises:
        UserError: for a network that was not trained here, for modules of the user's own, values
            that JSON cannot hold, and all that :func:`require_harmless` refuses.
    """
    if cfg.get("foreign"):
        raise UserError(f"{source}: a network that was not trained here, expected a run")
    own = contracted(cfg)
    if own.get("custom_imports"):
        raise UserError(
            f"{source}: custom_imports is {own['custom_imports']!r}, and what others pull runs no "
            "code that comes with it; train without modules of your own, or share the run's folder "
            "together with them"
        )
    kept = {name: own[name] for name in KEPT if name in own}
    hooks = kept.get("default_hooks")
    if hooks:
        left = WORDS["default_hooks"].but
        kept["default_hooks"] = {name: each for name, each in hooks.items() if name not in left}
    try:
        found = json.loads(json.dumps(kept, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: cannot be written as JSON ({error})") from error
    require_harmless(found, source)
    expanded_again = expanded(found, length_of(cfg))
    if recipe_values(expanded_again) != recipe_values(cfg):
        raise UserError(f"{source}: its recipe cannot be written as JSON, e.g. names as numbers")
    return found


def length_of(cfg: Mapping) -> dict[str, int | None]:
    """Returns what a recipe has besides the keys: the steps of a training, and the images that a
    process has in each."""
    loop, loader = (cfg.get(name) or {} for name in ("train_cfg", "train_dataloader"))
    return {"iterations": loop.get("max_iters"), OF_A_PROCESS: loader.get("batch_size")}


def expanded(values: Mapping, length: Mapping[str, int | None]) -> dict:
    """Makes the values of a run's ``config.py`` of portable ones, which have its recipe.

    Args:
        values: from :func:`portable`.
        length: from :func:`length_of`.
    """
    given = {name: value for name, value in values.items() if name in WORDS}
    own = {name: value for name, value in values.items() if name not in given}
    return own | dict(
        given=given,
        train_cfg=dict(max_iters=length["iterations"]),
        train_dataloader=dict(batch_size=length[OF_A_PROCESS]),
        test_cfg=dict(type="ibnseg.DomainTestLoop"),  # by which it is known as a run's
    )


def require_harmless(values: object, source: str) -> None:
    """Makes sure that portable values can run no code but that of registered types.

    mmengine imports what a type names if no type of that name is registered, it replaces
    ``{{ }}`` in the texts of a config, and a config's hooks run in each test.

    Args:
        values: the content of ``config`` in a ``config.json``.
        source: what errors call it.

    Raises:
        UserError: for unknown keys, values of the wrong kind, types that are not registered, and
            hooks that may write files.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: not an object of values by key")
    for name in values:
        if name not in KEPT:
            raise UserError(
                f"{source}: {unknown_name('config key', name, KEPT)}; nothing else is taken from a "
                "network that others trained"
            )
    if "{{" in json.dumps(values):
        raise UserError(f"{source}: has '{{{{' in a text, which mmengine would replace")
    known = _registered()
    for key, name in _texts(values):
        if key.endswith(FILES):
            raise UserError(f"{source}: {key[1:]} is '{name}', a file, which may hold code")
        is_type = key.endswith(TYPES)
        if not is_type and not key.endswith("_type"):
            continue
        imports = name.rpartition(".")[2] in IMPORTING
        if imports or (name not in known and (is_type or "." in name)):
            raise UserError(
                f"{source}: {key[1:]} is '{name}', expected a type that this package, mmseg or "
                "mmengine registers and that imports nothing; no other code is run"
            )
    check_values(values, source)
    _require_hooks_that_write_nothing(values, source)


def _require_hooks_that_write_nothing(values: Mapping, source: str) -> None:
    defaults = values.get("default_hooks") or {}
    for name in WORDS["default_hooks"].but:
        if name in defaults:
            raise UserError(f"{source}: default_hooks.{name} writes files, and is not taken over")
    hooks = [*(values.get("custom_hooks") or ()), *defaults.values()]
    for name in (hook["type"] for hook in hooks if hook is not None):
        if name.removeprefix("mmengine.") not in HOOKS and not name.startswith("ibnseg."):
            raise UserError(
                f"{source}: the hook {name} may write files, and is not taken over; expected "
                f"{', '.join(HOOKS)}, or hooks of this package"
            )


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in nested values with their dotted keys, and what else is there for a type."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, f"{key}.{name}")
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _texts(each, f"{key}[{i}]")
    if isinstance(value, str) or key.endswith(TYPES):
        yield key, str(value)


_KINDS = (
    "DATASETS",
    "DATA_SAMPLERS",
    "HOOKS",
    "MODELS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "TASK_UTILS",
    "TRANSFORMS",
    "WEIGHT_INITIALIZERS",
)
"""The registries that a config's types are in."""


@cache
def _registered() -> frozenset[str]:
    """The names of all types that are registered by mmengine, mmseg and this package, with and
    without their scopes."""
    modules = map(import_module, ("ibnseg.registry", "mmseg.registry", "mmengine.registry"))
    registries = [vars(each)[kind] for each in modules for kind in _KINDS if kind in vars(each)]
    for registry in registries:  # some of them add to others
        registry.import_from_location()
    found = {f"{each.scope}.{name}" for each in registries for name in each.module_dict}
    found |= {name for each in registries if each.scope != "ibnseg" for name in each.module_dict}
    return frozenset(found)
