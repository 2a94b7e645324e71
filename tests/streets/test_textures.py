"""The table of materials against what is used, and the tiles at all levels."""

import csv
import itertools
from importlib.resources import files

import cv2
import numpy as np
import pytest

from ibnseg.streets.layout import draw_layout
from ibnseg.streets.textures import (
    LEVELS,
    MATERIALS,
    SIZE,
    TILE_NUMBERS,
    TILES,
    _noise,
    _pairs,
    atlas,
)


def levels(weathered: bool) -> np.ndarray:
    """(tiles, LEVELS, SIZE, SIZE, 3): the atlas as it is indexed."""
    return atlas(weathered).reshape(len(TILES), LEVELS, SIZE, SIZE, 3)


def tile(name: str, weathered: bool = False) -> np.ndarray:
    return levels(weathered)[TILE_NUMBERS[name], 0]


# --- the table ---


def test_every_material_is_used_and_every_used_one_is_there():
    used = {f.material for seed in range(31) for f in draw_layout(seed).facets}
    assert used | {"sky"} == MATERIALS.keys()


def test_every_tile_is_used_and_every_named_one_is_there():
    assert {m.tile for m in MATERIALS.values()} == TILES.keys()


def test_each_material_has_one_row():
    with (files("ibnseg.streets") / "materials.csv").open() as file:
        names = [row["material"] for row in csv.DictReader(file)]
    assert sorted(names) == sorted(set(names))


def test_a_material_is_read_from_its_row():
    """rooftiles,rows,2.4,b04a30/963a28 60606e/505050,..., and lamp's glow ffe2aa."""
    roof = MATERIALS["rooftiles"]
    assert (roof.tile, roof.period) == ("rows", 2.4)
    assert roof.virtual == [((176, 74, 48), (150, 58, 40)), ((96, 96, 110), (80, 80, 80))]
    assert roof.glow == (0, 0, 0)
    assert MATERIALS["lamp"].glow == (255, 226, 170)


def test_one_colour_of_a_material_stands_for_a_pair():
    """One colour stands for both of a pair."""
    assert _pairs("010203/0a0b0c ff0000") == [((1, 2, 3), (10, 11, 12)), ((255, 0, 0),) * 2]
    assert all(m.period > 0 and m.virtual and m.real for m in MATERIALS.values())


def test_a_colour_that_is_none_is_refused():
    with pytest.raises(ValueError, match="hexadecimal"):
        _pairs("00gg00")


def test_the_real_world_is_less_colourful_than_the_virtual_one():
    """The spread of R, G, B of the materials that have a colour, lamps aside."""

    def spread(pairs):
        return np.mean([max(first) - min(first) for first, _ in pairs])

    for name in ("sky", "leaves", "grass", "windows", "brick", "paint", "cloth", "signblue"):
        assert spread(MATERIALS[name].real) < 0.75 * spread(MATERIALS[name].virtual)


# --- tiles ---


def test_levels_are_means_of_level_0():
    """Each level's blocks are the means of level 0, within half a grey level of rounding for each
    level; the steps are 1/128 of shade and 1/255 of mix and glow."""
    for weathered in (False, True):
        tiles = levels(weathered)
        step = np.array([1 / 128, 1 / 255, 1 / 255])
        for level in range(1, LEVELS):
            n = 1 << level
            blocks = (
                tiles[:, 0].astype(np.float64).reshape(len(TILES), SIZE // n, n, SIZE // n, n, 3)
            )
            means = blocks.mean(axis=(2, 4)).repeat(n, 1).repeat(n, 2)
            error = np.abs(tiles[:, level] - means) / step
            assert error.max() <= 0.5 * level + 1e-3


def test_the_last_level_is_constant():
    for weathered in (False, True):
        last = levels(weathered)[:, -1].reshape(len(TILES), -1, 3)
        np.testing.assert_array_equal(last, np.broadcast_to(last[:, :1], last.shape))


def test_the_plain_tile_is_neutral():
    """Shade 1, the first colour, all of it glowing; weathered, its shade is within 12 %."""
    assert (levels(False)[TILE_NUMBERS["plain"]] == (1, 0, 1)).all()
    worn = tile("plain", weathered=True)
    assert (worn[..., 1:] == (0, 1)).all()
    assert 0 < np.abs(worn[..., 0] - 1).max() <= 0.12


def test_tiles_hold_whole_steps_within_their_ranges():
    """Shade in [0, 2), mix and glow in [0, 1], each a whole number of steps."""
    for weathered in (False, True):
        tiles = atlas(weathered)
        assert tiles.dtype == np.float32
        assert tiles.min() >= 0
        assert tiles[:, 0].max() < 2
        assert tiles[:, 1:].max() <= 1
        steps = tiles * np.array((128, 255, 255), np.float32)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def test_noise_continues_across_the_borders():
    """From the last row or column to the first, differences are as they are inside."""
    for name, weathered in itertools.product(("grain", "leaves", "clouds"), (False, True)):
        for channel in (0, 1):
            texels = tile(name, weathered)[..., channel].astype(np.float64)
            for axis in (0, 1):
                inside = np.abs(np.diff(texels, axis=axis)).mean()
                border = np.abs(texels.take(0, axis) - texels.take(-1, axis)).mean()
                assert border <= 1.6 * inside


def test_noise_is_within_one_and_has_mean_zero():
    noise = _noise(np.random.RandomState(3), 2)
    assert np.abs(noise).max() == 1
    assert abs(noise.mean()) < 1e-3


def test_noise_is_a_blur_of_white_noise_that_repeats():
    """Against a circular convolution by Fourier transforms, in float64."""
    white = np.random.RandomState(3).randint(0, 1 << 16, (SIZE, SIZE)).astype(float)
    kernel = cv2.getGaussianKernel(13, 2)  # 3 sigma each way
    wrapped = np.zeros((SIZE, SIZE))
    wrapped[:13, :13] = kernel @ kernel.T
    wrapped = np.roll(wrapped, (-6, -6), (0, 1))
    smooth = np.fft.ifft2(np.fft.fft2(white) * np.fft.fft2(wrapped)).real
    smooth -= smooth.mean()
    expected = smooth / np.abs(smooth).max()
    np.testing.assert_allclose(_noise(np.random.RandomState(3), 2), expected, atol=0.02)


def test_slabs_have_joints_where_worked_out_by_hand():
    """4 x 4 slabs of 16 texels; joints where the place in a slab is below 0.07: texels 0 and 1."""
    mix = tile("slabs")[..., 1]
    joint = np.arange(SIZE) % 16 < 2
    np.testing.assert_array_equal(mix, joint[:, None] | joint)
    assert (tile("slabs")[mix == 1, 0] == np.floor(128 * 0.82) / 128).all()


def test_bricks_are_shifted_in_every_other_row():
    """Rows of 8 texels, bricks of 16, every second row 8 further; joints 16 %: 2 and 3 texels."""
    mix = tile("bricks")[..., 1]
    for row in range(8):
        upright = np.flatnonzero(mix[8 * row + 4]) % 16
        assert set(upright) == ({0, 1, 2} if row % 2 == 0 else {8, 9, 10})
        assert mix[8 * row].all()


def test_window_panes_lie_where_worked_out_by_hand():
    """4 x 4 windows, 0.28 < x < 0.72 and 0.28 < y < 0.8 of 16 texels: texels 5 to 11 and 5 to 12;
    only panes glow, and some do."""
    _, mix, glow = np.moveaxis(tile("windows"), -1, 0)
    pane = np.zeros((16, 16), bool)
    pane[5:13, 5:12] = True
    np.testing.assert_array_equal(mix > 0, np.tile(pane, (4, 4)))
    assert not glow[mix == 0].any()
    lit = glow[8::16, 8::16] > 0
    assert 0 < lit.sum() < 16


def test_roof_tiles_are_in_eight_rows():
    """Shade climbs from 0.84 to 1.1 in each row of 8 texels."""
    shade = tile("rows")[..., 0]
    expected = np.floor(128 * (0.84 + 0.3 * (np.arange(SIZE) % 8) / 8)) / 128
    np.testing.assert_allclose(shade, np.broadcast_to(expected[:, None], shade.shape), atol=0.008)
