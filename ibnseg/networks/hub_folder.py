"""A network in a folder as Hugging Face's hub has it: found on disk or on the hub, and checked.

It has ``config.json``, the weights in ``model.safetensors`` (or in several files and an index), the
model card, and if the network was tested ``results.json`` and the counts of each image. Nothing in
it is executed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmengine.config import Config
from torch import nn

from ibnseg.models.safetensors_files import INDEX, SUFFIX
from ibnseg.networks.loading import load_network
from ibnseg.networks.portable import require_harmless
from ibnseg.runs.kinds import (
    DICT,
    NAME,
    SEED,
    TEXTS,
    WHOLE,
    Kind,
    is_list,
    is_text,
    is_whole,
    one_of,
    or_none,
)
from ibnseg.runs.recipe import OF_A_PROCESS
from ibnseg.runs.run import CONFIG, RESULTS
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, sha256, stays_inside
from ibnseg.support.reading import MOST_TEXT, read_json

LIBRARY = "ibnseg"
INFO_FILE = "config.json"
CARD = "README.md"
WEIGHTS = f"model{SUFFIX}"
FORMAT = 1
"""The version of what ``config.json`` has."""


def _is_palette(value: object) -> bool:
    return is_list(value) and all(
        is_list(color) and len(color) == 3 and all(is_whole(x, 0, 255) for x in color)
        for color in value
    )


def _is_length(value: object) -> bool:
    if not isinstance(value, Mapping) or {*value} != {"iterations", OF_A_PROCESS}:
        return False
    return is_whole(value["iterations"], 1) and or_none(WHOLE).accepts(value[OF_A_PROCESS])


def _is_files(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) and _is_file(name)
        for name, digest in value.items()
    )


def _is_file(name: str) -> bool:
    inside = stays_inside(name) and "\\" not in name
    return inside and (
        name in (CARD, RESULTS)
        or bool(re.fullmatch(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?", name))
        or bool(re.fullmatch(r"per_image/[^/]+\.npz", name))
    )


TEXT = Kind(is_text, "a text")

INFO = {
    "library_name": one_of(LIBRARY),
    "format": one_of(FORMAT),
    "name": NAME,
    "title": NAME,
    "classes": TEXTS,
    "palette": Kind(_is_palette, "a list of colours, three whole numbers each"),
    "train_domains": TEXTS,
    "recipe": TEXT,
    "seed": or_none(SEED),
    "iteration": or_none(WHOLE),
    "length": Kind(_is_length, f"an object of iterations and '{OF_A_PROCESS}'"),
    "checkpoint_sha256": TEXT,
    "selected": or_none(TEXT),
    "licence": or_none(TEXT),
    "versions": DICT,
    "config": DICT,
    "files": Kind(_is_files, "an object of hashes by the names of its files"),
}
"""What ``config.json`` has to have, and of what kind."""


@dataclass(frozen=True)
class HubFolder:
    """A network in a folder as the hub has it, whose ``config.json`` has been checked."""

    source: str
    """What the user called it: a folder, or a name on the hub."""
    folder: Path
    info: Mapping
    """The content of ``config.json``."""

    @classmethod
    def open(cls, source: str | Path, revision: str | None = None) -> HubFolder:
        """Finds a network on disk, or downloads it from the hub to the hub's own cache.

        Args:
            source: a folder, or ``USER/NAME`` on the hub.
            revision: of the hub, a branch, tag or commit.

        Raises:
            UserError: if it is neither, cannot be downloaded, or is not a network of this package.
        """
        folder = as_path(source)
        if folder.is_dir():
            if revision is not None:
                raise UserError(f"{folder}: is a folder, and revisions are of the hub")
            return cls(str(source), folder, _read_info(folder, source))
        folder = _download(str(source), revision, [INFO_FILE])
        info = _read_info(folder, source)
        files = [INFO_FILE, *info["files"]]
        return cls(str(source), _download(str(source), folder.name, files), info)

    def require_files(self) -> None:
        """Raises a UserError if a file is missing, or has another hash than it was written with.

        The card may have been changed since.
        """
        for name, digest in self.info["files"].items():
            if name == CARD:
                continue
            path = self.folder / name
            if sha256(path) != digest:
                raise UserError(
                    f"{path}: damaged or changed, its SHA-256 is not that of {INFO_FILE}; "
                    "download or push it again"
                )

    def network(self) -> nn.Module:
        """Builds the network and loads its weights, as :func:`ibnseg.load` does.

        Raises:
            UserError: if the weights are missing, damaged or do not fit, and if the classes are
                not those of the training domain.
        """
        index = f"model{INDEX}"
        weights = self.folder / (index if index in self.info["files"] else WEIGHTS)
        try:
            network = load_network(Config(dict(self.info["config"])), weights)
        except UserError as error:
            if str(self.folder) in str(error):
                raise
            raise UserError(f"{self.folder / INFO_FILE}: {error}") from error
        if list(network.class_set.classes) != self.info["classes"]:
            raise UserError(
                f"{self.folder / INFO_FILE}: classes are not those of its training domain"
            )
        return network


def _read_info(folder: Path, source: str | Path) -> dict:
    path = folder / INFO_FILE
    if not path.is_file():
        is_run = (folder / CONFIG).is_file()
        hint = (
            f"; it is a run, which commands take as it is: ibnseg test {source}" if is_run else ""
        )
        raise UserError(f"{folder}: no {INFO_FILE}, which ibnseg push writes{hint}")
    info = read_json(path, "download or push it again", MOST_TEXT)
    found = info.get("library_name") if isinstance(info, dict) else None
    if found != LIBRARY:
        said = "has no library_name" if found is None else f"library_name is {found!r}"
        raise UserError(
            f"{path}: {said}, expected '{LIBRARY}'; a model of transformers is tested by "
            f"ibnseg test hf:{source}"
        )
    version = (info.get("versions") or {}).get(LIBRARY) if info.get("versions") else None
    if info.get("format") != FORMAT:
        raise UserError(
            f"{path}: format is {info.get('format')!r}, expected {FORMAT}; take the version of "
            f"ibnseg that wrote it{f', {version}' if version else ''}"
        )
    for name, kind in INFO.items():
        if name not in info:
            raise UserError(f"{path}: {name} is missing, expected {kind.words}")
        if not kind.accepts(info[name]):
            shown = repr(info[name])
            raise UserError(f"{path}: {name} is {shown[:60]}, expected {kind.words}")
    require_harmless(info["config"], str(path))
    return info


# --- the hub ---


def import_hub() -> ModuleType:
    """Imports ``huggingface_hub``.

    Raises:
        UserError: if it or safetensors cannot be imported; it names the extra that installs them.
    """
    try:
        import huggingface_hub
        import safetensors  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"networks of the hub need another package ({error}): pip install 'ibnseg[hf]'"
        ) from error
    return huggingface_hub


def _download(name: str, revision: str | None, files: list[str]) -> Path:
    """Downloads some files of a model on the hub to the hub's cache, unless they are there."""
    hub = import_hub()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{name}: no such folder, and no name on the hub, which is USER/NAME")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=files))
    except Exception as error:  # a server, or the lack of one, can answer anything
        raise UserError(f"{name}: no such folder, and {_why_not(hub, error)}") from error


def _why_not(hub: ModuleType, error: Exception) -> str:
    """Why a model could not be downloaded, in words."""
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return "on the hub its owner has to let you in first; ask there, then hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "not on the hub, or private; check its name, or hf auth login"
    if isinstance(error, errors.RevisionNotFoundError):
        return "on the hub it has no such revision"
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        return (
            f"the hub cannot be reached{offline}, nor is it in the hub's cache; give a folder that "
            "ibnseg push wrote"
        )
    said = (str(error) or type(error).__name__).splitlines()[0]
    return f"the hub says: {said}"
