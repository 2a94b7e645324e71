"""KITTI: the ids of Cityscapes, images of several sizes, and MSeg's split."""

import numpy as np
import pytest

from ibnseg.datasets import KITTI
from ibnseg.datasets.kitti import VALIDATION
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb, scene, to_ids
from tests.datasets.conftest import PIPELINE, labels_of, warnings


def write_kitti(root, numbers=(0, 1, 2, 199)):
    """A scene for each number, the odd ones a column narrower; and what is not read."""
    for n in numbers:
        image, train_ids = scene(n)
        narrow = np.s_[:, : 64 - n % 2]
        save_rgb(root / f"training/image_2/{n:06d}_10.png", image[narrow])
        ids = to_ids(train_ids, CITYSCAPES_IDS)[narrow]
        save_ids(root / f"training/semantic/{n:06d}_10.png", np.ascontiguousarray(ids))
        save_rgb(root / f"training/semantic_rgb/{n:06d}_10.png", image)
        save_rgb(root / f"testing/image_2/{n:06d}_10.png", image)


def test_labels_of_each_split_are_those_of_the_files(tmp_path):
    write_kitti(tmp_path)
    for split, numbers in {"all": (0, 1, 2, 199), "train": (0, 2, 199), "val": (1,)}.items():
        dataset = KITTI(tmp_path, split, pipeline=PIPELINE)
        require_equal_sizes(dataset)
        found = labels_of(dataset)
        assert list(found) == [f"training/image_2/{n:06d}_10.png" for n in numbers]
        for n, train_ids in zip(numbers, found.values(), strict=True):
            np.testing.assert_array_equal(train_ids, scene(n)[1][:, : 64 - n % 2])


def test_the_split_of_mseg_has_its_size():
    assert len(VALIDATION) == 50
    assert {"000001_10", "000037_10", "000196_10"} < VALIDATION
    assert "000000_10" not in VALIDATION


def test_labels_of_train_ids_are_recognised(tmp_path, log):
    write_kitti(tmp_path)
    for path in (tmp_path / "training/semantic").iterdir():
        n = int(path.stem.split("_")[0])
        save_ids(path, np.ascontiguousarray(scene(n)[1][:, : 64 - n % 2]))
    KITTI(tmp_path, "all", pipeline=PIPELINE)
    assert any("have only the values 0 to 18" in text for text in warnings(log))


def test_a_missing_label_and_an_unknown_id_are_named(tmp_path):
    write_kitti(tmp_path)
    save_ids(tmp_path / "training/semantic/000000_10.png", np.full((48, 64), 34, np.uint8))
    with pytest.raises(UserError, match="000000_10.png: ids 34 are not in the dataset's table"):
        KITTI(tmp_path, "train", pipeline=PIPELINE)[0]
    (tmp_path / "training/semantic/000002_10.png").unlink()
    with pytest.raises(UserError, match="000002_10.png: image without label"):
        KITTI(tmp_path, "train")


def test_an_empty_folder_names_the_layout(tmp_path):
    with pytest.raises(UserError, match="expected the layout training/image_2"):
        KITTI(tmp_path, "all")
