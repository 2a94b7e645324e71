"""Members have the target's ids; equal input gives equal archives, which are never half-written."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ibnseg.datasets.labels import CLASSES, LABELS
from ibnseg.submission import TARGETS, get_target
from ibnseg.submission.archive import encode, write_archive
from tests.submission.conftest import label_map

BY_HAND = {
    "bdd100k-drivable": {"direct": 0, "alternative": 1, "background": 2},
    "wad2018-drivable": {"background": 0, "direct": 1, "alternative": 2},
    "bdd100k-sem-seg": {"road": 0, "sidewalk": 1, "sky": 10, "car": 13, "bicycle": 18},
    "cityscapes": {"road": 7, "sidewalk": 8, "sky": 23, "car": 26, "bicycle": 33},
}


one_target = pytest.mark.parametrize("target", ["cityscapes"], indirect=True)
"""A target for steps that are the same for all targets."""


def decoded(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_label_maps_are_encoded_in_the_ids_that_the_target_takes() -> None:
    for name in TARGETS:
        target = get_target(name)
        for class_, id_ in BY_HAND[name].items():
            train_id = target.class_set.classes.index(class_)
            image = decoded(encode(np.full((3, 5), train_id, np.uint8), target))
            assert (image.format, image.mode, image.size) == ("PNG", "L", (5, 3)), name
            assert (np.asarray(image) == id_).all(), (name, class_)
        assert set(target.ids) == set(range(len(target.class_set.classes))), name


def test_cityscapes_ids_are_the_labels_ids() -> None:
    ids = get_target("cityscapes").ids
    assert {CLASSES[train_id]: id_ for train_id, id_ in ids.items()} == {
        label.name: label.id for label in LABELS if label.train_id != 255
    }


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(arrays(np.uint8, (4, 6), elements=st.integers(0, 2)), st.sampled_from(list(TARGETS)))
def test_an_encoded_label_map_can_be_read_back(train_ids: np.ndarray, name: str) -> None:
    target = get_target(name)
    back = {id_: train_id for train_id, id_ in target.ids.items()}
    ids = np.asarray(decoded(encode(train_ids, target)))
    np.testing.assert_array_equal(np.vectorize(back.get)(ids), train_ids)


@one_target
def test_train_ids_of_no_class_are_refused(target) -> None:
    train_ids = np.full((2, 2), 255, np.uint8)
    with pytest.raises(ValueError, match=r"train ids \[255\], which are no class of"):
        encode(train_ids, target)


@one_target
def test_equal_members_make_equal_archives(target, files, archive, tmp_path) -> None:
    other = tmp_path / "other.zip"
    write_archive(other, dict(reversed(files.items())), lambda made: None)
    assert other.read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as made:
        assert made.namelist() == sorted(files)
        for seed, name in enumerate(files):
            ids = np.asarray(decoded(made.read(name)))
            expected = np.vectorize(target.ids.get)(label_map(target, seed))
            np.testing.assert_array_equal(ids, expected)


@one_target
def test_an_archive_that_fails_its_check_does_not_appear(target, files, tmp_path) -> None:
    def fail(made) -> None:
        assert zipfile.is_zipfile(made)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "a.zip", files, fail)
    assert not [*tmp_path.glob("*.zip"), *tmp_path.glob(".*")]
