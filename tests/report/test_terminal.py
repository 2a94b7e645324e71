"""Reports for the terminal."""

import sys

from ibnseg.report.gather import gather
from ibnseg.report.sheet import Sheet
from ibnseg.report.terminal import as_terminal, sheet_text
from tests.conftest import save_run
from tests.report.conftest import road


def test_tables_are_not_cut_and_have_no_colours_in_a_file(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = as_terminal(report())
    assert "\x1b" not in text
    (line,) = [line for line in text.splitlines() if "B_ibn " in line and "90.0" in line]
    shown = "GTA5 B_ibn pixel accuracy ± sd 90.0 ± 0.0 50.0 ± 7.1 * 50.0 ± 7.1 *"
    assert " ".join(line.split()) == shown
    assert "\n*: better than every other network of its block" in text
    below = text[text.index("± sd: mean") : text.index("Paired")]
    assert max(map(len, below.splitlines())) <= 100


def test_the_best_is_bold_in_a_terminal(report, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[1m50.0 ± 7.1 *\x1b[0m" in as_terminal(report())


def test_intervals_in_brackets_are_shown(report):
    assert "[90.0, 90.0]" in as_terminal(report())


def test_titles_cannot_command_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = save_run(tmp_path, {"gta5": road(9, 8)}, title="\x1b]0;owned\x07\rx\u202ey")
    text = as_terminal(gather([run], "road"))
    assert r"\x1b]0;owned\x07\rx\u202ey" in text
    for mark in ("\x1b]", "\x07", "\r", "\u202e"):
        assert mark not in text
    sheet = Sheet("a\x1b[2J", ("b\x1b[2J",), 1, (((("c\x1b[2J",),),),), ("d\x1b[2J",))
    text = sheet_text(sheet)
    for mark in "abcd":
        assert rf"{mark}\x1b[2J" in text
    assert "\x1b[2J" not in text
