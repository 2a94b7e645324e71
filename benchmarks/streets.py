"""How fast streets are drawn on one core: ``python benchmarks/streets.py``.

Asked for: 10 images a second at 512x256, from the seed to the PNG.
"""

from __future__ import annotations

from time import perf_counter

import cv2

from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import APPEARANCES, render

LAYOUTS = range(40)


def main() -> None:
    cv2.setNumThreads(0)
    render(rasterise(draw_layout(0), 512, 256), "real", 0)  # the first one makes the tiles
    render(rasterise(draw_layout(0), 512, 256), "virtual", 0)
    for appearance in APPEARANCES:
        spent = dict.fromkeys(("layout", "raster", "render", "png"), 0.0)
        for seed in LAYOUTS:
            start = perf_counter()
            scene = draw_layout(seed)
            drawn = perf_counter()
            raster = rasterise(scene, 512, 256)
            seen = perf_counter()
            image = render(raster, appearance, seed)
            looked = perf_counter()
            cv2.imencode(".png", image[..., ::-1])
            ends = (drawn, seen, looked, perf_counter())
            for name, end in zip(spent, ends, strict=True):
                spent[name] += end - start
                start = end
        parts = ", ".join(f"{name} {1000 * t / len(LAYOUTS):.0f} ms" for name, t in spent.items())
        print(f"{appearance:8} {len(LAYOUTS) / sum(spent.values()):5.1f} images/s ({parts})")


if __name__ == "__main__":
    main()
