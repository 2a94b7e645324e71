"""Overlays and legends."""

import numpy as np

from ibnseg.datasets.labels import CLASSES, PALETTE
from ibnseg.draw import legend, overlay


def test_overlay_blends_colours_and_leaves_the_rest() -> None:
    image = np.full((20, 300, 3), 100, np.uint8)
    train_ids = np.full((20, 300), 255, np.uint8)
    train_ids[:, 150:] = CLASSES.index("car")  # (0, 0, 142)
    picture = overlay(image, train_ids, alpha=0.5)
    assert (picture[:20, :150] == 100).all()
    np.testing.assert_array_equal(
        np.unique(picture[:20, 150:].reshape(-1, 3), axis=0), [[50, 50, 121]]
    )
    assert picture.shape[0] > 20
    assert picture.shape[1:] == (300, 3)


def test_legend_names_each_class_in_its_colour() -> None:
    """Exactly the colours of the classes asked for occur as swatches, on white."""
    wanted = np.array([0, 10, 13])
    strip = legend(wanted, 400)
    colours, counts = np.unique(strip.reshape(-1, 3), axis=0, return_counts=True)
    solid = {tuple(map(int, c)) for c, n in zip(colours, counts, strict=True) if n >= 80}
    assert {PALETTE[i] for i in wanted} <= solid
    assert not {PALETTE[i] for i in range(19) if i not in wanted} & solid
    assert (strip[:, -3:] == 255).all()


def test_legend_breaks_lines_that_are_too_long() -> None:
    one, narrow = legend(np.arange(19), 4000), legend(np.arange(19), 300)
    assert narrow.shape[0] > legend(np.arange(2), 300).shape[0]
    assert (one.shape[1], narrow.shape[1]) == (4000, 300)


def test_no_class_at_all() -> None:
    image = np.zeros((4, 50, 3), np.uint8)
    assert (overlay(image, np.full((4, 50), 255, np.uint8))[:4] == 0).all()
