"""Random scale, aspect ratio and crop, against plain Python."""

import cv2
import mmseg.datasets.transforms
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from ibnseg.datasets.transforms import (
    INTERPOLATION,
    CropAround,
    RandomScaleAspect,
    log_uniform,
    resize_label,
)

MAPS = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
quick = settings(deadline=None, max_examples=40)

# --- random scale and aspect ratio ---


class Noted:
    """Stands in for the resize, and notes what size was asked for."""

    def __init__(self):
        self.sizes = []
        self.scale = None

    def __call__(self, results):
        self.sizes.append(self.scale)
        return results


def sizes(transform: RandomScaleAspect, count: int, width: int = 1, height: int = 1) -> list:
    transform.resize = Noted()
    image = np.zeros((height, width, 3), np.uint8)
    for _ in range(count):
        transform(dict(img=image))
    return transform.resize.sizes


def test_size_follows_the_drawn_scale_and_aspect():
    for seed in range(5):
        low_s, high_s, low_a, high_a = 0.5, 2.0, 0.8, 1.25
        np.random.seed(seed)
        drawn = sizes(RandomScaleAspect((low_s, high_s), (low_a, high_a)), 20, 2048, 1024)
        generator = np.random.RandomState(seed)
        for size in drawn:
            u, v = generator.random_sample(2)
            s, a = low_s * (high_s / low_s) ** u, low_a * (high_a / low_a) ** v
            assert size == (round(2048 * s * a**0.5), round(1024 * s / a**0.5)), seed


def test_the_random_scale_starts_from_the_size_that_is_given():
    np.random.seed(0)
    from_stored = sizes(RandomScaleAspect((0.5, 2), (0.8, 1.25)), 20, 1024, 563)
    np.random.seed(0)
    given_size = RandomScaleAspect((0.5, 2), (0.8, 1.25), size=(1024, 563))
    assert sizes(given_size, 20, 1914, 1052) == from_stored


def test_equal_bounds_fix_the_size():
    assert sizes(RandomScaleAspect((0.5, 0.5), (1, 1)), 3, 100, 60) == [(50, 30)] * 3
    # twice as wide for its height, at the same area
    assert sizes(RandomScaleAspect((1, 1), (4, 4)), 1, 100, 60) == [(200, 30)]


def test_no_side_of_an_image_becomes_zero():
    assert sizes(RandomScaleAspect((0.01, 0.01), (1, 1)), 1, 20, 10) == [(1, 1)]


def test_scale_and_aspect_are_log_uniform_independent_and_within_bounds():
    np.random.seed(0)
    side, count = 10**7, 3000  # so large that rounding does not matter
    drawn = sizes(RandomScaleAspect((0.5, 2), (0.8, 1.25), size=(side, side)), count)
    width, height = np.array(drawn, float).T / side
    logs = {"scale": (np.log(width * height) / 2, 2.0), "aspect": (np.log(width / height), 1.25)}
    for values, bound in logs.values():
        assert np.abs(values).max() <= np.log(bound) + 1e-6
        uniform = np.sort((values / np.log(bound) + 1) / 2)
        steps = np.arange(count + 1) / count
        distance = max((uniform - steps[:-1]).max(), (steps[1:] - uniform).max())
        assert distance < 1.63 / count**0.5  # Kolmogorov-Smirnov, 1 %
        assert abs(uniform.mean() - 0.5) < 3 / (12 * count) ** 0.5
    correlation = np.corrcoef(logs["scale"][0], logs["aspect"][0])[0, 1]
    assert abs(correlation) < 3 / count**0.5


@quick
@given(
    arrays(np.uint8, MAPS, elements=st.sampled_from([0, 1, 5, 18, 255])),
    st.integers(0, 2**32 - 1),
)
def test_label_is_resized_with_its_image(label, seed):
    np.random.seed(seed)
    image = np.repeat(label[..., None], 3, axis=2)
    transform = RandomScaleAspect((0.5, 2), (0.8, 1.25))
    results = transform(dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"]))
    resized = results["gt_seg_map"]
    new_height, new_width = resized.shape
    assert set(np.unique(resized)) <= set(np.unique(label))
    np.testing.assert_array_equal(resized, resize_label(label, (new_width, new_height)))
    assert results["img"].shape == (new_height, new_width, 3)
    expected = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(results["img"], expected)
    assert tuple(results["img_shape"]) == (new_height, new_width)


def test_log_uniform_draws_are_those_of_one_call_for_both() -> None:
    """The stream of a run begun before scale and aspect were drawn apart stays as it was."""
    bounds = [np.log([0.5, 0.75]), np.log([2.0, 4 / 3])]
    np.random.seed(7)
    together = [np.exp(np.random.uniform(*bounds)) for _ in range(2000)]
    np.random.seed(7)
    apart = [(log_uniform(0.5, 2.0), log_uniform(0.75, 4 / 3)) for _ in range(2000)]
    np.testing.assert_array_equal(together, apart)


def test_the_scale_is_drawn_uniformly_on_request() -> None:
    np.random.seed(0)
    side, count = 10**7, 3000
    transform = RandomScaleAspect((0.5, 2), (1, 1), size=(side, side), sampling="uniform")
    width, height = np.array(sizes(transform, count), float).T / side
    np.testing.assert_array_equal(width, height)
    uniform = np.sort((width - 0.5) / 1.5)
    assert 0 <= uniform[0] < uniform[-1] <= 1
    steps = np.arange(count + 1) / count
    distance = max((uniform - steps[:-1]).max(), (steps[1:] - uniform).max())
    assert distance < 1.63 / count**0.5  # Kolmogorov-Smirnov, 1 %


def test_bicubic_resizing_is_that_of_pillow() -> None:
    for scale in (0.4, 1.7):
        rng = np.random.default_rng(0)
        image, label = (
            rng.integers(0, 256, (30, 40, 3), np.uint8),
            rng.integers(0, 19, (30, 40), np.uint8),
        )
        transform = RandomScaleAspect((scale, scale), (1, 1), interpolation="bicubic")
        results = transform(dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"]))
        size = round(40 * scale), round(30 * scale)
        expected = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(results["img"], np.asarray(expected), err_msg=str(scale))
        expected = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
        np.testing.assert_array_equal(
            results["gt_seg_map"], np.asarray(expected), err_msg=str(scale)
        )


@quick
@given(st.data(), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 2**32 - 1))
def test_a_centroid_stays_on_its_pixel(data, shape, seed) -> None:
    """Where pixels are enlarged, the one at the new centroid is the one at the old."""
    height, width = shape
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    label = np.zeros(shape, np.uint8)
    label[y, x] = 1
    image = np.zeros((*shape, 3), np.uint8)
    for interpolation in INTERPOLATION:
        np.random.seed(seed)
        transform = RandomScaleAspect((1.2, 3), (1, 1), interpolation=interpolation)
        results = transform(
            dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"], centroid=(x, y))
        )
        new_x, new_y = results["centroid"]
        assert results["gt_seg_map"][new_y, new_x] == 1


def test_a_centroid_is_resized_with_its_image() -> None:
    """Half the width, a third of the height: pixel centres 5.5 and 4.5 go to 2.75 and 1.5."""
    transform = RandomScaleAspect((1, 1), (1, 1), size=(10, 4))
    image = np.zeros((12, 20, 3), np.uint8)
    assert transform(dict(img=image, centroid=(5, 4)))["centroid"] == (2, 1)
    assert transform(dict(img=image, centroid=(19, 11)))["centroid"] == (9, 3)
    assert transform(dict(img=image, centroid=None))["centroid"] is None


# --- the crop ---


def crops(centroid, count: int, shape=(40, 60), crop_size=(16, 24)) -> np.ndarray:
    transform = CropAround(crop_size)
    image = np.zeros((*shape, 3), np.uint8)
    return np.array([transform.crop_bbox(dict(img=image, centroid=centroid)) for _ in range(count)])


def test_without_a_centroid_it_is_mmsegs_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    found = []
    for kind in (CropAround, mmseg.datasets.transforms.RandomCrop):
        np.random.seed(3)
        found.append([kind((16, 24))(dict(img=image, centroid=None))["img"] for _ in range(20)])
    np.testing.assert_array_equal(*found)


@quick
@given(
    st.data(),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.integers(0, 2**32 - 1),
)
def test_the_crop_contains_the_centroid_and_lies_in_the_image(data, shape, crop_size, seed) -> None:
    (height, width), (crop_height, crop_width) = shape, crop_size
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    np.random.seed(seed)
    top, bottom, left, right = crops((x, y), 1, shape, crop_size)[0]
    assert (bottom - top, right - left) == crop_size
    assert top <= y < bottom
    assert left <= x < right
    assert 0 <= top <= max(height - crop_height, 0)
    assert 0 <= left <= max(width - crop_width, 0)


def test_where_the_image_is_large_all_crops_around_the_centroid_are_as_likely() -> None:
    np.random.seed(0)
    count = 4000
    top, _, left, _ = crops((300, 200), count, (400, 600)).T
    for starts, crop, at in ((top, 16, 200), (left, 24, 300)):
        times = np.bincount(starts - (at - crop + 1), minlength=crop)
        assert len(times) == crop
        assert ((times - count / crop) ** 2 / (count / crop)).sum() < 52  # chi squared, 0.1 %


def test_the_crop_is_moved_into_the_image() -> None:
    """For a centroid in the corner, only one crop is possible."""
    assert {tuple(c) for c in crops((0, 0), 50)} == {(0, 16, 0, 24)}
    assert {tuple(c) for c in crops((59, 39), 50)} == {(24, 40, 36, 60)}
    assert {tuple(c) for c in crops((3, 3), 50, (10, 12), (16, 24))} == {(0, 16, 0, 24)}


def test_label_and_image_are_cropped_alike() -> None:
    label = np.arange(40 * 6, dtype=np.uint8).reshape(40, 6)
    image = np.repeat(label[..., None], 3, axis=2)
    results = dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"], centroid=(2, 30))
    results = CropAround((8, 4))(results)
    np.testing.assert_array_equal(results["img"][..., 0], results["gt_seg_map"])
    assert label[30, 2] in results["gt_seg_map"]
    assert results["img_shape"] == (8, 4)
