"""Weights in files of safetensors, one or several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.support.errors import UserError
from tests.engine.test_resume import same

WEIGHTS = dict(a=torch.arange(6.0), b=torch.tensor(3), c=torch.ones(2, 2, dtype=torch.bfloat16))
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize("size", [10**9, 10])
def test_one_file_and_several_have_the_same_weights(size: int, tmp_path: Path) -> None:
    save_torch_state_dict(WEIGHTS, tmp_path, max_shard_size=size)
    index = tmp_path / INDEX
    assert index.exists() == (size == 10)
    path = index if index.exists() else tmp_path / "model.safetensors"
    assert same(read_checkpoint(path), WEIGHTS)


@pytest.mark.parametrize("size", [10**9, 8])
def test_weights_that_share_their_values_are_there_under_both_names(
    size: int, tmp_path: Path
) -> None:
    shared = dict(WEIGHTS, d=WEIGHTS["a"])
    save_torch_state_dict(dict(shared), tmp_path, max_shard_size=size)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len({name for file in files for name in load_file(file)}) == 3
    path = tmp_path / INDEX if len(files) > 1 else files[0]
    assert same(dict(sorted(read_checkpoint(path).items())), shared)


def _text(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / INDEX).write_text(text) and None


def _weight_map(**names: object) -> Callable[[Path], None]:
    return _text(json.dumps(dict(weight_map=names)))


NO_INDEX = "not an index of files of weights beside it"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_text("{"), "not JSON"),
        (_text("[]"), NO_INDEX),
        (_text("{}"), NO_INDEX),
        (_weight_map(), NO_INDEX),
        (_weight_map(a=1), NO_INDEX),
        (_weight_map(a="../x.safetensors"), NO_INDEX),
        (_weight_map(a="/x.safetensors"), NO_INDEX),
        (_weight_map(a="x.bin"), NO_INDEX),
        (_weight_map(a="x.safetensors"), "x.safetensors: no such file"),
        (
            lambda folder: next(folder.glob("model-00001*")).write_bytes(b"\x10\0\0\0\0\0\0\0{"),
            "truncated or not a checkpoint",
        ),
    ],
)
def test_a_damaged_index_is_one_line(
    damage: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    save_torch_state_dict(WEIGHTS, tmp_path, max_shard_size=10)
    damage(tmp_path)
    with pytest.raises(UserError, match=expected):
        read_checkpoint(tmp_path / INDEX)
