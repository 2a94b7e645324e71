"""A network and what is written of its predictions: images and videos in, files out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from PIL import Image
from rich.progress import Progress
from torch import nn

from ibnseg.datasets.pictures import read_label, read_upright
from ibnseg.networks import video
from ibnseg.networks.drawing import blend, drawn, legend, overlay
from ibnseg.networks.network import predict_images
from ibnseg.networks.outputs import Output, Prediction
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.overlapping import WriteBehind, iterate_ahead, read_ahead

Item = TypeVar("Item")


class Todo(NamedTuple):
    """An image or video to predict."""

    path: Path
    targets: Sequence[Path]
    """The file of each output (a folder for a video), then that of the overlay."""


class InputError(UserError):
    """An image or video that cannot be predicted, which does not stop the others."""


@dataclass
class Outcome:
    """What has come of the images and videos."""

    failed: dict[Path, str] = field(default_factory=dict)
    """What is wrong with those that could not be predicted."""
    images: int = 0
    """The images that could be read."""
    turned: int = 0
    """Those of them that were turned upright."""


@dataclass(frozen=True)
class Predictor:
    """A network, and what is written of its predictions."""

    network: nn.Module
    outputs: Sequence[Output]
    batch: int
    """The most images of one size that go through the network at a time."""
    precision: str
    outcome: Outcome

    def predict_images(
        self, batches: Iterable[Sequence[Todo]], finish: Callable[[], object]
    ) -> None:
        """Predicts images and writes what was asked for; further batches are read and earlier ones
        written meanwhile.

        Args:
            batches: the images by batches, of which those of one size go through the network
                together; so the composition of a batch depends on nothing else.
            finish: is called for each image that is written, or cannot be predicted.

        Raises:
            UserError: if a file cannot be written.
        """
        with WriteBehind() as writer, closing(read_ahead(_read, batches)) as read:
            for results in read:
                sizes: dict[tuple, list[_Picture]] = {}
                for each in results:
                    if isinstance(each, _Picture):
                        self.outcome.images += 1
                        self.outcome.turned += each.is_turned
                        sizes.setdefault(each.image.shape, []).append(each)
                    else:
                        self.outcome.failed.update(each)
                        finish()
                for group in sizes.values():
                    try:
                        found = self._predict([each.image for each in group], group[0].todo.path)
                    except InputError as error:
                        for each in group:
                            self.outcome.failed[each.todo.path] = str(error)
                            finish()
                        continue
                    for each, prediction in zip(group, found, strict=True):
                        writer.call(self._write_picture, each, prediction, finish)

    def predict_video(self, todo: Todo, progress: Progress) -> None:
        """Predicts the frames of a video that lack an output, and draws all of them anew; frames
        are decoded, and outputs encoded, while the network runs.

        A video of which no frame can be read, or whose frames are too large, is noted as failed.

        Raises:
            UserError: if a file cannot be written.
        """
        try:
            self._predict_video(todo, progress)
        except (video.UnreadableError, InputError) as error:
            self.outcome.failed[todo.path] = str(error)

    def _predict_video(self, todo: Todo, progress: Progress) -> None:
        (*folders, overlay_file), facts = todo.targets, video.read_facts(todo.path)
        class_set, names = self.network.class_set, None
        task = progress.add_task(todo.path.name, total=facts.frames or None, unit="frames")

        def write_frame(frame: np.ndarray, train_ids: np.ndarray) -> None:
            nonlocal names
            if names is None:
                names = legend(drawn(class_set), frame.shape[1], class_set)
            write(np.concatenate([blend(_rgb(frame), train_ids, class_set), names]))

        with (
            closing(video.read_frames(todo.path)) as frames,
            video.writing(overlay_file, facts.rate) as write,
            WriteBehind(threads=1) as encoder,
            WriteBehind() as writer,
            closing(iterate_ahead(frames, self.batch + 1)) as decoded,
        ):
            for group in in_batches(enumerate(decoded), self.batch):
                files = {
                    i: [
                        folder / f"{i:06d}{output.suffix}"
                        for folder, output in zip(folders, self.outputs, strict=True)
                    ]
                    for i, _ in group
                }
                left = [item for item in group if not all(map(Path.exists, files[item[0]]))]
                found: dict[int, Prediction] = {}
                if left:
                    predictions = self._predict([frame for _, frame in left], todo.path)
                    found = {i: each for (i, _), each in zip(left, predictions, strict=True)}
                for i, frame in group:
                    if i in found:
                        writer.call(self._write, found[i], files[i])
                        train_ids = found[i].train_ids
                    else:
                        train_ids = read_label(files[i][0])
                    encoder.call(write_frame, frame, train_ids)
                    progress.advance(task)
        progress.remove_task(task)

    def _predict(self, images: Sequence[np.ndarray], name: Path) -> list[Prediction]:
        """Predicts (H, W, 3) uint8 BGR images of one size; errors call the first one ``name``.

        Raises:
            InputError: if they cannot be predicted.
        """
        wanted = any(output.needs_probabilities for output in self.outputs)
        try:
            found = predict_images(self.network, images, name, wanted, precision=self.precision)
        except UserError as error:  # e.g. too little memory
            raise InputError(str(error)) from error
        return [Prediction(*each) if wanted else Prediction(each, None) for each in found]

    def _write(self, prediction: Prediction, files: Sequence[Path]) -> None:
        """Writes each output to its file."""
        for output, file in zip(self.outputs, files, strict=True):
            output.write(file, prediction, self.network.class_set)

    def _write_picture(
        self, picture: _Picture, prediction: Prediction, finish: Callable[[], object]
    ) -> None:
        *files, overlay_file = picture.todo.targets
        self._write(prediction, files)
        shown = overlay(_rgb(picture.image), prediction.train_ids, self.network.class_set)
        with written_whole(overlay_file) as temporary:
            Image.fromarray(shown).save(temporary, quality=90)
        finish()


class _Picture(NamedTuple):
    """An image that has been read."""

    todo: Todo
    image: np.ndarray
    """(H, W, 3) uint8, BGR."""
    is_turned: bool


def _read(batch: Sequence[Todo]) -> list[_Picture | dict[Path, str]]:
    """Reads the images of a batch; for one that cannot be read there is what is wrong."""
    results: list[_Picture | dict[Path, str]] = []
    for todo in batch:
        try:
            results.append(_Picture(todo, *read_upright(todo.path)))
        except UserError as error:
            results.append({todo.path: str(error)})
    return results


def _rgb(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields lists of ``size`` items that follow each other, the last of which may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
