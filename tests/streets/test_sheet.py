"""The sheet shows a column for each appearance."""

from pathlib import Path

import numpy as np
from PIL import Image

from ibnseg.datasets.labels import LABELS
from ibnseg.networks.drawing import contact_sheet
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render
from ibnseg.streets.sheet import draw_streets_sheet


def test_the_sheet_has_a_column_for_each_look_and_one_of_labels(tmp_path: Path) -> None:
    """The second layout of seed 0 in two looks, and its labels with void in black."""
    path, left = tmp_path / "sheet.png", tmp_path / ".sheet-abcdefgh.tmp.png"
    left.touch()  # by a killed process
    draw_streets_sheet(path, ("virtual", "night"), count=2)
    number = 1_000_000 + 1
    raster = rasterise(draw_layout(number), 512, 256)
    colors = np.zeros((34, 3), np.uint8)
    for label in LABELS:
        colors[label.id] = label.color if label.train_id != 255 else 0
    looks = [render(raster, name, number) for name in ("virtual", "night")]
    row = contact_sheet("", ("",) * 3, [[*looks, colors[raster.labels]]])[76:266]
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[1] == 3 * 386 + 6
    np.testing.assert_array_equal(sheet[76 + 196 : 76 + 196 + 190], row)
    assert not left.exists()
