"""Train ids under the names of labels that have a dataset's own ids."""

import numpy as np
from PIL import Image

from ibnseg.datasets import GTA5, CamVid, Cityscapes
from ibnseg.datasets.labels import BDD100K_IDS, CITYSCAPES_IDS, MAPILLARY_IDS
from ibnseg.datasets.mistaken import seem_train_ids
from tests.conftest import write_cityscapes, write_gta5
from tests.datasets.conftest import warnings

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
TRAIN_IDS = np.array([[0, 18, 255], [10, 2, 13]], np.uint8)


def to_train_ids(folder, pattern, table) -> None:
    """Rewrites labels on disk as train ids."""
    lut = np.full(256, 255, np.uint8)
    lut[list(table)] = list(table.values())
    for path in folder.glob(pattern):
        ids = np.asarray(Image.open(path))
        Image.fromarray(lut[ids]).save(path)


def test_train_ids_never_leave_0_to_18_and_255():
    assert seem_train_ids([TRAIN_IDS], CITYSCAPES_IDS, 19)
    assert seem_train_ids([TRAIN_IDS, TRAIN_IDS * 0 + 255], MAPILLARY_IDS, 19)
    for id_ in (19, 33, 254):
        other = TRAIN_IDS.copy()
        other[1, 1] = id_
        assert not seem_train_ids([TRAIN_IDS, other], CITYSCAPES_IDS, 19), id_
    assert not seem_train_ids([], CITYSCAPES_IDS, 19)


def test_a_table_that_cannot_tell_is_never_suspicious():
    assert not seem_train_ids([TRAIN_IDS], BDD100K_IDS, 19)
    assert not seem_train_ids([TRAIN_IDS % 12], CamVid.LABEL_IDS, 19)
    assert not seem_train_ids([TRAIN_IDS % 2], {0: 1, 1: 0}, 2)
    assert seem_train_ids([TRAIN_IDS % 2], {0: 255, 1: 255, 7: 0, 11: 1}, 2)


def test_labels_are_read_only_until_one_has_another_id():
    def labels():
        yield TRAIN_IDS
        yield TRAIN_IDS + 20
        raise AssertionError("the third label is read")

    assert not seem_train_ids(labels(), CITYSCAPES_IDS, 19)


def test_a_split_of_train_ids_is_warned_of_once(tmp_path, log):
    write_cityscapes(tmp_path)
    Cityscapes(tmp_path, "val", pipeline=PIPELINE)
    assert warnings(log) == []
    to_train_ids(tmp_path, "gtFine/val/*/*labelIds.png", CITYSCAPES_IDS)
    for _ in range(2):
        Cityscapes(tmp_path, "val", pipeline=PIPELINE)
    (text,) = warnings(log)
    assert text.startswith(
        f"{tmp_path}: the labels of split 'val' have only the values 0 to 18 and 255 (5 were "
        "checked), as train ids do; Cityscapes expects its own ids, of which bicycle is 33"
    )


def test_the_same_holds_for_other_adapters_and_not_for_those_of_train_ids(tmp_path, log):
    write_gta5(tmp_path, frames=(1, 2))
    to_train_ids(tmp_path / "labels", "*.png", GTA5.LABEL_IDS)
    GTA5(tmp_path, "train", pipeline=PIPELINE)
    assert len(warnings(log)) == 1


def test_void_may_be_255_beside_ids(tmp_path, log):
    write_cityscapes(tmp_path)
    path = next(tmp_path.glob("gtFine/val/lindau/*labelIds.png"))
    ids = np.array(Image.open(path))
    ids[:3] = 255
    Image.fromarray(ids).save(path)
    samples = {s["seg_map_path"]: s for s in Cityscapes(tmp_path, "val", pipeline=PIPELINE)}
    train_ids = samples[str(path)]["gt_seg_map"]
    assert (train_ids[:3] == 255).all()
    assert (train_ids[3:] < 19).any()
    assert warnings(log) == []


def test_a_label_that_cannot_be_read_is_no_matter_of_the_warning(tmp_path, log):
    write_cityscapes(tmp_path)
    for path in tmp_path.glob("gtFine/val/*/*labelIds.png"):
        path.write_bytes(b"")
    assert len(Cityscapes(tmp_path, "val", pipeline=PIPELINE)) == 5
    assert warnings(log) == []
