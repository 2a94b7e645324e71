"""``ibnseg completion``: what shells offer."""

import subprocess
from pathlib import Path

import pytest

from ibnseg import cli
from ibnseg.commands.table import COMMANDS
from ibnseg.support.configs import config_files


def complete(script: Path, folder: Path, *words: str) -> set[str]:
    """The completions that bash offers for the last of some words."""
    source = f"""
source {script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_shtab_ibnseg 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", source], capture_output=True, text=True, cwd=folder)
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_names(tmp_path: Path, capsys) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (here / "file.py").touch()
    assert complete(script, here, "ibnseg", "") >= COMMANDS.keys()
    assert complete(script, here, "ibnseg", "tr") == {"train"}
    offered = complete(script, here, "ibnseg", "train", "")
    assert offered >= {*config_files(), "file.py"}
    assert complete(script, here, "ibnseg", "train", "city2gta_i") == {
        "city2gta_ibn50a",
        "city2gta_ibn50b",
    }
    assert "file.py" in complete(script, here, "ibnseg", "test", "x", "f")
    assert complete(script, here, "ibnseg", "predict", "x", "y", "--out", "f") == {"folder"}
    assert complete(script, here, "ibnseg", "matrix", "f") == {"folder"}
    assert "--resume" in complete(script, here, "ibnseg", "test", "--re")
    for command in ("train", "test"):
        assert complete(script, here, "ibnseg", command, "x", "--protocol", "") >= {"all", "rein"}
        assert complete(script, here, "ibnseg", command, "x", "--protocol", "a") == {"all"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_scripts_hold_the_commands(shell: str, capsys) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in (*COMMANDS, *config_files(), "protocol"))
