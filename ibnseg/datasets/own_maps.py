"""Class maps of one's own: files that say what each class of a dataset becomes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ibnseg.datasets.class_tables import IGNORE, ClassTable, LabelledClass
from ibnseg.support.errors import UserError, unknown_name

HEADER = ["name", "class"]
"""The first line of a file, which may be left out."""

FORM = (
    "NAME,CLASS in each line: a class of the dataset by name or id, and what it becomes, or nothing"
)


def read_own_map(path: Path) -> dict[str, str]:
    """Reads what the classes of a dataset become: a line for each, ``NAME,CLASS``, where the class
    is empty for what is ignored. Empty lines and those that begin with ``#`` are left out.

    Returns:
        The text of ``CLASS`` by that of ``NAME``; neither is looked up.

    Raises:
        UserError: if the file cannot be read, or a line of it is wrong; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"class map {path}: cannot be read ({error})") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) != len(HEADER) or not cells[0]:
            raise UserError(f"{path}, line {number}: {line!r:.60}, expected {FORM}")
        if not found and cells == HEADER:
            continue
        if cells[0] in found:
            raise UserError(f"{path}, line {number}: '{cells[0]}' is on an earlier line already")
        found[cells[0]] = cells[1]
    if not found:
        raise UserError(f"{path}: has no lines, expected {FORM}")
    return found


def apply_own_map(
    own: Mapping[str, str], table: ClassTable, classes: Sequence[str]
) -> tuple[dict[int, int], dict[tuple[int, int, int], int]]:
    """Makes the tables of ids and colours that a map of one's own stands for.

    Args:
        own: from :func:`read_own_map`.
        table: the classes of the dataset.
        classes: those of the domain, in order of train id.

    Returns:
        The train ids, or ``IGNORE``, by id and by RGB colour; colours only if the dataset's labels
        have no ids.

    Raises:
        UserError: for a name that the dataset or the domain does not have (it names the nearest
            ones), and for a class of the dataset that is missing or is given twice.
    """
    train_ids = {"": IGNORE, **{name: i for i, name in enumerate(classes)}}
    becomes: dict[str, int] = {}
    for name, to in own.items():
        row = _row(name, table)
        if to not in train_ids:
            raise unknown_name(f"class that the class map makes of '{name}'", to, classes)
        if row.name in becomes:
            raise UserError(f"class map of {table.name}: '{row.name}' is given by name and by id")
        becomes[row.name] = train_ids[to]
    missing = [name for name in table.names if name not in becomes]
    if missing:
        raise UserError(
            f"class map of {table.name}: lacks {len(missing)} of {len(table.rows)} classes, e.g. "
            f"'{missing[0]}'; add a line for each ('{missing[0]},' to ignore it; "
            f"ibnseg classes {table.name} lists them)"
        )
    ids = {row.id: becomes[row.name] for row in table.rows if row.id is not None}
    colors = {row.color: becomes[row.name] for row in table.rows if row.id is None}
    return ids, colors


def _row(name: str, table: ClassTable) -> LabelledClass:
    for row in table.rows:
        if row.name == name:
            return row
    for row in table.rows:
        if row.id is not None and str(row.id) == name:
            return row
    raise unknown_name(f"class of {table.name} in the class map", name, table.names)
