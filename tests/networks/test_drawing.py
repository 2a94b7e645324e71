"""Overlays and legends."""

import numpy as np

from ibnseg.datasets.labels import CLASSES, DRIVABLE, PALETTE
from ibnseg.networks.drawing import colored, contact_sheet, legend, overlay


def test_overlay_blends_colours_and_leaves_the_rest() -> None:
    image = np.full((20, 300, 3), 100, np.uint8)
    train_ids = np.full((20, 300), 255, np.uint8)
    train_ids[:, 150:] = CLASSES.index("car")  # (0, 0, 142)
    picture = overlay(image, train_ids)
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


def test_an_overlay_without_any_class_is_the_image() -> None:
    image = np.zeros((4, 50, 3), np.uint8)
    assert (overlay(image, np.full((4, 50), 255, np.uint8))[:4] == 0).all()


def test_a_label_map_is_coloured_by_the_palette_and_black_for_ignored_pixels() -> None:
    train_ids = np.array([[0, 18, 255]], np.uint8)
    np.testing.assert_array_equal(colored(train_ids), [[PALETTE[0], PALETTE[18], (0, 0, 0)]])


def test_contact_sheet_has_each_picture_in_its_place() -> None:
    """Two rows of three pictures of one colour each, halved, below a head of 76 pixels."""
    shades = np.arange(1, 7).reshape(2, 3) * 40
    rows = [[np.full((20, 40, 3), shade, np.uint8) for shade in row] for row in shades]
    sheet = contact_sheet("A title", ("one", "two", "three"), rows, width=20)
    assert sheet.shape[1] == 3 * 20 + 4 * 6
    for r, row in enumerate(shades):
        for c, shade in enumerate(row):
            y, x = 76 + 16 * r, 6 + 26 * c
            assert (sheet[y : y + 10, x : x + 20] == shade).all()
            assert (sheet[y + 10 : y + 16, x : x + 20] == 255).all()
    assert (sheet[:40] < 128).any()  # the title
    assert all((sheet[52:70, 6 + 26 * c : 26 + 26 * c] < 128).any() for c in range(3))
    assert len({tuple(c) for c in sheet[108:].reshape(-1, 3).tolist()} & set(PALETTE)) == 19


def test_the_background_of_the_drivable_area_is_not_drawn() -> None:
    image = np.full((20, 400, 3), 100, np.uint8)
    train_ids = np.full((20, 400), 2, np.uint8)
    train_ids[:, :100], train_ids[:, 100:200] = 0, 1
    picture = overlay(image, train_ids, DRIVABLE)
    half = [tuple((100 + np.array(color)) // 2) for color in DRIVABLE.palette[:2]]
    np.testing.assert_allclose(picture[5, 50], half[0], atol=1)
    np.testing.assert_allclose(picture[5, 150], half[1], atol=1)
    assert (picture[:20, 200:] == 100).all()
    names = picture[20:].reshape(-1, 3)
    assert {tuple(color) for color in names.tolist()} >= set(DRIVABLE.palette[:2])
    only = overlay(image, np.zeros((20, 400), np.uint8), DRIVABLE)[20:].reshape(-1, 3)
    assert DRIVABLE.palette[1] not in {tuple(color) for color in only.tolist()}
