"""Draws predictions: classes in their colours, over the image or beside it, with their names."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ibnseg.datasets.labels import CITYSCAPES, ClassSet


def colored(train_ids: np.ndarray, class_set: ClassSet = CITYSCAPES) -> np.ndarray:
    """Colours train ids as their classes; what is no class is black.

    Args:
        train_ids: (H, W) uint8.
        class_set: the classes.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    colors = np.zeros((1, 256, 3), np.uint8)
    colors[0, : len(class_set.palette)] = class_set.palette
    return cv2.LUT(cv2.merge([train_ids] * 3), colors)


def drawn(class_set: ClassSet) -> np.ndarray:
    """Returns the train ids that an overlay draws: all but that of the background, if there is
    one."""
    return np.array([i for i, x in enumerate(class_set.classes) if x != class_set.background])


def blend(
    image: np.ndarray, train_ids: np.ndarray, class_set: ClassSet = CITYSCAPES, alpha: float = 0.5
) -> np.ndarray:
    """Lays classes' colours over an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        train_ids: (H, W) uint8; where it is the background, or no class (e.g. 255), the image
            stays as it is.
        class_set: the classes.
        alpha: weight of the colours, in [0, 1].

    Returns:
        (H, W, 3) uint8, RGB.
    """
    blended = cv2.addWeighted(image, 1 - alpha, colored(train_ids, class_set), alpha, 0)
    untouched = np.full(256, 255, np.uint8)
    untouched[drawn(class_set)] = 0
    return cv2.copyTo(image, cv2.LUT(train_ids, untouched), blended)


def overlay(
    image: np.ndarray, train_ids: np.ndarray, class_set: ClassSet = CITYSCAPES
) -> np.ndarray:
    """Lays classes' colours over an image, and the names of those that occur below it.

    Args:
        image, train_ids, class_set: as for :func:`blend`.

    Returns:
        (H + legend, W, 3) uint8, RGB.
    """
    counts = cv2.calcHist([train_ids], [0], None, [256], [0, 256]).ravel()
    occur = [i for i in drawn(class_set) if counts[i]]
    names = legend(occur, image.shape[1], class_set)
    return np.concatenate([blend(image, train_ids, class_set), names])


def legend(
    classes: Sequence[int] | np.ndarray, width: int, class_set: ClassSet = CITYSCAPES
) -> np.ndarray:
    """Draws the colours and names of classes on white.

    Args:
        classes: train ids.
        width: the width of the result in pixels.
        class_set: the classes.

    Returns:
        (h, width, 3) uint8, RGB, as high as needed.
    """
    size = min(max(width // 90, 12), 17)
    font = ImageFont.load_default(size)
    x, y, places = size, size // 2, []
    for train_id in classes:
        step = 2.8 * size + font.getlength(class_set.classes[train_id])
        if x + step - size > width and x > size:
            x, y = size, y + 2 * size
        places.append((class_set.classes[train_id], class_set.palette[train_id], x, y))
        x += step
    strip = Image.new("RGB", (width, y + size + size // 2), "white")
    draw = ImageDraw.Draw(strip)
    for name, color, x, y in places:
        draw.rectangle((x, y, x + size - 1, y + size - 1), color)
        draw.text((x + 1.4 * size, y + size / 2), name, "black", font, anchor="lm")
    return np.array(strip)


def contact_sheet(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
    width: int = 380,
    class_set: ClassSet = CITYSCAPES,
) -> np.ndarray:
    """Puts pictures in rows and columns, below a title and the columns' names, and above the names
    of the classes.

    Args:
        title: one line.
        columns: a name for each column.
        rows: rows of (H, W, 3) uint8 RGB pictures of one size.
        width: the width of each picture on the sheet, in pixels.
        class_set: the classes.

    Returns:
        The sheet, (h, w, 3) uint8, RGB.
    """
    height, gap = round(width * rows[0][0].shape[0] / rows[0][0].shape[1]), 6
    total = (width + gap) * len(columns) + gap
    head = Image.new("RGB", (total, 76), "white")
    draw = ImageDraw.Draw(head)
    draw.text((gap, 22), title, "black", ImageFont.load_default(24), anchor="lm")
    for i, name in enumerate(columns):
        x = gap + i * (width + gap)
        draw.text((x, 60), name, "black", ImageFont.load_default(17), anchor="lm")
    body = np.full(((height + gap) * len(rows), total, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            y, x = r * (height + gap), gap + c * (width + gap)
            body[y : y + height, x : x + width] = cv2.resize(
                picture, (width, height), interpolation=cv2.INTER_AREA
            )
    return np.concatenate([np.array(head), body, legend(drawn(class_set), total, class_set)])
