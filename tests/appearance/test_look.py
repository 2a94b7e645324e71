"""Looks of other images: statistics and amplitudes against direct computations in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ibnseg.appearance import LOOKS, Look, look_of_images, match_amplitudes, match_moments
from ibnseg.appearance.look import SIDE
from tests.conftest import scene

IMAGE = scene(1)[0]


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.integers(20 * i, 200 + 20 * i, (*size, 3), np.uint8) for i, size in enumerate(sizes)
    ]


def test_statistics_are_those_of_all_pixels() -> None:
    """The images have one size; the values are computed in float64."""
    some = images((30, 40), (30, 40), (30, 40))
    look, pixels = (
        look_of_images(some),
        np.concatenate([x.reshape(-1, 3) for x in some]).astype(float),
    )
    np.testing.assert_allclose(look.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(look.deviation, pixels.std(axis=0), rtol=1e-10)


def test_each_image_weighs_the_same() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    look = look_of_images([black, white])
    np.testing.assert_allclose(look.mean, 127.5)
    np.testing.assert_allclose(look.deviation, 127.5)


def test_amplitudes_are_the_mean_over_the_images() -> None:
    some = images((SIDE, SIDE), (SIDE, SIDE))
    expected = np.mean(
        [np.abs(np.fft.fft2(x.astype(float), axes=(0, 1))) / SIDE**2 for x in some], axis=0
    )
    np.testing.assert_allclose(
        look_of_images(some).amplitude, expected[:, : SIDE // 2 + 1], rtol=1e-6, atol=1e-9
    )


def test_low_amplitudes_hardly_depend_on_the_size() -> None:
    """Two waves across and one down, drawn at several sizes: an amplitude of 40 is 20 on each
    side of the spectrum."""
    for height, width in ((128, 256), (256, 512), (300, 700)):
        y, x = np.mgrid[:height, :width]
        wave = 120 + 40 * np.cos(2 * np.pi * (2 * (x + 0.5) / width + (y + 0.5) / height))
        look = look_of_images([np.repeat(wave[..., None], 3, axis=2).round().astype(np.uint8)])
        np.testing.assert_allclose(look.amplitude[0, 0], 120, atol=0.1)
        np.testing.assert_allclose(look.amplitude[1, 2], 20, atol=0.1)
        np.testing.assert_allclose(look.amplitude[-1, 2], 0, atol=0.1)


def test_a_look_of_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        look_of_images([])


def test_moments_are_matched_as_worked_out_by_hand() -> None:
    """Mean 20 and deviation 10 become 100 and 20; a channel of one value gets the mean."""
    image = np.array([[[10, 7, 10], [30, 7, 30]]], np.uint8)
    look = Look(np.array([100.0, 50, 250]), np.array([20.0, 5, 20]), np.zeros((1, 1, 3)))
    assert match_moments(image, look).tolist() == [[[80, 50, 230], [120, 50, 255]]]


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.uint8, (9, 7, 3)),
    st.tuples(*[st.floats(100, 150)] * 3),
    st.tuples(*[st.floats(1, 12)] * 3),
)
def test_moments_become_the_looks(image, mean: tuple, deviation: tuple) -> None:
    """The moments are equal up to rounding if nothing is clipped, and the order of values stays."""
    look = Look(np.array(mean), np.array(deviation), np.zeros((1, 1, 3)))
    found, before = match_moments(image, look).astype(float), image.astype(float)
    varied = before.std((0, 1)) > 0
    np.testing.assert_allclose(found.mean((0, 1)), mean, atol=0.51)
    np.testing.assert_allclose(found.std((0, 1)), np.where(varied, deviation, 0), atol=0.51)
    for channel in range(3):
        order = np.argsort(before[..., channel].ravel(), kind="stable")
        assert (np.diff(found[..., channel].ravel()[order]) >= 0).all()


def by_definition(image: np.ndarray, look: Look, reach: int) -> np.ndarray:
    """FDA, frequency by frequency of the full spectrum in float64."""
    height, width = image.shape[:2]
    spectrum = np.fft.fft2(image.astype(float), axes=(0, 1))
    for v in range(-reach, reach + 1):
        for u in range(-reach, reach + 1):
            # the spectrum of a real image is that of its mirror, conjugated
            wanted = look.amplitude[v, u] if u >= 0 else look.amplitude[-v, -u]
            phase = np.angle(spectrum[v, u])
            if u < 0 or (u == 0 and v < 0):
                phase = -np.angle(spectrum[-v, -u])
            spectrum[v, u] = height * width * wanted * np.exp(1j * phase)
    back = np.fft.ifft2(spectrum, axes=(0, 1))
    assert np.abs(back.imag).max() < 1e-6
    return back.real


def test_amplitudes_up_to_a_frequency_become_the_looks() -> None:
    for beta, reach in ((0.0, 0), (0.02, 0), (0.03, 1), (0.1, 4), (0.3, 14)):
        look = look_of_images([255 - scene(2)[0], scene(4)[0] // 2])
        expected = by_definition(IMAGE, look, reach)  # of 64x48, so beta * 48 waves
        found = match_amplitudes(IMAGE, look, beta)
        assert np.abs(found - expected.clip(0, 255)).max() <= 0.5 + 1e-2, beta
        assert np.abs(found.astype(int) - IMAGE).mean() > 3, beta


def test_amplitudes_of_images_of_odd_size_are_matched_by_definition() -> None:
    image, look = IMAGE[:-1, :-3], look_of_images([scene(4)[0] // 2])
    expected = by_definition(image, look, 4)
    assert np.abs(match_amplitudes(image, look, 0.1) - expected.clip(0, 255)).max() <= 0.51


def test_with_beta_0_only_the_mean_changes() -> None:
    image = np.full((20, 20, 3), 100, np.uint8)
    image[5:9, 5:9] += 10
    found = match_amplitudes(image, look_of_images([np.full((8, 8, 3), 50, np.uint8)]), 0.0)
    mean = image.mean((0, 1))
    np.testing.assert_array_equal(found, np.rint(image - mean + 50).astype(np.uint8))


def test_an_images_own_look_changes_nothing() -> None:
    for name in LOOKS:
        image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        np.testing.assert_array_equal(
            LOOKS[name](image, look_of_images([image])), image, err_msg=name
        )


def test_a_look_keeps_dtype_and_shape_and_leaves_its_input_alone() -> None:
    for name in LOOKS:
        view, look = IMAGE[:, ::-1], look_of_images([scene(4)[0] // 2])
        before = view.copy()
        found = LOOKS[name](view, look)
        np.testing.assert_array_equal(view, before, err_msg=name)
        assert (found.dtype, found.shape) == (np.uint8, view.shape), name
        with pytest.raises(TypeError, match="expected a uint8 image, got float64"):
            LOOKS[name](view.astype(float), look)


def test_edges_stay_where_they_are() -> None:
    """The sharpest step of each row of a half dark image is in its place in any look."""
    image = np.full((64, 96, 3), 60, np.uint8)
    image[:, 40:] = 180
    look = look_of_images([scene(4)[0] // 2])
    for change in LOOKS.values():
        steps = np.abs(np.diff(change(image, look).astype(int).sum(axis=2), axis=1))
        assert (steps.argmax(axis=1) == 39).all()


def test_a_beta_out_of_bounds_is_refused() -> None:
    for beta in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match="beta is|cannot convert"):
            match_amplitudes(IMAGE, look_of_images([IMAGE]), beta)


def test_more_waves_than_a_look_has_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 127 waves in 600x512"):
        match_amplitudes(np.zeros((512, 600, 3), np.uint8), look_of_images([IMAGE]), 0.25)
