"""Loading, look-up, the random scale and aspect ratio, and packing, against plain Python."""

from contextlib import suppress

import cv2
import mmseg.datasets.transforms
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from ibnseg.datasets import (
    CropAround,
    LoadImage,
    LoadInstances,
    LoadLabel,
    Pack,
    RandomScaleAspect,
)
from ibnseg.datasets.labels import CAMVID_IDS, CITYSCAPES_IDS, GTA5_COLORS, GTA5_IDS
from ibnseg.datasets.transforms import (
    colors_to_train_ids,
    ids_to_train_ids,
    log_uniform,
    read_image,
    read_instances,
    read_label,
)
from ibnseg.support.errors import UserError

MAPS = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
TABLES = st.sampled_from([CITYSCAPES_IDS, GTA5_IDS, CAMVID_IDS])
COLORS = [*GTA5_COLORS]
quick = settings(deadline=None, max_examples=40)

# --- look-ups ---


@quick
@given(st.data(), TABLES)
def test_ids_to_train_ids_is_the_table(data, table):
    ids = data.draw(arrays(np.uint8, MAPS, elements=st.sampled_from(sorted(table))))
    result = ids_to_train_ids(ids, table)
    assert result.dtype == np.uint8
    assert result.tolist() == [[table[i] for i in row] for row in ids.tolist()]


@quick
@given(arrays(np.uint8, MAPS), TABLES)
def test_ids_outside_the_table_are_all_named(ids, table):
    unknown = sorted({i for row in ids.tolist() for i in row} - table.keys())
    if not unknown:
        assert ids_to_train_ids(ids, table).shape == ids.shape
        return
    with pytest.raises(UserError) as error:
        ids_to_train_ids(ids, table, "some.png")
    listed = ", ".join(map(str, unknown[:40])) + (" ..." if len(unknown) > 40 else "")
    assert str(error.value).startswith(f"some.png: ids {listed} are not in the dataset's table (0,")


def test_ids_of_a_view_that_is_not_contiguous():
    ids = np.arange(24, dtype=np.uint8).reshape(4, 6)[::-1, ::2]
    assert ids_to_train_ids(ids, CITYSCAPES_IDS).tolist() == [
        [CITYSCAPES_IDS[i] for i in row] for row in ids.tolist()
    ]


@quick
@given(arrays(np.int64, MAPS, elements=st.integers(0, len(COLORS) - 1)))
def test_colors_to_train_ids_is_the_table(choice):
    rgb = np.array(COLORS, np.uint8)[choice]
    result = colors_to_train_ids(rgb, GTA5_COLORS)
    assert result.dtype == np.uint8
    assert result.tolist() == [[GTA5_COLORS[COLORS[i]] for i in row] for row in choice.tolist()]


@quick
@given(arrays(np.uint8, (2, 3, 3), elements=st.integers(0, 255)))
def test_colours_outside_the_table_are_named(rgb):
    found = {tuple(pixel) for row in rgb.tolist() for pixel in row}
    unknown = sorted(found - GTA5_COLORS.keys())
    if not unknown:
        assert colors_to_train_ids(rgb, GTA5_COLORS).shape == (2, 3)
        return
    with pytest.raises(UserError) as error:
        colors_to_train_ids(rgb, GTA5_COLORS, "some.png")
    assert str(error.value).startswith(f"some.png: colours {', '.join(map(str, unknown))} are not")


def test_colours_are_rgb_and_not_bgr():
    assert colors_to_train_ids(np.array([[[0, 0, 142]]], np.uint8), GTA5_COLORS).item() == 13
    with pytest.raises(UserError, match=r"\(142, 0, 0\)"):
        colors_to_train_ids(np.array([[[142, 0, 0]]], np.uint8), GTA5_COLORS)


# --- files ---


def test_image_is_bgr(tmp_path):
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
    assert image[0, 0].tolist() == [30, 20, 10]


def test_label_as_stored_l_p_and_rgb(tmp_path):
    ids = np.array([[0, 7, 33], [255, 1, 2]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "l.png")
    palette = Image.fromarray(ids)
    palette.putpalette([i for color in range(256) for i in (255 - color, color, 7)])
    palette.save(tmp_path / "p.png")
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    for name, expected in {"l": ids, "p": ids, "rgb": rgb}.items():
        label = read_label(tmp_path / f"{name}.png")
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize("read", [read_image, read_label, read_instances])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"none\.png: .*No such file"):
        read(tmp_path / "none.png")


def test_instances_are_of_16_bits(tmp_path):
    ids = np.array([[7, 26000, 33999], [0, 1000, 65535]], np.uint16)
    path = tmp_path / "instances.png"
    Image.fromarray(ids).save(path)
    found = read_instances(path)
    assert found.dtype == np.uint16
    assert found.tolist() == ids.tolist()
    Image.fromarray(ids.astype(np.uint8)).save(path)
    with pytest.raises(UserError) as error:
        read_instances(path)
    assert str(error.value) == f"{path}: map of instances of mode L, expected 16-bit ids (I;16)"


def test_instances_of_older_pillow(tmp_path, monkeypatch):
    """It opens PNGs of 16 bits as mode I, int32."""
    ids = np.array([[7, 26000, 33999]], np.int32)
    monkeypatch.setattr(Image, "open", lambda path: Image.fromarray(ids))
    found = read_instances(tmp_path / "instances.png")
    assert (found.dtype, found.tolist()) == (np.uint16, ids.tolist())


@pytest.mark.parametrize(("read", "dtype"), [(read_label, np.uint8), (read_instances, np.uint16)])
def test_a_label_cut_anywhere_is_refused_or_whole(tmp_path, read, dtype):
    ids = np.random.default_rng(0).integers(0, 34, (12, 9), dtype)
    path = tmp_path / "label.png"
    Image.fromarray(ids).save(path)
    content = path.read_bytes()
    for size in range(len(content) - 24):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"label\.png: truncated"):
            read(path)
    for size in range(len(content) - 24, len(content) + 1):  # where the pixels may be whole
        path.write_bytes(content[:size])
        with suppress(UserError):
            np.testing.assert_array_equal(read(path), ids)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_cut_anywhere_is_refused(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), image)
    content = path.read_bytes()
    whole = read_image(path)
    for size in [*range(0, len(content) - 40, 29), len(content) - 40]:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=f"image{suffix}: "):
            read_image(path)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path), whole)


def test_loading_notes_the_stored_size(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "image.png")
    Image.new("L", (5, 4), 7).save(tmp_path / "label.png")
    results = dict(
        img_path=str(tmp_path / "image.png"),
        seg_map_path=str(tmp_path / "label.png"),
        seg_fields=[],
        label_ids=CITYSCAPES_IDS,
        label_colors={},
    )
    results = LoadLabel()(LoadImage()(results))
    assert results["ori_shape"] == results["img_shape"] == (4, 5)
    assert results["seg_fields"] == ["gt_seg_map"]
    assert results["gt_seg_map"].tolist() == [[0] * 5] * 4


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


@pytest.mark.parametrize("seed", range(5))
def test_size_follows_the_drawn_scale_and_aspect(seed):
    low_s, high_s, low_a, high_a = 0.5, 2.0, 0.8, 1.25
    np.random.seed(seed)
    drawn = sizes(RandomScaleAspect((low_s, high_s), (low_a, high_a)), 20, 2048, 1024)
    generator = np.random.RandomState(seed)
    for size in drawn:
        u, v = generator.random_sample(2)
        s, a = low_s * (high_s / low_s) ** u, low_a * (high_a / low_a) ** v
        assert size == (round(2048 * s * a**0.5), round(1024 * s / a**0.5))


def test_starts_from_the_size_that_is_given():
    np.random.seed(0)
    from_stored = sizes(RandomScaleAspect((0.5, 2), (0.8, 1.25)), 20, 1024, 563)
    np.random.seed(0)
    given_size = RandomScaleAspect((0.5, 2), (0.8, 1.25), size=(1024, 563))
    assert sizes(given_size, 20, 1914, 1052) == from_stored


def test_bounds_that_meet_fix_the_size():
    assert sizes(RandomScaleAspect((0.5, 0.5), (1, 1)), 3, 100, 60) == [(50, 30)] * 3
    # twice as wide for its height, at the same area
    assert sizes(RandomScaleAspect((1, 1), (4, 4)), 1, 100, 60) == [(200, 30)]


def test_no_side_becomes_zero():
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
def test_label_is_resized_by_nearest_neighbour(label, seed):
    height, width = label.shape
    np.random.seed(seed)
    image = np.repeat(label[..., None], 3, axis=2)
    transform = RandomScaleAspect((0.5, 2), (0.8, 1.25))
    results = transform(dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"]))
    resized = results["gt_seg_map"]
    new_height, new_width = resized.shape
    assert set(np.unique(resized)) <= set(np.unique(label))
    rows = [y * height // new_height for y in range(new_height)]
    columns = [x * width // new_width for x in range(new_width)]
    np.testing.assert_array_equal(resized, label[np.ix_(rows, columns)])
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


def test_scale_is_uniform_where_asked_for() -> None:
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


@pytest.mark.parametrize("scale", [0.4, 1.7])
def test_bicubic_is_pillows(scale: float) -> None:
    rng = np.random.default_rng(0)
    image, label = (
        rng.integers(0, 256, (30, 40, 3), np.uint8),
        rng.integers(0, 19, (30, 40), np.uint8),
    )
    transform = RandomScaleAspect((scale, scale), (1, 1), interpolation="bicubic")
    results = transform(dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"]))
    size = round(40 * scale), round(30 * scale)
    expected = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(results["img"], np.asarray(expected))
    expected = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(results["gt_seg_map"], np.asarray(expected))


@quick
@given(st.data(), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 2**32 - 1))
def test_a_centroid_stays_on_its_pixel(data, shape, seed) -> None:
    """Enlarged by nearest neighbour, the pixel at the new centroid is the one at the old."""
    height, width = shape
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    label = np.zeros(shape, np.uint8)
    label[y, x] = 1
    np.random.seed(seed)
    image = np.zeros((*shape, 3), np.uint8)
    transform = RandomScaleAspect((1.2, 3), (1, 1), interpolation="bicubic")
    results = transform(
        dict(img=image, gt_seg_map=label, seg_fields=["gt_seg_map"], centroid=(x, y))
    )
    new_x, new_y = results["centroid"]
    assert results["gt_seg_map"][new_y, new_x] == 1


def test_centroids_by_hand() -> None:
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
    """At the corner the one crop that lies there is taken, always."""
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


# --- packing ---


@quick
@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=3, max_side=6)))
def test_packed_tensors_hold_the_pixels(values):
    image, label = values[..., :3], values[..., 2]  # views
    results = dict(
        img=image[:, ::-1], gt_seg_map=label[:, ::-1],
        img_path="a.png", ori_shape=(9, 9), img_shape=image.shape[:2],
    )  # fmt: skip
    packed = Pack()(results)
    inputs, sample = packed["inputs"], packed["data_samples"]
    target = sample.gt_sem_seg.data
    assert inputs.dtype == target.dtype == torch.uint8
    assert inputs.is_contiguous()
    assert target.is_contiguous()
    height, width = image.shape[:2]
    assert target.shape == (1, height, width)
    for y in range(height):
        for x in range(width):
            assert inputs[:, y, x].tolist() == image[y, width - 1 - x].tolist()
            assert target[0, y, x].item() == label[y, width - 1 - x]
    assert sample.metainfo == dict(img_path="a.png", ori_shape=(9, 9), img_shape=(height, width))


def test_without_a_label_there_is_none():
    image = np.zeros((2, 2, 3), np.uint8)
    sample = Pack()(dict(img=image, img_path="a", ori_shape=(2, 2), img_shape=(2, 2)))
    assert "gt_sem_seg" not in sample["data_samples"]


def packed_instances(label: np.ndarray, instances: np.ndarray) -> object:
    results = dict(img=np.zeros((2, 2, 3), np.uint8), img_path="a", ori_shape=(4, 6))
    results |= dict(img_shape=(2, 2), gt_seg_map=label, gt_instance_map=instances)
    return Pack()(results)["data_samples"].get("gt_instance_ids")


def test_instances_become_int32():
    instances = np.array([[7, 26000], [33999, 65535]], np.uint16)
    packed = packed_instances(np.zeros((2, 2), np.uint8), instances).data
    assert (packed.dtype, packed.tolist()) == (torch.int32, [instances.tolist()])


@pytest.mark.parametrize("shape", [(2, 3), (4, 5), (6, 4)], ids=str)
def test_instances_are_left_out_where_the_label_was_resized_or_cropped(shape):
    assert packed_instances(np.zeros(shape, np.uint8), np.zeros((4, 6), np.uint16)) is None


def test_without_a_map_of_instances_there_are_none():
    results = dict(ori_shape=(2, 2))
    assert LoadInstances()(results) == dict(ori_shape=(2, 2))
    sample = Pack()(
        dict(img=np.zeros((2, 2, 3), np.uint8), img_path="a", ori_shape=(2, 2), img_shape=(2, 2))
        | dict(gt_seg_map=np.zeros((2, 2), np.uint8))
    )
    assert "gt_instance_ids" not in sample["data_samples"]
