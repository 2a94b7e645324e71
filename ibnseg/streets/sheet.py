"""Draws one sheet that shows the same streets in several appearances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ibnseg.datasets.labels import CITYSCAPES_IDS, lookup_table
from ibnseg.networks.drawing import colored, contact_sheet
from ibnseg.streets.disk import FIRST_LAYOUT
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import render
from ibnseg.streets.write import layout_number
from ibnseg.support.files import in_turn, written_whole


def draw_streets_sheet(
    path: str | Path, appearances: Sequence[str], seed: int = 0, count: int = 3
) -> None:
    """Draws the first streets of the val split in several appearances, and their labels.

    Args:
        path: the PNG or JPEG file to write.
        appearances: names in ``APPEARANCES``.
        seed: the seed of the streets, as for ``write_streets``.
        count: the number of streets.

    Raises:
        UserError: if the file cannot be written.
    """
    rows = []
    for layout in range(FIRST_LAYOUT["val"], FIRST_LAYOUT["val"] + count):
        number = layout_number(seed, layout)
        raster = rasterise(draw_layout(number), 512, 256)
        pictures = [render(raster, appearance, number) for appearance in appearances]
        rows.append([*pictures, colored(lookup_table(CITYSCAPES_IDS)[raster.labels])])
    sheet = contact_sheet("The same streets in several looks", (*appearances, "labels"), rows)
    with in_turn(Path(path)), written_whole(path) as temporary:
        Image.fromarray(sheet).save(temporary, quality=88)
