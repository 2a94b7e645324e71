"""On which domain's labels a checkpoint was chosen among the others of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ibnseg.evaluation.results import UNKNOWN
from ibnseg.runs.literal import values_in


def selection_of(path: Path, meta: Mapping) -> str | None:
    """Names the domain whose labels chose a checkpoint, if its file is named the best.

    A checkpoint of ``save_best`` is chosen in the training domain. One of mmengine's own hook has
    the config of its training in it, as text, and so the dataset that it was validated on.

    Args:
        path: the checkpoint's.
        meta: what it says of itself.

    Returns:
        The domain's name, or that of the folder or type of another dataset, in lower case; several
        are joined by ``+``. ``UNKNOWN`` if nothing says which it was, and None if the name of the
        file does not say best.
    """
    if "best" not in path.stem.lower():
        return None
    values = values_in(str(meta.get("cfg", "")), ("save_best", "val_dataloader"))
    if values.get("save_best") and "train_domain" in meta:
        return meta["train_domain"]
    loader = values.get("val_dataloader")
    names = _datasets(loader.get("dataset")) if isinstance(loader, dict) else []
    return "+".join(dict.fromkeys(names)) or UNKNOWN


def _datasets(dataset: object) -> list[str]:
    """The names of a dataset in mmengine's words, or of those that it joins or repeats."""
    if isinstance(dataset, list | tuple):
        return [name for each in dataset for name in _datasets(each)]
    if not isinstance(dataset, dict):
        return []
    if inside := dataset.get("datasets") or dataset.get("dataset"):
        return _datasets(inside)
    root, kind = dataset.get("data_root"), dataset.get("type")
    if isinstance(root, str) and (name := PurePosixPath(root).name):
        return [name.lower()]
    return [kind.split(".")[-1].removesuffix("Dataset").lower()] if isinstance(kind, str) else []
