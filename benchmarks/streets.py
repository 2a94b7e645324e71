"""Drawn streets: from the seed to the PNG, beside writing the PNG alone."""

from __future__ import annotations

import itertools

import cv2

from benchmarks.measure import Row, alternately, compare
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import APPEARANCES, render

PEER = "writing its PNG alone"


def measure(threads: int) -> list[Row]:
    rows = []
    for appearance in APPEARANCES:
        seeds = itertools.count()

        def draw(appearance: str = appearance, seeds: itertools.count = seeds) -> None:
            seed = next(seeds)
            image = render(rasterise(draw_layout(seed), 512, 256), appearance, seed)
            cv2.imencode(".png", image[..., ::-1])

        drawn = render(rasterise(draw_layout(0), 512, 256), appearance, 0)
        ways = {"ibnseg": draw, PEER: lambda image=drawn: cv2.imencode(".png", image[..., ::-1])}
        times = alternately(ways, seconds=1)
        rows.append(compare(f"a street drawn at 512x256, {appearance}", times, PEER))
    return rows
