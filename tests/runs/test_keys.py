"""The table of keys, and what is refused."""

from __future__ import annotations

import pytest

from ibnseg.runs.foreign import MODEL_FILE_KEYS, REFUSED, WORDS
from ibnseg.runs.keys import KEYS, REQUIRED, check_names, check_options, check_values
from ibnseg.support.errors import UserError


def test_a_name_has_one_meaning() -> None:
    names = [*KEYS, *WORDS, *MODEL_FILE_KEYS, *REFUSED]
    assert len(set(names)) == len(names)


def test_what_decides_a_training_refuses_a_resume() -> None:
    """But for sync_bn, which CPU processes turn off."""
    deciding = [key for key in KEYS.values() if key.decides in ("training", "length")]
    free = {key.name for key in deciding if not key.refuses_resume}
    assert free == {"sync_bn"}


def test_defaults_are_of_the_right_kind() -> None:
    for key in KEYS.values():
        assert key.default is REQUIRED or key.kind.accepts(key.default), key.name


@pytest.mark.parametrize("name", [*KEYS, *WORDS, *MODEL_FILE_KEYS])
def test_a_known_name_passes(name: str) -> None:
    check_names({name: None}, "my.py")


def test_a_misspelt_name_is_refused_with_the_nearest_unless_it_is_extra() -> None:
    with pytest.raises(UserError, match="my.py: unknown config key 'crop_sise'; did you mean crop"):
        check_names(dict(crop_sise=(1, 1)), "my.py")
    with pytest.raises(UserError, match="did you mean custom_hooks"):
        check_names(dict(custom_hook=[]), "my.py")
    check_names(dict(width=3, extra=("width",)), "my.py")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError) as error:
        check_names({name: dict(x=1)}, "my.py")
    assert REFUSED[name] in str(error.value)
    with pytest.raises(UserError) as error:
        check_options([f"{name}.x"], {})
    assert REFUSED[name] in str(error.value)
    check_names({name: None}, "my.py")  # says nothing


SOUND = dict(
    train_domain="a", test_domains="a", model={}, crop_size=(1, 1), scale=(1, 1), aspect=(1, 1),
    batch=1,
)  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        dict(train_domain=[]),
        dict(train_domain=["a", "a"]),
        dict(train_shares=dict(a=0.5, b=0.4)),
        dict(train_shares=dict(a=1.0, b=0.0)),
        dict(crop_size=(0, 3)),
        dict(crop_size=3),
        dict(scale=(2, 1)),
        dict(class_uniform=1.1),
        dict(class_balance=True),
        dict(batch=0),
        dict(batch=1.0),
        dict(epochs=0),
        dict(optimizer={}),
        dict(augment=[{}]),
        dict(poly_power=0),
        dict(seed=2**32),
        dict(seed=-1),
        dict(workers=-1),
        dict(keep_checkpoints=-1),
        dict(tta_scales=[1, 1]),
        dict(extra="width"),
        dict(deterministic=1),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(values: dict) -> None:
    check_values(SOUND, "my.py")
    (name,) = values
    with pytest.raises(UserError, match=f"my.py: {name} is .*, expected "):
        check_values(SOUND | values, "my.py")


@pytest.mark.parametrize("name", SOUND)
def test_a_value_that_has_to_be_there_is_asked_for(name: str) -> None:
    with pytest.raises(UserError, match=f"my.py: no value for {name}"):
        check_values(SOUND | {name: None}, "my.py")
