"""A network of the user's own code, written to the working folder for the tests of foreign ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ibnseg.datasets.labels import CLASSES

FACTS = dict(
    title="Theirs",
    classes=list(CLASSES),
    channels="RGB",
    range=255,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    trained_on="gta5",
)
RUN = """
import torch
from ibnseg import load

class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.segmentor = load({run!r})

    def forward(self, images):
        return self.segmentor.encode_decode(images)

def build():
    return Logits()
"""
"""A module whose function returns the network of a run, as one that gives logits."""


@contextmanager
def own_module(
    folder: Path, text: str, facts: dict, monkeypatch: pytest.MonkeyPatch, name: str = "theirs"
) -> Iterator[str]:
    """Writes a module and its facts to the working folder; gives what names its network.

    Afterwards the module is forgotten, so that the next test can write another one.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / f"{name}.py").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(facts))
    try:
        yield f"{name}:build"
    finally:
        sys.modules.pop(name, None)
