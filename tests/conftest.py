"""Miniature datasets in the official layouts, and configs of tiny networks on them."""

from __future__ import annotations

import gc
import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ibnseg.datasets.labels import CLASSES, LABELS, PALETTE

torch.set_num_threads(1)  # the networks are tiny, and other work may share the processor
# torch.export pretends that there is a GPU; if the first backward pass came after it, autograd
# would start threads, and forked processes could not run one any more
torch.zeros(1, requires_grad=True).backward()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Comparisons with the official Cityscapes script need its package."""
    for item in items:
        if "script" in getattr(item, "fixturenames", ()):
            item.add_marker("extras")


WIDTH, HEIGHT = 64, 48
GTA5_TRAIN = tuple(range(1, 9))
GTA5_VAL = (22, 23, 24, 27, 43)  # five: uneven for two processes


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene of four classes: (H, W, 3) uint8 noisy RGB, and (H, W) uint8 train ids.

    Sky above, road below, a building and a car at random places; the top row is ignored (255).
    """
    rng = np.random.default_rng(seed)
    train_ids = np.full((HEIGHT, WIDTH), CLASSES.index("sky"), np.uint8)
    train_ids[HEIGHT // 2 :] = CLASSES.index("road")
    left = rng.integers(0, WIDTH - 24)
    train_ids[10 : HEIGHT // 2, left : left + 24] = CLASSES.index("building")
    left = rng.integers(0, WIDTH - 16)
    train_ids[28:40, left : left + 16] = CLASSES.index("car")
    colors = np.zeros((256, 3))
    colors[: len(PALETTE)] = PALETTE
    image = colors[train_ids] + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
    train_ids[0] = 255
    return image.clip(0, 255).astype(np.uint8), train_ids


def to_ids(train_ids: np.ndarray, table: dict[int, int]) -> np.ndarray:
    """Train ids as a dataset's ids, by the inverse of its table; 255 becomes the first void id."""
    inverse = np.zeros(256, np.uint8)
    for id_, train_id in reversed(table.items()):
        inverse[train_id] = id_
    return inverse[train_ids]


def save_rgb(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def set_orientation(path: Path, orientation: int) -> None:
    """Writes an EXIF orientation into an image file, and leaves the stored pixels of PNG alone."""
    with Image.open(path) as image:
        image.load()
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path, exif=exif)


def save_ids(path: Path, ids: np.ndarray, palette: bool = False) -> None:
    """A single-channel PNG of ids, mode L, or mode P with the Cityscapes colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    if palette:
        colors = np.zeros((256, 3), np.uint8)
        for label in LABELS:
            colors[label.id] = label.color
        image.putpalette(colors.tobytes())
    image.save(path)


def write_gta5(root: Path, frames: tuple[int, ...] = GTA5_TRAIN + GTA5_VAL) -> None:
    """Frames of the official split, with a split file that lists just these."""
    from ibnseg.datasets.gta5 import official_split
    from ibnseg.datasets.labels import GTA5_IDS

    split = {
        name: [[n, n] for n in frames if n in numbers] for name, numbers in official_split().items()
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "split.json").write_text(json.dumps(split))
    for frame in frames:
        image, train_ids = scene(frame)
        save_rgb(root / "images" / f"{frame:05d}.png", image)
        save_ids(root / "labels" / f"{frame:05d}.png", to_ids(train_ids, GTA5_IDS), palette=True)


def write_cityscapes(root: Path) -> None:
    """Both splits; to each label its instance map, in which a scene's car is one."""
    from ibnseg.datasets.labels import CITYSCAPES_IDS

    cities = {"train": {"aachen": 2, "bochum": 2}, "val": {"frankfurt": 3, "lindau": 2}}
    for split, counts in cities.items():
        for city, count in counts.items():
            for i in range(count):
                image, train_ids = scene(1000 + 10 * len(city) + i)
                frame = f"{city}_{i:06d}_000019"
                save_rgb(
                    root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", 255 - image
                )
                ids = to_ids(train_ids, CITYSCAPES_IDS)
                instances = np.where(ids == 26, 26000, ids.astype(np.uint16))
                for name, pixels in dict(labelIds=ids, instanceIds=instances).items():
                    save_ids(root / "gtFine" / split / city / f"{frame}_gtFine_{name}.png", pixels)


def write_camvid(root: Path) -> None:
    from ibnseg.datasets.labels import CAMVID_IDS

    splits = {"train": ("0001TP", "0006R0", "0016E5"), "val": ("0016E5",)}
    for split, sequences in splits.items():
        for n, sequence in enumerate(sequences):
            for i in range(3):
                image, train_ids = scene(2000 + 100 * len(split) + 10 * n + i)
                suffix = ".jpg" if sequence == "0001TP" else ".png"
                save_rgb(root / split / f"{sequence}_{i:06d}{suffix}", image)
                save_ids(
                    root / f"{split}annot" / f"{sequence}_{i:06d}.png",
                    to_ids(train_ids, CAMVID_IDS),
                )


BDD100K_NAMES = ("0004a4c0-d4dff0ad", "00067cfb-5443fe39")


def write_bdd100k(root: Path, images: str, labels: str, suffix: str, ids: np.ndarray) -> None:
    """Both splits, each image with the same label, and a test split without labels."""
    for split in ("train", "val", "test"):
        for i, name in enumerate(BDD100K_NAMES):
            save_rgb(root / images / split / f"{name}.jpg", scene(i)[0])
            if split != "test":
                save_ids(root / labels / split / f"{name}{suffix}", ids)


def write_drivable(root: Path, release: str = "2021") -> None:
    """A label whose rows are background, alternative and direct, in a release's own ids."""
    folder, suffix, rows = {
        "2021": ("labels/drivable/masks", ".png", (2, 1, 0)),
        "2018": ("drivable_maps/labels", "_drivable_id.png", (0, 2, 1)),
    }[release]
    ids = np.repeat(np.array(rows, np.uint8), 16)[:, None].repeat(64, axis=1)
    write_bdd100k(root, "images/100k", folder, suffix, ids)


def shown_twice(transform, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What a transform makes of an image, which NumPy's state alone decides; neither the label nor
    what it was given is touched."""
    before, results = image.copy(), []
    for i in range(2):
        np.random.seed(5)
        torch.manual_seed(i)
        random.seed(i)
        results.append(transform(dict(img=before, gt_seg_map=label.copy())))
    np.testing.assert_array_equal(results[0]["img"], results[1]["img"])
    np.testing.assert_array_equal(before, image)
    np.testing.assert_array_equal(results[0]["gt_seg_map"], label)
    return results[0]["img"]


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage() -> None:
    """Every dataset collects garbage when it is made; what was imported by then is not looked
    through again and again, which takes a third of a second each time."""
    import ibnseg.engine.run  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``gta5``, ``cityscapes`` and ``camvid`` in miniature; not to be changed."""
    root = tmp_path_factory.mktemp("data")
    write_gta5(root / "gta5")
    write_cityscapes(root / "cityscapes")
    write_camvid(root / "camvid")
    return root


TINY = """
_base_ = [
    "{configs}/_base_/models/fcn_ibn18a-d8.py",
    "{configs}/_base_/schedules/paper_80e.py",
]
train_domain = "{train}"
test_domains = {tests}
model = dict(
    backbone=dict(base_channels=8, stem_channels=8, init_cfg=None),
    decode_head=dict(in_channels=64, channels=16),
)
crop_size = (32, 32)
batch = 4
epochs = None
iterations = 6
workers = 0
log_interval = 1
checkpoint_interval = 2
"""
LEARNS = """
iterations = 60
crop_size = (64, 64)
checkpoint_interval = 50
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4)
"""
"""What makes a network of ``TINY`` learn something."""


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory):
    """A function that writes a config of a tiny network and returns its path.

    ``tiny_config("gta5", ["gta5", "cityscapes"], "precision = 'bfloat16'")``: training domain, test
    domains, further lines.
    """
    from ibnseg.support.files import config_folder

    def write(train: str, tests: list[str], more: str = "", name: str = "tiny") -> Path:
        path = tmp_path_factory.mktemp("config") / f"{name}.py"
        text = TINY.format(configs=config_folder().as_posix(), train=train, tests=tests)
        path.write_text(text + more + "\n")
        return path

    return write


@pytest.fixture
def tiny(tiny_config) -> Config:
    """A tiny experiment, GTA5 to GTA5 and Cityscapes, as it is read from its file."""
    return Config.fromfile(tiny_config("gta5", ["gta5", "cityscapes"]))


@pytest.fixture
def in_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with ``IBNSEG_DATA`` set to the miniature datasets."""
    monkeypatch.setenv("IBNSEG_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(
    data: Path, tiny_config, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict]:
    """A config, its finished run's folder and results: 60 steps on GTA5, tested on both domains."""
    from ibnseg.engine.run import train

    config = tiny_config("gta5", ["gta5", "cityscapes"], LEARNS, name="trained")
    folder = tmp_path_factory.mktemp("run")
    roots = {name: str(data / name) for name in ("gta5", "cityscapes")}
    return config, folder, train(config, work_dir=folder, roots=roots)


WHOLE = dict(name="native", version=1, inference="whole")


def save_run(
    folder: Path,
    tests: dict[str, list],
    *,
    name: str = "plain",
    title: str | None = None,
    seed: int | None = 0,
    train: str | list[str] = "gta5",
    protocol: dict = WHOLE,
    groups: dict[str, list[str]] | None = None,
    classes: tuple[str, ...] = ("road", "car"),
    averaged: tuple[str, ...] | None = None,
    iteration: int = 10,
    recipe: str | dict | None = None,
    counts: dict[str, dict[str, list]] | None = None,
    without: tuple[str, ...] = (),
    selected_on: str | None = None,
) -> Path:
    """Writes the results of a run as testing does.

    Args:
        folder: the run's; results that it has are added to.
        tests: by domain the (K, K) confusion matrix of each image.
        groups: by domain the group of each image; each its own where it is not there.
        train: the training domain, or several.
        counts: by domain and metric what the metric counts in each image.
    """
    from ibnseg.evaluation import results
    from ibnseg.evaluation.per_image import write_per_image

    records = []
    for domain, matrices in tests.items():
        stack = np.array(matrices)
        file = f"per_image/{domain}-{protocol['name']}.npz"
        names = [f"{domain}/{i}.png" for i in range(len(stack))]
        own = (groups or {}).get(domain, names)
        further = {k: np.array(x) for k, x in (counts or {}).get(domain, {}).items()}
        write_per_image(folder / file, dict(zip(names, stack, strict=True)), own, further)
        records.append(
            results.test_record(
                domain, "val", protocol, classes, averaged or classes, stack.sum(axis=0),
                len(stack), [], file, counts={k: x.sum(axis=0) for k, x in further.items()},
                without=without,
            )
        )  # fmt: skip
    run = dict(
        name=name,
        model=f"model_{name}",
        title=title or name.capitalize(),
        train_domain=train if isinstance(train, str) else "+".join(train),
        train_domains=[train] if isinstance(train, str) else train,
        checkpoint_sha256=f"{name}{seed}",
        iteration=iteration,
        seed=seed,
        recipe=recipe,
        selected_on=selected_on,
    )
    path = folder / "results.json"
    results.write(path, results.merge(results.read(path) if path.exists() else None, run, records))
    return folder
