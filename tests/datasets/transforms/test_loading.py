"""Files of images and labels, and look-ups, against plain Python."""

from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from ibnseg.datasets.labels import CAMVID_IDS, CITYSCAPES_IDS, GTA5_COLORS, GTA5_IDS
from ibnseg.datasets.transforms import (
    LoadImage,
    LoadLabel,
    colors_to_train_ids,
    ids_to_train_ids,
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
def test_ids_are_mapped_to_train_ids_by_the_table(data, table):
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


def test_ids_of_an_array_that_is_not_contiguous_are_mapped():
    ids = np.arange(24, dtype=np.uint8).reshape(4, 6)[::-1, ::2]
    assert ids_to_train_ids(ids, CITYSCAPES_IDS).tolist() == [
        [CITYSCAPES_IDS[i] for i in row] for row in ids.tolist()
    ]


@quick
@given(arrays(np.int64, MAPS, elements=st.integers(0, len(COLORS) - 1)))
def test_colours_are_mapped_to_train_ids_by_the_table(choice):
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


def test_an_image_is_read_as_bgr(tmp_path):
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((2, 3, 3), np.uint8)
    assert image[0, 0].tolist() == [30, 20, 10]


def test_labels_stored_as_grey_palette_or_rgb_are_read(tmp_path):
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


def test_a_missing_file_is_named(tmp_path):
    for read in (read_image, read_label, read_instances):
        with pytest.raises(UserError, match=r"none\.png: no such file$"):
            read(tmp_path / "none.png")


def test_instance_ids_of_16_bits_are_read(tmp_path):
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


def test_instance_ids_are_read_by_older_pillow_too(tmp_path, monkeypatch):
    """Older Pillow opens 16-bit PNGs as mode I, int32."""
    ids = np.array([[7, 26000, 33999]], np.int32)
    monkeypatch.setattr(Image, "open", lambda path: Image.fromarray(ids))
    found = read_instances(tmp_path / "instances.png")
    assert (found.dtype, found.tolist()) == (np.uint16, ids.tolist())


def test_a_label_cut_anywhere_is_refused_or_whole(tmp_path):
    for read, dtype in ((read_label, np.uint8), (read_instances, np.uint16)):
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
                np.testing.assert_array_equal(read(path), ids, err_msg=str(read))


def test_an_image_cut_anywhere_is_refused(tmp_path):
    for suffix in (".png", ".jpg"):
        image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        path = tmp_path / f"image{suffix}"
        assert cv2.imwrite(str(path), image), suffix
        content = path.read_bytes()
        whole = read_image(path)
        for size in [*range(0, len(content) - 40, 29), len(content) - 40]:
            path.write_bytes(content[:size])
            with pytest.raises(UserError, match=f"image{suffix}: "):
                read_image(path)
        path.write_bytes(content)
        np.testing.assert_array_equal(read_image(path), whole, err_msg=suffix)


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
