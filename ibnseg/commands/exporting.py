"""``ibnseg export``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ibnseg.commands import arguments
from ibnseg.support.errors import UserError

if TYPE_CHECKING:  # the help of the commands needs no NumPy
    import numpy as np

FORMATS = ("onnx", "openvino", "torch")
INPUTS = ("rgb", "normalised")
OUTPUTS = ("train-ids", "full-logits", "logits")
"""The names in ``ibnseg.networks.formats`` and ``ibnseg.networks.graph``, whose import takes
seconds; a test compares them."""


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``export``."""
    arguments.add_network(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--full",
        action="store_true",
        help="a checkpoint with all weights, those of a frozen backbone included",
    )
    what.add_argument(
        "--to",
        choices=FORMATS,
        help="a file for other programs (.onnx, .xml or .pt2), compared with torch",
    )
    arguments.add_file(parser, "--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--input",
        choices=INPUTS,
        help="what the file takes: rgb, uint8 images that it normalises itself (default), or "
        "normalised float32 images",
    )
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        help="what the file gives: train-ids, the class of each pixel (default), full-logits of "
        "each pixel, or logits at the head's resolution",
    )
    parser.add_argument(
        "--size", type=arguments.size, metavar="WxH", help="the size of images (default: any)"
    )
    parser.add_argument(
        "--batch", type=arguments.count(1), metavar="N", help="the number of images (default: any)"
    )
    arguments.add_folder(
        parser,
        "--images",
        metavar="DIR",
        help="images to compare file and torch on (default: those of a test domain whose data is "
        "there, else drawn streets)",
    )
    arguments.add_folder(
        parser,
        "--int8",
        metavar="DIR",
        help="compute in int8, calibrated on these images (onnx and openvino)",
    )
    parser.add_argument(
        "--cost", metavar="DOMAIN", help="measure the mIoU in float32 and in int8 on a domain"
    )
    arguments.add_data_root(parser)
    arguments.add_device(parser)
    arguments.add_options(parser)


def export(args: argparse.Namespace) -> None:
    """Writes a network as one file."""
    _require_fitting(args)
    arguments.begin_with_network(args)
    from ibnseg.networks.export import export_network, export_weights

    if args.full:
        export_weights(args.network, args.checkpoint, args.out, options=args.cfg_options)
        return
    chosen = dict(takes=args.input, gives=args.output, size=args.size and args.size[::-1])
    export_network(
        args.network,
        args.checkpoint,
        args.to,
        args.out,
        options=args.cfg_options,
        batch=args.batch,
        images=args.images,
        int8=args.int8,
        cost=args.cost,
        roots=dict(args.data_root),
        drawn=_streets,
        **{name: value for name, value in chosen.items() if value is not None},
    )


def _require_fitting(args: argparse.Namespace) -> None:
    """Refuses arguments that the kind of file does not have."""
    if args.size and min(args.size) < 1:
        raise UserError("--size: expected a width and height of at least 1")
    names = ("input", "output", "size", "batch", "images", "int8", "cost", "data_root")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]
    if args.full and given:
        raise UserError(f"export: {', '.join(given)} cannot be used with --full, only with --to")


def _streets(count: int) -> Iterator[np.ndarray]:
    """Draws street scenes, (256, 512, 3) uint8, RGB."""
    from ibnseg.streets.layout import draw_layout
    from ibnseg.streets.raster import rasterise
    from ibnseg.streets.render import render

    for seed in range(count):
        yield render(rasterise(draw_layout(seed), 512, 256), "real", seed)
