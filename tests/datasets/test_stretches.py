"""A label as stretches of equal ids."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ibnseg.datasets.stretches import stretches

LABELS = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.sampled_from([0, 1, 254, 255]),
)


@given(LABELS, st.one_of(st.none(), st.integers(1, 25)))
def test_stretches_make_up_the_label_and_are_cut_at_rows_and_tiles(label, tile) -> None:
    found = stretches(label, tile)
    assert (found.lengths > 0).all()
    np.testing.assert_array_equal(np.repeat(found.ids, found.lengths), label.ravel())
    np.testing.assert_array_equal(found.begins, np.cumsum(found.lengths) - found.lengths)
    first, last = (at % label.shape[1] for at in (found.begins, found.begins + found.lengths - 1))
    assert (first + found.lengths - 1 == last).all()  # within a row
    assert (first // found.tile == last // found.tile).all()
    np.testing.assert_array_equal(found.counts(), np.bincount(label.ravel(), minlength=256))


@given(LABELS)
def test_there_are_no_more_stretches_than_changes(label: np.ndarray) -> None:
    changes = (label[:, 1:] != label[:, :-1]).sum() + len(label)
    assert len(stretches(label).begins) == changes


def test_a_part_of_a_larger_label_is_cut_as_its_copy_is() -> None:
    label = np.arange(60, dtype=np.uint8).reshape(6, 10) // 3
    found, expected = stretches(label[1:5, 2:9]), stretches(label[1:5, 2:9].copy())
    for own, other in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(own, other)
