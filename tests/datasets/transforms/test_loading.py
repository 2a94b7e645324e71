"""Look-ups against plain Python, and the steps that load."""

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
)
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb, scene, set_orientation, to_ids

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


# --- steps ---


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


def test_an_image_stays_with_its_label_whatever_its_orientation(tmp_path):
    image, train_ids = scene(3)
    save_rgb(tmp_path / "image.png", image)
    save_ids(tmp_path / "label.png", to_ids(train_ids, CITYSCAPES_IDS))
    for orientation in (2, 3, 6, 8):
        set_orientation(tmp_path / "image.png", orientation)
        info = dict(
            img_path=str(tmp_path / "image.png"),
            seg_map_path=str(tmp_path / "label.png"),
            seg_fields=[],
            label_ids=CITYSCAPES_IDS,
            label_colors={},
        )
        results = LoadLabel()(LoadImage()(info))
        np.testing.assert_array_equal(results["img"][..., ::-1], image, err_msg=str(orientation))
        np.testing.assert_array_equal(results["gt_seg_map"], train_ids)
