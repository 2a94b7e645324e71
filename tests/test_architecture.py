"""The rooms of docs/architecture.md are those of the code, and nothing is imported upward."""

from __future__ import annotations

import ast
import configparser
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from ibnseg.networks.kinds import KINDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ibnseg"
LONGEST = 400  # lines of a file


class Import(NamedTuple):
    """One import of a module by another, anywhere in the file."""

    source: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package is its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


@cache
def imports() -> list[Import]:
    """All imports of one module of the package by another: lazy ones, those for type checking,
    those by ``import_module``, and each package that a module is imported through."""
    return sorted(
        {
            Import(module, line, target)
            for module in modules()
            for line, name in named(module)
            for target in executed(module, name)
        }
    )


def executed(module: str, name: str) -> set[str]:
    """The modules that run, or have to have run, for a module to import a dotted name."""
    parts = name.split(".")
    chain = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    chain = [each for each in chain if each in modules()]
    around = {each for each in chain[:-1] if f"{module}.".startswith(f"{each}.")}
    return {*chain} - around - {module}


def named(module: str) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of everything of this package that a module imports."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif is_call_of(node, "import_module") and isinstance(node.args[0], ast.Constant):
            names = [node.args[0].value]
        else:
            continue
        yield from ((node.lineno, name) for name in names if is_ours(name))


def is_ours(name: str) -> bool:
    return name.startswith("ibnseg.") and name != "ibnseg.__version__"


def is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and name in (
        getattr(node.func, "id", None),
        getattr(node.func, "attr", None),
    )


def room(module: str) -> str:
    """The package or module right below ``ibnseg``; of ``ibnseg`` itself, its own name."""
    return module.split(".")[1] if "." in module else module


@cache
def floors() -> list[str]:
    """The rooms as docs/architecture.md lists them, the top first."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("<!-- rooms -->\n")[2].partition("<!-- end of rooms -->")[0]
    return re.findall(r"^\| `([\w.]+)`", table, re.MULTILINE)


def test_the_page_lists_every_room_once() -> None:
    assert sorted(floors()) == sorted({room(module) for module in modules()})


def test_the_nouns_are_classes_where_the_page_says() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    nouns = re.findall(r"^\| \*\*(\w+)\*\* \| `([\w/.]+)`", text, re.MULTILINE)
    assert len(nouns) >= 7
    for noun, file in nouns:
        assert f"\nclass {noun}" in (PACKAGE / file).read_text(), f"{noun} in {file}"


def test_no_room_imports_one_above_it() -> None:
    height = {name: -place for place, name in enumerate(floors())}
    upward = [each for each in imports() if height[room(each.target)] > height[room(each.source)]]
    assert not upward, "\n".join(map(str, upward))


def test_there_are_no_circular_imports() -> None:
    targets = defaultdict(set)
    for each in imports():
        targets[each.source].add(each.target)
    circles = [module for module in modules() if module in reached_from(module, targets)]
    assert not circles, f"in circles: {circles}"


def reached_from(module: str, targets: dict[str, set[str]]) -> set[str]:
    """All modules that importing one imports, itself only if it is in a circle."""
    found, open_ends = set(), [module]
    while open_ends:
        new = targets[open_ends.pop()] - found
        found |= new
        open_ends += new
    return found


@pytest.mark.parametrize("folder", ["ibnseg", "tools"])
def test_files_are_short_enough_to_be_read(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST}


def test_no_two_modules_define_the_same_public_name() -> None:
    """But for the commands' functions, which are called as what they call, and those by which the
    modules of the kinds of networks are opened."""
    homes = defaultdict(list)
    alike = {f"ibnseg.networks.{kind.home}" for kind in KINDS}
    for module in modules():
        if room(module) == "commands" or module in alike:
            continue
        for node in tree(module).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_":
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_the_wheel_has_every_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert listed == packages | {"ibnseg.configs"}
