"""Labels resized about the same centres as their images, against exact fractions."""

import cv2
import mmcv
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from PIL import Image

from ibnseg.datasets.transforms import (
    CentredResize,
    CropAround,
    FurtherView,
    RandomScaleAspect,
    check_resizes,
    resize_label,
)
from ibnseg.datasets.upstream import ResizeToMultiple
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError

TYPES = [np.uint8, np.uint16, np.int16, np.int32, np.uint32, bool]


def nearest(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """The places, from 0 to ``old - 1``, whose centres are nearest to those of ``new`` pixels: the
    first and the last of them, which differ if two are as near. Whole numbers, so exact."""
    centre = (2 * np.arange(new, dtype=np.int64) + 1) * old  # times 2 new: from the image's edge
    last = centre // (2 * new)
    return last - (centre % (2 * new) == 0), last


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 3000), st.booleans())
def test_every_pixel_is_the_nearest_one_at_any_size(old, new, upright) -> None:
    row = np.arange(old, dtype=np.int32)[None]
    found = resize_label(row.T, (1, new)).ravel() if upright else resize_label(row, (new, 1))[0]
    first, last = nearest(old, new)
    assert ((found == first) | (found == last)).all()


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(1, 40)] * 4), st.sampled_from(TYPES), st.integers(0, 2**32 - 1))
def test_ids_are_never_mixed_whatever_their_type(sizes, dtype, seed) -> None:
    height, width, new_height, new_width = sizes
    ids = np.array([0, 1, 19, 255, 26_001])
    label = np.random.default_rng(seed).choice(ids, (height, width)).astype(dtype)
    resized = resize_label(label, (new_width, new_height))
    assert resized.shape == (new_height, new_width)
    assert resized.dtype == dtype
    assert {*np.unique(resized)} <= {*np.unique(label)}
    (y, y_too), (x, x_too) = nearest(height, new_height), nearest(width, new_width)
    chosen = [label[np.ix_(rows, columns)] for rows in (y, y_too) for columns in (x, x_too)]
    assert np.any([resized == each for each in chosen], axis=0).all()


def test_ids_that_opencv_would_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="a label of int64 cannot be resized; expected at most 32"):
        resize_label(np.full((2, 2), 2**40), (3, 3))


def test_at_its_own_size_a_label_stays() -> None:
    label = np.random.default_rng(0).integers(0, 256, (37, 53), np.uint8)
    np.testing.assert_array_equal(resize_label(label, (53, 37)), label)
    sample = dict(img=np.zeros((37, 53, 3), np.uint8), gt_seg_map=label)
    same = RandomScaleAspect((1, 1), (1, 1))(sample)["gt_seg_map"]
    np.testing.assert_array_equal(same, label)


def test_it_is_pillows_nearest_by_which_published_protocols_resize_labels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, new_height, new_width = rng.integers(1, 200, 4).tolist()
        label = rng.integers(0, 19, (height, width), np.uint8)
        pillow = Image.fromarray(label).resize((new_width, new_height), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(resize_label(label, (new_width, new_height)), pillow)


# --- thin lines, in the picture and in the label ---


def offsets(resized, count: int = 250) -> np.ndarray:
    """How far (right, down) thin lines lie on average from where they belong, in a label and in its
    image: (2, 2).

    Args:
        resized: a function from a label (H, W) and its image (H, W, 3) to both resized, the size
            (height, width) to which, and where they were cropped (top, left).
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        shape = rng.integers(100, 250, 2)
        thick, across = int(rng.integers(3, 6)), []
        for axis in (1, 0):
            at = int(rng.integers(shape[axis] - thick))
            label = np.zeros(shape, np.uint8)
            np.moveaxis(label, axis, 0)[at : at + thick] = 1
            image = np.repeat(200 * label[..., None], 3, axis=2)
            maps, size, start = resized(label, image)
            scale = size[axis] / shape[axis]
            place = (at + thick / 2) * scale - start[axis]
            if not 4 * scale <= place <= maps[0].shape[axis] - 4 * scale:
                across.append([np.nan, np.nan])  # the line is cropped, or at the image's edge
                continue
            lines = [each.sum(axis=1 - axis, dtype=float) for each in maps]
            middles = [line @ (np.arange(len(line)) + 0.5) / line.sum() for line in lines]
            across.append([middle - place for middle in middles])
        found.append(across)
    return np.nanmean(found, axis=0).T


def trained(label: np.ndarray, image: np.ndarray) -> tuple:
    """A label and its image as a training shows them: scale, aspect and crop are drawn."""
    sample = dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"])
    sample = RandomScaleAspect((0.5, 2.0), (0.75, 4 / 3))(sample)
    size, crop = sample["img"].shape[:2], CropAround((120, 120))
    window = crop.crop_bbox(sample)
    maps = [crop.crop(each, window) for each in (sample["gt_seg_map"], sample["img"][..., 0])]
    return maps, size, (window[0], window[2])


def test_thin_lines_lie_where_they_belong_after_random_scales_aspects_and_crops() -> None:
    np.random.seed(0)
    of_label, of_image = offsets(trained)
    assert np.abs(of_label).max() < 0.05
    assert np.abs(of_image).max() < 0.05


def test_opencvs_nearest_moves_them_half_a_pixel_right_and_down() -> None:
    """The trouble that the test above would show."""
    rng = np.random.default_rng(1)

    def resized(label: np.ndarray, image: np.ndarray) -> tuple:
        height, width = np.rint(np.array(label.shape) * rng.uniform(0.5, 2, 2)).astype(int).tolist()
        ways = (cv2.INTER_NEAREST, cv2.INTER_LINEAR)
        both = zip((label, image[..., 0]), ways, strict=True)
        maps = [cv2.resize(each, (width, height), interpolation=way) for each, way in both]
        return maps, (height, width), (0, 0)

    of_label, of_image = offsets(resized)
    assert of_label == pytest.approx([0.5, 0.5], abs=0.05)
    assert of_image == pytest.approx([0, 0], abs=0.05)


# --- mmcv's own resize ---


def test_resize_is_mmcvs_but_for_the_label() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 44, 3), np.uint8)
    label = rng.integers(0, 19, (30, 44), np.uint8)
    for scale, keep_ratio, size in (((61, 17), False, (61, 17)), ((61, 61), True, (61, 42))):
        own, mmcvs = (
            kind(scale=scale, keep_ratio=keep_ratio)(dict(img=image, gt_seg_map=label))
            for kind in (CentredResize, mmcv.transforms.Resize)
        )
        np.testing.assert_array_equal(own["img"], mmcvs["img"])
        np.testing.assert_array_equal(own["gt_seg_map"], resize_label(label, size))
        assert {key: own[key] for key in own if key not in ("img", "gt_seg_map")} == {
            key: mmcvs[key] for key in mmcvs if key not in ("img", "gt_seg_map")
        }


def test_steps_that_move_labels_are_refused_wherever_they_are() -> None:
    resize = dict(type="Resize", scale=(30, 20))
    drawn = dict(type="RandomResize", scale=(30, 20), ratio_range=(0.5, 2))
    for step in (
        TRANSFORMS.build(resize),
        TRANSFORMS.build(drawn),
        TRANSFORMS.build(dict(type="RandomApply", transforms=[resize], prob=0.5)),
        TRANSFORMS.build(dict(type="RandomChoice", transforms=[[resize], []])),
        FurtherView("view", [resize]),
        Compose([resize]),
        ResizeToMultiple(),
    ):
        with pytest.raises(
            UserError, match=r"^augment: mmcv's Resize.* take ibnseg\.CentredResize"
        ):
            check_resizes([TRANSFORMS.build(dict(type="ibnseg.Pack")), step], "augment")


def test_steps_that_leave_labels_with_their_images_are_accepted() -> None:
    class Own(mmcv.transforms.Resize):
        def _resize_seg(self, results: dict) -> None:
            pass

    own = dict(type="ibnseg.CentredResize", scale=(30, 20))
    drawn = dict(type="RandomResize", scale=(30, 20), resize_type="ibnseg.CentredResize")
    pillow = dict(type="Resize", scale=(30, 20), backend="pillow")
    steps = [TRANSFORMS.build(step) for step in (own, drawn, pillow)]
    allowed = [*steps, FurtherView("view", [own]), Own(scale=(3, 2))]
    check_resizes(allowed, "augment")
    with pytest.raises(UserError, match="mmcv's Resize"):
        check_resizes([*allowed, mmcv.transforms.Resize(scale=(3, 2))], "augment")
