"""Videos: read, written, and predicted frame by frame."""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ibnseg.networks import folder as predict
from ibnseg.networks import predictor, video
from ibnseg.support.errors import UserError
from ibnseg.support.memory import enough_memory_for_image
from tests.conftest import scene

SHADES = (40, 120, 200)


def write_video(path: Path, pictures: Iterable[np.ndarray], rate: float) -> None:
    with video.writing(path, rate) as write:
        for picture in pictures:
            write(picture)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Three frames of a scene, 64x48, ten a second."""
    path = tmp_path / "drive" / "clip.mp4"
    write_video(path, (scene(i)[0] for i in range(3)), 10)
    return path


def test_a_written_video_is_read_back_with_its_colours(tmp_path: Path) -> None:
    """Three frames of one shade each; colours keep their order; odd sizes grow by white."""
    frames = [np.full((31, 41, 3), (shade, 60, 20), np.uint8) for shade in SHADES]
    path = tmp_path / "a.mp4"
    write_video(path, iter(frames), 12.5)
    assert video.read_facts(path) == (3, 12.5)
    found = list(video.read_frames(path))
    assert [frame.shape for frame in found] == [(32, 42, 3)] * 3
    for frame, shade in zip(found, SHADES, strict=True):
        middle = frame[:24, :24].reshape(-1, 3).mean(axis=0)  # BGR
        np.testing.assert_allclose(middle, (20, 60, shade), atol=6)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    def broken():
        yield np.zeros((32, 32, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", broken(), 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_video_of_which_frames_are_not_written_does_not_appear(
    tmp_path: Path, monkeypatch, kept: int
) -> None:
    """OpenCV says nothing if the disk is full."""
    writer = cv2.VideoWriter

    class Full:
        fourcc = writer.fourcc

        def __init__(self, *args) -> None:
            self.writer, self.left = writer(*args), kept

        def write(self, frame: np.ndarray) -> None:
            if self.left:
                self.writer.write(frame)
            self.left = max(self.left - 1, 0)

        def __getattr__(self, name: str):
            return getattr(self.writer, name)

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    frames = np.zeros((5, 32, 32, 3), np.uint8)
    with pytest.raises(UserError, match=r"x\.mp4: cannot be written \(OpenCV has not written all"):
        write_video(tmp_path / "x.mp4", iter(frames), 5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_a_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"a.mp4: cannot be opened as a video"):
        list(video.read_frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize("name", ["clip/000000.png", "clip/more/a.jpg"])
def test_frames_beside_their_video_are_refused(clip: Path, tmp_path: Path, name: str) -> None:
    """Their label maps would be those of the video's frames."""
    frame = clip.parent / name
    frame.parent.mkdir(parents=True)
    Image.fromarray(scene(1)[0]).save(frame)
    with pytest.raises(UserError, match=rf"{name} lies in a folder with the name of .*clip.mp4"):
        predict.find_images(clip.parent, tmp_path / "out")
    (clip.parent / "clip").rename(clip.parent / "frames")
    assert len(predict.find_images(clip.parent, tmp_path / "out").files) == 2


def test_each_frame_gets_a_label_map_and_the_video_an_overlay(trained, clip: Path) -> None:
    run, out = trained[1], clip.parent.parent / "out"
    assert predict.predict_folder(run, None, clip.parent, out) == 1
    labels = sorted((out / "labels/clip").iterdir())
    assert [path.name for path in labels] == ["000000.png", "000001.png", "000002.png"]
    for i, path in enumerate(labels):
        truth = scene(i)[1]
        assert (np.asarray(Image.open(path)) == truth)[truth != 255].mean() > 0.6
    assert video.read_facts(out / "overlays/clip.mp4") == (3, 10)
    frame = next(video.read_frames(out / "overlays/clip.mp4"))
    assert frame.shape[1] == 64
    assert frame.shape[0] > 48 + 2 * 19  # the names of all classes, in a narrow column
    record = json.loads((out / "predictions.json").read_text())
    assert list(record["images"]) == ["clip"]


def test_an_interrupted_video_goes_on(trained, clip: Path, monkeypatch) -> None:
    """Frames that have a label map are not predicted again, and the overlay is the same."""
    run, out, seen = trained[1], clip.parent.parent / "out", []
    predict_images = predictor.predict_images

    def record(network, frames, path, *args, **kwargs) -> list:
        if len(seen) == 2:
            seen.append("interrupted")
            raise KeyboardInterrupt
        seen.append("predicted")
        return predict_images(network, frames, path, *args, **kwargs)

    monkeypatch.setattr(predictor, "predict_images", record)
    with pytest.raises(KeyboardInterrupt):
        predict.predict_folder(run, None, clip, out)
    assert not (out / "overlays/clip.mp4").exists()
    assert predict.predict_folder(run, None, clip, out) == 1
    assert seen == ["predicted", "predicted", "interrupted", "predicted"]
    assert predict.predict_folder(run, None, clip, out) == 1  # nothing is left to do
    assert len(seen) == 4
    whole = clip.parent.parent / "whole"
    predict.predict_folder(run, None, clip, whole)
    assert (out / "overlays/clip.mp4").stat().st_size == (
        whole / "overlays/clip.mp4"
    ).stat().st_size


def test_a_changed_video_is_predicted_anew(trained, clip: Path) -> None:
    run, out = trained[1], clip.parent.parent / "out"
    predict.predict_folder(run, None, clip, out)
    write_video(clip, (scene(i)[0] for i in (7,)), 10)
    predict.predict_folder(run, None, clip, out)
    assert [path.name for path in (out / "labels/clip").iterdir()] == ["000000.png"]
    assert video.read_facts(out / "overlays/clip.mp4").frames == 1


def test_a_video_that_needs_too_much_memory_does_not_stop_the_others(
    trained, clip: Path, monkeypatch
) -> None:
    """It is reported at the end, and nothing half-written of it stays."""
    run, out = trained[1], clip.parent.parent / "out"
    write_video(clip.parent / "large.mp4", (np.zeros((96, 128, 3), np.uint8) for _ in "ab"), 10)
    predict_images = predictor.predict_images

    def full(network, frames, path, *args, **kwargs) -> list:
        if path.stem == "large":
            with enough_memory_for_image(path, frames[0].shape[:2]):
                raise MemoryError
        return predict_images(network, frames, path, *args, **kwargs)

    monkeypatch.setattr(predictor, "predict_images", full)
    message = r"1 of 2 inputs could not .*: too little memory for .*large.mp4 \(128x96\); take a sm"
    with pytest.raises(UserError, match=message):
        predict.predict_folder(run, None, clip.parent, out)
    assert [path.name for path in (out / "overlays").iterdir()] == ["clip.mp4"]
    assert [path.name for path in (out / "labels").iterdir()] == ["clip"]
