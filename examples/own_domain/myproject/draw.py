"""Draws a miniature of the data: ``python -m myproject.draw FOLDER``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = {"train": ("north", "south"), "val": ("east",)}


def draw(root: Path, light: float) -> None:
    """Writes four frames of 96x64 for each drive; ``light`` multiplies the colours."""
    rng = np.random.default_rng(0)
    for split, drives in SPLITS.items():
        for drive in drives:
            (root / drive).mkdir(parents=True)
            for frame in range(4):
                ids = np.full((64, 96), 31, np.uint8)  # sky
                ids[28:] = 30  # plants
                ids[30:, 36:60] = 10  # track
                left = rng.integers(0, 70)
                ids[20:40, left : left + 26] = 20  # train
                ids[:2] = 0  # not labelled
                colors = light * (3.0 * ids[..., None] + rng.normal(60, 12, (64, 96, 3)))
                image = Image.fromarray(colors.clip(0, 255).astype(np.uint8))
                image.save(root / drive / f"{frame}.jpg")
                Image.fromarray(ids).save(root / drive / f"{frame}.mask.png")
        (root / f"{split}.txt").write_text("\n".join(drives))


if __name__ == "__main__":
    draw(Path(sys.argv[1]) / "mine", light=1.0)
    draw(Path(sys.argv[1]) / "mine_dusk", light=0.4)
