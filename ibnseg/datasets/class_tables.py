"""The classes of a dataset as data: ids, names, colours, and what each map makes of them. A table
is a file of ``ibnseg/datasets/classes/``, named for its dataset.

The first lines of a file say what it holds, each as ``# KEY: TEXT``:

    # title: Mapillary Vistas 1.2
    # source: where ids, names and colours are from
    # note: what else has to be known; there may be several
    # map cityscapes to cityscapes: where this map is from

Then come the classes, one a line, as CSV with the columns ``id``, ``name``, ``color``
(``#rrggbb``), ``category``, ``instances`` (``yes`` or ``no``; it may be left out), and one for each
map. A map's column holds the name of the class that a class becomes; it is empty for what is
ignored. The classes of ``map NAME to TABLE`` are those of that table's ``map NAME to itself``; the
place of a class among them is its train id. Labels stored as RGB have colours and no ids. A file
with ``# same as: TABLE`` has the classes and maps of another.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ibnseg.support.errors import UserError, unknown_name

FOLDER = Path(__file__).parent / "classes"
"""Where the tables are."""

IGNORE = 255
"""The train id of pixels that are neither trained on nor counted."""

ITSELF = "itself"
"""The target of the map that defines a table's own classes."""

_COLUMNS = ("id", "name", "color", "category")
_INSTANCES = "instances"
_HEADER = re.compile(r"#\s*(?P<key>[^:]+?)\s*:\s*(?P<text>.+?)\s*$")
_MAP = re.compile(r"map (?P<name>\S+) to (?P<target>\S+)")


class LabelledClass(NamedTuple):
    """One class of a dataset."""

    id: int | None
    """The value in the labels, 0 to 255; None if they are stored as RGB."""
    name: str
    color: tuple[int, int, int] | None
    """RGB, or None if the source gives none."""
    category: str
    """A coarser class, as the dataset names it; empty if it has none."""
    has_instances: bool
    """Whether the labels give each object of the class a number of its own."""
    becomes: Mapping[str, str]
    """The class that each map makes of it; an empty text for none."""


class ClassMap(NamedTuple):
    """A map from the classes of a dataset to those of a class set."""

    name: str
    target: str
    """The name of the table whose classes it maps to."""
    source: str


@dataclass(frozen=True)
class ClassTable:
    """The classes of a dataset and the maps that are in use for them."""

    name: str
    title: str
    source: str
    notes: tuple[str, ...]
    maps: Mapping[str, ClassMap]
    rows: tuple[LabelledClass, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all classes, in the order of the file."""
        return tuple(row.name for row in self.rows)

    def map(self, name: str) -> ClassMap:
        """The map of a name.

        Raises:
            UserError: if the table has none of that name (it names the nearest ones).
        """
        if name not in self.maps:
            raise unknown_name(f"class map of {self.name}", name, self.maps)
        return self.maps[name]

    def targets(self, name: str) -> tuple[str, ...]:
        """The classes that a map leads to, in order of train id.

        Raises:
            UserError: if the table has no such map.
        """
        target = self.map(name).target
        if target != ITSELF:
            table = classes_of(target)
            own = [each.name for each in table.maps.values() if each.target == ITSELF]
            return table.targets(own[0])
        return tuple(dict.fromkeys(row.becomes[name] for row in self.rows if row.becomes[name]))

    def ids(self, name: str) -> dict[int, int]:
        """Maps the ids in the labels to train ids, or to :data:`IGNORE`.

        Args:
            name: the name of the map.

        Raises:
            UserError: if the table has no such map.
        """
        train_ids = self._train_ids(name)
        return {row.id: train_ids[row.becomes[name]] for row in self.rows if row.id is not None}

    def colors(self, name: str) -> dict[tuple[int, int, int], int]:
        """Maps the RGB colours in the labels to train ids, or to :data:`IGNORE`.

        Args:
            name: the name of the map.

        Raises:
            UserError: if the table has no such map, or if the map makes different classes of two
                that share a colour, so that it cannot be applied to colours.
        """
        train_ids, found, owners = self._train_ids(name), {}, {}
        for row in self.rows:
            if row.color is None:
                continue
            train_id = train_ids[row.becomes[name]]
            if found.setdefault(row.color, train_id) != train_id:
                raise UserError(
                    f"class map {name} of {self.name}: cannot be applied to colours, because "
                    f"'{owners[row.color]}' and '{row.name}' share one and become different classes"
                )
            owners.setdefault(row.color, row.name)
        return found

    def _train_ids(self, name: str) -> dict[str, int]:
        return {"": IGNORE, **{each: i for i, each in enumerate(self.targets(name))}}


def common_classes(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Finds the classes that two sets have in common by name; case, spaces, hyphens and underscores
    do not matter.

    Args:
        ours: the names of one set.
        theirs: the names of the other.

    Returns:
        The names of the first set that the second has too, in their order, each with its name in
        the second.
    """
    other = {_plain(name): name for name in theirs}
    return {name: other[_plain(name)] for name in ours if _plain(name) in other}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def class_table_names() -> tuple[str, ...]:
    """Lists the names of all tables."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))


@cache
def classes_of(name: str) -> ClassTable:
    """Returns the classes of a dataset.

    Args:
        name: one of :func:`class_table_names`.

    Raises:
        UserError: if there is none of that name (it names the nearest ones), or its file is wrong.
    """
    path = FOLDER / f"{name}.csv"
    if name not in class_table_names():
        raise unknown_name("table of classes", name, class_table_names())
    return read_class_table(path)


def read_class_table(path: Path) -> ClassTable:
    """Reads a table of classes from a file in the form that this module describes.

    Raises:
        UserError: if the file cannot be read, or a line of it is wrong; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table of classes ({error})") from error
    header, maps, notes = {}, {}, []
    for place, key, text in _header(path, lines):
        found = _MAP.fullmatch(key)
        if found:
            maps[found["name"]] = ClassMap(found["name"], found["target"], text)
        elif key == "note":
            notes.append(text)
        elif key in ("title", "source", "same as"):
            header[key] = text
        else:
            raise UserError(
                f"{place}: '{key}' is not a key, expected title, source, note, same as, or "
                "map NAME to TABLE"
            )
    missing = [key for key in ("title", "source") if key not in header]
    if missing:
        raise UserError(f"{path}: has no line '# {missing[0]}: ...'")
    if "same as" in header:
        return _same_as(path, lines, header, notes)
    rows = tuple(_rows(path, lines, maps))
    table = ClassTable(path.stem, header["title"], header["source"], tuple(notes), maps, rows)
    _require_targets(path, table)
    return table


def _header(path: Path, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Gives the place, the key and the text of each line that begins with ``#``."""
    for number, line in enumerate(lines, 1):
        if not line.startswith("#"):
            continue
        found = _HEADER.match(line)
        if not found:
            raise UserError(f"{path}, line {number}: expected '# KEY: TEXT', found {line!r:.60}")
        yield f"{path}, line {number}", found["key"], found["text"]


def _same_as(
    path: Path, lines: list[str], header: Mapping[str, str], notes: list[str]
) -> ClassTable:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            raise UserError(
                f"{path}, line {number}: has classes of its own, but the classes of "
                f"'{header['same as']}' are stated; expected one or the other"
            )
    other = classes_of(header["same as"])
    own = next((each for each in other.maps.values() if each.target == ITSELF), None)
    maps = dict(other.maps)
    if own is not None:
        maps[own.name] = own._replace(target=other.name)
    return replace(
        other,
        name=path.stem,
        title=header["title"],
        source=header["source"],
        notes=tuple(notes),
        maps=maps,
    )


def _rows(path: Path, lines: list[str], maps: Mapping[str, ClassMap]) -> Iterator[LabelledClass]:
    """Reads the classes; raises a UserError for the first line that is wrong."""
    body = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    cells = [(f"{path}, line {n}", next(csv.reader([line]))) for n, line in body]
    if not cells:
        raise UserError(f"{path}: lists no classes")
    place, columns = cells[0]
    expected = [*_COLUMNS, *([_INSTANCES] if _INSTANCES in columns else []), *maps]
    if columns != expected:
        raise UserError(
            f"{place}: has the columns {','.join(columns)}, expected {','.join(expected)}, where "
            "each map has a line '# map NAME to TABLE: ...' and a column"
        )
    if len(cells) == 1:
        raise UserError(f"{path}: lists no classes")
    seen: dict[object, str] = {}
    for place, values in cells[1:]:
        if len(values) != len(columns):
            raise UserError(f"{place}: has {len(values)} values, expected {len(columns)}")
        row = _row(place, dict(zip(columns, values, strict=True)), maps)
        for key in (row.id, row.name):
            if key is not None and key in seen:
                raise UserError(f"{place}: {key!r} is on {seen[key]} already")
            seen[key] = place.rpartition(", ")[2]
        yield row


def _row(place: str, values: Mapping[str, str], maps: Mapping[str, ClassMap]) -> LabelledClass:
    id_, color = values["id"], values["color"]
    if id_ and not (id_.isdecimal() and id_.isascii() and int(id_) <= 255):
        raise UserError(f"{place}: the id is '{id_}', expected 0 to 255, or nothing")
    if color and not re.fullmatch("#[0-9a-f]{6}", color):
        raise UserError(f"{place}: the color is '{color}', expected #rrggbb in lower case")
    if not id_ and not color:
        raise UserError(f"{place}: has neither id nor color, expected at least one of them")
    if not values["name"]:
        raise UserError(f"{place}: has no name")
    if values.get(_INSTANCES, "no") not in ("yes", "no"):
        raise UserError(f"{place}: instances is '{values[_INSTANCES]}', expected yes or no")
    return LabelledClass(
        id=int(id_) if id_ else None,
        name=values["name"],
        color=tuple(bytes.fromhex(color[1:])) if color else None,
        category=values["category"],
        has_instances=values.get(_INSTANCES) == "yes",
        becomes={name: values[name] for name in maps},
    )


def _require_targets(path: Path, table: ClassTable) -> None:
    """Raises a UserError if a map makes something of a class that is not a class of its target."""
    for each in table.maps.values():
        targets = table.targets(each.name)
        for row in table.rows:
            if row.becomes[each.name] not in ("", *targets):
                raise UserError(
                    f"{path}: '{row.name}': "
                    f"{unknown_name(f'class of {each.target}', row.becomes[each.name], targets)}"
                )
