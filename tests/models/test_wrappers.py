"""Names of weights without what tools wrap around them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibnseg.models.wrappers import CONTAINERS, SHARED, WRAPPERS, prefixes_of, unwrapped, weights_in

NAMES = ["backbone.conv1.weight", "backbone.bn1.bias", "decode_head.conv_seg.bias"]


@given(
    around=st.lists(st.sampled_from([*WRAPPERS, *SHARED]), max_size=5),
    within=st.lists(st.sampled_from(WRAPPERS), max_size=3),
)
def test_any_nesting_of_wrappers_gives_the_same_names(around, within):
    wrapped = {
        ".".join([*around, first, *within, rest]): f"{first}.{rest}"
        for first, _, rest in (name.partition(".") for name in NAMES)
    }
    assert unwrapped(wrapped) == wrapped
    assert unwrapped(NAMES) == {name: name for name in NAMES}


def test_a_name_that_only_some_weights_begin_with_stays():
    names = ["model.conv.weight", "net.fc.weight", "models.x", "decode_head.model.y"]
    assert unwrapped(names) == {name: name for name in names}
    assert unwrapped(["model.a", "model.b", "c"]) == {
        "model.a": "model.a",
        "model.b": "model.b",
        "c": "c",
    }


def test_a_name_that_is_nothing_but_a_wrapper_stays():
    assert unwrapped(["module", "model"]) == {"module": "module", "model": "model"}
    assert unwrapped(["model.model"]) == {"model.model": "model"}
    assert unwrapped([]) == {}


@given(st.lists(st.sampled_from(CONTAINERS), max_size=4))
def test_weights_are_found_in_any_nesting_of_containers(way):
    weights = {"model.a": 1, "state": 2}
    content = weights
    for name in reversed(way):
        content = {"epoch": 3, name: content}
    assert weights_in(content) == (weights, way)


def test_the_first_container_of_the_table_is_taken():
    content = {name: {"a": i} for i, name in reversed(list(enumerate(CONTAINERS)))}
    assert weights_in(content) == ({"a": 0}, ["state_dict"])
    del content["state_dict"]
    assert weights_in(content) == ({"a": 1}, ["model"])
    assert weights_in({"state_dict": None, "ema": {"a": 3}}) == ({"a": 3}, ["ema"])


def test_what_precedes_all_names_is_found():
    names = ["student.a.w", "student.b", "teacher.a.w", "teacher.b", "other.b"]
    assert prefixes_of(["a.w", "b"], names) == ["student.", "teacher."]
    assert prefixes_of(["b"], names) == ["other.", "student.", "teacher."]
    assert prefixes_of(["c"], names) == []
    assert prefixes_of([], names) == []
