"""Writes label maps and overlays for folders of images and videos: what ``ibnseg predict`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.progress import Progress
from torch import nn

from ibnseg.datasets.pictures import read_label, read_upright
from ibnseg.engine.precision import warn_if_emulated
from ibnseg.engine.read import find_network
from ibnseg.networks import video
from ibnseg.networks.drawing import blend, drawn, legend, overlay
from ibnseg.networks.inputs import find_images, is_video
from ibnseg.networks.network import describe_network, load_network, predict_images
from ibnseg.networks.outputs import Output, Prediction, chosen_outputs
from ibnseg.support.data_files import count_by_suffix
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, as_path, written_whole
from ibnseg.support.ledger import Ledger, begin, stamp
from ibnseg.support.progress import bar
from ibnseg.support.terminal import say

Item = TypeVar("Item")

RECORD = "predictions.json"
"""The file beside predictions that lists the network and the images."""
MOST_SHOWN = 5
"""The most unreadable inputs that are named."""


def predict_folder(
    source: str | Path,
    checkpoint: str | Path | None,
    images: str | Path,
    out: str | Path,
    *,
    options: Sequence[str] = (),
    write: Sequence[str] = (),
    batch: int = 1,
    precision: str = "float32",
) -> int:
    """Writes a label map and an overlay for every image and video below a folder, or for one file.

    ``out/labels/<name>.png`` holds train ids (255 never occurs), with the classes' colours as its
    palette; ``out/overlays/<name>.jpg`` shows them over the image. For a video there are
    ``out/labels/<name>/<frame>.png``, counted from 0, and ``out/overlays/<name>.mp4``. Further
    outputs lie beside them, as :data:`ibnseg.networks.outputs.OUTPUTS` says.
    ``out/predictions.json`` records the network and the images, so that what exists already is not
    predicted again.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        images: a folder of images and videos, in subfolders and linked folders too; or one image
            or video. Images are turned upright as their EXIF orientation says, and so are their
            predictions.
        out: folder of the predictions.
        write: further outputs, by their names in :data:`~ibnseg.networks.outputs.OUTPUTS`.
        batch: images of one size that go through the network at a time, at most.
        precision: ``float32``, or ``bfloat16`` for autocast.

    Returns:
        The number of images and videos.

    Raises:
        UserError: for wrong input: no images, two of one name, an ``out`` that holds files of
            another network or not of this command; and at the end, if some inputs could not be
            predicted.
    """
    out = as_path(out)
    found, left_out = find_images(as_path(images), out)
    cfg, checkpoint = find_network(source, checkpoint, options)
    stamps, failed = {}, {}
    for name, path in found.items():
        try:
            stamps[name] = stamp(path)
        except OSError as error:  # e.g. a link whose file is gone
            failed[path] = f"{path}: cannot be read ({error.strerror})"
    network = load_network(cfg, checkpoint)
    outputs = chosen_outputs(write, network.class_set)
    targets = {name: _targets(out, name, found[name], outputs) for name in stamps}
    identity = dict(describe_network(cfg, checkpoint), precision=precision)
    ledger = Ledger(out / RECORD, "predictions", identity, 1, {"precision": "float32"})
    predictor = _Predictor(network, outputs, batch, precision, failed)
    warn_if_emulated(precision)
    with alone_in(out, "is being written"):
        left = begin(ledger, stamps, targets)
        pictures = [name for name in left if not is_video(found[name])]
        with bar() as progress:
            if pictures:
                pictures = progress.track(pictures, len(pictures), description="Predicting")
            _predict_images(predictor, ((found[name], targets[name]) for name in pictures))
            for name in left:
                if is_video(found[name]):
                    try:
                        _predict_video(predictor, found[name], targets[name], progress)
                    except video.UnreadableError as error:
                        predictor.failed[found[name]] = str(error)
    done = len(stamps) - len(left)
    before = f" ({done} of them there already)" if done else ""
    folders = ", ".join(f"{out}/{each.folder}" for each in outputs)
    skipped = _skipped(left_out, list(failed))
    say(f"{len(found) - len(failed)} predictions{before}: {folders}, {out}/overlays{skipped}")
    if failed:
        shown = "; ".join(list(failed.values())[:MOST_SHOWN])
        more = f"; and {len(failed) - MOST_SHOWN} more" if len(failed) > MOST_SHOWN else ""
        raise UserError(
            f"{len(failed)} of {len(found)} inputs could not be predicted: {shown}{more}; the same "
            "command predicts them once they are mended"
        )
    return len(found)


def _skipped(left_out: Sequence[Path], failed: Sequence[Path]) -> str:
    """Says how many files have no prediction, and why; nothing if there are none."""
    parts = [count_by_suffix(left_out)] if left_out else []
    if failed:
        names = ", ".join(path.name for path in failed[:MOST_SHOWN])
        parts.append(f"{len(failed)} unreadable ({names}{', ...' * (len(failed) > MOST_SHOWN)})")
    return f"; {len(left_out) + len(failed)} skipped: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class _Predictor:
    """A network, and what is written of its predictions."""

    network: nn.Module
    outputs: Sequence[Output]
    batch: int
    precision: str
    failed: dict[Path, str]
    """What is wrong with inputs that could not be predicted, which stop no others."""

    def predict(self, images: Sequence[np.ndarray], name: Path) -> list[Prediction]:
        """Predicts (H, W, 3) uint8 BGR images of one size; errors call the first one ``name``."""
        wanted = any(output.needs_probabilities for output in self.outputs)
        found = predict_images(self.network, images, name, wanted, precision=self.precision)
        return [Prediction(*each) if wanted else Prediction(each, None) for each in found]

    def write(self, prediction: Prediction, files: Sequence[Path]) -> None:
        """Writes each output to its file."""
        for output, file in zip(self.outputs, files, strict=True):
            output.write(file, prediction, self.network.class_set)


def _predict_images(predictor: _Predictor, todo: Iterable[tuple[Path, Sequence[Path]]]) -> None:
    """Predicts images and writes what was asked for.

    Args:
        predictor: the network and its outputs.
        todo: for each image its path, and the files of its outputs with that of the overlay last.
    """
    turned, count = 0, 0

    def read() -> Iterator[tuple[Path, Sequence[Path], np.ndarray]]:
        nonlocal turned, count
        for path, files in todo:
            try:
                image, is_turned = read_upright(path)
            except UserError as error:
                predictor.failed[path] = str(error)
                continue
            turned, count = turned + is_turned, count + 1
            yield path, files, image

    for group in in_batches(read(), predictor.batch, lambda item: item[2].shape):
        try:
            predictions = predictor.predict([image for *_, image in group], group[0][0])
        except UserError as error:  # too little memory, of one image or of a whole batch
            if len(group) > 1:
                raise
            predictor.failed[group[0][0]] = str(error)
            continue
        for (_, (*files, overlay_file), image), prediction in zip(group, predictions, strict=True):
            predictor.write(prediction, files)
            picture = overlay(image[..., ::-1], prediction.train_ids, predictor.network.class_set)
            with written_whole(overlay_file) as temporary:
                Image.fromarray(picture).save(temporary, quality=90)
    if turned:
        print(
            f"{turned} of {count} images were turned upright, as their EXIF orientation says, and "
            "so are their predictions"
        )


def _predict_video(
    predictor: _Predictor, path: Path, targets: Sequence[Path], progress: Progress
) -> None:
    """Predicts the frames that lack an output, and draws all of them anew."""
    (*folders, overlay_file), class_set = targets, predictor.network.class_set
    facts, names = video.read_facts(path), None

    def pictures() -> Iterator[np.ndarray]:
        nonlocal names
        frames = progress.track(video.read_frames(path), facts.frames, description=path.name)
        for group in in_batches(enumerate(frames), predictor.batch):
            files = {
                i: [
                    folder / f"{i:06d}{output.suffix}"
                    for folder, output in zip(folders, predictor.outputs, strict=True)
                ]
                for i, _ in group
            }
            left = [item for item in group if not all(map(Path.exists, files[item[0]]))]
            if left:
                found = predictor.predict([frame for _, frame in left], path)
                for (i, _), prediction in zip(left, found, strict=True):
                    predictor.write(prediction, files[i])
            for i, frame in group:
                if names is None:
                    names = legend(drawn(class_set), frame.shape[1], class_set)
                picture = blend(frame[..., ::-1], read_label(files[i][0]), class_set)
                yield np.concatenate([picture, names])

    video.write_video(overlay_file, pictures(), facts.rate)


def in_batches(
    items: Iterable[Item], size: int, key: Callable[[Item], object] = lambda item: None
) -> Iterator[list[Item]]:
    """Yields groups of at most ``size`` items that follow each other and have the same key."""
    group: list[Item] = []
    for item in items:
        if group and key(item) != key(group[0]):
            yield group
            group = []
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _targets(out: Path, name: str, source: Path, outputs: Sequence[Output]) -> tuple[Path, ...]:
    """Returns the file of each output (a folder for a video), then that of the overlay.

    Names may hold dots and slashes.
    """
    suffix = ".mp4" if is_video(source) else ".jpg"
    files = [
        out / each.folder / (name if is_video(source) else f"{name}{each.suffix}")
        for each in outputs
    ]
    return (*files, out / "overlays" / f"{name}{suffix}")
