"""Reports for the terminal."""

import sys

from ibnseg.report.terminal import as_terminal


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
