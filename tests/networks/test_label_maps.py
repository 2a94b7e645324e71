"""Label maps that another program wrote: how they are found, read, counted and refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ibnseg import cli, load, predict
from ibnseg.datasets.labels import CITYSCAPES, CLASSES, DRIVABLE, PALETTE
from ibnseg.engine.launch import stop_processes
from ibnseg.networks.folder import predict_folder
from ibnseg.networks.outputs import Prediction, write_label_ids, write_train_ids
from ibnseg.networks.sources import find_source
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from tests.conftest import HEIGHT, WIDTH, save_ids, save_rgb, scene, write_drivable
from tests.support.team import in_processes

FRAMES = tuple(f"{frame:05d}" for frame in (22, 23, 24, 27, 43))
CITY = {
    f"{city}/{city}_{i:06d}_000019_leftImg8bit": 1000 + 10 * len(city) + i
    for city, count in {"frankfurt": 3, "lindau": 2}.items()
    for i in range(count)
}
"""The validation images of the miniature Cityscapes below their split's folder, and the seeds of
their scenes."""


def guess(seed: int) -> np.ndarray:
    """The classes of a scene, (H, W) uint8, with mistakes: every third column is one class on, and
    the ignored row is road."""
    train_ids = scene(seed)[1].copy()
    train_ids[0] = 0
    train_ids[:, ::3] = (train_ids[:, ::3] + 1) % 19
    return train_ids


def counted(maps: Mapping[int, np.ndarray], size: int = 19) -> list[list[int]]:
    """The confusion of maps by the seeds of their scenes; 255 is a class beside the 19."""
    counts = np.zeros((size, size), int)
    for seed, classes in maps.items():
        truth = scene(seed)[1]
        for true, found in zip(truth[truth != 255], classes[truth != 255], strict=True):
            counts[true, min(found, 19)] += 1
    return counts.tolist()


Write = Callable[..., Path]


@pytest.fixture
def write(in_data: Path) -> Write:
    """A function that writes a map for each image of Cityscapes, called as below the split's
    folder, and returns the folder."""

    def write(
        save: Callable[[Path, np.ndarray], object] = save_ids,
        name: Callable[[str], str] = "{}.png".format,
        **facts: object,
    ) -> Path:
        folder = in_data / "maps"
        for key, seed in CITY.items():
            path = folder / name(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, guess(seed))
        if facts:
            (folder / "predictions.json").write_text(json.dumps(facts))
        return folder

    return write


def scored(
    folder: Path, domains: str = "cityscapes", options: Sequence[str] = (), **given: object
) -> list[dict]:
    options, names = ["workers=0", *options], domains.split(",")
    return run_test(f"predictions:{folder}", options=options, domains=names, **given)["tests"]


def error_of(folder: Path, domains: str = "cityscapes", **given: object) -> str:
    with pytest.raises(UserError) as caught:
        scored(folder, domains, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_maps_are_counted_pixel_by_pixel(write: Write) -> None:
    folder = write()
    (test,) = scored(folder)
    assert test["confusion"] == counted({seed: guess(seed) for seed in CITY.values()})
    assert test["classes"] == list(CLASSES)
    assert test["eval_classes"] == list(CLASSES)
    assert test["images"] == 5
    assert test["protocol"] == dict(name="predictions", version=1, inference="unknown")


def test_the_maps_of_a_network_have_the_counts_of_its_test(trained, in_data: Path) -> None:
    """Two domains in one folder; the counts of each image are the same, too."""
    _, run, content = trained
    network = load(run)
    roots = {"gta5": "images", "cityscapes": "leftImg8bit/val"}
    for domain, below in roots.items():
        root = Path(os.environ["IBNSEG_DATA"]) / domain / below
        for image in root.rglob("*.png"):
            if domain == "gta5" and image.stem not in FRAMES:
                continue
            found = Prediction(predict(network, image), None)
            write_train_ids(in_data / "maps" / image.relative_to(root), found, CITYSCAPES)
    tests = scored(in_data / "maps", "gta5,cityscapes")
    for own, other in zip(tests, content["tests"], strict=True):
        assert own["domain"] == other["domain"]
        for key in ("confusion", "eval_classes", "classes", "iou", "mIoU", "metrics", "images"):
            assert own[key] == other[key], key
        with (
            np.load(in_data / "work_dirs/maps" / own["per_image"]) as maps,
            np.load(run / other["per_image"]) as own_images,
        ):
            for name in own_images:
                np.testing.assert_array_equal(maps[name], own_images[name])


def test_what_predict_wrote_is_read_as_it_is(trained, in_data: Path) -> None:
    """``predict`` folds norms into convolutions, which changes a few pixels at most."""
    _, run, content = trained
    images = Path(os.environ["IBNSEG_DATA"]) / "cityscapes/leftImg8bit/val"
    predict_folder(run, None, images, in_data / "predicted")
    (test,) = scored(in_data / "predicted")
    own, other = (np.array(each["confusion"]) for each in (test, content["tests"][1]))
    assert own.sum() == other.sum() == 5 * WIDTH * (HEIGHT - 1)
    assert np.abs(own - other).sum() / 2 <= 5
    record = json.loads((in_data / "work_dirs/predicted/results.json").read_text())["run"]
    assert (record["title"], record["train_domain"]) == ("predicted", "unknown")


def as_labels(path: Path, classes: np.ndarray) -> None:
    write_label_ids(path, Prediction(classes, None), CITYSCAPES)


def as_colors(path: Path, classes: np.ndarray) -> None:
    save_rgb(path, np.array(PALETTE, np.uint8)[classes])


def as_palette(path: Path, classes: np.ndarray) -> None:
    write_train_ids(path, Prediction(classes, None), CITYSCAPES)


@pytest.mark.parametrize(
    ("ids", "save"),
    [
        ("train", as_palette),
        ("label", as_labels),
        ("color", as_colors),
        ("color", as_palette),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_maps_hold_train_ids_ids_of_labels_or_colours(
    write: Write, ids: str, save: Callable, suffix: str
) -> None:
    folder = write(save, lambda key: f"{key}.png", ids=ids)
    if suffix != ".png":
        for path in folder.rglob("*.png"):
            with Image.open(path) as image:
                image.save(path.with_suffix(suffix))
            path.unlink()
    (test,) = scored(folder)
    assert test["confusion"] == counted({seed: guess(seed) for seed in CITY.values()})


@pytest.mark.parametrize(
    ("ids", "save", "void"),
    [
        ("train", save_ids, 255),
        ("label", as_labels, 0),
        ("label", as_labels, 29),
        ("label", as_labels, 255),
        ("color", as_colors, (0, 0, 0)),
        ("color", as_colors, (111, 74, 0)),
    ],
)
def test_a_pixel_without_a_class_is_wrong(
    write: Write, ids: str, save: Callable, void: object
) -> None:
    folder = write(save, ids=ids)
    key, seed = next(iter(CITY.items()))
    pixels = np.array(Image.open(folder / f"{key}.png"))
    pixels[:20, :30] = void
    Image.fromarray(pixels).save(folder / f"{key}.png")
    maps = {seed: guess(seed) for seed in CITY.values()}
    maps[seed][:20, :30] = 255
    (test,) = scored(folder)
    assert test["classes"] == [*CLASSES, "other"]
    assert test["confusion"] == counted(maps, 20)
    assert np.array(test["confusion"])[:, 19].sum() == 19 * 30
    assert test["eval_classes"] == list(CLASSES)


@pytest.mark.parametrize(
    "name",
    [
        "leftImg8bit/val/{}.png",
        "val/{}.png",
        "{}.png",
        "cityscapes/{}.png",
        "cityscapes/leftImg8bit/val/{}.png",
        "run 7/deep/{}.png",
    ],
)
def test_a_map_is_found_by_its_images_path_or_name(write: Write, name: str) -> None:
    folder = write(name=name.format)
    assert scored(folder)[0]["confusion"] == counted({s: guess(s) for s in CITY.values()})


def test_a_map_is_found_by_its_name_alone(write: Write) -> None:
    folder = write(name=lambda key: f"{Path(key).name}.png")
    assert scored(folder)[0]["confusion"] == counted({s: guess(s) for s in CITY.values()})


def test_domains_whose_images_have_the_same_names_have_folders(in_data: Path) -> None:
    """A second domain has Cityscapes' data again, and its maps other mistakes."""
    root = shutil.copytree(Path(os.environ["IBNSEG_DATA"]) / "cityscapes", in_data / "again")
    (in_data / "configs/_base_/domains").mkdir(parents=True)
    (in_data / "configs/_base_/domains/again.py").write_text(
        'domain = dict(name="again", title="Again", dataset=dict(type="ibnseg.Cityscapes"),'
        'data_root="again", train_split="train", test_split="val", train_resize=None,'
        'eval_classes=None, group="city")'
    )
    for key, seed in CITY.items():
        save_ids(in_data / f"maps/cityscapes/{key}.png", guess(seed))
        save_ids(in_data / f"maps/again/{key}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    own, again = scored(in_data / "maps", "cityscapes,again", roots={"again": str(root)})
    assert own["confusion"] == counted({s: guess(s) for s in CITY.values()})
    assert np.array(again["confusion"])[:, 1:].sum() == 0
    shutil.rmtree(in_data / "maps/again")
    said = error_of(in_data / "maps", "cityscapes,again", roots={"again": str(root)})
    assert said.startswith(
        f"images without a label map: 5 of 10, {root}/leftImg8bit/val/frankfurt/"
    )
    shutil.move(in_data / "maps/cityscapes", in_data / "maps/val")
    said = error_of(in_data / "maps", "cityscapes,again", roots={"again": str(root)})
    assert "one label map for 2 images" in said
    assert "(and 4 more such)" in said


def test_images_and_maps_have_to_belong_together(write: Write, capsys) -> None:
    """All is refused before the first image is counted, by name."""
    folder = write()
    maps = sorted(folder.rglob("*.png"))
    shutil.copy(maps[0], folder / "extra.png")
    said = error_of(folder)
    assert said.startswith(f"label maps of no tested image: 1 of 6, {folder}/extra.png; test on")
    maps[0].unlink()
    said = error_of(folder)
    assert said.startswith("images without a label map: 1 of 5, ")
    assert "frankfurt_000000_000019_leftImg8bit.png; maps of none of them: 1, " in said
    (folder / "extra.png").rename(folder / maps[0].name)
    assert len(scored(folder)) == 1
    shutil.copy(folder / maps[0].name, maps[0])
    said = error_of(folder)
    assert f"2 label maps could be its own, {folder}/frankfurt/{maps[0].name}" in said
    (folder / maps[0].name).unlink()
    shutil.copy(maps[0], maps[0].with_suffix(".tif"))
    assert "two maps for one image, with frankfurt_000000_" in error_of(folder)
    maps[0].with_suffix(".tif").unlink()
    for path in maps[1:4]:
        save_ids(path, np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    said = error_of(folder)
    assert said.startswith("3 of 5 pairs cannot be used: ")
    assert f"{maps[1]}: label map of {WIDTH - 1}x{HEIGHT} for an image of {WIDTH}x{HEIGHT}" in said
    assert said.endswith("; write maps of the size of the labels")


def grey16(path: Path, classes: np.ndarray) -> None:
    Image.fromarray(classes.astype(np.uint16)).save(path)


def rgba(path: Path, classes: np.ndarray) -> None:
    Image.fromarray(np.dstack([np.array(PALETTE, np.uint8)[classes], classes])).save(path)


def jpeg(path: Path, classes: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", classes)[1])


def cut(path: Path, classes: np.ndarray) -> None:
    save_ids(path, classes)
    path.write_bytes(path.read_bytes()[:-40])


def rot(path: Path, classes: np.ndarray) -> None:
    save_ids(path, classes)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("ids", "save", "said"),
    [
        ("train", grey16, "label map of mode I;16, expected 8-bit ids (L or P) or RGB"),
        ("train", rgba, "label map of mode RGBA, expected 8-bit ids"),
        ("color", rgba, "label map of mode RGBA, expected 8-bit colours (RGB or P)"),
        ("color", save_ids, "label map of mode L, expected 8-bit colours"),
        ("train", as_colors, 'stored as RGB, expected one channel of 8-bit train ids; if it shows'),
        ("label", as_colors, "stored as RGB, expected one channel of 8-bit label ids"),
        ("train", jpeg, "label map is JPEG, expected PNG"),
        ("color", jpeg, "label map is JPEG, expected PNG"),
        ("train", cut, "truncated or damaged"),
        ("train", rot, "truncated or damaged"),
        ("train", as_labels, "no train id of a class; expected 0 to 18, 255 (255 for none); if"),
        ("label", lambda path, x: save_ids(path, x + 100), "has 100 to 103, 110 to 111, "),
        ("color", lambda path, x: save_rgb(path, np.dstack([x] * 3)), "colours (1, 1, 1), "),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused_by_name(
    write: Write, ids: str, save: Callable, said: str
) -> None:
    folder = write({"label": as_labels, "color": as_colors}.get(ids, save_ids), ids=ids)
    path = folder / f"{list(CITY)[3]}.png"
    save(path, guess(0))
    error = error_of(folder)
    assert error.startswith(f"{path}: ")
    assert said in error


def test_an_unreadable_header_is_refused_by_name(write: Write) -> None:
    folder = write()
    path = folder / f"{list(CITY)[3]}.png"
    path.write_bytes(b"no image")
    assert f"{path}: truncated or not an image" in error_of(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "is not an object of ids, title, trained_on"),
        ('{"titel": "X"}', "unknown key 'titel'; did you mean title?"),
        ('{"ids": "cityscapes"}', "ids is 'cityscapes', expected 'train' or 'label' or 'color'"),
        ('{"title": 3}', "title is 3, expected a text"),
        ('{"trained_on": ["gta5"]}', "trained_on is ['gta5'], expected a text"),
    ],
)
def test_a_file_that_says_something_else_is_refused(write: Write, content: str, said: str) -> None:
    folder = write()
    (folder / "predictions.json").write_text(content)
    error = error_of(folder)
    assert error.startswith(f"{folder}/predictions.json: ")
    assert said in error


def test_folders_without_maps_are_refused(in_data: Path) -> None:
    assert error_of(in_data / "nowhere").startswith(f"{in_data}/nowhere: no such folder")
    (in_data / "file").touch()
    assert f"{in_data}/file: is no folder" in error_of(in_data / "file")
    (in_data / "empty").mkdir()
    assert error_of(in_data / "empty").endswith("empty: no label maps (.png, .bmp, .tif, .tiff)")
    (in_data / "empty/a.jpg").touch()
    assert error_of(in_data / "empty").endswith("; it has 1 .jpg")
    with pytest.raises(UserError, match="expected predictions:FOLDER"):
        run_test("predictions:", domains=["cityscapes"])


def test_facts_are_recorded_and_change_the_hash(write: Write) -> None:
    folder = write()

    def run() -> dict:
        return find_source(f"predictions:{folder}").describe(folder)

    hashes = {run()["checkpoint_sha256"]}
    facts = dict(title="Their network", trained_on="gta5", ids="train")
    (folder / "predictions.json").write_text(json.dumps(facts))
    found = run()
    assert (found["title"], found["train_domain"], found["name"]) == (
        "Their network",
        "gta5",
        "maps",
    )
    assert found["facts"] == facts
    assert (found["source"], found["foreign"]) == ("predictions", f"predictions:{folder}")
    hashes.add(found["checkpoint_sha256"])
    path = folder / f"{next(iter(CITY))}.png"
    save_ids(path, guess(0))
    hashes.add(run()["checkpoint_sha256"])
    assert run()["checkpoint_sha256"] in hashes
    path.rename(path.with_name("x.png"))
    hashes.add(run()["checkpoint_sha256"])
    assert len(hashes) == 4


def test_a_test_that_is_done_is_left_out_and_changed_maps_are_others(write: Write) -> None:
    folder = write()
    first = scored(folder)
    file = Path("work_dirs/maps") / first[0]["per_image"]
    before = file.stat().st_mtime_ns
    assert scored(folder, resume=True) == first
    assert file.stat().st_mtime_ns == before
    save_ids(folder / f"{next(iter(CITY))}.png", guess(0))
    assert len(scored(folder, resume=True)) == 2
    assert file.stat().st_mtime_ns != before
    assert run_test("work_dirs/maps", domains=["cityscapes"])["run"]["foreign"].endswith("/maps")


def test_several_processes_count_what_one_counts(write: Write, tmp_path: Path) -> None:
    folder = write()
    expected = scored(folder, work_dir=tmp_path / "one")

    def work() -> None:
        found = run_test(
            f"predictions:{folder}",
            domains=["cityscapes"],
            options=["workers=0"],
            work_dir=tmp_path / "two",
        )
        stop_processes()
        assert bool(found) == (os.environ["RANK"] == "0")

    said = in_processes(2, work, tmp_path / "said")
    assert "Error" not in "".join(said), said
    (test,) = json.loads((tmp_path / "two/results.json").read_text())["tests"]
    assert test["confusion"] == expected[0]["confusion"]


def test_images_are_not_decoded(write: Write, data: Path, tmp_path: Path) -> None:
    folder = write()
    root = shutil.copytree(data / "cityscapes", tmp_path / "headers")
    for image in root.glob("leftImg8bit/val/*/*.png"):
        image.write_bytes(image.read_bytes()[:100])
    (test,) = scored(folder, roots={"cityscapes": str(root)})
    assert test["confusion"] == counted({s: guess(s) for s in CITY.values()})


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (dict(protocols=["native"]), "--protocol"),
        (dict(protocols=["native", "rein"]), "--protocol"),
        (dict(tta=True), "--tta"),
        (dict(precision="bfloat16"), "--precision"),
        (dict(batch=4), "--batch"),
    ],
)
def test_what_would_change_how_images_are_shown_is_refused(
    write: Write, given: dict, option: str
) -> None:
    folder = write()
    said = error_of(folder, **given)
    assert said.startswith(f"predictions:{folder}: label maps are counted as they are, and ")
    assert said.endswith(f"; leave out {option}")


def test_metrics_of_pixels_are_counted_and_those_of_logits_refused(write: Write) -> None:
    folder = write()
    (test,) = scored(folder, options=['metrics=["boundary_iou"]'])
    assert 0 < test["metrics"]["boundary_iou"] < 1
    said = error_of(folder, options=['metrics=["calibration"]'])
    assert "gives classes, and metrics of logits needs logits" in said


@pytest.mark.parametrize(
    "command",
    [
        "predict {} {data}/gta5/images",
        "robustness {} --domains cityscapes",
        "divergence {} --domains cityscapes,gta5 --transform R+50",
    ],
)
def test_commands_that_need_a_network_refuse_maps(
    write: Write, data: Path, command: str, capsys
) -> None:
    folder = write()
    assert cli.main(command.format(f"predictions:{folder}", data=data).split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"predictions:{folder}: label maps can only be tested (ibnseg test)" in line


def test_the_protocol_is_not_one_of_networks(trained, write: Write) -> None:
    with pytest.raises(UserError, match="unknown protocol 'predictions'"):
        run_test(trained[1], protocols=["predictions"])


def test_tables_and_matrix_say_what_is_known(write: Write, capsys) -> None:
    folder = write(title="Their network", trained_on="gta5")
    line = ["test", f"predictions:{folder}", "--domains", "cityscapes"]
    assert cli.main(line) == 0
    out = capsys.readouterr().out
    assert "| Their network |" in out
    assert "predictions v1" in out
    assert cli.main(["matrix", "work_dirs/maps"]) == 0
    out = capsys.readouterr().out
    assert "protocol predictions v1, inference unknown" in out
    assert "Their network" in out


def test_train_ids_that_are_called_ids_of_labels_are_noticed(write: Write, capsys) -> None:
    folder = write(ids="label")
    (test,) = scored(folder)
    assert test["mIoU"] < 0.05
    said = capsys.readouterr()
    assert "the label maps have only the values 0 to 18 and 255 (5 were checked)" in (
        said.out + said.err
    )


ROWS = np.repeat(np.array((2, 1, 0), np.uint8), 16)[:, None].repeat(64, axis=1)
"""The classes of the miniature drivable area, by rows."""


@pytest.fixture
def drivable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes maps for the drivable area, whose lower third is background instead of
    direct."""
    write_drivable(tmp_path / "bdd100k")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IBNSEG_DATA", str(tmp_path))

    def write(save: Callable[[Path, np.ndarray], object], **facts: object) -> Path:
        (tmp_path / "maps").mkdir()
        for image in (tmp_path / "bdd100k/images/100k/val").iterdir():
            save(tmp_path / "maps" / f"{image.stem}.png", np.where(ROWS == 0, 2, ROWS))
        (tmp_path / "maps/predictions.json").write_text(json.dumps(facts))
        return tmp_path / "maps"

    return write


@pytest.mark.parametrize(
    ("ids", "save"),
    [
        ("train", save_ids),
        ("label", save_ids),
        ("color", lambda path, x: save_rgb(path, np.array(DRIVABLE.palette, np.uint8)[x])),
    ],
)
def test_the_classes_are_those_of_the_domain(drivable: Write, ids: str, save: Callable) -> None:
    (test,) = scored(drivable(save, ids=ids), "bdd100k_drivable")
    assert test["confusion"] == [[0, 0, 2048], [0, 2048, 0], [0, 0, 2048]]
    assert test["eval_classes"] == ["direct", "alternative"]
    assert test["mIoU"] == 0.5


def test_maps_that_predict_wrote_in_other_classes_are_refused(drivable: Write) -> None:
    ledger = dict(schema=1, network_sha256="x", precision="float32", images={})
    folder = drivable(as_palette, **ledger)
    (folder / "labels").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "labels" / path.name)
    assert "its palette is not that of drivable, so" in error_of(folder, "bdd100k_drivable")
    for path in (folder / "labels").iterdir():
        write_train_ids(path, Prediction(ROWS, None), DRIVABLE)
    assert scored(folder, "bdd100k_drivable")[0]["mIoU"] == 1
