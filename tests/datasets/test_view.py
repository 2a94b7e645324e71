"""Sizes, crops and resizing of images and labels in testing, by values worked out by hand."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mmcv.image.geometric import rescale_size
from PIL import Image

from ibnseg.datasets.view import CentreCrop, Rescale, RescaleImage, centre_crop, new_size

EDGES = st.integers(1, 5000)


def sample(width: int, height: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return dict(
        img=rng.integers(0, 256, (height, width, 3), np.uint8),
        gt_seg_map=rng.integers(0, 19, (height, width), np.uint8),
        img_shape=(height, width),
        ori_shape=(height, width),
    )


def test_each_rule_gives_the_size_worked_out_by_hand():
    for size, rule, to, expected in (
        ((7, 5), "exact", (3, 9), (3, 9)),
        ((7, 5), "times", 0.5, (4, 3)),  # 3.5 and 2.5, rounded half up
        ((7, 5), "half", None, (3, 2)),
        ((2048, 1024), "within", (1024, 512), (1024, 512)),
        ((1024, 2048), "within", (1024, 512), (512, 1024)),  # the longer edge within the longer
        ((100, 100), "within", (1024, 512), (512, 512)),
        ((1280, 720), "short_edge", 1024, (1820, 1024)),
        ((720, 1280), "short_edge", 1024, (1024, 1820)),
        ((1999, 1000), "height", 1536, (3070, 1536)),  # 3070.46
        ((1000, 1999), "height", 1536, (768, 1536)),  # 768.38, of a portrait too
    ):
        assert new_size(size, rule, to) == expected, (size, rule)


@given(EDGES, EDGES)
def test_a_size_within_another_is_that_of_mmcv(width, height):
    expected = rescale_size((width, height), (1024, 512))
    assert new_size((width, height), "within", (1024, 512)) == tuple(max(1, x) for x in expected)


@given(EDGES, EDGES, st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 1.75]))
def test_a_multiple_of_a_size_is_that_of_mmcv(width, height, factor):
    expected = rescale_size((width, height), factor)
    assert new_size((width, height), "times", factor) == tuple(max(1, x) for x in expected)


def test_a_centre_crop_has_the_pixels_worked_out_by_hand():
    image = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(centre_crop(image, (3, 2), 0), [[6, 7, 8], [11, 12, 13]])
    np.testing.assert_array_equal(
        centre_crop(image, (3, 7), 99)[:, 1], [99, 2, 7, 12, 17, 99, 99]
    )  # three rows are missing: one above, two below


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_centre_crop_keeps_the_middle(height, width, crop_height, crop_width):
    image = np.arange(1, height * width + 1).reshape(height, width)
    crop = centre_crop(image, (crop_width, crop_height), 0)
    assert crop.shape == (crop_height, crop_width)
    kept = crop[crop > 0]
    assert len(kept) == min(height, crop_height) * min(width, crop_width)
    rows, columns = (kept - 1) // width, (kept - 1) % width
    for index, have in ((rows, height), (columns, width)):
        assert abs((index.min() + index.max()) - (have - 1)) <= 1


def test_what_lies_beyond_the_image_is_black_and_ignored():
    before = sample(4, 6)
    image, label = before["img"].copy(), before["gt_seg_map"].copy()
    after = CentreCrop((6, 4))(before)
    np.testing.assert_array_equal(after["img"][:, 1:5], image[1:5])
    np.testing.assert_array_equal(after["gt_seg_map"][:, 1:5], label[1:5])
    assert not after["img"][:, [0, 5]].any()
    assert (after["gt_seg_map"][:, [0, 5]] == 255).all()
    assert after["ori_shape"] == after["img_shape"] == (4, 6)


def test_a_label_is_halved_as_worked_out_by_hand():
    """Pillow's nearest pixel is the one that holds the middle of the new pixel."""
    results = sample(4, 4)
    results["gt_seg_map"] = np.arange(16, dtype=np.uint8).reshape(4, 4)
    after = Rescale("half", None, "bicubic")(results)
    assert after["gt_seg_map"].tolist() == [[5, 7], [13, 15]]


def test_image_and_label_are_resized_together():
    for interpolation in ("bicubic", "bilinear"):
        before = sample(40, 30)
        image, label = Image.fromarray(before["img"]), Image.fromarray(before["gt_seg_map"])
        way = Image.Resampling[interpolation.upper()]
        after = Rescale("height", 20, interpolation)(before)
        np.testing.assert_array_equal(
            after["img"], image.resize((26, 20), way), err_msg=interpolation
        )
        nearest = label.resize((26, 20), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(after["gt_seg_map"], nearest, err_msg=interpolation)
        assert after["ori_shape"] == after["img_shape"] == (20, 26), interpolation


def test_the_image_alone_is_resized_and_the_label_stays():
    before = sample(40, 30)
    image, label = before["img"].copy(), before["gt_seg_map"].copy()
    after = RescaleImage("exact", (20, 10))(before)
    np.testing.assert_array_equal(after["img"], cv2.resize(image, (20, 10)))
    np.testing.assert_array_equal(after["gt_seg_map"], label)
    assert (after["img_shape"], after["ori_shape"]) == ((10, 20), (30, 40))
    del after["gt_seg_map"]  # neither need there be one
    assert CentreCrop((8, 8))(Rescale("half", None, "bicubic")(after))["img"].shape == (8, 8, 3)
