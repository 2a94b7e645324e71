"""The files that can be written of a prediction: a table, and a function for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ibnseg.datasets.labels import ClassSet
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import written_whole

CONFIDENCE_SCALE = 65535
"""The value in a confidence map that stands for a probability of 1."""


class Prediction(NamedTuple):
    """What a network sees in an image."""

    train_ids: np.ndarray
    """(H, W) uint8."""
    probabilities: np.ndarray | None
    """(K, H, W) float32 in [0, 1], if some output needs them."""


class Output(NamedTuple):
    """A kind of file that is written for each image, at ``<folder>/<image's name><suffix>``."""

    folder: str
    suffix: str
    write: Callable[[Path, Prediction, ClassSet], None]
    needs_probabilities: bool


def write_train_ids(path: Path, prediction: Prediction, class_set: ClassSet) -> None:
    """Writes train ids as an 8-bit PNG with a palette in the classes' colours."""
    image = Image.fromarray(prediction.train_ids)
    image.putpalette(np.array(class_set.palette, np.uint8).tobytes())
    with written_whole(path) as temporary:
        image.save(temporary)


def write_label_ids(path: Path, prediction: Prediction, class_set: ClassSet) -> None:
    """Writes an 8-bit grey PNG with the ids that the dataset's own labels have."""
    ids = np.array(class_set.ids, np.uint8)
    _write_png(path, ids[prediction.train_ids])


def write_confidence(path: Path, prediction: Prediction, class_set: ClassSet) -> None:
    """Writes the probability of the predicted class, times 65535, as a 16-bit grey PNG."""
    largest = prediction.probabilities.max(axis=0)
    _write_png(path, np.rint(largest.clip(0, 1) * CONFIDENCE_SCALE).astype(np.uint16))


def write_probabilities(path: Path, prediction: Prediction, class_set: ClassSet) -> None:
    """Writes the probabilities of all classes, (K, H, W) float16, as a compressed npz."""
    with written_whole(path) as temporary:
        np.savez_compressed(temporary, probabilities=prediction.probabilities.astype(np.float16))


def _write_png(path: Path, image: np.ndarray) -> None:
    _, encoded = cv2.imencode(".png", image)
    with written_whole(path) as temporary:
        temporary.write_bytes(encoded)


OUTPUTS = {
    "train-ids": Output("labels", ".png", write_train_ids, False),
    "label-ids": Output("label_ids", ".png", write_label_ids, False),
    "confidence": Output("confidence", ".png", write_confidence, True),
    "probabilities": Output("probabilities", ".npz", write_probabilities, True),
}
"""Outputs by name; the first is always written."""


def chosen_outputs(further: Sequence[str], class_set: ClassSet) -> list[Output]:
    """Returns the outputs to write: train ids, and what was asked for.

    Raises:
        UserError: for an unknown name, and for label ids of classes that have none.
    """
    for name in further:
        if name not in OUTPUTS:
            raise unknown_name("output in --write", name, OUTPUTS)
    if "label-ids" in further and class_set.ids is None:
        raise UserError(
            f"--write label-ids: the ids of {class_set.name} are not known; state them in its "
            "ClassSet, as ids=(...), one for each class"
        )
    return [output for name, output in OUTPUTS.items() if name in {"train-ids", *further}]
