"""Checkpoints read from files and addresses: as data, and only if they are whole."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner.checkpoint import (
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from ibnseg.models import timm_hub
from ibnseg.models.inert import inert_objects
from ibnseg.models.safetensors_files import is_safetensors, read_safetensors
from ibnseg.models.zoo import SCHEME, get_published, hash_in
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import as_path, sha256
from ibnseg.support.reading import DAMAGED, regular_file, require_plain_archive, verify_checksums

REMOTE = ("http://", "https://")


def read_checkpoint(source: str | Path) -> dict:
    """Reads a checkpoint to the CPU with ``weights_only=True``, so that it cannot run code.

    Args:
        source: a path, an ``http(s)://`` address, ``torchvision://NAME`` (and mmengine's other
            schemes), ``timm://NAME`` with the name of a network of timm, or ``ibnseg://NAME`` with
            a name in :data:`~ibnseg.models.zoo.PUBLISHED`. A file is downloaded once, to torch's
            hub folder (``timm://`` to that of ``huggingface_hub``); the main process does this for
            all, so that all have to call. If the file's name has a hash, e.g.
            ``resnet50_ibn_a-d9d0bb7b.pth``, it is checked. A file that ends in ``.safetensors`` is
            read as such, and with ``.safetensors.index.json`` all files that it names.

    Raises:
        UserError: if it is missing, truncated, damaged, not a checkpoint, holds objects that could
            run code, or is not the file that the hash in its name promises. Damage is found by the
            checksums of torch's zip format; the format before torch 1.6 has none.
    """
    source, path = locate(source)
    if source.startswith((*REMOTE, timm_hub.SCHEME)):
        with _main_process_first():  # downloads; the others find it there
            return _read(source, path)
    return _read(source, path)


@contextmanager
def _main_process_first() -> Iterator[None]:
    if not is_main_process():
        barrier()
    try:
        yield
    finally:
        if is_main_process():
            barrier()


def _read(source: str, path: Path) -> dict:
    if source.startswith(REMOTE) and not path.is_file():
        _download(source, path)
    if source.startswith(timm_hub.SCHEME) and not path.is_file():
        path = timm_hub.download(source.removeprefix(timm_hub.SCHEME), hub_folder())
    if not source or not path.exists():
        raise UserError(f"{source}: no such checkpoint")
    regular_file(path)
    _check_hash(path)
    if is_safetensors(path):
        return read_safetensors(path)
    _verify(path)
    try:
        with inert_objects():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(f"{path}: {_why_not(error)}") from error
    except Exception as error:  # reading a damaged file can fail in any way
        raise UserError(f"{path}: truncated or not a checkpoint ({_line(error)})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"{source}: holds a {type(checkpoint).__name__}, expected a dict of tensors"
        )
    return checkpoint


def _download(source: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(source, str(path), hash_in(source) or None)
    except URLError as error:
        raise UserError(
            f"{source}: cannot be downloaded ({error.reason}); download it elsewhere and put it "
            f"into {path.parent}, or let init_cfg name the path of a file"
        ) from error
    except Exception as error:  # a server can answer anything
        raise UserError(f"{source}: cannot be downloaded ({_line(error)})") from error


def _verify(path: Path) -> None:
    """Refuses a checkpoint in torch's zip format that is damaged, which torch does not look for.

    The format before torch 1.6 has no checksums.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if head != b"PK\x03\x04":
        return
    try:
        archive = zipfile.ZipFile(path)
        _require_stored_tensors(archive, path)
        require_plain_archive(archive, path.stat().st_size)
    except DAMAGED as error:
        raise UserError(f"{path}: truncated or not a checkpoint ({_line(error)})") from error
    try:
        with archive:
            verify_checksums(archive)
    except DAMAGED as error:
        raise UserError(f"{path}: damaged ({_line(error)}); copy or download it again") from error


def _require_stored_tensors(archive: zipfile.ZipFile, path: Path) -> None:
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
        raise UserError(f"{path}: a TorchScript program, expected weights; save its state_dict()")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise UserError(
            f"{path}: its members are compressed, which those of a checkpoint never are; read it "
            "where it was made, and save it with torch.save"
        )


def _why_not(error: UnpicklingError) -> str:
    """What is wrong with a file that the restricted unpickler has refused."""
    found = re.search(r"GLOBAL (\S+)|unrecognized function (.+?)(?: which|$)", str(error))
    if found is None:
        return (
            "not a file of weights: truncated, or not a pickle of tensors as torch.save writes it"
        )
    name = found[1] or found[2]
    return (
        f"not a file of weights: it holds {name}, which is not loaded because it can run code; "
        "save the state_dict() alone"
    )


def _line(error: Exception) -> str:
    """The first sentence of an error's message; torch's next ones advise to run what is read."""
    lines = (str(error) or type(error).__name__).splitlines()
    return lines[0].partition(". ")[0].strip()


_TABLES = {
    "torchvision": lambda: get_torchvision_models(),
    "modelzoo": lambda: get_torchvision_models(),
    "open-mmlab": get_external_models,
    "openmmlab": get_external_models,
    "mmcls": get_mmcls_models,
}
"""What reads mmengine's table of addresses, by the scheme in front of a name."""


def locate(source: str | Path) -> tuple[str, Path]:
    """Finds the path or address that a source of :func:`read_checkpoint` stands for, and the file
    in which it lies once it has been read.

    Raises:
        UserError: for an unknown name.
    """
    source = str(source)
    if source.startswith(SCHEME):
        source = get_published(source.removeprefix(SCHEME)).url
    scheme, separator, name = source.partition("://")
    if separator and scheme in _TABLES:
        urls = _TABLES[scheme]()
        if name not in urls:
            raise unknown_name(f"{scheme} weights", name, urls)
        source = urls[name]
    if source.startswith(timm_hub.SCHEME):
        return source, timm_hub.find(source.removeprefix(timm_hub.SCHEME), hub_folder())
    if source.startswith(REMOTE):
        return source, hub_folder() / Path(urlsplit(source).path).name
    return source, as_path(source)


def hub_folder() -> Path:
    """The folder in which torch keeps the checkpoints that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _check_hash(path: Path) -> None:
    wanted = hash_in(path.name)
    if not wanted:
        return
    found = sha256(path)
    if not found.startswith(wanted):
        raise UserError(
            f"{path}: SHA-256 begins with {found[: len(wanted)]}, expected {wanted}, as its name "
            "says; it is damaged or another file: delete it and get it again"
        )
