"""``ibnseg runs``, ``models``, ``classes``, ``env`` and ``completion``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ibnseg.commands import arguments
from ibnseg.support.errors import UserError
from ibnseg.support.stack import check_stack
from ibnseg.support.terminal import say


def runs_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``runs``."""
    arguments.add_folder(
        parser,
        "folder",
        nargs="?",
        default="work_dirs",
        metavar="FOLDER",
        help="where to look, in subfolders too (default: work_dirs)",
    )


def runs(args: argparse.Namespace) -> None:
    """Prints a line for each run."""
    from ibnseg.runs.listing import list_runs

    say(list_runs(args.folder))


def models_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: ``models`` has no arguments."""


def models(args: argparse.Namespace) -> None:
    """Prints the published checkpoints."""
    check_stack()
    from ibnseg.models.listing import listing

    print(listing())


def classes_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``classes``."""
    parser.add_argument(
        "dataset", nargs="?", metavar="DATASET", help="its classes (default: a list of datasets)"
    )
    parser.add_argument(
        "--map", metavar="NAME", help="only what this map makes of them (default: all maps)"
    )
    parser.add_argument(
        "--format",
        choices=("table", "csv"),
        default="table",
        help="table (default), or csv; with --map, csv has only the columns name and class",
    )


def classes(args: argparse.Namespace) -> None:
    """Prints the datasets, or the classes of one with their ids, colours and maps."""
    from ibnseg.datasets.class_tables import classes_of
    from ibnseg.datasets.listing import classes_as_csv, describe_classes, list_datasets

    if args.dataset is None:
        if args.map or args.format != "table":
            raise UserError("--map and --format are of one dataset; name it, e.g. mapillary")
        print(list_datasets())
        return
    table = classes_of(args.dataset)
    write = describe_classes if args.format == "table" else classes_as_csv
    print(write(table, [args.map] if args.map else list(table.maps)))


def env_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``env``."""
    arguments.add_data_root(parser)


def env(args: argparse.Namespace) -> None:
    """Prints versions, devices, and where the data and prepared data are."""
    from ibnseg.datasets.store import VARIABLE, describe_prepared
    from ibnseg.support.environment import aligned, devices, versions

    prepared = {VARIABLE: describe_prepared()}
    say(aligned([versions(), devices(), domains(dict(args.data_root)), prepared]))


def domains(roots: Mapping[str, str]) -> dict[str, str]:
    """Returns where the data of each packaged domain is, or was looked for, by the domain's name.

    Raises:
        UserError: for a name in ``roots`` that no domain has.
    """
    try:
        check_stack()
    except UserError as error:
        return {"domains": str(error)}
    from ibnseg.datasets.domain import Domains

    domains = Domains()
    known = {name: domains[name] for name in domains}
    domains.check_roots(roots, known.values())
    found = {}
    for name, domain in known.items():
        tried = [place.absolute() for place in domain.places(roots)]
        there = next((place for place in tried if place.is_dir()), None)
        found[name] = str(there or f"not found: no folder {' nor '.join(map(str, tried))}")
    return found


def completion_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``completion``."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def completion(args: argparse.Namespace) -> None:
    """Prints the script that makes a shell complete the commands."""
    import shtab

    print(shtab.complete(args.build_parser(), args.shell))
