"""Weights in the format of safetensors, in one file or in several with an index, as
``huggingface_hub`` writes them; it is imported here alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ibnseg.support.errors import UserError
from ibnseg.support.files import is_file_name
from ibnseg.support.reading import MOST_TEXT, read_json, regular_file

SUFFIX = ".safetensors"
INDEX = ".safetensors.index.json"
"""The ends of the names of a file of weights, and of an index of several."""


def is_safetensors(path: Path) -> bool:
    """Whether a path is called as a file of safetensors, or as an index of several."""
    return path.name.endswith((SUFFIX, INDEX))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Reads the weights in a file, or in all files of an index, to the CPU.

    A tensor that was left out because it shares its values with another, which the metadata name,
    is there under both names.

    Raises:
        UserError: if safetensors is missing, a file is missing or damaged, or an index names
            anything but files beside it.
    """
    if not path.name.endswith(INDEX):
        weights, notes = _read(path)
    else:
        index = read_json(path, "download it again", MOST_TEXT)
        names = index.get("weight_map") if isinstance(index, dict) else None
        files = {*map(str, names.values())} if isinstance(names, dict) else set()
        if not files or not all(is_file_name(each) and each.endswith(SUFFIX) for each in files):
            raise UserError(f"{path}: not an index of files of weights beside it")
        weights, notes = {}, index.get("metadata") or {}
        for name in sorted(files):
            weights |= _read(path.with_name(name))[0]
    shared = {name: weights[of] for name, of in notes.items() if _is_shared(name, of, weights)}
    return weights | shared


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The weights in a file, and its metadata."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise UserError(f"{path}: cannot be read ({error}): pip install 'ibnseg[hf]'") from error
    regular_file(path)
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # it cannot be iterated itself
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # of safetensors' own class, or of the system
        said = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise UserError(f"{path}: truncated or not a checkpoint ({said})") from error


def _is_shared(name: str, of: object, weights: Mapping[str, Tensor]) -> bool:
    return isinstance(of, str) and of in weights and name not in weights
