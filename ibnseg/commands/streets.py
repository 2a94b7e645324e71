"""``ibnseg streets`` and ``ibnseg demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ibnseg.commands import arguments
from ibnseg.support.stack import check_stack
from ibnseg.support.terminal import say


def streets_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``streets``."""
    from ibnseg.streets.disk import LAYOUTS_ON_DISK

    arguments.add_folder(parser, "out", metavar="OUT", help="folder for streets_<appearance>/")
    parser.add_argument("--train", type=int, default=400, help="images to train on (default: 400)")
    parser.add_argument("--val", type=int, default=100, help="images to test on (default: 100)")
    parser.add_argument(
        "--test", type=int, default=0, help="images without labels, to submit (default: 0)"
    )
    parser.add_argument(
        "--layout",
        choices=tuple(LAYOUTS_ON_DISK),
        help="layout on disk (default: GTA5's for virtual, Cityscapes' for the others); drivable "
        "and sem-seg are BDD100K's",
    )
    arguments.add_names(
        parser, "--appearances", "the looks to draw, e.g. virtual,real (default: all six)"
    )
    parser.add_argument(
        "--size",
        type=arguments.size,
        default=(512, 256),
        metavar="WxH",
        help="size of the images in pixels (default: 512x256)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the streets, 0 to 999 (default: 0)"
    )


def streets(args: argparse.Namespace) -> None:
    """Draws streets and a sheet that shows some of them."""
    from ibnseg.streets.render import APPEARANCES
    from ibnseg.streets.sheet import draw_streets_sheet
    from ibnseg.streets.write import write_streets

    counts = dict.fromkeys(args.appearances or APPEARANCES, (args.train, args.val, args.test))
    folders = write_streets(args.out, counts, layout=args.layout, size=args.size, seed=args.seed)
    sheet = Path(args.out) / "streets_sheet.png"
    draw_streets_sheet(sheet, list(counts), args.seed)
    say(f"Streets: {', '.join(map(str, folders))}; some of them: {sheet}")


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``demo``."""
    arguments.add_out(parser, "demo")
    parser.add_argument(
        "--seeds",
        type=arguments.numbers,
        default=[0],
        metavar="0,1",
        help="seeds of the trainings (default: 0)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute, to see that it works; numbers mean nothing"
    )


def demo(args: argparse.Namespace) -> None:
    """Runs the demo."""
    check_stack()
    from ibnseg.demo import demo

    demo(args.out, args.seeds, args.quick)
