"""Crops of what is resized, against crops of the whole."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ibnseg.datasets.transforms import CropAround, RandomScaleAspect, ScaleCrop, resize_label
from ibnseg.datasets.transforms.cropping import CROPS, axes, label_crop
from ibnseg.datasets.transforms.geometry import largest_share

WHOLE = {
    "bilinear": lambda image, size: cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
    "bicubic": lambda image, size: np.asarray(
        Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    ),
}
SIDES = st.integers(1, 70)


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["any", "same", "half", "double", "same width"]),
)
def test_a_crop_is_bit_for_bit_that_of_the_resized_image(stored, size, seed, relation) -> None:
    width, height = stored
    size = {
        "any": size,
        "same": stored,
        "half": (max(1, width // 2), max(1, height // 2)),
        "double": (2 * width, 2 * height),
        "same width": (width, size[1]),
    }[relation]
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    top, left = rng.integers(0, size[1]), rng.integers(0, size[0])
    window = top, top + rng.integers(1, 40), left, left + rng.integers(1, 40)
    shown = slice(*window[:2]), slice(*window[2:])
    for name, crop in CROPS.items():
        found = crop(image, *axes(image.shape, size, window))
        np.testing.assert_array_equal(found, WHOLE[name](image, size)[shown], err_msg=name)
    label = image[..., 0]
    found = label_crop(label, *axes(label.shape, size, window))
    np.testing.assert_array_equal(found, resize_label(label, size)[shown])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32])
def test_a_crop_of_a_label_keeps_its_type_and_ids(dtype) -> None:
    label = np.random.default_rng(0).integers(0, 2**31, (9, 13)).astype(dtype)
    found = label_crop(label, *axes(label.shape, (20, 7), (2, 6, 3, 12)))
    np.testing.assert_array_equal(found, resize_label(label, (20, 7))[2:6, 3:12], strict=True)


def test_a_crop_of_a_label_of_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="int64 cannot be resized; expected at most 32 bits"):
        label_crop(np.zeros((4, 4), np.int64), *axes((4, 4), (8, 8), (0, 4, 0, 4)))


@pytest.mark.parametrize("interpolation", CROPS)
@pytest.mark.parametrize("centroid", [None, (30, 7)])
@pytest.mark.parametrize("crop_size", [(16, 24), (60, 90)])
def test_scale_and_crop_are_those_of_the_two_transforms(interpolation, centroid, crop_size) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    label = rng.integers(0, 19, (40, 60), np.uint8)
    scaling = dict(scale=(0.5, 2), aspect=(0.75, 4 / 3), interpolation=interpolation)

    def sample() -> dict:
        return dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"], centroid=centroid)

    scale, crop = RandomScaleAspect(**scaling), CropAround(crop_size)
    both = ScaleCrop(crop_size=crop_size, **scaling)
    np.random.seed(4)
    expected = [crop(scale(sample())) for _ in range(12)]
    after = np.random.random()
    np.random.seed(4)
    found = [both(sample()) for _ in range(12)]
    assert np.random.random() == after, "as many numbers are drawn"
    for one, other in zip(found, expected, strict=True):
        for key in ("img", "gt_seg_map"):
            np.testing.assert_array_equal(one[key], other[key])
        for key in ("img_shape", "scale", "scale_factor", "keep_ratio", "centroid"):
            assert one[key] == other[key], key


def test_a_crop_that_one_class_fills_is_drawn_again() -> None:
    """Three quarters of the image are road; with ignored pixels, too, which do not count."""
    label = np.zeros((40, 40), np.uint8)
    label[:, 30:] = 1
    label[20:] = 255

    def crops(most: float) -> list[np.ndarray]:
        np.random.seed(0)
        crop = ScaleCrop((8, 8), scale=(1, 1), aspect=(1, 1), one_class_at_most=most)
        sample = dict(img=np.zeros((40, 40, 3), np.uint8), gt_seg_map=label)
        return [crop({**sample, "seg_fields": ["gt_seg_map"]})["gt_seg_map"] for _ in range(300)]

    def filled(crops: list[np.ndarray], most: float) -> float:
        return np.mean([largest_share(each) >= most for each in crops])

    share = filled(crops(1.0), 0.75)
    assert share > 0.8
    found = crops(0.75)
    assert filled(found, 0.75) == pytest.approx(share**11, abs=0.1), "ten times at most"
    assert all(each.shape == (8, 8) for each in found)


def test_the_largest_share_is_that_of_the_labelled_pixels() -> None:
    assert largest_share(np.uint8([[0, 0, 18, 255], [255, 255, 255, 18]])) == 0.5
    assert largest_share(np.uint8([[7, 255]])) == 1
    assert largest_share(np.full((2, 2), 255, np.uint8)) == 1
