"""A warning of tests that have trained images."""

from __future__ import annotations

from pathlib import Path

from ibnseg.datasets import GTA5
from ibnseg.engine.overlap import warn_of_trained_images


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


def test_a_test_of_trained_images_is_named_once_whatever_it_is_called(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").symlink_to(data / "gta5")
    tested = {
        "seen": GTA5(tmp_path / "copy", "train"),
        "seen-other": GTA5(tmp_path / "copy", "train"),
        "new": GTA5(data / "gta5", "val"),
    }
    tests = [dict(name=name, domain=name[:4], split="train") for name in tested]
    logger = Logger()
    warn_of_trained_images(GTA5(data / "gta5", "train"), tests, tested, logger)
    count = len(tested["seen"])
    assert len(logger.lines) == 1
    assert logger.lines[0].startswith(
        f"seen train: {count} of {count} tested images are trained on, e.g. {data / 'gta5'}"
    )
