"""A whole network exported: torch, BN folded, ONNX Runtime, OpenVINO, and int8, in turn.

``python -m benchmarks onnx`` needs the extra ``[export]``. From images, (N, 3, H, W) uint8 RGB, to
the class of each pixel; the weights are random, which no time depends on.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.measure import alternately, compare
from benchmarks.table import line
from ibnseg.models.build import build_network
from ibnseg.models.fuse import fuse
from ibnseg.networks.formats import FORMATS
from ibnseg.networks.graph import Graph, traced
from ibnseg.networks.int8 import quantised
from ibnseg.networks.sessions import open_session
from ibnseg.support.files import config_folder

CONFIGS = {"IBN-Net18-a": "camvid_day2dusk_ibn18a", "IBN-Net50-a": "gta2city_ibn50a"}
SIZE = (256, 512)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks onnx", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=20, help="for all rounds of a network")
    args = parser.parse_args(arguments)
    init_default_scope("mmseg")
    print(line(("network", "threads", "way", "ms", "of torch (quartiles)")))
    print(line(["---", "---:", "---", "---:", "---:"]))
    for title, config in CONFIGS.items():
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
                times = alternately(ways(config, Path(folder)), args.seconds)
            for way in times:
                row = compare(title, times, "torch, float32", ours=way)
                ratio = f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
                print(line((title, str(threads), way, f"{row.ours:.0f}", ratio)), flush=True)
    return 0


def ways(config: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Returns the ways of predicting one image, by name.

    Args:
        config: the name of a config, whose network is built with random weights.
        folder: for the exported files.
    """
    model = Config.fromfile(config_folder() / f"{config}.py").model
    model.backbone.init_cfg = None
    torch.manual_seed(0)
    network = build_network(model).eval()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, *SIZE), np.uint8))
    plain = Graph(network, "rgb", "train-ids")
    fused = Graph(fuse(copy.deepcopy(network)), "rgb", "train-ids")
    graphs = {"torch, float32": plain, "torch, BN folded": fused}
    found = {name: partial(graph.eval(), images) for name, graph in graphs.items()}
    with torch.inference_mode(False):
        program = traced(fused, None, None)
        exact = FORMATS["onnx"].convert(program)
        rounded = quantised(exact, [images.numpy()])
    models = {"float32": exact, "int8": rounded}
    for precision, converted in models.items():
        for form in (FORMATS["onnx"], FORMATS["openvino"]):
            file = folder / f"{precision}{form.suffix}"
            form.save(converted, file, "{}")
            run = open_session(file).run
            name = {".onnx": "ONNX Runtime", ".xml": "OpenVINO"}[form.suffix]
            found[f"{name}, {precision}"] = partial(run, images, 0)
    return found
