"""Pictures of predictions: classes over the image in their colours, named below it."""

from __future__ import annotations

import cv2
import numpy as np

from ibnseg.datasets.labels import CLASSES, PALETTE

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def overlay(image: np.ndarray, train_ids: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blends classes' colours over an image and writes the names of those that occur below it.

    Args:
        image: (H, W, 3) uint8, RGB.
        train_ids: (H, W) uint8; where it is no class, as 255, the image stays as it is.
        alpha: weight of the colours, in [0, 1].

    Returns:
        (H + legend, W, 3) uint8, RGB.
    """
    known = train_ids < len(CLASSES)
    colors = np.array(PALETTE, np.uint8)[np.where(known, train_ids, 0)]
    blended = cv2.addWeighted(image, 1 - alpha, colors, alpha, 0)
    blended[~known] = image[~known]
    return np.concatenate([blended, legend(np.unique(train_ids[known]), image.shape[1])])


def legend(classes: np.ndarray, width: int) -> np.ndarray:
    """Swatches and names of classes on white: (h, width, 3) uint8 RGB, as high as needed."""
    scale = max(width / 1500, 0.4)
    (_, height), below = cv2.getTextSize("gy", _FONT, scale, 1)
    size, line = height + below, 2 * (height + below)
    x, y, places = size, size // 2, []
    for train_id in classes:
        (text, _), _ = cv2.getTextSize(CLASSES[train_id], _FONT, scale, 1)
        if x + 3 * size // 2 + text > width and x > size:
            x, y = size, y + line
        places.append((train_id, x, y))
        x += 3 * size + text
    strip = np.full((y + size + size // 2, width, 3), 255, np.uint8)
    for train_id, x, y in places:
        cv2.rectangle(strip, (x, y), (x + size, y + size), PALETTE[train_id], cv2.FILLED)
        origin = (x + 3 * size // 2, y + height)
        cv2.putText(strip, CLASSES[train_id], origin, _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
