"""The table of keys, and what is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ibnseg.engine.expand import expand
from ibnseg.runs.check import check_names, check_options, check_values
from ibnseg.runs.keys import KEYS, REQUIRED
from ibnseg.runs.mmengine_keys import MODEL_FILE_KEYS, REFUSED, WORDS
from ibnseg.support.errors import UserError
from tests.support.refusals import refused


def test_every_config_key_has_only_one_meaning() -> None:
    names = [*KEYS, *WORDS, *MODEL_FILE_KEYS, *REFUSED]
    assert len(set(names)) == len(names)


def test_what_decides_a_training_refuses_a_resume() -> None:
    """The exception is sync_bn, which CPU processes turn off."""
    deciding = [key for key in KEYS.values() if key.decides in ("training", "length")]
    free = {key.name for key in deciding if not key.refuses_resume}
    assert free == {"sync_bn"}


def test_defaults_are_of_the_right_kind() -> None:
    for key in KEYS.values():
        assert key.default is REQUIRED or key.kind.accepts(key.default), key.name


def test_only_names_that_are_not_known_are_refused() -> None:
    refused_names = set()
    for name in (*KEYS, *WORDS, *MODEL_FILE_KEYS, "Batch", "batch_", ""):
        try:
            check_names({name: None}, "my.py")
        except UserError:
            refused_names.add(name)
    assert refused_names == {"Batch", "batch_", ""}


def test_a_misspelt_name_is_refused_with_the_nearest_unless_it_is_extra() -> None:
    with pytest.raises(UserError, match="my.py: unknown config key 'crop_sise'; did you mean crop"):
        check_names(dict(crop_sise=(1, 1)), "my.py")
    with pytest.raises(UserError, match="did you mean custom_hooks"):
        check_names(dict(custom_hook=[]), "my.py")
    check_names(dict(width=3, extra=("width",)), "my.py")


def test_what_cannot_be_honoured_is_refused_with_the_reason() -> None:
    for name, reason in REFUSED.items():
        with pytest.raises(UserError, match=re.escape(reason)):
            check_names({name: dict(x=1)}, "my.py")
        with pytest.raises(UserError, match=re.escape(reason)):
            check_options([f"{name}.x"], {})
        check_names({name: None}, "my.py")  # says nothing


SOUND = dict(
    train_domain="a", test_domains="a", model={}, crop_size=(1, 1), scale=(1, 1), aspect=(1, 1),
    batch=1,
)  # fmt: skip


WRONG = [
    ("train_domain", []),
    ("train_domain", ["a", "a"]),
    ("train_shares", dict(a=0.5, b=0.4)),
    ("train_shares", dict(a=1.0, b=0.0)),
    ("crop_size", (0, 3)),
    ("crop_size", 3),
    ("scale", (2, 1)),
    ("class_uniform", 1.1),
    ("class_balance", True),
    ("batch", 0),
    ("batch", 1.0),
    ("epochs", 0),
    ("optimizer", {}),
    ("augment", [{}]),
    ("poly_power", 0),
    ("seed", 2**32),
    ("seed", -1),
    ("workers", -1),
    ("keep_checkpoints", -1),
    ("tta_scales", [1, 1]),
    ("extra", "width"),
    ("deterministic", 1),
    ("name", "../mine"),
    ("name", "/tmp/mine"),
    ("name", "a\0b"),
    ("name", "x" * 300),
]


def test_a_wrong_value_is_named_with_what_was_expected() -> None:
    check_values(SOUND, "my.py")
    for name, value in WRONG:
        with (
            pytest.raises(UserError, match=rf"my.py: {name} is .*, expected "),
            refused(f"{name} = {value!r}"),
        ):
            check_values(SOUND | {name: value}, "my.py")


def test_a_value_that_has_to_be_there_is_asked_for() -> None:
    for name in SOUND:
        with pytest.raises(UserError, match=f"my.py: no value for {name}"):
            check_values(SOUND | {name: None}, "my.py")


ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.0, -0.0, 0.5, 1.0, 1e300, 1e-300,
    float("nan"), float("inf"), float("-inf"), "", " ", "nan", "None", "auto", "5", "../x", b"x",
    [], (), {}, [0], [1], [1, 1], (0, 0), (1, 2**31), (-1, -1), (0.5, 2), [float("nan")] * 2,
    [True, True], ["a"], ["a", 1], [[]], [None], [{}], {"a": 1}, {"type": None}, {"type": 5},
    {"type": "x"}, {1: 2}, [{"type": []}], [{"type": ""}], {"a": float("nan")}, {"a": "b"}, 1j,
    object(), int, set(), {1}, range(2),
]  # fmt: skip
"""Values of every type, at and beyond bounds."""


def refuses(action: Callable[[], object], case: str) -> bool:
    """Whether an action is refused in one line; any other exception is a failure of the case."""
    try:
        action()
    except UserError as error:
        lines = str(error).count("\n")
    except Exception as error:
        pytest.fail(f"{case}: {error!r}")
    else:
        return False
    assert lines == 0, case
    return True


def expand_with(tiny: Config, name: str, value: object) -> None:
    cfg = copy.deepcopy(tiny)
    cfg[name] = value
    expand(cfg)


def test_an_odd_value_of_any_key_is_refused_or_a_training_can_be_made_of_it(
    in_data: Path, tiny: Config
) -> None:
    accepted: dict[str, list] = {name: [] for name in KEYS}
    for name in KEYS:
        for value in ODD:
            values, case = {**tiny, name: value}, f"{name} = {value!r}"[:200]
            if not (
                refuses(lambda values=values: check_values(values, "my.py"), case)
                or refuses(lambda values=values: check_names(values, "my.py"), case)
            ):
                accepted[name].append(value)
                refuses(lambda name=name, value=value: expand_with(tiny, name, value), case)
    for name in ("batch", "workers", "crop_size", "scale", "tta_scales", "log_interval"):
        assert all(0 <= x < 2**31 for value in accepted[name] for x in np.atleast_1d(value)), name
    for name in ("deterministic", "tensorboard", "save_best"):
        assert accepted[name] == [True, False], name
    for name in ("channels_last", "compile"):
        assert accepted[name] == [True, False, "auto"], name
    for name in ("name", "model_name", "model_title", "train_subset", "selection_split"):
        assert all(isinstance(value, str) for value in accepted[name] if value is not None), name


def test_an_odd_value_of_mmengines_words_is_refused_or_merged(in_data: Path, tiny: Config) -> None:
    never_refused = set()
    for name in WORDS:
        refused = [
            refuses(
                lambda name=name, value=value: expand_with(tiny, name, value),
                f"{name} = {value!r}"[:200],
            )
            for value in ODD[::4]
        ]
        if not any(refused):
            never_refused.add(name)
    # modules are imported, and checked, when a file is read
    assert never_refused == {"custom_imports"}
