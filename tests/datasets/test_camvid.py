"""CamVid in the SegNet layout: PNG and JPEG frames, and sequences by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import CamVid
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb, scene

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]


def frames(dataset: CamVid) -> list[str]:
    return [Path(dataset.get_data_info(i)["img_path"]).name for i in range(len(dataset))]


def test_images_and_train_ids_are_those_of_the_files(data):
    root = data / "camvid"
    dataset = CamVid(root, "train", pipeline=PIPELINE)
    expected = {
        f"{sequence}_{i:06d}{suffix}": 2500 + 10 * n + i
        for n, (sequence, suffix) in enumerate(
            [("0001TP", ".jpg"), ("0006R0", ".png"), ("0016E5", ".png")]
        )
        for i in range(3)
    }
    assert frames(dataset) == list(expected)
    for sample, (name, seed) in zip(dataset, expected.items(), strict=True):
        image, train_ids = scene(seed)
        assert sample["seg_map_path"] == str(root / "trainannot" / f"{name[:-4]}.png")
        np.testing.assert_array_equal(sample["gt_seg_map"], train_ids)
        if name.endswith(".png"):
            np.testing.assert_array_equal(sample["img"], image[..., ::-1])
        else:  # lossy: compared with another decoder
            decoded = np.asarray(Image.open(root / "train" / name)).astype(int)
            assert np.abs(sample["img"][..., ::-1] - decoded).max() <= 3
            assert np.abs(decoded - image).mean() < 15  # of noise and loss


def test_the_validation_split_has_its_frames(data):
    assert frames(CamVid(data / "camvid", "val")) == [f"0016E5_{i:06d}.png" for i in range(3)]


def test_sequences_are_selected_by_name(data):
    for sequences, count in ((("0001TP",), 3), (["0006R0", "0016E5"], 6), (None, 9)):
        names = frames(CamVid(data / "camvid", "train", sequences=sequences))
        assert len(names) == count, sequences
        assert sequences is None or {name.split("_")[0] for name in names} <= set(sequences), (
            sequences
        )


def test_a_sequence_of_another_split_has_no_frames_here(data):
    with pytest.raises(UserError, match="no images of split 'val' in"):
        CamVid(data / "camvid", "val", sequences=("0001TP",))


def test_an_unknown_sequence_is_named_even_beside_known_ones(data):
    with pytest.raises(UserError, match="unknown sequence .*'0016E4'; did you mean 0016E5"):
        CamVid(data / "camvid", "train", sequences=("0006R0", "0016E4"))


def test_a_frame_in_two_formats_is_an_error(data, tmp_path):
    shutil.copytree(data / "camvid", tmp_path / "camvid")
    folder = tmp_path / "camvid" / "val"
    shutil.copy(folder / "0016E5_000000.png", folder / "0016E5_000000.jpg")
    with pytest.raises(UserError, match=r"0016E5_000000.png: the same name also exists as .*jpg"):
        CamVid(tmp_path / "camvid", "val")


def test_damage_in_another_sequence_does_not_matter(data, tmp_path):
    shutil.copytree(data / "camvid", tmp_path / "camvid")
    (tmp_path / "camvid" / "trainannot" / "0001TP_000000.png").unlink()
    assert len(CamVid(tmp_path / "camvid", "train", sequences=("0006R0",))) == 3
    with pytest.raises(UserError, match=r"0001TP_000000\.jpg: image without label"):
        CamVid(tmp_path / "camvid", "train", sequences=("0001TP",))


def test_all_twelve_ids_have_their_train_ids(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save_rgb(tmp_path / "test" / "Seq05VD_f00000.png", np.zeros((3, 4, 3), np.uint8))
    save_ids(tmp_path / "testannot" / "Seq05VD_f00000.png", ids)
    sample = CamVid(tmp_path, "test", pipeline=PIPELINE)[0]
    assert sample["gt_seg_map"].tolist() == [[10, 2, 5, 0], [1, 8, 7, 4], [13, 11, 12, 255]]


def test_a_truncated_jpeg_is_named(data, tmp_path):
    shutil.copytree(data / "camvid", tmp_path / "camvid")
    dataset = CamVid(tmp_path / "camvid", "train", pipeline=PIPELINE)
    path = Path(dataset.get_data_info(0)["img_path"])
    assert path.suffix == ".jpg"
    content = path.read_bytes()
    for part in (0.1, 0.5, 0.95):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(UserError) as error:
            dataset[0]
        assert str(error.value).startswith(f"{path}: ")
