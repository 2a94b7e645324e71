"""What other programs leave among data is no data, in every adapter; suffixes may be upper-case."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ibnseg.datasets import (
    A2D2,
    ACDC,
    GTA5,
    IDD,
    KITTI,
    VIPER,
    CamVid,
    CamVid32,
    Cityscapes,
    DarkZurich,
    FoggyCityscapes,
    FoggyDriving,
    FoggyZurich,
    MapillaryVistas,
    MapillaryVistas2,
    NightCity,
    NightCityFine,
    NighttimeDriving,
    RainCityscapes,
    Synthia,
    UrbanSyn,
    WildDash2,
)
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.bdd100k import BDD100K
from ibnseg.datasets.gta5 import read_split
from ibnseg.registry import DATASETS
from tests.conftest import (
    save_ids,
    save_rgb,
    scene,
    write_bdd100k,
    write_camvid,
    write_cityscapes,
    write_gta5,
)
from tests.datasets import miniatures
from tests.datasets.test_a2d2 import write_a2d2
from tests.datasets.test_camvid32 import write_camvid32
from tests.datasets.test_idd import write_idd
from tests.datasets.test_kitti import write_kitti
from tests.datasets.test_mapillary2 import write_vistas2
from tests.datasets.test_urbansyn import write_urbansyn
from tests.datasets.test_viper import write_viper
from tests.datasets.test_wilddash2 import write_wilddash2

MARK = b"\xef\xbb\xbf"


def write_mapillary(root: Path) -> None:
    for i in range(3):
        save_rgb(root / "validation/images" / f"x{i}.jpg", scene(i)[0])
        save_ids(root / "validation/labels" / f"x{i}.png", np.zeros((48, 64), np.uint8))


def write_sem_seg(root: Path) -> None:
    ids = np.zeros((48, 64), np.uint8)
    write_bdd100k(root, "images/10k", "labels/sem_seg/masks", ".png", ids)


ADAPTERS = [
    (GTA5, write_gta5, "val"),
    (Cityscapes, write_cityscapes, "val"),
    (CamVid, write_camvid, "val"),
    (BDD100K, write_sem_seg, "val"),
    (MapillaryVistas, write_mapillary, "val"),
    (Synthia, miniatures.write_synthia, "val"),
    (ACDC, miniatures.write_acdc, "val"),
    (DarkZurich, miniatures.write_dark_zurich, "val"),
    (NighttimeDriving, miniatures.write_nighttime_driving, "test"),
    (NightCity, miniatures.write_nightcity, "val"),
    (NightCityFine, miniatures.write_nightcity_fine, "val"),
    (FoggyZurich, miniatures.write_foggy_zurich, "testv2"),
    (FoggyDriving, miniatures.write_foggy_driving, "testall"),
    (FoggyCityscapes, miniatures.write_foggy_cityscapes, "val"),
    (RainCityscapes, miniatures.write_rain_cityscapes, "val"),
    (IDD, write_idd, "val"),
    (WildDash2, write_wilddash2, "all"),
    (KITTI, write_kitti, "all"),
    (UrbanSyn, write_urbansyn, "all"),
    (MapillaryVistas2, write_vistas2, "val"),
    (VIPER, write_viper, "val"),
    (CamVid32, write_camvid32, "val"),
    (A2D2, write_a2d2, "train"),
]
each_adapter = pytest.mark.parametrize(
    ("adapter", "write", "split"), ADAPTERS, ids=[adapter.__name__ for adapter, *_ in ADAPTERS]
)


def names(dataset: DrivingDataset) -> list[str]:
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [Path(sample[key]).name for sample in samples for key in ("img_path", "seg_map_path")]


@each_adapter
@pytest.mark.parametrize("which", ["images", "both"])
def test_files_of_others_change_no_split(
    adapter: type[DrivingDataset], write: Callable, split: str, which: str, tmp_path: Path
) -> None:
    write(tmp_path)
    expected = names(adapter(tmp_path, split))
    for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")]:
        if which == "both" or "abel" not in str(path.relative_to(tmp_path)):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
            path.with_name(f".{path.stem}-abcd1234.tmp{path.suffix}").touch()
            for folder in (".ipynb_checkpoints", "__MACOSX"):
                (path.parent / folder).mkdir(exist_ok=True)
                (path.parent / folder / path.name).touch()
            for folder in (".ipynb_checkpoints", "__MACOSX"):  # as if it were a city
                (path.parents[1] / folder).mkdir(exist_ok=True)
                shutil.copy(path, path.parents[1] / folder)
        (path.parent / "Thumbs.db").touch()
    assert names(adapter(tmp_path, split)) == expected


@each_adapter
def test_upper_case_suffixes_are_read(
    adapter: type[DrivingDataset], write: Callable, split: str, tmp_path: Path
) -> None:
    write(tmp_path)
    before = adapter(tmp_path, split)
    expected, skipped = names(before), before.skipped
    for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    after = adapter(tmp_path, split)
    upper = [name.replace(".png", ".PNG").replace(".jpg", ".JPG") for name in expected]
    assert names(after) == upper
    assert after.skipped == skipped


def test_a_split_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    write_gta5(tmp_path)
    path = tmp_path / "split.json"
    expected = read_split(path)
    path.write_bytes(MARK + path.read_bytes())
    assert read_split(path) == expected
    path.write_bytes(json.dumps({"train": [[1, 2]]}).encode("utf-8-sig"))
    assert read_split(path) == {"train": (1, 2)}


def test_an_adapter_of_others_need_not_leave_out_hidden_files(tmp_path: Path) -> None:
    class Globbing(GTA5):
        def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
            return tuple(
                {path.stem: path for path in (root / folder).glob("*")}
                for folder in ("images", "labels")
            )

    write_gta5(tmp_path)
    expected = len(Globbing(tmp_path, "val"))
    (tmp_path / "images/._00022.png").touch()
    (tmp_path / "labels/Thumbs.db").touch()
    assert len(Globbing(tmp_path, "val")) == expected
    assert "Globbing" not in DATASETS.module_dict
