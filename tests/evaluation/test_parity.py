"""Every score against the official Cityscapes script, where it is installed.

``pip install '.[official]'``, then ``python -m pytest -s tests/evaluation/test_parity.py``, which
also prints the scores side by side.
"""

import copy
import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from PIL import Image

from ibnseg.datasets.labels import CATEGORIES, CITYSCAPES_IDS, CLASSES, INSTANCE_CLASSES, LABELS
from ibnseg.engine.expand import expand
from ibnseg.evaluation import results
from ibnseg.registry import DATASETS, METRICS
from tests.conftest import save_rgb

HEIGHT, WIDTH = 60, 96
ID = {label.name: label.id for label in LABELS}
ID_OF_TRAIN_ID = np.array([ID[name] for name in CLASSES], np.uint8)

VOID = ("unlabeled", "ego vehicle", "static", "parking", "polegroup")
STUFF = ("road", "sidewalk", "building", "wall", "pole", "traffic sign", "vegetation", "terrain")
# rider is true only as a group; caravan and trailer are ignored
THINGS = ("person", "car", "truck", "bus", "motorcycle", "caravan", "trailer")
GROUPS = ("person", "rider", "car")
# fence, train: never true, but predicted; terrain, motorcycle: never predicted; bicycle, sky,
# traffic light: neither
NEVER_PREDICTED = ("terrain", "motorcycle", "bicycle", "sky", "traffic light")


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of labels (uint8), of instances (uint16), and a prediction in train ids (uint8)."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    instances = np.zeros((HEIGHT, WIDTH), np.uint16)

    def block(least: int, most: int) -> tuple[slice, slice]:
        height, width = rng.integers(least, most, 2)
        top, left = rng.integers(0, HEIGHT - height), rng.integers(0, WIDTH - width)
        return slice(top, top + height), slice(left, left + width)

    def draw(names: tuple[str, ...], count: int, least: int, most: int, single: bool) -> None:
        for number in range(count):
            where, id_ = block(least, most), ID[rng.choice(names)]
            labels[where] = id_
            instances[where] = 1000 * id_ + number if single else id_

    draw(STUFF, 20, 15, 50, single=False)
    draw(VOID, 5, 4, 15, single=False)
    draw(GROUPS, 4, 5, 15, single=False)
    draw(THINGS, 25, 1, 18, single=True)
    instances[block(2, 5)] = 1000  # at the bound: no instance
    instances[block(2, 5)] = 26999  # labels and instances do not agree here
    labels[block(2, 5)] = ID["out of roi"]  # nor here

    answers = [i for i, name in enumerate(CLASSES) if name not in NEVER_PREDICTED]
    truth = np.array([CITYSCAPES_IDS[id_] for id_ in range(34)], np.uint8)[labels]
    guess = rng.choice(answers, (HEIGHT, WIDTH)).astype(np.uint8)
    right = np.isin(truth, answers) & (rng.random((HEIGHT, WIDTH)) < 0.7)
    return labels, instances, np.where(right, truth, guess)


def save(path: Path, pixels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)


def write(root: Path, seed: int) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    """Paths of predictions and labels as the script takes them, and the predictions in train ids by
    path of image."""
    rng = np.random.default_rng(seed)
    predicted, truth, predictions = [], [], {}
    for city in ("frankfurt", "lindau"):
        for n in range(3):
            frame = f"{city}_{n:06d}_000019"
            labels, instances, prediction = scene(rng)
            image = root / "leftImg8bit/val" / city / f"{frame}_leftImg8bit.png"
            save_rgb(image, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            gt = root / "gtFine/val" / city / f"{frame}_gtFine"
            truth.append(save(gt.with_name(f"{gt.name}_labelIds.png"), labels))
            save(gt.with_name(f"{gt.name}_instanceIds.png"), instances)
            predicted.append(save(root / "results" / image.name, ID_OF_TRAIN_ID[prediction]))
            predictions[str(image)] = prediction
    return predicted, truth, predictions


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """The official script, with what NumPy 2.4 took from it."""
    pytest.importorskip("cityscapesscripts", reason="pip install '.[official]'")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    return importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")


def by_the_script(script, predicted: list[str], truth: list[str]) -> dict:
    args = copy.copy(script.args)
    args.evalInstLevelScore, args.evalPixelAccuracy = True, False
    args.JSONOutput, args.colorized, args.bold, args.nocol = False, False, "", ""
    return script.evaluateImgLists(predicted, truth, args)


def by_us(cfg: Config, root: Path, predictions: dict[str, np.ndarray]) -> dict:
    """A record of a test, from what a test reads and counts, with these predictions in between."""
    init_default_scope("mmseg")
    cfg.test_domains = ["cityscapes"]
    cfg = expand(cfg, {"cityscapes": str(root)}, training=False)
    dataset = DATASETS.build(cfg.test_dataloader.cityscapes.dataset)
    metric = METRICS.build(cfg.test_evaluator.cityscapes)
    for i in (*reversed(range(len(dataset))), 0):  # the first one twice
        sample = dataset[i]["data_samples"]
        prediction = torch.from_numpy(predictions[sample.img_path])[None]
        sample.pred_sem_seg = PixelData(data=prediction)
        metric.process({}, [sample.to_dict()])
    metric.evaluate(len(dataset))
    (test,) = cfg.test_cfg.tests
    return results.test_record(
        domain="cityscapes",
        split="val",
        protocol=dict(test["protocol"]),
        classes=metric.classes,
        eval_classes=metric.eval_classes,
        confusion=sum(metric.per_image.values()),
        images=len(dataset),
        skipped=dataset.skipped,
        per_image="",
        weighted=metric.weighted,
    )


def pairs(ours: dict, official: dict) -> dict[str, tuple[float | None, float | None]]:
    """Our score and the script's, by name; None where undefined."""

    def of(mine: dict, theirs: dict, prefix: str, names: tuple[str, ...]) -> dict:
        return {f"{prefix} {name}": (mine[name], theirs[name]) for name in names}

    moving = ("human", "vehicle")
    found = {
        **of(ours["iou"], official["classScores"], "IoU", CLASSES),
        **of(ours["iIoU"], official["classInstScores"], "iIoU", INSTANCE_CLASSES),
        **of(ours["category_iou"], official["categoryScores"], "category IoU", tuple(CATEGORIES)),
        **of(ours["category_iIoU"], official["categoryInstScores"], "category iIoU", moving),
        "mIoU": (ours["mIoU"], official["averageScoreClasses"]),
        "mean iIoU": (ours["mean_iIoU"], official["averageScoreInstClasses"]),
        "category mIoU": (ours["category_mIoU"], official["averageScoreCategories"]),
        "category mean iIoU": (ours["category_mean_iIoU"], official["averageScoreInstCategories"]),
    }
    return {
        name: (mine, None if math.isnan(theirs) else theirs)
        for name, (mine, theirs) in found.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_every_score_is_that_of_the_official_script(
    seed: int, tiny: Config, tmp_path: Path, script
) -> None:
    predicted, truth, predictions = write(tmp_path, seed)
    official = by_the_script(script, predicted, truth)
    ours = by_us(tiny, tmp_path, predictions)
    compared = pairs(ours, official)
    for name, (mine, theirs) in compared.items():
        print(f"{name:<28} {mine!s:<22} {theirs!s:<22}")

    evaluated = np.ix_(ID_OF_TRAIN_ID, ID_OF_TRAIN_ID)
    np.testing.assert_array_equal(ours["confusion"], np.array(official["confMatrix"])[evaluated])
    assert len(compared) == 19 + 8 + 7 + 2 + 4
    for name, (mine, theirs) in compared.items():
        assert (mine is None) == (theirs is None), name
        assert mine is None or abs(mine - theirs) <= 1e-9, name
    # the scenes hold what they are to hold
    assert ours["iou"]["train"] == ours["iou"]["fence"] == ours["iou"]["terrain"] == 0
    assert ours["iou"]["bicycle"] is ours["iou"]["sky"] is ours["iIoU"]["bicycle"] is None
    assert ours["iou"]["rider"] > 0 == ours["iIoU"]["rider"] == ours["iIoU"]["train"]
    assert 0 < ours["category_iIoU"]["vehicle"] != ours["category_iou"]["vehicle"]
    # what has no place in ours is undefined in the script's
    others = official["classInstScores"].keys() - set(INSTANCE_CLASSES)
    assert all(math.isnan(official["classInstScores"][name]) for name in others)
    assert all(math.isnan(official["classScores"][x.name]) for x in LABELS if x.train_id == 255)


def test_a_prediction_of_no_class_is_refused(tiny: Config, tmp_path: Path) -> None:
    """The script's Cython build counts such a prediction in another row of its matrix."""
    _, truth, predictions = write(tmp_path, 0)
    path, label = next(zip(predictions, truth, strict=True))
    where = np.asarray(Image.open(label)) == ID["road"]
    assert where.any()
    for value in (19, 34, 255):
        predictions[path][where] = value
        with pytest.raises(ValueError, match=f"prediction has values {value}, which are none of"):
            by_us(copy.deepcopy(tiny), tmp_path, predictions)
