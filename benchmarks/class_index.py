"""The places of all classes in labels, which class-uniform sampling needs."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image

from benchmarks.measure import Row, alternately, compare
from ibnseg.datasets import GTA5, Cityscapes
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import IGNORE, PALETTE
from ibnseg.datasets.pictures import read_label
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.datasets.uniform import TILE, class_index
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise

LABELS = 8
MASKS, DECODING, GOAL = "a mask for each class", "decoding alone", "5 ms"


def measure(threads: int) -> list[Row]:
    rows = []
    with TemporaryDirectory() as folder:
        for dataset in (_gta5(Path(folder)), _cityscapes(Path(folder))):
            infos = [dataset.get_data_info(i) for i in range(LABELS)]
            load = LoadLabel()
            ways = {
                "ibnseg": lambda dataset=dataset: class_index(dataset),
                MASKS: lambda load=load, infos=infos: [_by_masks(load.train_ids(i)) for i in infos],
                DECODING: lambda infos=infos: [read_label(i["seg_map_path"]) for i in infos],
            }
            times = {
                name: [each / LABELS for each in found]
                for name, found in alternately(ways, 5, warm_up=1).items()
            }
            times[GOAL] = [0.005] * len(times["ibnseg"])
            name = type(dataset).__name__
            work = f"classes of a label of {name} found, in one process"
            rows += [compare(work, times, peer) for peer in (DECODING, MASKS)]
            if name == "GTA5":
                rows.append(compare(work, times, GOAL, most=1.0))
    return rows


def _gta5(root: Path) -> DrivingDataset:
    """Labels of 1052x1914 with a palette."""
    for i in range(LABELS):
        image = Image.fromarray(_ragged(i, 1914, 1052))
        image.putpalette(np.resize(PALETTE, 768).astype(np.uint8).tobytes())
        for kind in ("images", "labels"):
            (root / "gta5" / kind).mkdir(parents=True, exist_ok=True)
            image.save(root / "gta5" / kind / f"{i + 1:05d}.png")
    split = {"train": [[1, LABELS]], "val": []}
    (root / "gta5/split.json").write_text(json.dumps(split))
    return GTA5(root / "gta5", "train")


def _cityscapes(root: Path) -> DrivingDataset:
    """Labels of 1024x2048."""
    for i in range(LABELS):
        image = Image.fromarray(_ragged(i, 2048, 1024))
        for kind, suffix in (("leftImg8bit", ""), ("gtFine", "_labelIds")):
            folder = root / "cityscapes" / kind / "train/a"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"a_{i:06d}_000019_{kind}{suffix}.png")
    return Cityscapes(root / "cityscapes", "train")


def _ragged(seed: int, width: int, height: int) -> np.ndarray:
    """The label of a drawn street with ragged outlines, (H, W) uint8; its PNG has 30 kB instead of
    15."""
    label = rasterise(draw_layout(seed), width // 2, height // 2).labels.astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 9, (2, height, width)).astype(np.float32)
    rows, columns = (
        grid / 2 + cv2.GaussianBlur(by, None, 3)
        for grid, by in zip(np.indices((height, width), np.float32), noise, strict=True)
    )
    return cv2.remap(label, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _by_masks(train_ids: np.ndarray) -> list[tuple[int, int, int]]:
    """The centroids of each class in each tile, with OpenCV's moments of one mask for each."""
    found = []
    for top, left in np.ndindex(*(side // TILE for side in train_ids.shape)):
        at_y, at_x = top * TILE, left * TILE
        part = train_ids[at_y : at_y + TILE, at_x : at_x + TILE]
        part = np.ascontiguousarray(part)
        for label in np.flatnonzero(cv2.calcHist([part], [0], None, [IGNORE], [0, IGNORE])):
            sums = cv2.moments((part == label).view(np.uint8), binaryImage=True)
            x, y = (int(sums[key] / sums["m00"]) for key in ("m10", "m01"))
            found.append((label, at_x + x, at_y + y))
    return found
