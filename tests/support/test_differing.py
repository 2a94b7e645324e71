"""The first difference of two values, by its dotted name."""

from ibnseg.support.differing import first_difference


def test_a_difference_is_named_down_to_its_key() -> None:
    one = dict(a=1, b=dict(c=[1, 2], d=dict(e=3), f=None))
    assert first_difference("x", one, one | dict(a=2)) == ("x.a", 1, 2)
    other = one | dict(b=one["b"] | dict(d=dict(e=4)))
    assert first_difference("x", one, other) == ("x.b.d.e", 3, 4)
    assert first_difference("x", one, one | dict(b=one["b"] | dict(c=[1]))) == (
        "x.b.c",
        [1, 2],
        [1],
    )


def test_a_key_that_one_of_the_two_lacks_is_not_set() -> None:
    assert first_difference("x", dict(a=None), {}) == ("x.a", None, "not set")
    assert first_difference("x", {}, dict(a=dict(b=1))) == ("x.a", "not set", dict(b=1))


def test_values_that_are_no_mappings_are_shown_as_they_are() -> None:
    assert first_difference("x", 1, 2) == ("x", 1, 2)
    assert first_difference("x", None, dict(a=1)) == ("x", None, dict(a=1))
    assert first_difference("x", dict(a=1), dict(a=1)) == ("x", dict(a=1), dict(a=1))
