"""``ibnseg divergence``, ``ibnseg robustness`` and ``ibnseg imagenet``."""

from __future__ import annotations

import argparse

from ibnseg.commands import arguments


def divergence_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``divergence``."""
    arguments.add_runs(parser, "+")
    arguments.add_names(
        parser, "--domains", "two domains; or one, with --transform or --content", required=True
    )
    parser.add_argument(
        "--transform",
        metavar="NAME",
        help="compare the domain with itself in another look, e.g. RGB+50, R+50, 'std x1.5'",
    )
    parser.add_argument(
        "--content",
        metavar="CLASSES",
        help="compare images of the domain that have classes with all others, e.g. 'car and not "
        "person'",
    )
    parser.add_argument(
        "--min-share",
        type=arguments.percent,
        default=0.001,
        metavar="PERCENT",
        help="share of an image's pixels in percent that a class of --content must cover to count "
        "as present (default: 0.1)",
    )
    arguments.add_names(
        parser,
        "--layers",
        "modules, e.g. 'backbone.layer?' (default: the stem and every block)",
    )
    arguments.add_out(parser, "divergence")
    arguments.add_device(parser)
    arguments.add_data_root(parser)


def divergence(args: argparse.Namespace) -> None:
    """Measures the feature divergence of runs."""
    arguments.begin_with_runs(args)
    from ibnseg.analysis.divergence.measure import measure_divergence

    measure_divergence(
        args.runs,
        args.domains,
        args.out,
        transform=args.transform,
        content=args.content,
        min_share=args.min_share,
        layers=args.layers,
        roots=dict(args.data_root),
    )


def robustness_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``robustness``."""
    arguments.add_runs(parser, "+")
    arguments.add_domains(parser)
    arguments.add_out(parser, "robustness")
    arguments.add_names(parser, "--conditions", "only these, e.g. RGB+50,blur (default: all)")
    parser.add_argument(
        "--severities",
        type=arguments.numbers,
        default=[1, 2, 3, 4, 5],
        metavar="1,3,5",
        help="severities of the conditions (default: 1,2,3,4,5)",
    )
    parser.add_argument(
        "--look",
        type=arguments.paths,
        default=[],
        metavar="A,B",
        help="domains, or folders of images, whose look the images are given",
    )
    parser.add_argument(
        "--protocol", default="native", metavar="NAME", help="test protocol (default: native)"
    )
    arguments.add_device(parser)
    arguments.add_data_root(parser)
    arguments.add_class_map(parser)


def robustness(args: argparse.Namespace) -> None:
    """Measures the mIoU of runs when scenes look different."""
    arguments.begin_with_runs(args, [args.protocol], dict(args.class_map) or None)
    from ibnseg.analysis.robustness.measure import measure_robustness

    measure_robustness(
        args.runs,
        args.domains,
        args.out,
        conditions=args.conditions,
        severities=args.severities,
        looks=args.look,
        protocol=args.protocol,
        roots=dict(args.data_root),
        class_maps=dict(args.class_map) or None,
    )


def imagenet_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``imagenet``."""
    parser.add_argument(
        "model", metavar="MODEL", help="a network of the paper, e.g. resnet50_ibn_a"
    )
    arguments.add_folder(
        parser, "folder", metavar="FOLDER", help="images, in a sub-folder for each class"
    )
    arguments.add_file(
        parser,
        "--checkpoint",
        metavar="PATH_OR_URL",
        help="weights (default: the published ones)",
    )
    arguments.add_folder(
        parser,
        "--styled",
        metavar="FOLDER",
        help="stylised images, in sub-folders of the same names",
    )
    arguments.add_folder(
        parser,
        "--out",
        metavar="DIR",
        help="where results go (default: work_dirs/imagenet/MODEL)",
    )
    parser.add_argument(
        "--batch",
        type=arguments.count(1),
        default=64,
        metavar="N",
        help="images that go through the network at a time (default: 64)",
    )
    parser.add_argument(
        "--workers",
        type=arguments.count(0),
        default=4,
        metavar="N",
        help="processes that read images, at most one a core (default: 4)",
    )
    arguments.add_device(parser)


def imagenet(args: argparse.Namespace) -> None:
    """Measures a classifier's ImageNet errors."""
    arguments.begin_with_device(args)
    from ibnseg.analysis.imagenet.measure import measure_imagenet

    measure_imagenet(
        args.model,
        args.folder,
        checkpoint=args.checkpoint,
        styled=args.styled,
        out=args.out,
        batch=args.batch,
        workers=args.workers,
    )
