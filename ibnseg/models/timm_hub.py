"""Weights that timm knows by name: the file on this machine, its download, its licence."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from mmengine.logging import print_log

from ibnseg.models.from_timm import import_timm
from ibnseg.support.errors import UserError, unknown_name

SCHEME = "timm://"
"""Precedes the name of weights in a config, e.g. ``timm://vit_base_patch14_dinov2.lvd142m``."""

FILES = ("model.safetensors", "pytorch_model.bin")
"""How weights may be called in a repository of the hub from which timm takes them, best first."""


def entry(name: str) -> object:
    """Finds timm's ``PretrainedCfg`` of a network, with the tag of its weights or the default one.

    Raises:
        UserError: if timm is missing, for an unknown name or tag, and if timm has no weights.
    """
    models = import_timm().models
    architecture, _, tag = name.partition(".")
    if not models.is_model(architecture):
        raise unknown_name("network of timm", architecture, models.list_models())
    known = [each.partition(".")[2] for each in models.list_pretrained(f"{architecture}.*")]
    if tag and tag not in known:
        raise unknown_name(f"weights of {architecture}", tag, known)
    found = models.get_pretrained_cfg(name)
    if found is None or not (found.hf_hub_id or found.url):
        raise UserError(f"{SCHEME}{name}: timm has no weights for it")
    return found


def find(name: str, folder: Path) -> Path:
    """Finds the file of weights on this machine.

    It may lie in a folder, under the name that it has at its address or as
    ``NAME.TAG.safetensors``, or in the cache of ``huggingface_hub``.

    Args:
        name: the name of the network, perhaps with the tag of its weights.
        folder: torch's hub folder.

    Returns:
        The file, or the path in the folder that it would have.

    Raises:
        UserError: as :func:`entry`.
    """
    found = entry(name)
    places = [folder / Path(found.url).name] if found.url else []
    places.append(folder / f"{found.architecture}.{found.tag}.safetensors")
    here = [place for place in places if place.is_file()]
    return here[0] if here else _cached(found) or places[0]


def _cached(found: object) -> Path | None:
    """The file in the cache of huggingface_hub, which timm's own code downloads to."""
    from huggingface_hub import try_to_load_from_cache

    for file in _files(found) if found.hf_hub_id else ():
        path = try_to_load_from_cache(found.hf_hub_id, file)
        if isinstance(path, str):
            return Path(path)
    return None


def _files(found: object) -> tuple[str, ...]:
    return (found.hf_hub_filename,) if found.hf_hub_filename else FILES


def download(name: str, folder: Path) -> Path:
    """Downloads a file of weights: from the hub that timm takes it from, to the cache of
    ``huggingface_hub``, or if it is not there from its address, to a folder.

    Args:
        name, folder: as for :func:`find`.

    Raises:
        UserError: as :func:`entry`, and if it cannot be downloaded.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    found = entry(name)
    try:
        for file in _files(found) if found.hf_hub_id else ():
            try:
                return Path(hf_hub_download(found.hf_hub_id, file))
            except EntryNotFoundError as error:  # also if nothing can be asked
                missing = error
        if not found.url:
            raise missing
        path = folder / Path(found.url).name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(found.url, str(path))
        return path
    except Exception as error:  # a server, or the lack of one, can answer anything
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{SCHEME}{name}: cannot be downloaded ({said}); download "
            f"{found.url or found.hf_hub_id} elsewhere, and give the path of the file"
        ) from error


@cache
def report_weights(name: str) -> None:
    """Logs once what timm lists for the weights of a network: their licence, if it is known, and
    mean and standard deviation of the images that they were trained on, on the scale of 0 to 255.

    Args:
        name: with or without :data:`SCHEME`, and with or without the tag of the weights.
    """
    try:
        found = entry(name.removeprefix(SCHEME))
    except UserError:  # a network without published weights
        return
    of = f"{found.architecture}.{found.tag}" if found.tag else found.architecture
    mean, std = ([round(255 * each, 3) for each in of_rgb] for of_rgb in (found.mean, found.std))
    print_log(
        f"timm's entry {of}: licence of the weights {found.license or 'not stated'}, images of "
        f"mean {mean} and std {std} (RGB)",
        "current",
    )
