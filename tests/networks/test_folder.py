"""Label maps and overlays for a folder."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ibnseg import cli, load, predict
from ibnseg.datasets.labels import CITYSCAPES, CITYSCAPES_IDS, PALETTE, lookup_table
from ibnseg.engine.launch import stop_processes
from ibnseg.models.fuse import fuse
from ibnseg.models.segmentor import Segmentor
from ibnseg.networks import predictor, video
from ibnseg.networks.folder import RECORD, predict_folder
from ibnseg.networks.outputs import Prediction, chosen_outputs, write_train_ids
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene, set_orientation
from tests.support.team import in_processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one in a subfolder, and a file that is none."""
    for i, name in enumerate(("a.png", "b.jpg", "night/a.png")):
        save_rgb(tmp_path / "photos" / name, scene(i)[0])
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_every_image_gets_a_label_map_and_an_overlay(trained, folder: Path, capsys) -> None:
    config, run, _ = trained
    out = folder.parent / "out"
    assert predict_folder(config, run / "latest.pth", folder, out) == 3
    assert sorted(contents(out)) == [
        "labels/a.png",
        "labels/b.png",
        "labels/night/a.png",
        "overlays/a.jpg",
        "overlays/b.jpg",
        "overlays/night/a.jpg",
        "predictions.json",
    ]
    label = Image.open(out / "labels/a.png")
    assert (label.mode, label.size) == ("P", (64, 48))
    train_ids = np.asarray(label)
    assert train_ids.max() < 19
    truth = scene(0)[1]
    assert (train_ids == truth)[truth != 255].mean() > 0.7  # the network has learnt such scenes
    assert np.asarray(Image.open(out / "overlays/a.jpg")).shape[1] == 64
    assert f"3 predictions: {out}/labels" in capsys.readouterr().out


def test_predictions_inside_of_the_folder_are_not_predicted_again(trained, folder: Path) -> None:
    config, run, _ = trained
    assert predict_folder(config, run / "latest.pth", folder, folder / "out") == 3
    assert predict_folder(config, run / "latest.pth", folder, folder / "out") == 3


def test_label_maps_have_the_classes_colours(tmp_path: Path) -> None:
    train_ids = np.arange(19, dtype=np.uint8).reshape(1, 19)
    write_train_ids(tmp_path / "x.png", Prediction(train_ids, None), CITYSCAPES)
    image = Image.open(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(image), train_ids)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[0], PALETTE)


def test_a_folder_that_cannot_be_predicted_is_refused_with_the_reason(
    trained, folder: Path, tmp_path: Path
) -> None:
    config, run, _ = trained
    out = tmp_path / "out"
    with pytest.raises(UserError, match="nowhere: no such folder or image"):
        predict_folder(config, run / "latest.pth", tmp_path / "nowhere", out)
    with pytest.raises(UserError, match="^/dev/zero: is a device, expected a file"):
        predict_folder(config, run / "latest.pth", Path("/dev/zero"), out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no images or videos"):
        predict_folder(config, run / "latest.pth", tmp_path / "empty", out)
    (folder / "a.jpg").write_bytes((folder / "b.jpg").read_bytes())
    with pytest.raises(UserError, match="two images are called a"):
        predict_folder(config, run / "latest.pth", folder, out)
    (folder / "a.jpg").write_bytes(b"\xff\xd8 cut")
    (folder / "a.png").unlink()
    with pytest.raises(UserError, match=r"model.decode_head.num_classes is 21"):
        predict_folder(
            config, run / "latest.pth", folder, out, options=["model.decode_head.num_classes=21"]
        )


def test_an_unreadable_image_does_not_stop_the_others(trained, folder: Path, capsys) -> None:
    """Nor does a link to nothing; what is left out is counted, hidden files are not."""
    _, run, _ = trained
    out = folder.parent / "out"
    (folder / "b.jpg").write_bytes(b"\xff\xd8 cut")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    for name in ("._a.png", "Thumbs.db", "x.gif", "y.GIF"):
        (folder / name).write_bytes(b"none")
    with pytest.raises(UserError) as error:
        predict_folder(run, None, folder, out)
    assert str(error.value).startswith("2 of 4 inputs could not be predicted: ")
    assert f"{folder / 'b.jpg'}: truncated or not an image" in str(error.value)
    assert f"{folder / 'gone.png'}: cannot be read (No such file or directory)" in str(error.value)
    said = capsys.readouterr().out
    summary = f"2 predictions: {out}/labels, {out}/overlays; 5 skipped: 2 .gif, 1 .txt, "
    assert f"{summary}2 failed (gone.png, b.jpg)\n" in said
    assert {"labels/a.png", "labels/night/a.png"} <= contents(out).keys()
    save_rgb(folder / "b.jpg", scene(1)[0])
    (folder / "gone.png").unlink()
    assert predict_folder(run, None, folder, out) == 3
    assert "3 predictions (2 of them there already)" in capsys.readouterr().out


def test_images_of_all_formats_and_in_linked_folders_are_predicted(trained, tmp_path) -> None:
    _, run, _ = trained
    names = ("a.bmp", "b.tif", "c.WEBP", "d.ppm", "e.TIFF", "f.jp2", "g.Jpeg")
    for i, name in enumerate(names):
        save_rgb(tmp_path / "far" / name, scene(i)[0])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(tmp_path / "photos")
    assert predict_folder(run, None, tmp_path / "photos", tmp_path / "out") == len(names)
    written = {path.stem for path in (tmp_path / "out/labels/linked").iterdir()}
    assert written == {name[0] for name in names}
    upper = np.asarray(Image.open(tmp_path / "out/labels/linked/d.png"))
    np.testing.assert_array_equal(upper, predict(load(run), scene(3)[0]))


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are predicted from now on, in order."""
    names, predict_images = [], predictor.predict_images

    def record(network, images, path, *args, **kwargs) -> list:
        names.append(path.name)
        return predict_images(network, images, path, *args, **kwargs)

    monkeypatch.setattr(predictor, "predict_images", record)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_an_interrupted_prediction_continues(
    trained, folder: Path, predicted: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Interrupted before the second image is predicted, while the first is written; the end is that
    of one that was not."""
    _, run, _ = trained
    out = folder.parent / "out"
    predict_images = predictor.predict_images

    def interrupt(*args, **kwargs) -> list:
        if predicted:
            raise KeyboardInterrupt
        return predict_images(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "predict_images", interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict_folder(run, None, folder, out)
    assert predicted == ["a.png"]
    assert not list(out.glob("**/.*tmp*"))
    capsys.readouterr()
    assert predict_folder(run, None, folder, out) == 3
    assert predicted == ["a.png", "b.jpg", "a.png"]
    printed = capsys.readouterr().out
    assert "2/2" in printed  # the progress bar counts what is left
    assert "3 predictions (1 of them there already)" in printed
    predict_folder(run, None, folder, folder.parent / "whole")
    assert contents(out) == contents(folder.parent / "whole")


def test_a_changed_image_is_predicted_again(trained, folder: Path, predicted: list[str]) -> None:
    _, run, _ = trained
    out = folder.parent / "out"
    predict_folder(run, None, folder, out)
    del predicted[:]
    save_rgb(folder / "b.jpg", scene(7)[0])
    save_rgb(folder / "c.d.png", scene(8)[0])
    assert predict_folder(run, None, folder, out) == 4
    assert predicted == ["b.jpg", "c.d.png"]
    assert (out / "labels/c.d.png").is_file()


def test_a_single_image_file_is_predicted(trained, folder: Path) -> None:
    _, run, _ = trained
    out = folder.parent / "out"
    assert predict_folder(run, None, folder / "b.jpg", out) == 1
    assert sorted(contents(out)) == ["labels/b.png", "overlays/b.jpg", "predictions.json"]
    with pytest.raises(UserError, match="notes.txt is not an image or video"):
        predict_folder(run, None, folder / "notes.txt", out)


def test_an_out_folder_of_something_else_is_refused(trained, folder: Path) -> None:
    _, run, _ = trained
    out = folder.parent / "out"
    predict_folder(run, None, folder, out)
    before = contents(out)
    others = (
        (run / "checkpoints/iter_50.pth", []),
        (None, ["model.test_cfg.mode=slide", "model.test_cfg.crop_size=32,32"]),
    )
    for checkpoint, options in others:
        if options:
            options = [*options, "model.test_cfg.stride=16,16"]
        with pytest.raises(UserError, match="predictions with .*_sha256 .*; give another --out"):
            predict_folder(run, checkpoint, folder, out, options=options)
    assert contents(out) == before
    (out / RECORD).write_text((out / RECORD).read_text()[:50])
    with pytest.raises(UserError, match=r"predictions.json: damaged .*give another --out"):
        predict_folder(run, None, folder, out)


def test_files_that_are_no_predictions_are_not_written_over(trained, folder: Path) -> None:
    """GTA5 keeps its labels in a folder of that name."""
    _, run, _ = trained
    label = folder.parent / "data" / "labels" / "a.png"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"truth")
    with pytest.raises(UserError, match=r"a.png exists and is not listed in predictions.json"):
        predict_folder(run, None, folder, folder.parent / "data")
    assert contents(folder.parent / "data") == {"labels/a.png": b"truth"}


# ---- what is written, and how ------------------------------------------------------------------


def test_label_ids_confidence_and_probabilities_are_written_on_request(
    trained, folder: Path
) -> None:
    """Cityscapes' ids, confidence and probabilities are written beside the train ids."""
    _, run, _ = trained
    out, network = folder.parent / "out", fuse(load(run))
    predict_folder(run, None, folder, out)
    wanted = ["label-ids", "confidence", "probabilities"]
    predict_folder(run, None, folder, out, write=wanted)
    for name, image in (("a", "a.png"), ("night/a", "night/a.png")):
        train_ids, probabilities = predict(network, folder / image, probabilities=True)
        ids = np.asarray(Image.open(out / f"label_ids/{name}.png"))
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(lookup_table(CITYSCAPES_IDS)[ids], train_ids)
        confidence = cv2.imread(str(out / f"confidence/{name}.png"), cv2.IMREAD_UNCHANGED)
        assert confidence.dtype == np.uint16
        np.testing.assert_allclose(confidence / 65535, probabilities.max(axis=0), atol=1 / 65535)
        with np.load(out / f"probabilities/{name}.npz") as file:
            found = file["probabilities"]
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, probabilities.astype(np.float16))
    assert np.array_equal(np.asarray(Image.open(out / "labels/night/a.png")), train_ids)


def test_an_unknown_output_is_refused_with_the_nearest(trained, folder: Path) -> None:
    with pytest.raises(UserError, match="unknown output in --write 'confidense'; did you mean con"):
        predict_folder(trained[1], None, folder, folder.parent / "out", write=["confidense"])
    others = CITYSCAPES._replace(name="mine", ids=None)
    with pytest.raises(UserError, match="the ids of mine are not known"):
        chosen_outputs(["label-ids"], others)


def test_batches_give_the_same_predictions(trained, folder: Path, predicted: list[str]) -> None:
    """Images of another size go through the network by themselves."""
    _, run, _ = trained
    save_rgb(folder / "c.png", scene(3)[0][:40])
    predict_folder(run, None, folder, folder.parent / "single")
    assert predicted == ["a.png", "b.jpg", "c.png", "a.png"]
    del predicted[:]
    predict_folder(run, None, folder, folder.parent / "batch", batch=4)
    assert predicted == ["a.png", "c.png"]
    assert contents(folder.parent / "single") == contents(folder.parent / "batch")


def test_a_batch_that_needs_too_much_memory_does_not_stop_the_others(
    trained, folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images are reported at the end, once; a smaller batch predicts them."""
    _, run, _ = trained
    out, network = folder.parent / "out", Segmentor.predict
    save_rgb(folder / "c.png", scene(3)[0][:40])

    def full(self, inputs: torch.Tensor, data_samples: list) -> list:
        if len(inputs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return network(self, inputs, data_samples)

    monkeypatch.setattr(Segmentor, "predict", full)
    line = ["predict", str(run), str(folder), "--out", str(out), "--batch"]
    assert cli.main([*line, "4"]) == 1
    said = capsys.readouterr()
    assert "3 of 4 inputs could not be predicted: too little memory" in said.err
    assert said.err.count("too little memory for 3 images of 64x48 at a time; lower --batch") == 1
    assert "1 predictions: " in said.out
    assert {name for name in contents(out) if "labels" in name} == {"labels/c.png"}
    assert cli.main([*line, "1"]) == 0
    assert "4 predictions (1 of them there already)" in capsys.readouterr().out


def test_an_image_of_floats_is_not_called_damaged(trained, folder: Path) -> None:
    image = scene(0)[0]
    for name in ("float32", "float64", "int32"):
        assert cv2.imwrite(str(folder / f"{name}.tif"), image[..., 0].astype(name))
    with pytest.raises(UserError, match="^3 of 6 inputs") as error:
        predict_folder(trained[1], None, folder, folder.parent / "out")
    for name in ("float32", "float64", "int32"):
        expected = f"an image whose values are {name}, expected 8-bit grey or colours; convert it"
        assert f"{folder / name}.tif: {expected}" in str(error.value)


def test_predictions_of_another_precision_are_not_mixed_in(trained, folder: Path) -> None:
    _, run, _ = trained
    out = folder.parent / "out"
    predict_folder(run, None, folder, out, precision="bfloat16")
    seen = np.asarray(Image.open(out / "labels/a.png"))
    assert (seen == predict(load(run), folder / "a.png")).mean() > 0.9
    with pytest.raises(UserError, match="predictions with precision bfloat16, not float32"):
        predict_folder(run, None, folder, out)
    with pytest.raises(UserError, match="unknown precision 'float61'"):
        predict_folder(run, None, folder, folder.parent / "new", precision="float61")


def test_hidden_files_are_not_images(trained, folder: Path) -> None:
    (folder / "._a.png").write_bytes(b"of a Mac")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails/a.png").write_bytes(b"small")
    assert predict_folder(trained[1], None, folder, folder.parent / "out") == 3


def test_images_are_turned_upright_and_so_are_their_predictions(trained, tmp_path, capsys) -> None:
    config, run, _ = trained
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("plain", "aside", "down"):
        save_rgb(photos / f"{name}.png", np.rot90(scene(0)[0], dict(aside=1, down=2).get(name, 0)))
    set_orientation(photos / "aside.png", 6)
    set_orientation(photos / "down.png", 3)
    predict_folder(config, run / "latest.pth", photos, out)
    printed = capsys.readouterr().out
    assert "2 of 3 images were turned upright, as their EXIF orientation says" in printed
    plain = np.asarray(Image.open(out / "labels/plain.png"))
    for name in ("aside", "down"):
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"labels/{name}.png")), plain)
        found = predict(load(config, run / "latest.pth"), photos / f"{name}.png")
        np.testing.assert_array_equal(found, plain)


# ---- several processes -------------------------------------------------------------------------


@pytest.fixture
def many(folder: Path) -> Path:
    """Seven images, of which one is unreadable, and two videos."""
    for i in range(4):
        save_rgb(folder / f"c{i}.png", scene(10 + i)[0][: 48 - 8 * (i == 2)])
    (folder / "broken.png").write_bytes(b"none")
    for name, frames in (("long", 3), ("short", 1)):
        with video.writing(folder / f"{name}.mp4", 10) as write:
            for i in range(frames):
                write(scene(20 + i)[0])
    return folder


def by_two(run: Path, images: Path, out: Path, killed: int | None = None) -> list[str]:
    """What two processes say that predict together; the second may be killed when it has begun a
    number of predictions. ``<out>.log`` lists the predictions of both."""

    def work() -> None:
        mine, predict_images = [], predictor.predict_images

        def record(network, images, path, *args, **kwargs) -> list:
            mine.append(path)
            if os.environ["RANK"] == "1" and len(mine) == killed:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)  # so that both get something to do
            results = predict_images(network, images, path, *args, **kwargs)
            with out.with_suffix(".log").open("a") as log:
                log.writelines(f"{path.name}\n" for _ in images)
            return results

        predictor.predict_images = record
        predict_folder(run, None, images, out, batch=2)
        stop_processes()

    return in_processes(2, work, images.parent / f"said_{out.name}_{time.monotonic_ns()}")


def test_two_processes_predict_each_input_once_as_one_process_does(trained, many: Path) -> None:
    """Unreadable ones are reported once, by the main process, whoever finds them."""
    run, out, whole = trained[1], many.parent / "out", many.parent / "whole"
    with pytest.raises(UserError) as alone:
        predict_folder(run, None, many, whole, batch=2)
    main, other = by_two(run, many, out)
    assert f"UserError: {alone.value}" in main
    assert f"9 predictions: {out}/labels, {out}/overlays; 2 skipped: 1 .txt, 1 failed" in main
    assert "10/10" in main
    assert other == ""
    assert contents(out) == contents(whole)
    predicted = Counter(out.with_suffix(".log").read_text().split())
    assert predicted == {  # batches of one size are called as their first image
        "a.png": 2, "c0.png": 1, "c1.png": 1, "c2.png": 1, "c3.png": 2, "long.mp4": 3,
        "short.mp4": 1,
    }  # fmt: skip


def test_after_a_process_is_killed_the_same_command_does_the_rest(trained, many: Path) -> None:
    run, out, whole = trained[1], many.parent / "out", many.parent / "whole"
    (many / "broken.png").unlink()
    main, other = by_two(run, many, out, killed=2)
    assert "UserError: another process of this command has ended" in main
    assert other.endswith("killed")
    main, other = by_two(run, many, out)
    assert "9 predictions (" in main
    assert other == ""
    predict_folder(run, None, many, whole, batch=2)
    assert contents(out) == contents(whole)
