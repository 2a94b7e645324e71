"""What several commands share: their arguments, the types of the values, and how they begin."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence

from ibnseg.networks.kinds import KINDS
from ibnseg.runs.kinds import PRECISIONS
from ibnseg.support.configs import config_files
from ibnseg.support.stack import check_stack

FORMS = ", ".join(kind.form for kind in KINDS)
"""How networks that were not trained here are named, for help."""

FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
"""What shells complete an argument with, in shtab's words."""


def configs_and_files() -> dict:
    """Returns what completes an argument with the names of configs and with files, by shell."""
    plain = re.compile(r"[\w.+-]+")  # others would be read as commands by the shell
    names = " ".join(name for name in sorted(config_files()) if plain.fullmatch(name))
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


# ---- arguments ---------------------------------------------------------------------------------


def add_file(parser: argparse.ArgumentParser, name: str, **kwargs: object) -> None:
    """Adds an argument that shells complete with files; ``kwargs`` are argparse's."""
    parser.add_argument(name, type=path, **kwargs).complete = FILES


def add_folder(parser: argparse.ArgumentParser, name: str, **kwargs: object) -> None:
    """Adds an argument that shells complete with folders; ``kwargs`` are argparse's."""
    parser.add_argument(name, type=path, **kwargs).complete = FOLDERS


def add_names(
    parser: argparse.ArgumentParser,
    name: str,
    help: str,
    offered: Sequence[str] = (),
    **kwargs: object,
) -> None:
    """Adds an option that takes names between commas; ``offered`` are those that shells complete
    the first with, and ``kwargs`` are argparse's."""
    option = parser.add_argument(name, type=names, metavar="A,B", help=help, **kwargs)
    if offered:
        words = " ".join(offered)
        option.complete = {
            "bash": f"_ibnseg{name.replace('-', '_')}",
            "zsh": f"({words})",
            "tcsh": f"({words})",
            "preamble": {
                "bash": f'_ibnseg{name.replace("-", "_")}() {{ compgen -W "{words}" -- "$1"; }}'
            },
        }


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds CONFIG and ``--cfg-options``."""
    config = parser.add_argument("config", type=path, help="path of a config, or the name of one")
    config.complete = configs_and_files()
    add_options(parser)


def add_network(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Adds what names a network: RUN, or CONFIG and CHECKPOINT."""
    network = parser.add_argument(
        "network",
        nargs=nargs,
        type=path,
        metavar="NETWORK",
        help=f"folder of a run; a config, with a checkpoint; or {FORMS}",
    )
    network.complete = configs_and_files()
    add_file(
        parser,
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="weights for the config; or another checkpoint of the run than the one it tested",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="changes to the config, e.g. batch=8 model.backbone.depth=101",
    )


def add_out(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds ``--out``, a folder."""
    add_folder(
        parser,
        "--out",
        default=default,
        metavar="DIR",
        help=f"where results go (default: {default})",
    )


def add_runs(parser: argparse.ArgumentParser, nargs: str) -> None:
    """Adds RUN, several of them."""
    add_folder(parser, "runs", nargs=nargs, metavar="RUN", help=f"folders of runs; or {FORMS}")


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Adds ``--data-root``."""
    parser.add_argument(
        "--data-root",
        type=roots,
        action="extend",
        default=[],
        metavar="NAME=PATH,...",
        help="where a domain's data lies (otherwise: $IBNSEG_DATA/<name>, then data/<name>)",
    )


def add_class_map(parser: argparse.ArgumentParser) -> None:
    """Adds ``--class-map``."""
    parser.add_argument(
        "--class-map",
        type=roots,
        action="extend",
        default=[],
        metavar="DOMAIN=FILE,...",
        help="what the classes of a domain's dataset become, from a file with NAME,CLASS in each "
        "line (ibnseg classes DATASET --map NAME --format csv prints one)",
    )


def add_domains(parser: argparse.ArgumentParser) -> None:
    """Adds ``--domains``, which replaces the test domains of a config."""
    add_names(parser, "--domains", "domains to test on instead of the config's")


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tta``."""
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean over six scales, each as it is and flipped",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device``."""
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:1 or mps (default: the GPU if there is one)",
    )


def add_inference(parser: argparse.ArgumentParser) -> None:
    """Adds how a trained network predicts: ``--device``, ``--batch`` and ``--precision``."""
    add_device(parser)
    parser.add_argument(
        "--batch",
        type=count(1),
        default=1,
        metavar="N",
        help="images that go through the network at a time, if their sizes are equal (default: 1)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="float32 (default), or bfloat16, which is faster on many devices, and less exact",
    )


# ---- how a command begins ----------------------------------------------------------------------


def begin_with_network(args: argparse.Namespace, *, maps: bool = False) -> None:
    """Checks what can be checked before torch is imported, then chooses the device.

    Args:
        args: those of :func:`add_network` and :func:`add_device`.
        maps: whether label maps will do in place of a network.

    Raises:
        UserError: for upstream's OpenMMLab packages, a network that is not there, and a device that
            torch does not see.
    """
    from ibnseg.networks.sources import require

    check_stack()
    require(args.network, args.checkpoint, maps=maps)
    _use_device(args)


def begin_with_runs(
    args: argparse.Namespace,
    protocols: Sequence[str] | None = None,
    class_maps: Mapping[str, str] | None = None,
) -> None:
    """Does what :func:`begin_with_network` does, for the runs of :func:`add_runs`, and checks the
    names of domains and protocols, class maps, and that the data of the domains is there."""
    check_stack()
    from ibnseg.networks.sources import check_testing, require_runs

    require_runs(args.runs)
    data = dict(
        roots=dict(args.data_root),
        domains=args.domains,
        protocols=protocols,
        class_maps=class_maps,
    )
    check_testing(args.runs[0], **data)
    _use_device(args)


def begin_with_device(args: argparse.Namespace) -> None:
    """Does what :func:`begin_with_network` does, for a command that finds its network itself."""
    check_stack()
    _use_device(args)


def _use_device(args: argparse.Namespace) -> None:
    from ibnseg.support.device import use_device

    use_device(args.device)


# ---- types of values ---------------------------------------------------------------------------


def path(text: str) -> str:
    """Reads a path, in which ``~`` is the home folder; an address or a name stays as it is."""
    return os.path.expanduser(text)


def paths(text: str) -> list[str]:
    """Reads paths or names between commas, one at least."""
    return [path(name) for name in names(text)]


def names(text: str) -> list[str]:
    """Reads names between commas, one at least."""
    found = [name for name in text.split(",") if name]
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}': expected names, e.g. A,B")
    return found


def numbers(text: str) -> list[int]:
    """Reads different whole numbers between commas, each 0 or more."""
    try:
        found = [int(number) for number in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected whole numbers, e.g. 0,1,2") from None
    if min(found) < 0 or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"'{text}': expected different numbers, 0 or more")
    return found


def count(least: int) -> Callable[[str], int]:
    """Returns a function that reads a whole number of at least ``least``."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"'{text}': expected a whole number, {least} or more")
        return int(text)

    return parse


def percent(text: str) -> float:
    """Reads a percentage, 0 to 100, as a fraction in [0, 1]."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise argparse.ArgumentTypeError(f"'{text}': expected a percentage, 0 to 100")
    return found / 100


def size(text: str) -> tuple[int, int]:
    """Reads (width, height) from ``WxH``."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}': expected WxH, e.g. 512x256")
    return int(width), int(height)


def roots(text: str) -> list[tuple[str, str]]:
    """Reads (name, path) pairs from ``NAME=PATH,...``."""
    pairs = [pair.split("=", 1) for pair in names(text)]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=PATH")
    return [(name, path(folder)) for name, folder in pairs]
