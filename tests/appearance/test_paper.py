"""Looks of images: values, what they never do, and what an instance-normalised stem makes of
them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ibnseg.appearance import IMAGENET_MEAN, PAPER, shift, stretch
from ibnseg.models import IBNResNet

STD = (58.395, 57.12, 57.375)
PIXELS = arrays(np.float64, (3, 4, 3), elements=st.floats(0, 255))
THREE = st.tuples(*[st.floats(-100, 300)] * 3)

EXPECTED = {
    "origin": (0, 100, 255),
    "RGB+50": (50, 150, 305),
    "R+50": (50, 100, 255),
    # m + 1.5 (x - m) = 1.5 x - m / 2
    "std x1.5": (-61.8375, 150 - 58.14, 382.5 - 51.765),
}


def test_the_papers_appearances_of_a_pixel() -> None:
    """Out of [0, 255] too: nothing is clipped."""
    assert PAPER.keys() == EXPECTED.keys()
    for kind in (np.array, torch.tensor):
        for name, change in PAPER.items():
            image = kind([[[0.0, 100.0, 255.0]]])
            changed = change(image)
            assert changed.dtype == image.dtype, kind
            np.testing.assert_allclose(changed[0, 0], EXPECTED[name], rtol=1e-6, err_msg=str(kind))
            assert image.tolist() == [[[0, 100, 255]]], kind


def test_single_precision_images_stay_in_single_precision() -> None:
    for name in PAPER:
        assert PAPER[name](np.zeros((2, 2, 3), np.float32)).dtype == np.float32, name
        assert PAPER[name](torch.zeros(2, 2, 3, dtype=torch.float16)).dtype == torch.float16, name


def test_images_of_whole_numbers_are_refused() -> None:
    for kind in (np.asarray, torch.from_numpy):
        for change in (lambda x: shift(x, (50, 50, 50)), PAPER["std x1.5"]):
            with pytest.raises(TypeError, match="expected a floating-point image, got .*uint8"):
                change(kind(np.full((2, 2, 3), 250, np.uint8)))


@given(PIXELS, THREE)
def test_a_shift_has_an_inverse(image: np.ndarray, by: tuple) -> None:
    back = shift(shift(image, by), [-x for x in by])
    np.testing.assert_allclose(back, image, atol=1e-12 * 1000)


@given(PIXELS, st.floats(0.1, 10), THREE)
def test_a_stretch_has_an_inverse_and_keeps_its_mean(image, factor: float, mean: tuple) -> None:
    back = stretch(stretch(image, factor, mean), 1 / factor, mean)
    np.testing.assert_allclose(back, image, atol=1e-9)
    same = np.broadcast_to(np.array(mean), (2, 3))
    np.testing.assert_array_equal(stretch(same, factor, mean), same)


@given(PIXELS, st.floats(0.1, 10), THREE)
def test_a_stretch_multiplies_mean_and_standard_deviation(image, factor, mean) -> None:
    changed = stretch(image, factor, mean)
    np.testing.assert_allclose(changed.std((0, 1)), factor * image.std((0, 1)), atol=1e-9)
    np.testing.assert_allclose(changed - mean, factor * (image - np.array(mean)), atol=1e-9)


@given(PIXELS, st.sampled_from(list(PAPER)), st.permutations(range(12)))
def test_pixels_are_never_moved(image: np.ndarray, name: str, order: list[int]) -> None:
    """The new colour of a pixel depends only on its old colour, not on its place."""
    pixels, change = image.reshape(12, 3), PAPER[name]
    np.testing.assert_array_equal(change(pixels[order]), change(pixels)[order])
    np.testing.assert_array_equal(change(image[::-1, ::-1]), change(image)[::-1, ::-1])


@given(PIXELS, st.sampled_from(list(PAPER)))
def test_arrays_and_tensors_agree(image: np.ndarray, name: str) -> None:
    np.testing.assert_array_equal(PAPER[name](image), PAPER[name](torch.from_numpy(image)))


def stem(variant: str | None, image: torch.Tensor) -> torch.Tensor:
    """The output of a network's stem for a (H, W, 3) float32 RGB image."""
    torch.manual_seed(0)
    network = IBNResNet(18, variant, base_channels=8, stem_channels=8).eval()
    normalised = (image - image.new_tensor(IMAGENET_MEAN)) / image.new_tensor(STD)
    with torch.no_grad():
        return network.bn1(network.conv1(normalised.permute(2, 0, 1)[None]))


def largest_change(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((after - before).abs().max() / before.std())


def test_an_instance_normalised_stem_does_not_see_the_contrast() -> None:
    """And sees it where the image is clipped or stretched about its own mean, as the paper's IBN-b,
    which loses nothing, did not; a batch-normalised stem sees it always."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (64, 64, 3)).astype(np.float32))
    image = image * torch.tensor([1.0, 0.8, 0.5])
    stretched = PAPER["std x1.5"](image)
    assert stretched.min() < 0
    assert stretched.max() > 255
    before = stem("b", image)
    assert largest_change(before, stem("b", stretched)) < 1e-3
    assert largest_change(before, stem("b", stretched.clamp(0, 255))) > 0.03
    about_its_own = stretch(image, 1.5, image.mean((0, 1)).tolist())
    assert largest_change(before, stem("b", about_its_own)) > 0.03
    for variant in (None, "a"):
        assert largest_change(stem(variant, image), stem(variant, stretched)) > 0.3


def test_an_instance_normalised_stem_sees_a_shift_at_the_border_alone() -> None:
    """The convolution pads with 0, the mean, which is not shifted; inside, all is but an offset."""
    image = torch.rand(128, 128, 3, generator=torch.Generator().manual_seed(0)) * 255
    before, after = (stem("b", PAPER[name](image)) for name in ("origin", "RGB+50"))
    inside = (..., slice(2, -2), slice(2, -2))

    def standardised(x: torch.Tensor) -> torch.Tensor:
        x = x[inside]
        return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)

    assert largest_change(standardised(before), standardised(after)) < 1e-3
    assert largest_change(before, after) > 0.03
