"""Robustness: the counting against testing and by hand, interruptions, the table, the pictures."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ibnseg import cli, load, predict
from ibnseg.analysis import style
from ibnseg.analysis.robustness import count as counting
from ibnseg.analysis.robustness import plot as drawing
from ibnseg.analysis.robustness import report
from ibnseg.analysis.robustness.corruptions import corruptions
from ibnseg.analysis.robustness.count import Tally, count_image
from ibnseg.analysis.robustness.measure import find_look, measure_robustness
from ibnseg.appearance import CONDITIONS, PAPER, generator, look_of_images, match_moments
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.datasets.transforms import ids_to_train_ids
from ibnseg.engine.read import load_config
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in
from tests.conftest import save_rgb, scene

CHOSEN = ["RGB+50", "blur", "noise", "moments"]


@pytest.fixture(scope="module")
def roots(data: Path) -> dict[str, str]:
    return {name: str(data / name) for name in ("gta5", "cityscapes")}


@pytest.fixture(scope="module")
def measured(trained, roots, tmp_path_factory) -> tuple[Path, dict]:
    """The folder and the result of a run in two domains, 1 + 1 + 2 * 2 + 1 appearances."""
    out = tmp_path_factory.mktemp("robustness")
    return out, measure(trained[1], out, roots)


def measure(run: Path, out: Path, roots: dict, **kwargs) -> dict:
    chosen = dict(conditions=CHOSEN, severities=[5, 1], looks=["cityscapes"]) | kwargs
    return measure_robustness([run], ["gta5", "cityscapes"], out, roots=roots, **chosen)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the table and the pictures, which are slow."""
    monkeypatch.setattr(report, "write", lambda *args: None)


def record(result: dict, domain: str, name: str, severity: int | None = None) -> dict:
    wanted = (domain, name, severity)
    (found,) = [
        r for r in result["records"] if (r["domain"], r["appearance"], r["severity"]) == wanted
    ]
    return found


# ---- what is counted ---------------------------------------------------------------------------


def test_as_they_are_the_images_have_the_mIoU_of_testing(trained, measured) -> None:
    tests = {test["domain"]: test for test in trained[2]["tests"]}
    for domain, test in tests.items():
        found = record(measured[1], domain, "origin")
        assert found["mIoU"] == test["mIoU"]
        assert found["images"] == test["images"]
        assert found["drop"] is None


def cityscapes(data: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Keys, images and train ids of the tested images."""
    root, found = data / "cityscapes", []
    for path in sorted((root / "leftImg8bit" / "val").rglob("*.png")):
        label = str(path).replace("leftImg8bit", "gtFine", 1)
        label = label.replace("_leftImg8bit", "_gtFine_labelIds")
        ids = np.array(Image.open(label))
        train_ids = ids_to_train_ids(ids, CITYSCAPES_IDS)
        found.append((path.relative_to(root).as_posix(), np.array(Image.open(path)), train_ids))
    return found


@pytest.mark.parametrize(("name", "severity"), [("blur", 1), ("noise", 5)])
def test_conditions_by_hand(data, trained, measured, name: str, severity: int) -> None:
    network, total = load(trained[1]), 0
    for key, image, label in cityscapes(data):
        changed = CONDITIONS[name].at(image, severity, generator(0, key))
        total = total + confusion_matrix(label, predict(network, changed), 19)
    found = record(measured[1], "cityscapes", name, severity)
    assert found["mIoU"] == mean_iou(total)
    origin = record(measured[1], "cityscapes", "origin")["mIoU"]
    assert found["drop"] == pytest.approx(origin - mean_iou(total), abs=1e-15)
    assert found["parameter"] == CONDITIONS[name].severities[severity - 1]


def test_the_papers_appearances_come_before_the_normalisation(data, trained, measured) -> None:
    network, total = load(trained[1]), 0
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    for _, image, label in cityscapes(data):
        normalised = (torch.from_numpy(image).float() + 50 - mean) / std
        with torch.inference_mode():
            (sample,) = network.predict(normalised.permute(2, 0, 1)[None])
        prediction = sample.pred_sem_seg.data.squeeze(0).numpy()
        total = total + confusion_matrix(label, prediction, 19)
    assert record(measured[1], "cityscapes", "RGB+50")["mIoU"] == mean_iou(total)


def test_predictions_keep_nothing_for_a_backward_pass(trained) -> None:
    network, seen = load(trained[1]), []
    network.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    counting.predict_float(network, scene(0)[0], dict(img_path="x", ori_shape=scene(0)[1].shape))
    assert seen
    assert not any(seen)


def test_the_look_of_a_domain(data, trained, measured) -> None:
    images = [image for _, image, _ in cityscapes(data)]
    look, network, total = look_of_images(images), load(trained[1]), 0
    for _, image, label in cityscapes(data):
        total = total + confusion_matrix(label, predict(network, match_moments(image, look)), 19)
    found = record(measured[1], "cityscapes", "moments of Cityscapes")
    assert found["mIoU"] == mean_iou(total)


def test_an_image_is_counted_once_in_each_appearance() -> None:
    """One is two images ahead, one is behind by this one."""
    shown = corruptions(["RGB+50"])
    image, label = np.full((2, 3, 3), 10, np.uint8), np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    before = np.array([[5, 0], [0, 5]])
    tallies = {"origin": Tally(3, before), "RGB+50": Tally(1, before)}
    seen, done = [], []

    def is_light(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return (image[..., 0] > 50).astype(np.uint8)

    count_image(is_light, image, label, shown, tallies, place=1, done=lambda: done.append(1))
    assert tallies["origin"].images == 3
    assert tallies["RGB+50"].images == 2
    assert tallies["RGB+50"].confusion.tolist() == [[5, 2], [0, 8]]
    assert before.tolist() == [[5, 0], [0, 5]]
    assert len(seen) == len(done) == 1
    assert seen[0].dtype == np.float32
    assert (seen[0] == 60).all()


# ---- what is shown -----------------------------------------------------------------------------


def test_everything_is_shown_by_default() -> None:
    look = look_of_images([scene(0)[0]])
    shown = corruptions(looks={"A": look, "B": look})
    assert len(shown) == 4 + 9 * 5 + 2 * 2
    assert shown[0].name == "origin"
    assert [x.severity for x in shown if x.name == "hue"] == [1, 2, 3, 4, 5]
    assert len({x.key for x in shown}) == len(shown)
    image = scene(1)[0]
    np.testing.assert_array_equal(shown[0].change(image, generator(0, "")), image)
    for each in shown:
        changed = each.change(image, generator(0, "x"))
        assert changed.shape == image.shape
        in_floats = each.name in PAPER.keys() - {"origin"}
        assert changed.dtype == (np.float32 if in_floats else np.uint8)


def test_other_looks_are_kept_apart() -> None:
    keys = {
        corruptions(["fourier"], looks={"A": look_of_images([scene(i)[0]])})[1].key
        for i in (0, 0, 1)
    }
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(names=["blurr"]), "unknown condition 'blurr'; did you mean blur"),
        (dict(names=["fourier"]), "condition 'fourier' takes a look; say whose, e.g. --look"),
        (dict(severities=[0, 1]), "severity 0: expected 1 to 5"),
        (dict(severities=[6]), "severity 6: expected 1 to 5"),
    ],
)
def test_what_cannot_be_shown(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        corruptions(**arguments)


def test_looks_by_folder(tmp_path: Path, trained, roots) -> None:
    save_rgb(tmp_path / "photos" / "a.png", scene(0)[0])
    called, look = find_look(str(tmp_path / "photos"), load_config(trained[0]), roots)
    assert called == "photos"
    np.testing.assert_allclose(look.mean, scene(0)[0].mean((0, 1)))
    with pytest.raises(UserError, match="look 'nowhere': neither a folder of images nor a domain"):
        find_look("nowhere", load_config(trained[0]), roots)
    cfg = load_config(trained[0])
    cfg.domains = dict(alps=dict(Domains()["gta5"].as_dict(), title="Alps"))  # as in a run's config
    called, look = find_look("alps", cfg, roots)
    assert called == "Alps"
    np.testing.assert_array_equal(look.mean, find_look("gta5", cfg, roots)[1].mean)


# ---- interruptions -----------------------------------------------------------------------------


@pytest.mark.usefixtures("unwritten")
def test_nothing_is_counted_twice(trained, measured, roots, monkeypatch, capsys) -> None:
    """The same command, and one that asks for less, predict nothing; a further severity does."""
    out, before = measured
    calls = count_calls(monkeypatch)
    again = measure(trained[1], out, roots)
    assert again["records"] == before["records"]
    assert "70 of 70 predictions are counted already" in capsys.readouterr().out
    less = measure(trained[1], out, roots, conditions=["blur"], looks=[])
    assert [r["appearance"] for r in less["records"]] == ["origin", "blur", "blur"] * 2
    assert not calls
    measure(trained[1], out, roots, conditions=["blur"], looks=[], severities=[1, 2])
    assert len(calls) == 10


def count_calls(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list:
    calls, real = [], counting.predict_float

    def counted(*args, **kwargs):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(counting, "predict_float", counted)
    return calls


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("stop_after", [3, 13])
def test_an_interrupted_command_goes_on(
    trained, measured, roots, tmp_path, monkeypatch, stop_after: int
) -> None:
    """In the middle of an image, of the first domain or the second; to the same numbers."""
    less = dict(conditions=["noise"], severities=[1], looks=[])
    with monkeypatch.context() as patch:
        assert len(count_calls(patch, stop_after)) == 0
        with pytest.raises(KeyboardInterrupt):
            measure(trained[1], tmp_path, roots, **less)
    calls = count_calls(monkeypatch)
    result = measure(trained[1], tmp_path, roots, **less)
    assert len(calls) == 20 - stop_after
    for found in result["records"]:
        keys = (found[key] for key in ("domain", "appearance", "severity"))
        assert found == record(measured[1], *keys)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("change", ["image", "seed", "damaged"])
def test_what_has_changed_is_counted_anew(
    trained, measured, data, tmp_path, monkeypatch, capsys, change: str
) -> None:
    shutil.copytree(measured[0], tmp_path / "out")
    shutil.copytree(data / "gta5", tmp_path / "gta5", copy_function=shutil.copy2)
    roots = {"gta5": str(tmp_path / "gta5")}
    more = {}
    if change == "image":
        os.utime(next((tmp_path / "gta5" / "labels").glob("00022.png")))
    elif change == "seed":
        more = dict(seed=1)
    else:
        for file in (tmp_path / "out" / "measured").glob("gta5*"):
            file.write_text(file.read_text()[:500])
    calls = count_calls(monkeypatch)
    measure_robustness(
        [trained[1]], ["gta5"], tmp_path / "out", conditions=["noise"], severities=[1],
        roots=roots, **more,
    )  # fmt: skip
    assert len(calls) == 10
    assert ("damaged" in capsys.readouterr().out) == (change == "damaged")
    kept = tmp_path / "out" / "measured"
    assert len(list(kept.glob("gta5*"))) == (1 if change == "damaged" else 2)  # nothing is lost


# ---- wrong input -------------------------------------------------------------------------------


def test_wrong_runs(trained, roots, tmp_path) -> None:
    with pytest.raises(UserError, match="no such folder; expected the folder of a run"):
        measure_robustness([trained[0]], out=tmp_path / "out")
    with pytest.raises(UserError, match="both are trained with seed 0; give one of them"):
        measure_robustness([trained[1]] * 2, ["gta5"], tmp_path / "out", roots=roots)
    with pytest.raises(UserError, match="unknown domain 'gta6'"):
        measure_robustness([trained[1]], ["gta6"], tmp_path / "out", roots=roots)
    with pytest.raises(UserError, match="unknown protocol"):
        measure_robustness([trained[1]], ["gta5"], tmp_path / "out", roots=roots, protocol="nativ")
    assert not (tmp_path / "out").exists()
    other = pytest.raises(UserError, match="is being measured by another process")
    with alone_in(tmp_path, "is being measured"), other:
        measure_robustness([trained[1]], ["gta5"], tmp_path, roots=roots, conditions=["R+50"])


# ---- the files ---------------------------------------------------------------------------------


def test_files(measured) -> None:
    out, result = measured
    assert json.loads((out / "robustness.json").read_text())["protocol"]["name"] == "native"
    with (out / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 7
    assert list(rows[0]) == list(report.COLUMNS)
    blur = next(r for r in rows if r["appearance"] == "blur" and r["severity"] == "5")
    assert float(blur["mIoU"]) == record(result, "gta5", "blur", 5)["mIoU"]
    assert (blur["parameter"], blur["parameter_is"]) == ("4.5", "sigma (pixels)")
    assert (out / "robustness.svg").read_text().startswith("<?xml")
    for name in ("robustness.png", "conditions.png"):
        with Image.open(out / name) as image:
            assert image.width > 500
            assert np.asarray(image.convert("L")).std() > 5


def made_up(model: str, seed: int, scores: dict[tuple, float | None], **more) -> list[dict]:
    """Records of a network with these mIoU by appearance and severity."""
    origin = scores["origin", None]
    return [
        dict(
            run=model, model=model, title=model.upper(), train_domain="gta5", seed=seed,
            domain="city", appearance=name, severity=severity, parameter=None, images=4,
            mIoU=value, drop=None if value is None or name == "origin" else origin - value,
        ) | more
        for (name, severity), value in scores.items()
    ]  # fmt: skip


def scores(origin: float, red: float, *blur: float | None) -> dict[tuple, float | None]:
    graded = {("blur", i + 1): value for i, value in enumerate(blur)}
    return {("origin", None): origin, ("R+50", None): red, **graded}


RESULT = dict(
    domains={"city": "City"},
    protocol=dict(name="native"),
    records=[
        *made_up("a", 0, scores(0.5, 0.4, 0.45, 0.35)),
        *made_up("a", 1, scores(0.6, 0.6, 0.55, 0.25)),
        *made_up("b", 0, scores(0.3, 0.31, 0.3, None)),
    ],
)


def test_the_table_by_hand() -> None:
    (sheet,) = report.sheets(RESULT, {})
    assert sheet.head == ("appearance", "network", "mIoU", "drop", "1", "2")
    rows = [row for part in sheet.parts for (row,) in part]
    assert rows == [
        ("origin", "A", "55.0 ± 7.1", "", "", ""),
        ("", "B", "30.0", "", "", ""),
        ("R+50", "A", "50.0 ± 14.1", "5.0 ± 7.1", "", ""),
        ("", "B", "31.0", "-1.0", "", ""),
        ("blur", "A", "40.0 ± 0.0", "15.0 ± 7.1", "50.0", "30.0"),
        ("", "B", "-", "-", "30.0", "-"),
    ]
    assert sheet.notes[0].startswith("4 images.")
    assert "standard deviation" in sheet.notes[-1]


def test_paired_differences_by_hand() -> None:
    """Over the seeds that both have: of b - a at blur -20 and -24, so -22 +- 12.7 * 2; and the
    drops 20 - 10 and 20 - 18."""
    records = [
        *made_up("a", 0, scores(0.5, 0.5, 0.5, 0.3)),
        *made_up("a", 1, scores(0.6, 0.5, 0.5, 0.34)),
        *made_up("a", 2, scores(0.9, 0.1, 0.9, 0.9)),
        *made_up("b", 1, scores(0.38, 0.3, 0.3, 0.06)),
        *made_up("b", 0, scores(0.4, 0.4, 0.3, 0.1)),
        *made_up("c", 0, scores(0.4, 0.4, 0.3, 0.1)),
    ]
    _, sheet = report.sheets(dict(RESULT, records=records), {})
    assert sheet.title == "Paired differences in points on City, protocol native"
    names = "B minus A"
    assert [row for part in sheet.parts for (row,) in part] == [
        ("origin", names, "-16.0 ± 8.5", "[-92.2, +60.2]", "", ""),
        ("R+50", names, "-15.0 ± 7.1", "[-78.5, +48.5]", "-1.0 ± 1.4", "[-13.7, +11.7]"),
        ("blur", names, "-22.0 ± 2.8", "[-47.4, +3.4]", "+6.0 ± 5.7", "[-44.8, +56.8]"),
    ]
    assert sheet.notes[0].startswith("Of seeds 0, 1;")


def test_the_plot_shows_the_numbers() -> None:
    figure = drawing.plot(RESULT, {})
    blur, others = figure.axes
    assert (blur.get_title(loc="left"), others.get_title(loc="left")) == ("blur", "others")
    first, second = blur.lines
    np.testing.assert_allclose(first.get_xydata(), [(0, 55), (1, 50), (2, 30)])
    np.testing.assert_allclose(second.get_xydata(), [(0, 30), (1, 30), (2, np.nan)])
    (band,) = blur.collections
    edges = band.get_paths()[0].get_extents()
    np.testing.assert_allclose(edges.ymax, 55 + 50**0.5)
    assert [text.get_text() for text in others.get_xticklabels()] == ["origin", "R+50"]
    heights = [c.lines[0].get_ydata()[0] for c in others.containers]
    np.testing.assert_allclose(heights, [55, 50, 30, 31])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]
    assert blur.get_ylim()[0] == 0


def test_the_plot_of_origin_alone_and_of_many_networks(tmp_path: Path) -> None:
    many = [r for i in range(10) for r in made_up(f"n{i}", 0, scores(0.5, 0.4, 0.1 * i / 2))]
    for records in (made_up("a", 0, {("origin", None): 0.5}), many):
        figure = drawing.plot(dict(RESULT, records=records), {})
        style.save(figure, tmp_path / "x")
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 10


def test_the_contact_sheet_shows_each_picture() -> None:
    image = scene(0)[0]
    shown = corruptions(["RGB+50", "R+50", "blur", "temperature"], [1, 5])
    pictures = [(each, each.change(image, generator(0, ""))) for each in shown]
    figure = drawing.contact_sheet(pictures)
    captions = [ax.get_title(loc="left") for ax in figure.axes]
    assert captions == [
        "origin", "RGB+50", "R+50",
        "origin", "temperature 1: black body 5500 K", "temperature 5: black body 2500 K",
        "origin", "blur 1: sigma 0.7 pixels", "blur 5: sigma 4.5 pixels",
    ]  # fmt: skip
    drawn = figure.axes[1].images[0].get_array()
    assert drawn.dtype == np.uint8
    assert abs(float(drawn.mean()) - np.minimum(image + 50.0, 255).mean()) < 2


def test_the_command(trained, roots, tmp_path, capsys) -> None:
    given = ",".join(f"{name}={path}" for name, path in roots.items())
    line = [
        "robustness", str(trained[1]), "--domains", "gta5", "--out", str(tmp_path / "out"),
        "--conditions", "R+50,jpeg", "--severities", "2", "--data-root", given,
    ]  # fmt: skip
    assert cli.main(line) == 0
    printed = capsys.readouterr().out
    assert "mIoU in percent on GTA5, protocol native" in printed
    assert "R+50" in printed
    assert "jpeg" in printed
    assert "blur" not in printed
    assert (tmp_path / "out" / "conditions.png").is_file()
