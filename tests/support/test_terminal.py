"""Names cannot command the terminal, in messages, progress bars and logs."""

import logging

import pytest
from rich.console import Console

from ibnseg import cli
from ibnseg.support.progress import bar
from ibnseg.support.terminal import clean_logs, say, visible

CLEAR = "\x1b[2J\x1b]0;title\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Städte, 城\tß\n", "Städte, 城\tß\n"),
        (CLEAR, r"\x1b[2J\x1b]0;title\x07"),
        ("a\rb\x08\x7f", r"a\rb\x08\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("gnp.\u202etxe", r"gnp.\u202etxe"),
        ("caf\udce9", r"caf\udce9"),
        (12.5, "12.5"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert visible(text) == shown


def test_what_is_said_has_no_escapes(capsys):
    say(f"{CLEAR}x")
    assert capsys.readouterr().out == r"\x1b[2J\x1b]0;title\x07x" + "\n"


def test_errors_of_commands_have_no_escapes(capsys):
    assert cli.main(["predict", "no\x1b[31mrun", "x"]) == 1
    with pytest.raises(SystemExit):
        cli.main(["runs", "--fold\x1b[31mer"])
    found = capsys.readouterr().err
    assert r"no\x1b[31mrun is not a run folder" in found
    assert r"--fold\x1b[31mer" in found
    assert "\x1b" not in found


def test_a_progress_bar_takes_names_as_they_are():
    progress = bar()
    progress.add_task(f"[red]{CLEAR}[/nope].mp4", total=2)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(progress)
    assert r"[red]\x1b[2J\x1b]0;title\x07[/nope].mp4" in console.export_text()


def test_logs_have_no_escapes(caplog):
    before = logging.getLogRecordFactory()
    try:
        clean_logs()
        clean_logs()
        logging.getLogger("x").warning("%s: %d of 3", CLEAR, 2)
    finally:
        logging.setLogRecordFactory(before)
    assert caplog.messages == [r"\x1b[2J\x1b]0;title\x07: 2 of 3"]
