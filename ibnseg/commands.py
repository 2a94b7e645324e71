"""The commands, each an entry of ``COMMANDS``: its words, its arguments, and what it runs.

Nothing here imports what is slow; a command does when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ibnseg.submission import TARGETS
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from ibnseg.support.stack import check_stack


@dataclass(frozen=True)
class Command:
    """A command of ``ibnseg``."""

    name: str
    description: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    go_on: str | None = None
    """How an interrupted command goes on, if it can."""


FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
"""What shells complete an argument with, in shtab's words."""


def config_names() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(path.stem for path in config_folder().glob("*.py"))


def _configs_and_files() -> dict:
    """Completion by config names, and by files."""
    names = " ".join(config_names())
    bash = f"""
_ibnseg_configs() {{
  compgen -W "{names}" -- "$1"
  _shtab_compgen_files "$1"
}}
"""
    zsh = f"""
_ibnseg_configs() {{
  _alternative 'configs:config:({names})' 'files:file:_files'
}}
"""
    return {
        "bash": "_ibnseg_configs",
        "zsh": "_ibnseg_configs",
        "tcsh": f"`echo {names} *`",
        "preamble": {"bash": bash, "zsh": zsh},
    }


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--seed", type=int, help="seed; the run lies in a folder seed<k>")
    _add_testing(parser)


def _train(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.engine import launch, run

    run.train(args.config, seed=args.seed, **_testing(args))
    launch.stop_processes()


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    _add_network(parser)
    parser.add_argument(
        "--resume", action="store_true", help="leave out what the results hold already"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean over six scales, as they are and flipped",
    )
    _add_options(parser)
    _add_testing(parser)


def _test(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.engine import launch, run

    run.test(args.network, args.checkpoint, tta=args.tta, **_testing(args))
    launch.stop_processes()


def _matrix_arguments(parser: argparse.ArgumentParser) -> None:
    _add_runs(parser, "*")
    parser.add_argument(
        "--metric",
        default="mIoU",
        help="mIoU (default), pixel_accuracy, a class, as car, or a way of counting the drivable "
        "area, as drivable_with_background",
    )
    parser.add_argument(
        "--protocol", type=_names, metavar="A,B", help="only these protocols, as native"
    )
    parser.add_argument("--domains", type=_names, metavar="A,B", help="only these test domains")
    parser.add_argument(
        "--format",
        choices=("terminal", "markdown", "latex", "csv", "json"),
        default="terminal",
        help="what is printed (default: terminal)",
    )
    parser.add_argument(
        "--published", action="store_true", help="with published numbers; all of them without RUN"
    )


def _matrix(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.report.formats import FORMATS
    from ibnseg.report.gather import gather

    report = gather(args.runs, args.metric, args.protocol, args.domains, args.published)
    print(FORMATS[args.format](report))
    if args.published and not report.has_published:
        print(f"ibnseg: nothing is published of {args.metric} for these domains", file=sys.stderr)


def _divergence_arguments(parser: argparse.ArgumentParser) -> None:
    _add_runs(parser, "+")
    parser.add_argument(
        "--domains",
        type=_names,
        required=True,
        metavar="A,B",
        help="two domains; or one, with --transform or --content",
    )
    parser.add_argument(
        "--transform",
        metavar="NAME",
        help="compare the domain with itself in another look: RGB+50, R+50, 'std x1.5'",
    )
    parser.add_argument(
        "--content",
        metavar="CLASSES",
        help="compare images of the domain that have classes with all others, as 'car and not "
        "person'",
    )
    parser.add_argument(
        "--min-share",
        type=_percent,
        default=0.001,
        metavar="PERCENT",
        help="of an image's pixels that a class of --content needs to be there (default: 0.1)",
    )
    parser.add_argument(
        "--layers",
        type=_names,
        metavar="A,B",
        help="modules, as 'backbone.layer?' (default: the stem and every block)",
    )
    _add_out(parser, "divergence")
    _add_data_root(parser)


def _divergence(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.analysis.divergence.measure import measure

    measure(
        args.runs,
        args.domains,
        args.out,
        transform=args.transform,
        content=args.content,
        min_share=args.min_share,
        layers=args.layers,
        roots=dict(args.data_root),
    )


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    _add_network(parser)
    images = parser.add_argument(
        "images", metavar="INPUT", help="folder of images or videos, or one of them"
    )
    images.complete = FILES
    _add_out(parser, "predictions")
    _add_options(parser)


def _predict(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.networks.folder import predict_folder

    predict_folder(args.network, args.checkpoint, args.images, args.out, options=args.cfg_options)


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument(
        "network",
        nargs="?",
        metavar="RUN|CONFIG",
        help="folder of a run; or a config, with a checkpoint",
    )
    network.complete = _configs_and_files()
    checkpoint = parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="the config's, or another one of a run"
    )
    checkpoint.complete = FILES
    parser.add_argument(
        "--to", required=True, choices=tuple(TARGETS), help="what the archive is for"
    )
    out = parser.add_argument(
        "--out", default="submission.zip", metavar="FILE", help="default: submission.zip"
    )
    out.complete = FILES
    checked = parser.add_argument(
        "--check", metavar="FILE", help="check an archive alone, without predicting"
    )
    checked.complete = FILES
    parser.add_argument(
        "--domain", help="whose images (default: the target's own domain); of the same layout"
    )
    parser.add_argument("--split", default="test", help="test (default) or val")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean over six scales, as they are and flipped",
    )
    _add_options(parser)
    _add_data_root(parser)


def _submit(args: argparse.Namespace) -> None:
    if not (args.check or args.network):
        raise UserError("submit: expected a run or config, or --check FILE")
    check_stack()
    from ibnseg.submission.submit import check, submit

    data = dict(domain=args.domain, split=args.split, roots=dict(args.data_root))
    if args.check:
        check(args.check, args.to, args.network, **data)
    else:
        submit(
            args.network,
            args.checkpoint,
            args.to,
            args.out,
            options=args.cfg_options,
            tta=args.tta,
            **data,
        )


STREET_LAYOUTS = ("gta5", "cityscapes", "drivable", "drivable-2018", "sem-seg", "sem-seg-2018")
"""How streets may lie on disk; what each is, ``ibnseg.streets.disk`` says."""


def _streets_arguments(parser: argparse.ArgumentParser) -> None:
    out = parser.add_argument("out", metavar="OUT", help="folder for streets_<appearance>/")
    out.complete = FOLDERS
    parser.add_argument("--train", type=int, default=400, help="images to train on (default: 400)")
    parser.add_argument("--val", type=int, default=100, help="images to test on (default: 100)")
    parser.add_argument(
        "--test", type=int, default=0, help="images without labels, to submit (default: 0)"
    )
    parser.add_argument(
        "--layout",
        choices=STREET_LAYOUTS,
        help="how they lie on disk (default: virtual as GTA5, the others as Cityscapes); drivable "
        "and sem-seg as BDD100K",
    )
    parser.add_argument(
        "--appearances", type=_names, metavar="A,B", help="as virtual,real (default: all six)"
    )
    parser.add_argument(
        "--size", type=_size, default=(512, 256), metavar="WxH", help="in pixels (default: 512x256)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the layouts, 0 to 999 (default: 0)")


def _streets(args: argparse.Namespace) -> None:
    from ibnseg.streets.appearance import APPEARANCES
    from ibnseg.streets.sheet import draw_streets_sheet
    from ibnseg.streets.write import write_streets

    counts = dict.fromkeys(args.appearances or APPEARANCES, (args.train, args.val, args.test))
    folders = write_streets(args.out, counts, layout=args.layout, size=args.size, seed=args.seed)
    sheet = Path(args.out) / "streets_sheet.png"
    draw_streets_sheet(sheet, list(counts), args.seed)
    print(f"Streets: {', '.join(map(str, folders))}; a look at them: {sheet}")


def _imagenet_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a network of the paper, as resnet50_ibn_a")
    folder = parser.add_argument(
        "folder", metavar="FOLDER", help="images, in a sub-folder for each class"
    )
    folder.complete = FOLDERS
    checkpoint = parser.add_argument(
        "--checkpoint", metavar="PATH_OR_URL", help="weights (default: the published ones)"
    )
    checkpoint.complete = FILES
    styled = parser.add_argument(
        "--styled", metavar="FOLDER", help="stylised images, in sub-folders of the same names"
    )
    styled.complete = FOLDERS
    out = parser.add_argument(
        "--out", metavar="DIR", help="where to (default: work_dirs/imagenet/MODEL)"
    )
    out.complete = FOLDERS
    parser.add_argument(
        "--batch",
        type=_count(1),
        default=64,
        metavar="N",
        help="images that go through the network at a time (default: 64)",
    )
    parser.add_argument(
        "--workers",
        type=_count(0),
        default=4,
        metavar="N",
        help="processes that read images, at most one a core (default: 4)",
    )


def _imagenet(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.analysis.imagenet import measure

    measure(
        args.model,
        args.folder,
        checkpoint=args.checkpoint,
        styled=args.styled,
        out=args.out,
        batch=args.batch,
        workers=args.workers,
    )


def _robustness_arguments(parser: argparse.ArgumentParser) -> None:
    _add_runs(parser, "+")
    parser.add_argument(
        "--domains", type=_names, metavar="A,B", help="domains to test on instead of the config's"
    )
    _add_out(parser, "robustness")
    parser.add_argument(
        "--conditions", type=_names, metavar="A,B", help="only these, as RGB+50,blur (default: all)"
    )
    parser.add_argument(
        "--severities",
        type=_numbers,
        default=[1, 2, 3, 4, 5],
        metavar="1,3,5",
        help="of the conditions (default: 1,2,3,4,5)",
    )
    parser.add_argument(
        "--look",
        type=_names,
        default=[],
        metavar="A,B",
        help="domains, or folders of images, whose look the images are given",
    )
    parser.add_argument(
        "--protocol", default="native", metavar="NAME", help="test protocol (default: native)"
    )
    _add_data_root(parser)


def _robustness(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.analysis.robustness.measure import robustness

    robustness(
        args.runs,
        args.domains,
        args.out,
        conditions=args.conditions,
        severities=args.severities,
        looks=args.look,
        protocol=args.protocol,
        roots=dict(args.data_root),
    )


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    _add_out(parser, "demo")
    parser.add_argument(
        "--seeds", type=_numbers, default=[0], metavar="0,1", help="of the trainings (default: 0)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute, to see that it works; numbers mean nothing"
    )


def _demo(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.demo import demo

    demo(args.out, args.seeds, args.quick)


def _suite_arguments(parser: argparse.ArgumentParser) -> None:
    suite = parser.add_argument(
        "suite", metavar="SUITE", help="evidence, table6 or table8; or a file with a list of runs"
    )
    suite.complete = FILES
    parser.add_argument(
        "--minutes",
        type=float,
        default=90,
        help="of this sitting (default: 90); 0 for as long as it takes",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the runs and how far they are, and do nothing"
    )
    parser.add_argument(
        "--task", type=int, metavar="K", help="do run K alone, as a job of an array"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="print a script that submits all as arrays of jobs"
    )
    _add_out(parser, "work_dirs/suites")
    _add_data_root(parser)


def _suite(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.experiments import suite

    if args.list:
        print(suite.listing(args.suite, args.out))
    elif args.slurm:
        print(suite.slurm(args.suite, args.out, dict(args.data_root)))
    else:
        minutes = args.minutes or None
        roots = dict(args.data_root)
        suite.suite(args.suite, out=args.out, minutes=minutes, task=args.task, roots=roots)


def _models_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _models(args: argparse.Namespace) -> None:
    check_stack()
    from ibnseg.models.listing import listing

    print(listing())


def _env_arguments(parser: argparse.ArgumentParser) -> None:
    _add_data_root(parser)


def _env(args: argparse.Namespace) -> None:
    from ibnseg.support.environment import describe_environment

    print(describe_environment(dict(args.data_root)))


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def _completion(args: argparse.Namespace) -> None:
    import shtab

    from ibnseg.cli import build_parser

    print(shtab.complete(build_parser(), args.shell))


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            "Train a network, then test it on every domain of the config.",
            "ibnseg train gta2city_ibn50a --data-root gta5=/data/gta5,cityscapes=/data/cityscapes",
            _train_arguments,
            _train,
            go_on="the same command with --resume",
        ),
        Command(
            "test",
            "Test a network on every domain of its config, or on others, by one or more protocols.",
            "ibnseg test work_dirs/gta2city_ibn50a --protocol native,rein --domains cityscapes",
            _test_arguments,
            _test,
            go_on="the same command with --resume",
        ),
        Command(
            "matrix",
            "Compare runs: train domains and networks by test domains, with intervals.",
            "ibnseg matrix work_dirs/gta2city_r50/seed0 work_dirs/gta2city_ibn50a/seed0 "
            "--format markdown",
            _matrix_arguments,
            _matrix,
        ),
        Command(
            "divergence",
            "Measure where in networks two domains differ, layer by layer, and plot it.",
            "ibnseg divergence work_dirs/gta2city_r50 work_dirs/gta2city_ibn50b "
            "--domains gta5,cityscapes",
            _divergence_arguments,
            _divergence,
        ),
        Command(
            "predict",
            "Write label maps and overlays for images and videos.",
            "ibnseg predict work_dirs/gta2city_ibn50a photos/",
            _predict_arguments,
            _predict,
            go_on="the same command again",
        ),
        Command(
            "submit",
            "Predict a test split and write the archive that a benchmark's server takes, checked.",
            "ibnseg submit work_dirs/drivable_ibn50a --to bdd100k-drivable --out submission.zip",
            _submit_arguments,
            _submit,
            go_on="the same command again",
        ),
        Command(
            "imagenet",
            "Measure a network's ImageNet errors, as they are and with colours and contrast "
            "changed.",
            "ibnseg imagenet resnet50_ibn_b imagenet/val --styled imagenet/val_monet",
            _imagenet_arguments,
            _imagenet,
            go_on="the same command again",
        ),
        Command(
            "robustness",
            "Measure what runs lose when scenes look different: colours, noise, blur, other "
            "domains' looks.",
            "ibnseg robustness work_dirs/gta2city_r50 work_dirs/gta2city_ibn50a "
            "--domains gta5,cityscapes --out robustness",
            _robustness_arguments,
            _robustness,
            go_on="the same command again",
        ),
        Command(
            "demo",
            "Draw streets, train three networks on one look of them and test them on six.",
            "ibnseg demo",
            _demo_arguments,
            _demo,
            go_on="the same command again",
        ),
        Command(
            "streets",
            "Draw street scenes with labels, as GTA5, Cityscapes or BDD100K lie on disk.",
            "ibnseg streets data --appearances virtual,real --train 400 --val 100",
            _streets_arguments,
            _streets,
            go_on="the same command again",
        ),
        Command(
            "suite",
            "Work off a list of runs: what is finished is left, what was begun goes on.",
            "ibnseg suite evidence --minutes 90",
            _suite_arguments,
            _suite,
            go_on="the same command again",
        ),
        Command(
            "models",
            "List the published ImageNet checkpoints.",
            "ibnseg models",
            _models_arguments,
            _models,
        ),
        Command(
            "env",
            "Print versions, devices and where the data is, for a bug report.",
            "ibnseg env",
            _env_arguments,
            _env,
        ),
        Command(
            "completion",
            "Print a script with which a shell completes these commands.",
            'eval "$(ibnseg completion bash)"',
            _completion_arguments,
            _completion,
        ),
    )
}


def _add_config(parser: argparse.ArgumentParser) -> None:
    config = parser.add_argument("config", help="path of a config, or name of one of the package's")
    config.complete = _configs_and_files()
    _add_options(parser)


def _add_network(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument(
        "network", metavar="RUN|CONFIG", help="folder of a run; or a config, with a checkpoint"
    )
    network.complete = _configs_and_files()
    checkpoint = parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="the config's, or another one of a run"
    )
    checkpoint.complete = FILES


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="changes to the config, as batch=8 model.backbone.depth=101",
    )


def _add_out(parser: argparse.ArgumentParser, default: str) -> None:
    out = parser.add_argument(
        "--out", default=default, metavar="DIR", help=f"where to (default: {default})"
    )
    out.complete = FOLDERS


def _add_runs(parser: argparse.ArgumentParser, least: str) -> None:
    runs = parser.add_argument("runs", nargs=least, metavar="RUN", help="folders of runs")
    runs.complete = FOLDERS


def _add_data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-root",
        type=_roots,
        action="extend",
        default=[],
        metavar="NAME=PATH,...",
        help="where a domain's data lies (otherwise: $IBNSEG_DATA/<name>, then data/<name>)",
    )


def _add_testing(parser: argparse.ArgumentParser) -> None:
    _add_data_root(parser)
    parser.add_argument(
        "--domains", type=_names, metavar="A,B", help="domains to test on instead of the config's"
    )
    parser.add_argument(
        "--protocol",
        type=_names,
        metavar="A,B",
        help="test protocols: native, paper, robustnet, rein, soma, short1024",
    )
    work_dir = parser.add_argument(
        "--work-dir",
        help="the run's folder (default: work_dirs/<config>, with seed<k> below it if given; for a "
        "test the checkpoint's run)",
    )
    work_dir.complete = FOLDERS


def _testing(args: argparse.Namespace) -> dict:
    return dict(
        options=args.cfg_options,
        roots=dict(args.data_root),
        domains=args.domains,
        protocols=args.protocol,
        work_dir=args.work_dir,
        resume=args.resume,
    )


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if not names:
        raise argparse.ArgumentTypeError(f"'{text}': expected names, as A,B")
    return names


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(number) for number in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected whole numbers, as 0,1,2") from None
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"'{text}': expected different numbers, 0 or more")
    return numbers


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"'{text}': expected a whole number, {least} or more")
        return int(text)

    return count


def _percent(text: str) -> float:
    """A share in [0, 1], of a percentage."""
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"'{text}': expected a percentage, 0 to 100")
    return percent / 100


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}': expected WxH, as 512x256")
    return int(width), int(height)


def _roots(text: str) -> list[tuple[str, str]]:
    pairs = [pair.split("=", 1) for pair in _names(text)]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=PATH")
    return [(name, path) for name, path in pairs]
