"""``ibnseg train --dry-run``: what a training would take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ibnseg import cli


def described(line: str, capsys: pytest.CaptureFixture) -> dict[str, str]:
    capsys.readouterr()
    assert cli.main(line.split()) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    found = (re.split(r"  +", line, maxsplit=1) for line in lines if re.match(r"[a-z].*  \S", line))
    return dict(pair for pair in found if len(pair) == 2)


def test_a_dry_run_prints_data_memory_disk_and_time(in_data: Path, tiny_config, capsys) -> None:
    config = tiny_config("gta5", ["gta5", "cityscapes"])
    before = sorted(in_data.rglob("*"))
    found = described(f"train {config} --work-dir new/run --dry-run", capsys)
    assert re.match(r"\d+ images, the first of 64x48, crops of 32x32", found["train on gta5"])
    assert re.match(r"\d+ images, .* protocol native", found["test on cityscapes"])
    assert found["length"].startswith("6 steps of 4 images, ")
    assert re.match(r"about 0.0\d GiB", found["memory"])
    assert re.match(r"\d+ MiB each, 2 kept; .* free at new/run", found["checkpoint"])
    assert re.match(r"about \S+ s$", found["step"])
    assert found["training"].startswith("about ")
    assert sorted(in_data.rglob("*")) == before


def test_averaged_weights_count_in_the_checkpoint(in_data: Path, tiny_config, capsys) -> None:
    config = tiny_config("gta5", ["gta5"])
    line = f"train {config} --dry-run --cfg-options model.decode_head.channels=512"
    ema = "custom_hooks=[dict(type='EMAHook')]"
    plain, averaged = (
        int(described(each, capsys)["checkpoint"].split()[0]) for each in (line, f"{line} {ema}")
    )
    assert averaged > plain
