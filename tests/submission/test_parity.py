"""The official tools take our archives, and count as we do.

Where they are installed: ``pip install '.[official]'`` for cityscapesScripts; for BDD100K's toolkit
an environment of its own with ``bdd100k==1.0.1`` and ``pydantic<2``, whose Python
``IBNSEG_BDD100K_PYTHON`` names. ``python -m pytest -s tests/submission/test_parity.py`` prints what
they say.
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets.labels import CLASSES
from ibnseg.evaluation.confusion import confusion_matrix, iou
from ibnseg.evaluation.drivable import WAYS, score
from ibnseg.submission import get_target
from ibnseg.submission.archive import encode, write_archive
from ibnseg.submission.check import check_archive
from tests.conftest import save_ids

SIZE = (96, 60)
TOOLKIT = os.environ.get("IBNSEG_BDD100K_PYTHON")
needs_toolkit = pytest.mark.skipif(
    not TOOLKIT, reason="IBNSEG_BDD100K_PYTHON names no Python with bdd100k"
)


def blocks(rng: np.random.Generator, classes: int) -> np.ndarray:
    """(H, W) uint8 train ids in rectangles; class 0 below them."""
    train_ids = np.zeros(SIZE[::-1], np.uint8)
    for _ in range(30):
        top, left = rng.integers(0, SIZE[1] - 8), rng.integers(0, SIZE[0] - 8)
        height, width = rng.integers(4, 30, 2)
        train_ids[top : top + height, left : left + width] = rng.integers(classes)
    return train_ids


def scenes(classes: int, count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truths, and predictions that are right in most pixels."""
    rng = np.random.default_rng(7)
    pairs = []
    for _ in range(count):
        truth = blocks(rng, classes)
        wrong = rng.random(truth.shape) < 0.2
        pairs.append((truth, np.where(wrong, blocks(rng, classes), truth)))
    return pairs


def unpacked(name: str, keys: list[str], predictions: list[np.ndarray], tmp_path: Path) -> Path:
    """An archive of predictions, checked, and unpacked as a server does."""
    target = get_target(name)
    files = {}
    for key, prediction in zip(keys, predictions, strict=True):
        path = files[target.member(key)] = tmp_path / "members" / target.member(key)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(prediction, target))
    archive, sizes = tmp_path / "submission.zip", dict.fromkeys(files, SIZE)
    written = target._replace(drivable_release=None)  # blocks have no sky
    write_archive(archive, files, lambda made: check_archive(made, written, sizes))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def toolkit(task: str, truth: Path, result: Path) -> tuple[dict, str]:
    """The scores of BDD100K's toolkit, and all that it printed."""
    out = result.parent / "scores.json"
    done = subprocess.run(
        [TOOLKIT, "-m", "bdd100k.eval.run", "-t", task, "-g", truth, "-r", result,
         "--out-file", out, "--nproc", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    return (json.loads(out.read_text()) if done.returncode == 0 else {}), said


def with_truth(task: str, tmp_path: Path) -> tuple[list[str], list, Path]:
    classes = {"drivable": 3, "sem_seg": 19}[task]
    pairs = scenes(classes)
    keys = [f"{i:08x}-{i:08x}" for i in range(len(pairs))]
    for key, (truth, _) in zip(keys, pairs, strict=True):
        save_ids(tmp_path / "truth" / f"{key}.png", truth)
    return keys, pairs, tmp_path / "truth"


@needs_toolkit
@pytest.mark.parametrize(
    ("task", "name"), [("drivable", "bdd100k-drivable"), ("sem_seg", "bdd100k-sem-seg")]
)
def test_bdd100ks_toolkit_takes_the_archive_and_counts_as_we_do(tmp_path, task, name) -> None:
    """The toolkit gives unrounded percentages, and their mean over the classes that are true."""
    keys, pairs, truth = with_truth(task, tmp_path)
    result = unpacked(name, keys, [prediction for _, prediction in pairs], tmp_path)
    scores, said = toolkit(task, truth, result)
    print(said)
    total = sum(confusion_matrix(t, p, len(get_target(name).class_set.classes)) for t, p in pairs)
    (by_class, average), classes = scores["IoU"], get_target(name).class_set.classes
    if task == "drivable":
        (way,) = (way for way in WAYS if way.key == "background_dropped")
        assert average["AVERAGE"] == pytest.approx(100 * score(way, total), abs=1e-9)
        total = total.copy()
        total[2] = 0
        classes = classes[:2]
    else:
        assert average["AVERAGE"] == pytest.approx(100 * np.mean(iou(total)), abs=1e-9)
    ours = dict(zip(classes, 100 * iou(total), strict=False))
    print({"theirs": by_class, "ours": ours})
    named = {"direct": "area/drivable", "alternative": "area/alternative"}
    for class_, value in ours.items():
        theirs = by_class.get(class_, by_class.get(named.get(class_, "")))
        assert theirs == pytest.approx(value, abs=1e-9), class_


@needs_toolkit
@pytest.mark.parametrize(("mode", "is_taken"), [("L", True), ("P", True), ("RGB", False)])
def test_a_target_takes_the_image_modes_that_bdd100ks_toolkit_takes(
    tmp_path, mode, is_taken
) -> None:
    keys, pairs, truth = with_truth("drivable", tmp_path)
    result = tmp_path / "given"
    result.mkdir()
    for key, (_, prediction) in zip(keys, pairs, strict=True):
        image = Image.fromarray(prediction)
        if mode == "P":
            image.putpalette(bytes(range(256)) * 3)
        (image.convert("RGB") if mode == "RGB" else image).save(result / f"{key}.png")
    scores, said = toolkit("drivable", truth, result)
    assert bool(scores) == is_taken, said
    assert (mode in get_target("bdd100k-drivable").modes) == is_taken


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """The official Cityscapes script, with what NumPy 2.4 took from it."""
    pytest.importorskip("cityscapesscripts", reason="pip install '.[official]'")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    return importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")


def by_the_script(script, keys: list[str], truth: Path, result: Path, monkeypatch) -> dict:
    """Its scores, where it finds the predictions by itself as the server does."""
    args = copy.copy(script.args)
    args.evalInstLevelScore, args.evalPixelAccuracy, args.JSONOutput = False, False, False
    args.colorized, args.bold, args.nocol = False, "", ""
    args.predictionPath, args.predictionWalk = str(result), None
    monkeypatch.setenv("CITYSCAPES_RESULTS", str(result))
    truths = [str(truth / f"{key.split('/')[1]}_gtFine_labelIds.png") for key in keys]
    predictions = [script.getPrediction(args, each) for each in truths]
    assert len({*predictions}) == len(keys)
    return script.evaluateImgLists(predictions, truths, args)


def cityscapes_truth(tmp_path: Path) -> tuple[list[str], list, Path]:
    pairs = scenes(19)
    keys = [f"berlin/berlin_{i:06d}_000019" for i in range(len(pairs))]
    ids = np.array([get_target("cityscapes").ids[i] for i in range(19)], np.uint8)
    for key, (truth, _) in zip(keys, pairs, strict=True):
        save_ids(tmp_path / "truth" / f"{key.split('/')[1]}_gtFine_labelIds.png", ids[truth])
    return keys, pairs, tmp_path / "truth"


def test_cityscapes_script_takes_the_archive_and_counts_as_we_do(
    script, tmp_path, monkeypatch
) -> None:
    keys, pairs, truth = cityscapes_truth(tmp_path)
    result = unpacked("cityscapes", keys, [p for _, p in pairs], tmp_path)
    scores = by_the_script(script, keys, truth, result, monkeypatch)
    ours = iou(sum(confusion_matrix(t, p, 19) for t, p in pairs))
    for name, value in zip(CLASSES, ours, strict=True):
        assert scores["classScores"][name] == pytest.approx(value, abs=1e-12), name
    assert scores["averageScoreClasses"] == pytest.approx(ours.mean(), abs=1e-12)


@pytest.mark.parametrize(("mode", "is_taken"), [("L", True), ("P", True), ("RGB", False)])
def test_a_target_takes_the_image_modes_that_cityscapes_script_takes(
    script, tmp_path, monkeypatch, mode, is_taken
) -> None:
    keys, pairs, truth = cityscapes_truth(tmp_path)
    result = tmp_path / "given"
    result.mkdir()
    for key, (_, prediction) in zip(keys, pairs, strict=True):
        image = Image.open(io.BytesIO(encode(prediction, get_target("cityscapes"))))
        if mode == "P":
            image.putpalette(bytes(range(256)) * 3)
        name = get_target("cityscapes").member(key)
        (image.convert("RGB") if mode == "RGB" else image).save(result / name)
    assert (mode in get_target("cityscapes").modes) == is_taken
    if is_taken:
        by_the_script(script, keys, truth, result, monkeypatch)
    else:
        with pytest.raises(SystemExit):
            by_the_script(script, keys, truth, result, monkeypatch)
