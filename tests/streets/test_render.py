"""What light, air and camera make of a scene: by hand where it is a formula, in order where it is
a matter of looks, and pictures of all of them against stored ones."""

from pathlib import Path

import numpy as np
import pytest

from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import (
    APPEARANCES,
    RenderSettings,
    _antialiased,
    _beams,
    _light,
    _photograph,
    _rained_on,
    _surface,
    render,
)
from ibnseg.streets.scene import AHEAD, RIGHT, UP, Camera, Facet, Frame, Scene, box, unit
from ibnseg.streets.textures import LEVELS, MATERIALS, SIZE, TILE_NUMBERS, atlas

STORED = Path(__file__).parents[1] / "data" / "streets.npz"


def pictures() -> dict[str, np.ndarray]:
    raster = rasterise(draw_layout(3), 128, 64)
    return {name: render(raster, name, 3) for name in APPEARANCES}


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    return pictures()


def seen(*facets: Facet, sun=UP):
    """A raster of 64x32: u = 64 X / Z + 31.5, v = 16 - 64 (Y - 1.5) / Z."""
    return rasterise(Scene(Camera(1.5, 1.0, 0.5), sun, list(facets)), 64, 32)


def board(material: str, z: float, tone: float = 0.0) -> Facet:
    """A board that fills the view."""
    return Frame((0.0, 0.0, z)).across((12, material, tone), box(-99, 99, -99, 99))


GROUND = Facet(7, "asphalt", 0.0, (0.0, 0.0, 0.0), RIGHT, AHEAD, box(-99, 99, 1, 90))


# --- pictures ---


def test_rendering_is_deterministic_and_leaves_the_raster_alone(drawn):
    raster = rasterise(draw_layout(3), 128, 64)
    before = raster.near.copy(), raster.labels.copy()
    for name, picture in drawn.items():
        np.testing.assert_array_equal(render(raster, name, 3), picture)
    np.testing.assert_array_equal(raster.near, before[0])
    np.testing.assert_array_equal(raster.labels, before[1])


def test_pictures_are_the_stored_ones(drawn):
    """Within one grey level, but for one in a hundred where JPEG has rounded another way.

    If a change of the drawing is wanted, raise ``write.VERSION`` and renew them::

        from tests.streets.test_render import STORED, pictures
        numpy.savez_compressed(STORED, **pictures())
    """
    for name in APPEARANCES:
        with np.load(STORED) as stored:
            assert set(stored) == set(APPEARANCES)
            difference = np.abs(drawn[name].astype(int) - stored[name])
        assert difference.mean() < 0.1
        assert (difference > 1).mean() <= 0.01


def test_another_seed_is_exposed_differently(drawn):
    """Under "real", by up to 35 %: the mean differs by several grey levels."""
    raster = rasterise(draw_layout(3), 128, 64)
    means = [render(raster, "real", seed).mean() for seed in range(6)]
    assert max(means) - min(means) > 8
    assert len({round(m, 3) for m in means}) == 6


@pytest.fixture(scope="module")
def eight() -> dict[str, np.ndarray]:
    """(8, 64, 128, 3) float64: pictures of eight streets in each appearance."""
    rasters = [rasterise(draw_layout(seed), 128, 64) for seed in range(8)]
    return {
        name: np.array([render(raster, name, seed) for seed, raster in enumerate(rasters)], float)
        for name in APPEARANCES
    }


def test_from_night_over_dusk_to_real_it_becomes_lighter(eight):
    night, dusk, real = (eight[name].mean() for name in ("night", "dusk", "real"))
    assert night + 5 < dusk < real - 20


def test_fog_has_the_least_contrast(eight):
    """Standard deviation of grey in a picture, for its mean: rain is darker, not flatter."""
    grey = {name: images.mean(axis=-1) for name, images in eight.items()}
    contrast = {n: (x.std(axis=(1, 2)) / x.mean(axis=(1, 2))).mean() for n, x in grey.items()}
    assert min(contrast, key=contrast.get) == "fog"


def test_virtual_streets_have_the_strongest_colours(eight):
    colour = {name: np.ptp(images, axis=-1).mean() for name, images in eight.items()}
    assert max(colour, key=colour.get) == "virtual"


def test_an_unknown_appearance_is_refused():
    with pytest.raises(KeyError):
        render(seen(), "snow", 0)


# --- surface and light ---


def test_plain_material_has_the_colour_of_its_tone():
    """paint: 8 colours, of which tone 0.3 is the third, ececec; lamps shine with ffe2aa."""
    color, glow = _surface(seen(board("paint", 8.0, tone=0.3)), weathered=False)
    assert (color == 0xEC).all()
    assert not glow.any()
    _, glow = _surface(seen(board("lamp", 8.0)), weathered=False)
    assert (glow == (0xFF, 0xE2, 0xAA)).all()


def test_a_tile_is_laid_out_in_metres():
    """Slabs of 3 / 4 m, 64 texels on 3 m, seen from 2.9 m: a pixel is 2.9 / 64 m, 0.967 texels.
    Of 16 texels 2 are joints, darker than 0.9 * 0xba; row 4 is in the midst of a slab."""
    color, _ = _surface(seen(board("paving", 2.9)), weathered=False)
    texel = np.floor((np.arange(64) - 31.5) * 2.9 / 3)
    np.testing.assert_array_equal(color[4, :, 0] < 150, texel % 16 < 2)


def test_what_is_far_is_seen_at_a_coarser_level():
    """Of slabs, z / 3 texels a pixel: level k above 2^(k - 1). Row 5, from the atlas by float64."""
    for z, level in ((2.9, 0), (4.5, 1), (11.0, 2), (29.0, 4)):
        color, _ = _surface(seen(board("paving", z)), weathered=True)
        column = np.floor((np.arange(64) - 31.5) * z / 3).astype(int) % SIZE
        row = int((11 * z / 64 + 1.5) * SIZE / 3) % SIZE
        tiles = atlas(True).reshape(-1, LEVELS, SIZE, SIZE, 3).astype(float)
        shade, mix, _ = tiles[TILE_NUMBERS["slabs"], level, row, column].T
        first, second = np.array(MATERIALS["paving"].real[0], float)
        expected = shade[:, None] * (first + mix[:, None] * (second - first))
        np.testing.assert_allclose(color[5], expected, rtol=1e-5, err_msg=str(z))


def test_light_depends_on_where_a_board_faces():
    """A board that faces the camera, sun at (0, 3, -4) / 5: 0.8 of the sun and 0.8 of the sky;
    the ground before it 0.6 of the sun and all of the sky."""
    settings = RenderSettings(sky=(0.5, 0.6, 0.7), warm=(1.0, 0.5, 0.25))
    sun = (0.0, 0.6, -0.8)
    wall = _light(seen(board("paint", 20.0), sun=sun), settings, 0.5)
    expected = 0.8 * np.array(settings.sky) + 0.5 * 0.8 * np.array(settings.warm)
    np.testing.assert_allclose(wall[4, 4], expected, rtol=1e-6)
    ground = _light(seen(GROUND, sun=sun), settings, 0.5)
    expected = np.array(settings.sky) + 0.5 * 0.6 * np.array(settings.warm)
    np.testing.assert_allclose(ground[30, 32], expected, rtol=1e-6)
    assert (ground[2] == 1).all()  # the sky


def test_a_sun_behind_a_board_does_not_light_it():
    settings = RenderSettings()
    sun, _ = unit((0.0, 0.5, 1.0))
    np.testing.assert_allclose(_light(seen(board("paint", 8.0), sun=sun), settings, 1.0), 0.8)


def test_shadow_takes_the_sun_and_the_foot_half_of_the_sky():
    """A board from Z = 6 to 12 at X = 1 and the sun at (1, 1, 0): ground at X = 0 keeps the sky's
    light alone, ground at X = 3 has both."""
    sun, _ = unit((1.0, 1.0, 0.0))
    upright = Frame((1.0, 0.0, 9.0)).along((12, "paint", 0), box(-3, 3, 0, 2))
    light = _light(seen(GROUND, upright, sun=sun), RenderSettings(), 1.0)[..., 0]
    assert light[28, 32] == pytest.approx(1)
    assert light[28, 50] == pytest.approx(1 + sun[1])


def test_ground_is_darker_at_the_foot_of_things():
    """Without sun: half of the sky's light is lost where a foot is wide, none far from it."""
    block = [Frame((x / 8, 0.0, 9.0)).along((12, "paint", 0), box(-3, 3, 0, 2)) for x in range(9)]
    light = _light(seen(*block, GROUND), RenderSettings(), 0.0)[..., 0]
    assert light[28, 10] == pytest.approx(1)
    assert light[28, 31] < 0.9


def test_headlights_light_what_is_in_their_beams():
    """In a picture of 3x5, row 1 is 0.25 above the beams' axis: 1.6 / (1 + 10 / 16) at once, half
    of it at 18 m, and a fifth of that at the sides."""
    light = _beams(np.full((3, 5), 1e5, np.float32))
    assert light[1, 2] == pytest.approx(1.6 / 1.625, rel=1e-5)
    assert light[1, 0] == pytest.approx(light[1, 2] / 5, rel=1e-5)
    far = _beams(np.full((3, 5), 1 / 18, np.float32))
    assert far[1, 2] == pytest.approx(1.6 / 1.625 / 2, rel=1e-5)


# --- air ---


def test_haze_mixes_things_with_air_by_their_distance(monkeypatch):
    """At 100 m the odds of air to things are as said: at 1 a pixel is half-way between. White
    paint (tone 0.3: ececec) with shade 1 on a wall, whose light from the sky is 0.8."""
    for odds, share in ((0.0, 0.0), (1.0, 1 / 2), (3.0, 3 / 4)):
        settings = RenderSettings(weathered=False, air=(100, 50, 10), haze=(odds, odds))
        monkeypatch.setitem(APPEARANCES, "virtual", settings)
        image = render(seen(board("paint", 100.0, tone=0.3)), "virtual", 0)
        thing = 0.8 * 0xEC
        expected = thing + share * (np.array(settings.air) - thing)
        np.testing.assert_allclose(
            image, np.broadcast_to(expected, image.shape), atol=1.01, err_msg=str(odds)
        )


def test_haze_at_half_the_distance_has_half_the_odds(monkeypatch):
    settings = RenderSettings(weathered=False, air=(0, 0, 0), haze=(1.0, 1.0))
    monkeypatch.setitem(APPEARANCES, "virtual", settings)
    image = render(seen(board("paint", 50.0, tone=0.3)), "virtual", 0)
    np.testing.assert_allclose(image, 0.8 * 0xEC * 2 / 3, atol=1.01)


def test_haze_is_thinner_above_the_ground(monkeypatch):
    """The sky's plane is 898.5 m above the eye, so in the top row at 64 * 898.5 / 16 m; odds count
    at 0.15 of that: here 1, half-way between a black sky and the air."""
    odds = 1 / (0.15 * 35.94)
    settings = RenderSettings(
        weathered=False, zenith=(0, 0, 0), air=(200, 200, 200), haze=(odds, odds)
    )
    monkeypatch.setitem(APPEARANCES, "virtual", settings)
    assert np.abs(render(seen(), "virtual", 0)[0].astype(int) - 100).max() <= 1


def test_the_sky_has_the_colour_of_the_zenith(monkeypatch):
    monkeypatch.setitem(
        APPEARANCES, "virtual", RenderSettings(weathered=False, zenith=(9, 80, 200))
    )
    assert (render(seen(), "virtual", 0) == (9, 80, 200)).all()


def test_lamps_glow_and_shine_around_themselves(monkeypatch):
    """At 1 a lamp gives all of its light: its channel of 255 is saturated, and a dark wall beside
    it is lighter than the same wall without."""
    lamp = Frame((0.0, 1.5, 7.9)).across((17, "lamp", 0), box(-0.5, 0.5, -0.5, 0.5))
    raster = seen(board("black", 8.0), lamp)
    lit, dark = [], []
    for lamps, images in ((1.0, lit), (0.0, dark)):
        settings = RenderSettings(weathered=False, sky=(0.1, 0.1, 0.1), lamps=lamps)
        monkeypatch.setitem(APPEARANCES, "virtual", settings)
        images.append(render(raster, "virtual", 0).astype(int))
    assert lit[0][16, 32, 0] == 255
    assert dark[0][16, 32, 0] < 40
    assert lit[0][16, 39, 0] > dark[0][16, 39, 0] + 10
    np.testing.assert_array_equal(lit[0][2, 2], dark[0][2, 2])


def test_a_wet_road_mirrors_what_is_above_it(monkeypatch):
    """Its picture without drops: 0.3 of its own and 0.6 of the white wall's, where all is wet."""
    raster = seen(GROUND, board("signwhite", 40.0))

    class Dry(np.random.RandomState):
        def random_sample(self, size=None):
            return np.ones(size)

    color = np.zeros((32, 64, 3), np.float32)
    color[raster.labels == 12] = 200
    color[raster.labels == 7] = 100
    wet = _rained_on(color, raster, 1.0, Dry(0))
    np.testing.assert_allclose(wet[30, 32], 0.3 * 100 + 0.6 * 200, atol=1)
    np.testing.assert_array_equal(wet[4], color[4])


# --- camera ---


def test_a_pixel_is_the_mean_of_its_samples():
    """2x2 pixels; all samples of the upper left see its own facet but one, which sees the right
    neighbour's; the others see their own alone."""
    color = np.array([[[8.0], [40.0]], [[80.0], [120.0]]], np.float32)
    samples = np.array([[1, 2, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]], np.uint16)
    result = _antialiased(color, samples)[..., 0]
    assert result.tolist() == [[(3 * 8 + 40) / 4, 40], [80, 120]]
    samples[:2, :2] = [[1, 1], [3, 4]]
    assert _antialiased(color, samples)[0, 0, 0] == (8 + 8 + 80 + 120) / 4
    samples[:2, :2] = [[1, 9], [9, 9]]  # a facet that no pixel's centre sees
    assert _antialiased(color, samples)[0, 0, 0] == 8


def test_antialiasing_does_not_mix_opposite_borders():
    """Rows of 240 over 40; the lower samples of the last row see the facet of the first."""
    color = np.repeat(np.array([240.0, 40.0], np.float32), 3).reshape(2, 3, 1)
    samples = np.repeat(np.array([1, 1, 2, 1], np.uint16), 6).reshape(4, 6)
    assert (_antialiased(color, samples)[1] == 40).all()


def test_antialiasing_looks_to_the_right_and_below():
    """Three pixels in a row, and in a column: the second sample of the first sees the second."""
    color = np.array([[[8.0], [40.0], [100.0]]], np.float32)
    samples = np.array([[1, 2, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3]], np.uint16)
    assert _antialiased(color, samples)[0, :, 0].tolist() == [16, 40, 100]
    column = _antialiased(color.transpose(1, 0, 2), samples.T)
    assert column[:, 0, 0].tolist() == [16, 40, 100]


def test_a_picture_of_one_facet_is_not_changed_by_antialiasing():
    """However the colours differ from pixel to pixel, and at the borders."""
    color = np.random.RandomState(0).random_sample((4, 6, 3)).astype(np.float32)
    result = _antialiased(color, np.zeros((8, 12), np.uint16))
    np.testing.assert_allclose(result, color, rtol=1e-6)


def shot(color, **settings) -> np.ndarray:
    color = np.broadcast_to(np.asarray(color, np.float32), (6, 8, 3)).copy()
    return _photograph(color, RenderSettings(**settings), np.random.RandomState(0))


def test_a_neutral_camera_gives_back_what_it_sees():
    """But for what is out of range, and for the float32 of contrast about 118."""
    color = np.random.RandomState(0).randint(0, 256, (6, 8, 3))
    assert np.abs(shot(color + 0.25) - color).max() == 0
    assert (shot((-9.0, 300.0, 255.0)) == (0, 255, 255)).all()


def test_exposure_saturation_and_contrast_by_hand():
    """(40, 80, 120): grey is 80; half the colour is (60, 80, 100); half the contrast about 118
    is (79, 99, 119)."""
    assert (shot((40.2, 80.2, 120.2), exposure=(2, 2)) == (80, 160, 240)).all()
    assert (shot((40.2, 80.2, 120.2), saturation=(0.5, 0.5)) == (60, 80, 100)).all()
    assert (shot((40.2, 80.2, 120.2), contrast=(0.5, 0.5)) == (79, 99, 119)).all()


def test_a_vignette_darkens_the_corners():
    """0.4 is lost in the corners, nothing in the middle: of 100, 60.2 and about 100 are left."""
    image = shot(100.4, vignette=(0.4, 0.4))
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 60).all()
    # beside the middle, x = 1/7 and y = 1/5: 0.2 (1/49 + 1/25) of it is lost
    assert (image[3, 4] == int(100.4 * (1 - 0.2 * (1 / 49 + 1 / 25)))).all()


def test_balance_tints_by_no_more_than_its_spread():
    image = shot(200.5, balance=0.1)
    assert (np.ptp(image, axis=(0, 1)) == 0).all()
    assert np.ptp(image[0, 0]) > 0
    assert (np.abs(image[0, 0] - 200.5) <= 20.6).all()


def test_noise_has_its_deviation_and_no_mean():
    color = np.full((128, 128, 3), 120.5, np.float32)
    settings = RenderSettings(noise=(5, 5))
    noise = _photograph(color, settings, np.random.RandomState(0)).astype(float) - 120
    assert noise.std() == pytest.approx(5, rel=0.02)
    assert abs(noise.mean()) < 0.1


def test_blur_spreads_a_point_as_a_gaussian():
    """At one sigma from a point, exp(-1/2) of what its place has."""
    color = np.zeros((21, 21, 3), np.float32)
    color[10, 10] = 255
    image = _photograph(color, RenderSettings(blur=(1, 1)), np.random.RandomState(0)).astype(float)
    assert image[10, 11, 0] / image[10, 10, 0] == pytest.approx(np.exp(-0.5), abs=0.05)
    assert image[10, 10, 0] == pytest.approx(255 / (2 * np.pi), abs=1.5)


def test_jpeg_keeps_the_channels_in_order():
    image = shot((200, 100, 30), quality=(90, 91)).astype(int)
    assert (np.abs(image - (200, 100, 30)) <= 4).all()
