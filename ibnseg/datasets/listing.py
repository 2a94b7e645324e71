"""The tables of classes, for the terminal and as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ibnseg.datasets.class_tables import (
    ITSELF,
    ClassTable,
    LabelledClass,
    class_table_names,
    classes_of,
)


def list_datasets() -> str:
    """Lists the datasets whose classes are known: how many there are, the maps, and the source."""
    rows = []
    for name in class_table_names():
        table = classes_of(name)
        maps = ", ".join(table.maps)
        rows.append([name, str(len(table.rows)), maps, table.title, table.source])
    return _text(("dataset", "classes", "maps", "title", "source"), rows)


def describe_classes(table: ClassTable, maps: Sequence[str]) -> str:
    """Lists the classes of a dataset, each with its id, its colour and what maps make of it.

    On a terminal, a block of the colour stands before its RGB values.

    Args:
        table: the classes.
        maps: the names of the maps that are shown.

    Raises:
        UserError: for a map that the table does not have.
    """
    train_ids = {name: _numbered(table.targets(name)) for name in maps}
    instances = any(each.has_instances for each in table.rows)
    rows = [
        [
            _id(each),
            each.name,
            _block(each.color),
            each.category,
            *(["yes" if each.has_instances else ""] if instances else []),
            *(train_ids[name].get(each.becomes[name], "") for name in maps),
        ]
        for each in table.rows
    ]
    columns = ("id", "name", "colour", "category", *(["instances"] if instances else []), *maps)
    lines = [_text(columns, rows), f"{table.title}. Source: {table.source}"]
    for name in maps:
        own = table.map(name)
        to = "" if own.target == ITSELF else f" (classes of {own.target})"
        lines.append(f"Map {name}{to}: {own.source}")
    return "\n".join([*lines, *(f"Note: {note}" for note in table.notes)])


def classes_as_csv(table: ClassTable, maps: Sequence[str]) -> str:
    """Writes the classes of a dataset as CSV: one map as ``name,class``, and several with all
    columns.

    Args:
        table: the classes.
        maps: the names of the maps that are written.

    Raises:
        UserError: for a map that the table does not have.
    """
    for name in maps:
        table.map(name)
    out = StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    if len(maps) == 1:
        write(("name", "class"))
        for each in table.rows:
            write((each.name, each.becomes[maps[0]]))
        return out.getvalue().rstrip("\n")
    write(("id", "name", "color", "category", *maps))
    for each in table.rows:
        color = "" if each.color is None else "#" + bytes(each.color).hex()
        write((_id(each), each.name, color, each.category, *(each.becomes[m] for m in maps)))
    return out.getvalue().rstrip("\n")


def _numbered(classes: Sequence[str]) -> dict[str, str]:
    """Each class with its train id before its name."""
    return {name: f"{train_id:>2} {name}" for train_id, name in enumerate(classes)}


def _id(each: LabelledClass) -> str:
    return "" if each.id is None else str(each.id)


def _block(color: tuple[int, int, int] | None) -> Text:
    """RGB values, with a block of the colour before them, which only a terminal shows."""
    if color is None:
        return Text()
    values = Text(" ".join(f"{value:3}" for value in color))
    if not sys.stdout.isatty():
        return values
    return Text.assemble(("  ", f"on #{bytes(color).hex()}"), " ", values)


def _text(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> str:
    is_terminal = sys.stdout.isatty()
    table = Table(box=box.HORIZONTALS, pad_edge=False)
    for column in columns:
        right = column in ("id", "classes")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    console = Console(
        file=StringIO(),
        width=1000,
        force_terminal=is_terminal,
        color_system="truecolor" if is_terminal else None,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
