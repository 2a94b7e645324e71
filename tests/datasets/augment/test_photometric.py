"""Colour jitter against torchvision's functions and by hand, the blur against float64."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torchvision.transforms.v2 import functional

from ibnseg.datasets import ColorJitter, GaussianBlur
from tests.conftest import shown_twice

IMAGE = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
LABEL = IMAGE[..., 0].copy()
NAMES = ("brightness", "contrast", "saturation", "hue")


def jitter(seed: int, image: np.ndarray = IMAGE, **kwargs) -> np.ndarray:
    np.random.seed(seed)
    return ColorJitter(**kwargs)(dict(img=image))["img"]


def adjusted(order, factors: dict[str, float]) -> np.ndarray:
    """IMAGE changed by torchvision's functions, in a given order."""
    image = Image.fromarray(IMAGE[..., ::-1].copy())
    for name in order:
        image = getattr(functional, f"adjust_{name}")(image, factors[name])
    return np.asarray(image)[..., ::-1]


def test_a_jitter_applies_torchvisions_functions_in_the_drawn_order() -> None:
    strength = dict(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.1)
    for seed in range(12):
        found = jitter(seed, **strength)
        generator = np.random.RandomState(seed)
        generator.random_sample()
        order = [NAMES[i] for i in generator.permutation(4)]
        factors = {
            name: (name != "hue") + strength[name] * (2 * generator.random_sample() - 1)
            for name in order
        }
        np.testing.assert_array_equal(found, adjusted(order, factors))


def test_all_orders_of_the_changes_occur() -> None:
    """The bounds are so narrow that only the order is random."""
    factors = dict(brightness=1.7, contrast=0.5, saturation=0.2, hue=0.3)
    orders = itertools.permutations(NAMES)
    expected = {adjusted(order, factors).tobytes() for order in orders}
    transform = ColorJitter()
    transform.bounds = {name: (f, np.nextafter(f, 9)) for name, f in factors.items()}
    np.random.seed(0)
    seen = {transform(dict(img=IMAGE))["img"].tobytes() for _ in range(400)}
    assert seen == expected
    assert len(expected) > 12


def test_saturation_weighs_the_channels_as_bgr() -> None:
    """By hand: without saturation red is its luma, 0.299 x 255 = 76, and blue 0.114 x 255 = 29."""
    transform = ColorJitter()
    transform.bounds = {"saturation": (0.0, 1e-9)}
    image = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)  # blue, red
    assert transform(dict(img=image))["img"].tolist() == [[[29, 29, 29], [76, 76, 76]]]


def test_brightness_is_a_factor_that_saturates() -> None:
    transform = ColorJitter()
    transform.bounds = {"brightness": (1.5, 1.5 + 1e-9)}
    image = np.array([[[0, 10, 100], [170, 171, 255]]], np.uint8)
    assert transform(dict(img=image))["img"].tolist() == [[[0, 15, 150], [255, 255, 255]]]


def test_a_hue_shift_of_a_third_of_the_circle_turns_red_into_green() -> None:
    transform = ColorJitter()
    transform.bounds = {"hue": (1 / 3, 1 / 3 + 1e-9)}
    red = np.array([[[0, 0, 255]]], np.uint8)
    green = np.array([[[0, 255, 0]]], int)
    assert np.abs(transform(dict(img=red))["img"].astype(int) - green).max() <= 3


def test_a_jitter_of_strength_0_changes_nothing() -> None:
    np.testing.assert_array_equal(jitter(0), IMAGE)


def test_the_factors_lie_within_the_given_strengths() -> None:
    bounds = ColorJitter(brightness=0.4, contrast=1.5, saturation=0.0, hue=0.1).bounds
    assert bounds == {
        "brightness": (0.6, 1.4), "contrast": (0.0, 2.5), "saturation": (1.0, 1.0),
        "hue": (-0.1, 0.1),
    }  # fmt: skip


def test_a_jitter_is_applied_with_its_probability() -> None:
    transform = ColorJitter(brightness=0.4, prob=0.3)
    np.random.seed(0)
    count = 2000
    image = np.full((1, 1, 3), 200, np.uint8)
    changed = sum((transform(dict(img=image))["img"] != 200).any() for _ in range(count))
    # of the factors, those within 0.5 / 200 of 1 change nothing
    assert abs(changed / count - 0.3) < 4 * (0.3 * 0.7 / count) ** 0.5 + 0.01


TRANSFORMS = [
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    GaussianBlur((0.15, 1.3)),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["jitter", "blur"])
def test_labels_and_the_input_are_untouched_and_the_state_decides(transform) -> None:
    shown = shown_twice(transform, IMAGE, LABEL)
    assert (shown != IMAGE).any()
    assert (shown.shape, shown.dtype) == (IMAGE.shape, np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.15, 1.3))
def test_blur_is_a_gaussian_cut_at_four_deviations(seed: int, sigma: float) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (15, 11, 3), np.uint8)
    found = GaussianBlur((sigma, sigma))(dict(img=image[:, ::-1]))["img"]  # a view
    expected = ndimage.gaussian_filter(
        image[:, ::-1].astype(float), (sigma, sigma, 0), mode="nearest", truncate=4.0
    )
    error = np.abs(found - expected)
    assert error.mean() < 1
    assert error.max() < 3  # OpenCV's kernels for 8-bit images are of 8 bits too


def test_blur_draws_sigma_uniformly(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        "cv2.GaussianBlur",
        lambda image, ksize, sigma, borderType: drawn.append((sigma, ksize)) or image,
    )
    np.random.seed(0)
    transform = GaussianBlur((0.15, 1.3))
    for _ in range(2000):
        transform(dict(img=IMAGE))
    sigmas = np.array([sigma for sigma, _ in drawn])
    assert 0.15 <= sigmas.min() < 0.16
    assert 1.29 < sigmas.max() <= 1.3
    assert abs(sigmas.mean() - 0.725) < 4 * 1.15 / (12 * 2000) ** 0.5
    assert all(k == (2 * int(4 * s + 0.5) + 1,) * 2 for s, k in drawn)


def test_a_value_out_of_bounds_is_refused_by_its_key() -> None:
    for transform, arguments, message in (
        (ColorJitter, dict(hue=0.6), "ColorJitter: hue is 0.6, expected 0 to 0.5"),
        (ColorJitter, dict(brightness=-1), "ColorJitter: brightness is -1, expected 0 to inf"),
        (ColorJitter, dict(prob=1.5), "ColorJitter: prob is 1.5, expected 0 to 1"),
        (GaussianBlur, dict(sigma=(2, 1)), r"GaussianBlur: sigma is \(2, 1\), expected"),
        (GaussianBlur, dict(sigma=(0, 1)), r"GaussianBlur: sigma is \(0, 1\), expected"),
    ):
        with pytest.raises(ValueError, match=message):
            transform(**arguments)
