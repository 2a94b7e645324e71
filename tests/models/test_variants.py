"""The places of the normalisations in each variant, by hand, and placements that are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibnseg.models.variants import VARIANTS, place
from tests.models.cases import case

PLAIN = ("BN", "BN", "BN", "BN", None)
A = ("BN", "IBN", "BN", "BN", None)
C = ("BN", "IN|BN", "BN", "BN", None)
AX2 = ("BN", "IBN", "IBN", "BN", None)
IN = ("BN", "IN", "IN", "IN", None)
STAGES = {
    # the stem, the first, second and third norm of a block, the norm of the last block's sum
    None: [PLAIN, PLAIN, PLAIN, PLAIN],
    "a": [A, A, A, PLAIN],
    "b": [("IN", "BN", "BN", "BN", "IN")] * 2 + [("IN", "BN", "BN", "BN", None)] * 2,
    "c": [C, C, C, PLAIN],
    "d": [("IBN", "BN", "BN", "BN", "IBN")] * 2 + [("IBN", "BN", "BN", "BN", None)] * 2,
    "a&d": [
        ("IBN", "IBN", "BN", "BN", "IBN"),
        ("IBN", "IBN", "BN", "BN", "IBN"),
        ("IBN", "IBN", "BN", "BN", None),
        ("IBN", "BN", "BN", "BN", None),
    ],
    "ax2": [AX2, AX2, AX2, PLAIN],
    "in": [IN, IN, IN, PLAIN],
}
WITH_IBN = ("a", "d", "a&d", "ax2")
WITHOUT_IBN = (None, "b", "c", "in")

flags = st.lists(st.booleans(), min_size=4, max_size=4)
shares = st.sampled_from([0, 1]) | st.floats(0, 1)


def norms(placed) -> list[tuple]:
    return [tuple(stage.norms) for stage in placed]


def ratios(placed) -> list[float]:
    return [stage.ratio for stage in placed]


def test_every_variant_has_its_placement_by_hand():
    assert set(VARIANTS) == set(STAGES)


def test_normalisations_stand_where_they_were_published():
    for variant in STAGES:
        with case(variant=variant):
            placed = place("Net", variant, None, None)
            assert norms(placed) == STAGES[variant]
            assert ratios(placed) == [0.5] * 4
            assert ratios(place("Net", variant, None, None, default_ratio=0.4)) == [0.4] * 4


def test_a_network_with_fewer_stages_has_the_norms_of_the_first_ones():
    for count in [1, 2, 3]:
        for variant in STAGES:
            with case(count=count, variant=variant):
                placed = place("Net", variant, None, None, count=count)
                assert norms(placed) == STAGES[variant][:count]
                assert ratios(placed) == [0.5] * count


def test_stages_apply_to_blocks_and_to_the_norms_after_additions():
    placed = place("Net", "a&d", [False, True, False, True], None)
    bare, full = ("IBN", "BN", "BN", "BN", None), ("IBN", "IBN", "BN", "BN", "IBN")
    assert norms(placed) == [bare, full, bare, full]
    placed = place("Net", "a", (False, False, True), None, count=3)
    assert norms(placed) == [PLAIN, PLAIN, A]


@given(variant=st.sampled_from([v for v in STAGES if v]), stages=flags)
def test_each_stage_is_switched_by_the_truth_value_of_its_flag(variant, stages):
    everywhere = norms(place("Net", variant, (True,) * 4, None))
    nowhere = norms(place("Net", variant, (False,) * 4, None))
    assert len({*everywhere}) == len({*nowhere}) == 1
    stem = STAGES[variant][0][0]
    assert nowhere[0] == (stem, "BN", "BN", "BN", None)
    assert everywhere[0] == STAGES[variant][0]  # the first stage has all that a variant has
    want = [everywhere[0] if stage else nowhere[0] for stage in stages]
    assert norms(place("Net", variant, stages, None)) == want


@given(variant=st.sampled_from(WITH_IBN), ratio=shares, count=st.integers(1, 4))
def test_one_ratio_is_that_of_every_stage(variant, ratio, count):
    placed = place("Net", variant, None, ratio, count=count)
    assert ratios(placed) == [ratio] * count
    assert placed == place("Net", variant, None, [ratio] * count, count=count)
    assert norms(placed) == STAGES[variant][:count]


@given(
    variant=st.sampled_from(WITH_IBN),
    ratio=st.lists(shares, min_size=4, max_size=4),
    stages=st.none() | flags,
)
def test_each_stage_takes_its_own_ratio(variant, ratio, stages):
    placed = place("Net", variant, stages, tuple(ratio))
    assert ratios(placed) == ratio
    assert norms(placed) == norms(place("Net", variant, stages, None))


def test_an_unknown_variant_is_refused():
    for variant in ["e", "A", "", "ab", "None", 0, 1, True, ["a"], ("a",), {"a": 1}, float("nan")]:
        with case(variant=variant):
            with pytest.raises(ValueError, match="unknown variant") as error:
                place("Net", variant, None, None)
            assert str(error.value).startswith(f"Net: unknown variant {variant!r}, ")
            assert str(tuple(STAGES)) in str(error.value)


def test_a_variant_that_this_network_lacks_is_refused():
    with pytest.raises(ValueError, match=re.escape("'b', expected one of (None, 'a')")):
        place("Net", "b", None, None, (None, "a"))


def test_stages_that_are_no_four_flags_are_refused():
    for stages in [
        (),
        (True,) * 3,
        (True,) * 5,
        (1, 1, 1, 0),
        (True, True, True, None),
        (True, True, True, "False"),
        "TTTF",
        True,
        3,
        {0: True},
        {True, False},
    ]:
        with case(stages=stages):
            with pytest.raises(ValueError, match="stages") as error:
                place("Net", "a", stages, None)
            assert str(error.value).startswith(f"Net: stages={stages!r}, expected 4 of True and")


def test_a_network_of_three_stages_refuses_four_flags_or_ratios():
    with pytest.raises(
        ValueError, match=r"expected 3 of True and False, e\.g\. \(True, True, True\)$"
    ):
        place("Net", "a", (True, True, True, False), None, count=3)
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\], or 3 of them$"):
        place("Net", "a", None, (0.5, 0.5, 0.5, 0.5), count=3)


def test_a_ratio_that_is_no_share_is_refused():
    for ratio in [
        -0.1,
        1.1,
        2,
        float("nan"),
        float("inf"),
        True,
        "0.5",
        "half",
        (),
        (0.5,) * 3,
        (0.5,) * 5,
        (0.5, 0.5, 0.5, None),
        (0.5, 0.5, 0.5, True),
        (0.5, 0.5, 0.5, "0"),
        (0.5, 0.5, 0.5, -1),
        (0.5, 0.5, 0.5, float("nan")),
        {0: 0.5},
        1j,
    ]:
        with case(ratio=ratio):
            with pytest.raises(ValueError, match="ratio") as error:
                place("Net", "a", None, ratio)
            assert str(error.value).startswith(f"Net: ratio={ratio!r}, expected a number in [0, 1]")


@given(
    ratio=st.lists(shares, min_size=4, max_size=4),
    at=st.integers(0, 3),
    bad=st.floats().filter(lambda r: not 0 <= r <= 1),
)
def test_a_single_ratio_outside_of_0_to_1_is_refused(ratio, at, bad):
    ratio[at] = bad
    with pytest.raises(ValueError, match="expected a number in"):
        place("Net", "a", None, ratio)


def test_stages_need_a_variant():
    with pytest.raises(
        ValueError, match=r"^Net: stages=\(True, .*needs a variant, e\.g\. variant='a'"
    ):
        place("Net", None, (True, True, True, False), None)


def test_a_ratio_needs_a_variant_with_ibn_layers():
    for variant in WITHOUT_IBN:
        with (
            case(variant=variant),
            pytest.raises(
                ValueError, match=f"needs a variant with IBN layers; {variant!r} has none"
            ),
        ):
            place("Net", variant, None, 0.5)
