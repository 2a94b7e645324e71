"""Conditions of the road against float64: neutral parameters, severities, and no moved pixels."""

from __future__ import annotations

import colorsys
import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from ibnseg.appearance import CONDITIONS, SEVERITIES, generator, road
from tests.conftest import scene

IMAGE = scene(3)[0]
PIXELS = arrays(np.uint8, (4, 5, 3))
LUMA = np.array([0.299, 0.587, 0.114])
POINTWISE = ("brightness", "contrast", "saturation", "hue", "gamma", "temperature")


def applied(name: str, image: np.ndarray, parameter: float, seed: int = 0) -> np.ndarray:
    condition = CONDITIONS[name]
    rest = (generator(seed, "x"),) if condition.random else ()
    return condition.change(image, parameter, *rest)


def by_float(name: str, image: np.ndarray, parameter: float) -> np.ndarray:
    """The conditions that change each pixel by itself, in float64, neither rounded nor clipped."""
    x = image.astype(float)
    if name == "brightness":
        return x * parameter
    if name == "contrast":
        mean = (x @ LUMA).mean()
        return mean + parameter * (x - mean)
    if name == "saturation":
        grey = (x @ LUMA)[..., None]
        return grey + parameter * (x - grey)
    if name == "gamma":
        return 255 * (x / 255) ** parameter
    if name == "hue":
        hsv = (colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3) / 255)
        rgb = [colorsys.hsv_to_rgb((h + parameter / 360) % 1, s, v) for h, s, v in hsv]
        return 255 * np.array(rgb).reshape(x.shape)
    raise AssertionError(name)


@settings(deadline=None, max_examples=60)
@given(PIXELS, st.sampled_from([n for n in POINTWISE if n != "temperature"]), st.integers(0, 4))
def test_every_condition_equals_a_direct_computation(image, name: str, i: int) -> None:
    parameter = CONDITIONS[name].severities[i]
    expected = by_float(name, image, parameter).clip(0, 255)
    found = applied(name, image, parameter)
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


def test_conditions_change_a_pixel_as_worked_out_by_hand() -> None:
    pixel = np.array([[[200, 100, 0]]], np.uint8)
    expected = {
        ("brightness", 1.5): [255, 150, 0],
        ("contrast", 0.5): [159, 109, 59],  # luma 118.5, so 159.25, 109.25, 59.25
        ("saturation", 0.0): [118, 118, 118],  # halves to even
        ("hue", 120.0): [0, 200, 100],
        ("gamma", 2.0): [157, 39, 0],  # 156.9, 39.2
    }
    for (name, parameter), values in expected.items():
        assert applied(name, pixel, parameter).tolist() == [[values]], name


def test_the_colour_of_a_black_body_is_the_published_one() -> None:
    """Illuminant A is one of 2856 K; the others are of the Planckian locus of CIE 1931."""
    for kelvin, x, y in ((2856, 0.4476, 0.4074), (4000, 0.3805, 0.3768), (6500, 0.3135, 0.3237)):
        xyz = np.linalg.solve(road._XYZ_TO_RGB, road.planckian(kelvin))
        np.testing.assert_allclose(
            xyz / xyz.sum(), (x, y, 1 - x - y), atol=7e-4, err_msg=str(kelvin)
        )
        assert xyz[1] == pytest.approx(1), kelvin


def test_warmer_light_keeps_the_luminance_of_white_and_takes_its_blue() -> None:
    def linear(value: np.ndarray) -> np.ndarray:
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)

    grey = np.full((1, 1, 3), 120, np.uint8)
    before = linear(120 / 255)
    for kelvin in CONDITIONS["temperature"].severities:
        found = linear(applied("temperature", grey, kelvin)[0, 0] / 255)
        gains = road.planckian(kelvin) / road.planckian(6500)
        np.testing.assert_allclose(
            found / before, gains / (gains @ (0.2126, 0.7152, 0.0722)), atol=0.02
        )
        assert found @ (0.2126, 0.7152, 0.0722) == pytest.approx(before, abs=3e-3)
        assert found[0] > found[1] > found[2]
    cold = applied("temperature", grey, 12000)[0, 0]
    assert cold[2] > cold[1] > cold[0]


def test_a_temperature_out_of_bounds_is_refused() -> None:
    for kelvin in (2221, 25001, float("nan")):
        with pytest.raises(ValueError, match="expected 2222 to 25000"):
            road.temperature(IMAGE, kelvin)


def test_noise_is_gaussian_and_independent() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    added = applied("noise", grey, 18) - 128.0
    assert abs(added.mean()) < 4 * 18 / added.size**0.5
    assert added.std() == pytest.approx(18, rel=0.01)
    # rounded, so those within 17.5 / 18 of a deviation
    assert np.mean(np.abs(added) < 18) == pytest.approx(0.669, abs=0.006)
    flat = added.reshape(-1, 3)
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]) < 0.02


def test_noise_depends_on_seed_and_key_alone() -> None:
    condition = CONDITIONS["noise"]
    first = condition.at(IMAGE, 2, generator(0, "a"))
    generator(0, "b").random(10)
    np.testing.assert_array_equal(first, condition.at(IMAGE, 2, generator(0, "a")))
    for seed, key in ((0, "b"), (1, "a")):
        assert (first != condition.at(IMAGE, 2, generator(seed, key))).mean() > 0.5


def test_the_generator_is_the_same_on_every_machine() -> None:
    assert generator(0, "x.png").integers(0, 1000, 4).tolist() == [234, 152, 977, 850]


@settings(deadline=None, max_examples=20)
@given(arrays(np.uint8, (15, 11, 3)), st.sampled_from(CONDITIONS["blur"].severities))
def test_blur_is_a_gaussian_cut_at_four_deviations(image: np.ndarray, sigma: float) -> None:
    expected = ndimage.gaussian_filter(
        image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4.0
    )
    error = np.abs(road.blur(image, sigma) - expected)
    assert error.mean() < 1
    assert error.max() < 3  # OpenCV's kernels for 8-bit images are of 8 bits too


def test_jpeg_is_what_pillow_makes_of_it() -> None:
    for quality in CONDITIONS["jpeg"].severities:
        file = io.BytesIO()
        Image.fromarray(IMAGE).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(file)).astype(int)
        assert np.abs(road.jpeg(IMAGE, quality) - expected).mean() < 1, quality


def test_the_neutral_parameter_changes_nothing() -> None:
    for name in [name for name in CONDITIONS if name != "jpeg"]:
        image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
        np.testing.assert_array_equal(
            applied(name, image, CONDITIONS[name].none), image, err_msg=name
        )


def test_jpegs_best_quality_changes_little() -> None:
    plane = np.full((16, 16, 3), (200, 90, 30), np.uint8)
    assert np.abs(applied("jpeg", plane, 100).astype(int) - plane).max() <= 2


def test_each_severity_changes_more_and_leaves_its_input_alone() -> None:
    """More changes with each severity; the image that came in, here a view, stays as it is."""
    for name in CONDITIONS:
        condition, view = CONDITIONS[name], IMAGE[:, ::-1]
        before = view.copy()
        found = [condition.at(view, s, generator(0, "x")) for s in (0, *SEVERITIES)]
        np.testing.assert_array_equal(view, before, err_msg=name)
        np.testing.assert_array_equal(found[0], view, err_msg=name)
        assert not np.shares_memory(found[0], IMAGE), name
        changes = [np.abs(each.astype(int) - before).mean() for each in found]
        assert all(more > less + 0.1 for less, more in pairwise(changes)), changes
        for each in found:
            assert (each.dtype, each.shape) == (np.uint8, view.shape), name
            assert each.std() > 3, name  # something is left to be seen


def test_parameters_move_away_from_the_neutral_value_with_severity() -> None:
    for name in CONDITIONS:
        condition = CONDITIONS[name]
        steps = np.diff([condition.none, *condition.severities])
        assert (steps > 0).all() or (steps < 0).all(), name
        assert len(condition.severities) == len(SEVERITIES), name


@settings(deadline=None, max_examples=60)
@given(PIXELS, st.sampled_from(POINTWISE), st.sampled_from(SEVERITIES), st.permutations(range(20)))
def test_pixels_are_never_moved(image, name: str, severity: int, order: list[int]) -> None:
    """The new colour of a pixel depends only on its old colour (and the image's mean)."""

    def shown(pixels: np.ndarray) -> np.ndarray:
        return CONDITIONS[name].at(pixels[None], severity, generator(0, "x"))[0].astype(int)

    pixels = image.reshape(20, 3)
    tolerance = 1 if name == "contrast" else 0  # a mean is not quite the same in any order
    assert np.abs(shown(pixels[order]) - shown(pixels)[order]).max() <= tolerance


def test_no_condition_moves_a_square() -> None:
    for name in ("noise", "blur", "jpeg"):
        for severity in SEVERITIES:
            image = np.full((96, 128, 3), 40, np.uint8)
            image[32:64, 80:112] = 220
            found = CONDITIONS[name].at(image, severity, generator(0, "x")).mean(axis=2)
            light = (found > 130).astype(float)
            assert 0.8 < light.sum() / 1024 < 1.2, (name, severity)
            np.testing.assert_allclose(
                ndimage.center_of_mass(light), (47.5, 95.5), atol=0.3, err_msg=str((name, severity))
            )


def test_floating_point_images_are_refused() -> None:
    for name in CONDITIONS:
        with pytest.raises(TypeError, match="expected a uint8 image, got float32"):
            CONDITIONS[name].at(IMAGE.astype(np.float32), 1, generator(0, "x"))


def test_a_severity_out_of_bounds_is_refused() -> None:
    for severity in (-1, 6, 1.5):
        with pytest.raises(ValueError, match="severity is .*, expected 0 to 5"):
            CONDITIONS["blur"].at(IMAGE, severity, generator(0, "x"))
