"""Miniatures of datasets in their official layouts, with the names that their downloads have.

Each image is the scene of a seed (:func:`tests.conftest.scene`), and what a function returns is the
seed of each image by its path, relative to the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ibnseg.datasets.class_tables import classes_of
from tests.conftest import save_ids, save_rgb, scene, to_ids

IDS = classes_of("cityscapes").ids("cityscapes")
TRAIN_IDS = classes_of("cityscapes_train_ids").ids("cityscapes")


def write(root: Path, files: Mapping[str, str], ids: Mapping[int, int], seed: int) -> dict:
    """Writes images, each with the label beside it in ``files``."""
    seeds = {image: seed + i for i, image in enumerate(files)}
    for image, label in files.items():
        rgb, train_ids = scene(seeds[image])
        save_rgb(root / image, rgb)
        save_ids(root / label, to_ids(train_ids, ids))
    return seeds


def save_16_bits(path: Path, ids: np.ndarray) -> None:
    """A label as SYNTHIA has them: 16 bits, the class in the first channel, an instance in the
    second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = np.zeros((*ids.shape, 3), np.uint16)
    bgr[..., 2], bgr[..., 1] = ids, 300 + np.arange(ids.shape[1])
    assert cv2.imwrite(str(path), bgr)


def write_synthia(root: Path, names: tuple[int, ...] = (0, 1, 2, 3, 4, 9396, 9399)) -> dict:
    seeds = {f"RGB/{name:07d}.png": 5000 + i for i, name in enumerate(names)}
    for image, seed in seeds.items():
        rgb, train_ids = scene(seed)
        save_rgb(root / image, rgb)
        table = classes_of("synthia").ids("cityscapes")
        save_16_bits(root / image.replace("RGB", "GT/LABELS"), to_ids(train_ids, table))
    return seeds


SEQUENCES = {"fog": "GOPR0475", "night": "GOPR0351", "rain": "GOPR0400", "snow": "GOPR0122"}


def write_acdc(root: Path) -> dict:
    files = {}
    for condition, sequence in SEQUENCES.items():
        for split in ("train", "val", "train_ref", "val_ref"):
            image, label = (
                ("rgb_ref_anon", "gt_ref_labelIds")
                if split.endswith("_ref")
                else ("rgb_anon", "gt_labelIds")
            )
            for frame in (41, 77):
                place = f"{condition}/{split}/{sequence}/{sequence}_frame_{frame:06d}"
                files[f"rgb_anon/{place}_{image}.png"] = f"gt/{place}_{label}.png"
    seeds = write(root, files, IDS, 5100)
    for condition, sequence in SEQUENCES.items():
        place = f"{condition}/val_ref/{sequence}/{sequence}_frame_000099"  # has no label
        save_rgb(root / f"rgb_anon/{place}_rgb_ref_anon.png", scene(0)[0])
        place = f"{condition}/val/{sequence}/{sequence}_frame_000041"  # a mask, which is no label
        save_ids(root / f"gt/{place}_gt_invIds.png", np.zeros((48, 64), np.uint8))
        place = f"{condition}/test/{sequence}/{sequence}_frame_000001"
        save_rgb(root / f"rgb_anon/{place}_rgb_anon.png", scene(0)[0])
    return seeds


def write_dark_zurich(root: Path) -> dict:
    places = [f"GOPR0356/GOPR0356_frame_{frame:06d}" for frame in (321, 336, 351)]
    files = {
        f"rgb_anon/val/night/{place}_rgb_anon.png": f"gt/val/night/{place}_gt_labelTrainIds.png"
        for place in places
    }
    for place in places:
        save_ids(root / f"gt/val/night/{place}_gt_invIds.png", np.zeros((48, 64), np.uint8))
        name = place.replace("/", "_ref/")
        save_rgb(root / f"rgb_anon/val_ref/day/{name}_ref_rgb_anon.png", scene(0)[0])
    save_rgb(root / "rgb_anon/test/night/GOPR0364/GOPR0364_frame_000001_rgb_anon.png", scene(0)[0])
    return write(root, files, TRAIN_IDS, 5200)


NIGHTTIME = ("01_frame_0555", "01_frame_0744", "0_frame_0075")
"""Three of the 50 names in sakaridis/MGCDA:data/NighttimeDrivingTest_lists_file_names."""


def write_nighttime_driving(root: Path) -> dict:
    labels = "gtCoarse_daytime_trainvaltest/test/night"
    files = {
        f"leftImg8bit/test/night/{name}_leftImg8bit.png": (
            f"{labels}/{name}_gtCoarse_labelTrainIds.png"
        )
        for name in NIGHTTIME
    }
    return write(root, files, TRAIN_IDS, 5300)


NIGHTCITY = {"train": ("Chicago_0002", "Dubai_0016"), "val": ("Chicago_0004", "Chicago_0049")}


def write_nightcity(root: Path) -> dict:
    files = {
        f"NightCity-images/images/{split}/{name}.png": (
            f"NightCity-label/label/{split}/{name}_labelIds.png"
        )
        for split, names in NIGHTCITY.items()
        for name in names
    }
    return write(root, files, IDS, 5400)


def write_nightcity_fine(root: Path) -> dict:
    files = {
        f"{split}/img/{name}.png": f"{split}/lbl/{name}_trainIds.png"
        for split, names in NIGHTCITY.items()
        for name in names
    }
    return write(root, files, TRAIN_IDS, 5500)


def write_lists(root: Path, suffix: str, lists: Mapping[str, list[str]]) -> None:
    for name, lines in lists.items():
        path = root / "lists_file_names" / f"{name}_filenames.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}{suffix}\n" for line in lines))


def write_foggy_zurich(root: Path) -> dict:
    places = [
        "GP010229/1508040913.0_frame_000955",
        "GP010229/1508040914.0_frame_000956",
        "GOPR0229/1508039851.0_frame_000321",
    ]
    images = [f"RGB/{place}" for place in places]
    write_lists(root, ".png", {"RGB_testv1": images[:1], "RGB_testv2": images})
    save_rgb(root / "RGB/GOPR0229/1508039999.0_frame_000999.png", scene(0)[0])  # has no label
    files = {f"RGB/{place}.png": f"gt_labelIds/{place}.png" for place in places}
    return write(root, files, IDS, 5600)


def write_foggy_driving(root: Path) -> dict:
    fine = [f"test/public/public_{i:06d}_000000" for i in (1, 2)]
    coarse = ["test_extra/pedestrian/pedestrian_000003_000001", "test_extra/web/web_000001_000000"]
    images = [f"leftImg8bit/{each}" for each in fine + coarse]
    lists = dict(testall=images, testfine=images[:2], testdense=images[1:3])
    lists = {f"leftImg8bit_{name}": each for name, each in lists.items()}
    write_lists(root, "_leftImg8bit.png", lists)
    files = {f"leftImg8bit/{e}_leftImg8bit.png": f"gtFine/{e}_gtFine_labelIds.png" for e in fine}
    files |= {
        f"leftImg8bit/{e}_leftImg8bit.png": f"gtCoarse/{e}_gtCoarse_labelIds.png" for e in coarse
    }
    return write(root, files, IDS, 5700)


def write_with_weather(root: Path, folder: str, cities: Mapping[str, int], weather: list[str]):
    """Images of Cityscapes in several weathers, all with one label."""
    seeds = {}
    for city, seed in cities.items():
        split = "train" if city == "aachen" else "val"
        frame = f"{split}/{city}/{city}_000004_000019"
        rgb, train_ids = scene(seed)
        save_ids(root / f"gtFine/{frame}_gtFine_labelIds.png", to_ids(train_ids, IDS))
        for each in weather:
            seeds[f"{folder}/{frame}_{each}.png"] = seed
            save_rgb(root / f"{folder}/{frame}_{each}.png", rgb)
    return seeds


def write_foggy_cityscapes(root: Path) -> dict:
    weather = [f"leftImg8bit_foggy_beta_{beta}" for beta in ("0.005", "0.01", "0.02")]
    cities = {"aachen": 5800, "frankfurt": 5801, "lindau": 5802}
    return write_with_weather(root, "leftImg8bit_foggy", cities, weather)


def write_rain_cityscapes(root: Path) -> dict:
    densities = (("0.01", "0.005", "0.01"), ("0.02", "0.01", "0.005"), ("0.03", "0.015", "0.002"))
    weather = [
        f"leftImg8bit_rain_alpha_{alpha}_beta_{beta}_dropsize_{size}_pattern_{pattern}"
        for alpha, beta, size in densities
        for pattern in (1, 12)
    ]
    cities = {"aachen": 5900, "lindau": 5901}
    seeds = write_with_weather(root, "leftImg8bit_rain", cities, weather)
    dry = "gtFine/val/lindau/lindau_000009_000019_gtFine_labelIds.png"  # without rain
    save_ids(root / dry, to_ids(scene(0)[1], IDS))
    return seeds


PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]


def require_scenes(dataset, root: Path, seeds: Mapping[str, int]) -> None:
    """Checks that a dataset has just these images, in sorted order, each with its own label."""
    found = [str(Path(each["img_path"]).relative_to(root)) for each in dataset.infos()]
    assert sorted(found) == sorted(seeds)
    for name, sample in zip(found, dataset, strict=True):
        image, train_ids = scene(seeds[name])
        np.testing.assert_array_equal(sample["img"], image[..., ::-1], err_msg=name)
        np.testing.assert_array_equal(sample["gt_seg_map"], train_ids, err_msg=name)


def only(seeds: Mapping[str, int], *parts: str) -> dict[str, int]:
    """The images whose paths have one of some parts."""
    return {name: seed for name, seed in seeds.items() if any(part in name for part in parts)}
