"""Networks of Hugging Face's transformers: ``hf:NAME`` on the hub, or ``hf:FOLDER``.

Only files are read, and weights: as safetensors, or as a pickle of tensors alone
(``weights_only``). Code that a repository brings is never run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from ibnseg.networks.facts import Facts, Found, configured
from ibnseg.networks.kinds import HUGGING_FACE
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, sha256
from ibnseg.support.reading import read_json

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The names of files of weights; the first that are there count, as for transformers."""

DESCRIPTIONS = ("*.json", "README.md")
"""The names of the other files of a repository that are read."""

PER_PIXEL = "ForSemanticSegmentation"
"""Ends the names of networks that give a logit for each class and place."""

PER_QUERY = (
    "EomtForUniversalSegmentation",
    "Mask2FormerForUniversalSegmentation",
    "MaskFormerForInstanceSegmentation",
)
"""Networks that give masks, and for each of them the probabilities of classes."""

FIXED = ("eomt", "dpt")
"""Types of networks that take squares of one size, ``image_size``."""

PATCHED = ("beit", "data2vec-vision")
"""Types of networks that cut off what is no multiple of ``patch_size``."""

AGAIN = "download it again"


def configure(source: str) -> dict:
    """Makes the values of a config of a network of transformers, whose package it does not need.

    Classes, normalisation, and what the input's size must be are read from the files beside the
    weights; licence and training data from the head of the model's card. The size to which the
    model's own preprocessor resizes is not read: protocols say sizes.

    Args:
        source: ``hf:FOLDER``, or ``hf:NAME`` on the hub, which is downloaded unless it is in the
            cache of ``huggingface_hub`` and is as it is on the hub, or the hub cannot be asked.

    Raises:
        UserError: for a folder that is none of such a network, for a network of another task, if
            the name is neither in the cache nor can be downloaded, and as
            :func:`ibnseg.networks.facts.facts_of`.
    """
    name = source.removeprefix(HUGGING_FACE)
    folder = _folder(name)
    config = _network_config(folder)
    title = as_path(name).resolve().name if _is_local(name) else name.split("/")[-1]
    says = dict(title=title, channels="RGB")
    says |= _classes(config) | _input_size(config) | _preprocessing(folder) | _card(folder)
    file = folder / "ibnseg.json" if _is_local(name) else Path(f"{title}.json")
    files = [folder / "config.json", *_weights(folder)]
    return configured(source, "Hugging Face", Found(title, _digest(files), file, says))


def build(source: str, facts: Facts) -> nn.Module:
    """Builds a network of transformers and loads its weights, as float32.

    Args:
        source: as for :func:`configure`.
        facts: what is known of it.

    Returns:
        A module of normalised images, (N, 3, H, W) float32, that returns (N, K, h, w) float32:
        logits, or of a network of masks the :func:`scores_of_masks`.

    Raises:
        UserError: as :func:`configure`, if transformers is missing, and if the weights cannot be
            read or are not all there.
    """
    folder = _folder(source.removeprefix(HUGGING_FACE))
    config = _network_config(folder)
    _weights(folder)
    transformers = _imported("transformers")
    per_pixel = config["architectures"][0].endswith(PER_PIXEL)
    kind = "Semantic" if per_pixel else "Universal"
    loader = getattr(transformers, f"AutoModelFor{kind}Segmentation")
    try:
        with _quiet(transformers):
            network, loaded = loader.from_pretrained(
                folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # whatever files can have wrong
        raise UserError(f"{folder}: cannot be loaded ({_first_line(error)})") from error
    absent = sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]]))
    if absent:
        others = f" and {len(absent) - 1} others" if len(absent) > 1 else ""
        raise UserError(
            f"{folder}: its weights lack {absent[0]}{others}, or have another shape; {AGAIN}"
        )
    return (_PerPixel if per_pixel else _PerQuery)(network)


class _PerPixel(nn.Module):
    """Gives the logits of a network alone, (N, K, h, w), for (N, 3, H, W) images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(pixel_values=images).logits


class _PerQuery(_PerPixel):
    """Gives the scores of classes, (N, K, h, w), of a network of masks."""

    def forward(self, images: Tensor) -> Tensor:
        found = self.network(pixel_values=images)
        return scores_of_masks(found.class_queries_logits, found.masks_queries_logits)


def scores_of_masks(classes: Tensor, masks: Tensor) -> Tensor:
    """Computes the score of each class at each place from Q masks and their classes.

    It is the sum over masks of the class's probability times the mask's (Cheng, Schwing,
    Kirillov: "Per-Pixel Classification is Not All You Need for Semantic Segmentation", 2021,
    section 3.4).

    Args:
        classes: (N, Q, K + 1) logits; the last one is of no class.
        masks: (N, Q, h, w) logits.

    Returns:
        (N, K, h, w), in [0, Q].
    """
    shares = classes.softmax(dim=-1)[..., :-1]
    return torch.einsum("nqk,nqhw->nkhw", shares, masks.sigmoid())


def _is_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or as_path(name).exists()


def _folder(name: str) -> Path:
    """The folder of a network's files, downloaded if need be."""
    if not name:
        raise UserError(f"{HUGGING_FACE}: expected {HUGGING_FACE}NAME or {HUGGING_FACE}FOLDER")
    if not _is_local(name):
        return _snapshot(name)
    folder = as_path(name)
    if not folder.is_dir():
        kind = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {kind}")
    return folder


@cache  # a command sees one state of the hub
def _snapshot(name: str) -> Path:
    hub = _imported("huggingface_hub")
    try:
        # also returns what is in the cache, if the hub cannot be asked
        folder = Path(hub.snapshot_download(name, allow_patterns=[*DESCRIPTIONS, WEIGHTS[0]]))
        if (folder / "config.json").is_file() and not list(folder.glob(WEIGHTS[0])):
            hub.snapshot_download(name, allow_patterns=WEIGHTS[1])
    except Exception as error:  # a server, or the lack of one, can answer anything
        raise UserError(
            f"{HUGGING_FACE}{name}: no such folder, not in the cache of huggingface_hub, and "
            f"cannot be downloaded ({_first_line(error)})"
        ) from error
    return folder


def _network_config(folder: Path) -> dict:
    """What ``config.json`` says; it has to be of a network that is supported."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json in it, expected what save_pretrained writes")
    config = _object(path)
    if "auto_map" in config:
        raise UserError(f"{path}: auto_map asks for code of the repository, which is never run")
    if config.get("library_name") == "ibnseg":
        raise UserError(f"{path}: of a network of this package; make a run of it by ibnseg pull")
    names = config.get("architectures")
    known = isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)
    if not known or not (names[0].endswith(PER_PIXEL) or names[0] in PER_QUERY):
        raise UserError(
            f"{path}: architectures is {names!r}, expected a network of semantic segmentation: one "
            f"whose name ends in {PER_PIXEL}, or {', '.join(PER_QUERY)}"
        )
    return config


def _classes(config: Mapping) -> dict:
    names = config.get("id2label")
    if not isinstance(names, Mapping) or {*names} != {str(i) for i in range(len(names))}:
        return {}
    classes = [names[str(i)] for i in range(len(names))]
    if all(re.fullmatch(r"LABEL_\d+", str(name)) for name in classes):
        return {}  # what transformers calls classes that nobody has named
    return dict(classes=classes)


def _input_size(config: Mapping) -> dict:
    kind, side, patch = (config.get(key) for key in ("model_type", "image_size", "patch_size"))
    if kind in PATCHED and isinstance(patch, int):
        return dict(stride=patch)
    if kind in FIXED and isinstance(side, int) and not config.get("backbone_config"):
        return dict(size=[side, side])
    return {}


def _preprocessing(folder: Path) -> dict:
    """Normalisation, order of channels and stride in ``preprocessor_config.json``.

    Mean and standard deviation are said if the file says whether they are applied; older files say
    nothing of ``rescale_factor`` and mean 1 / 255.
    """
    path = folder / "preprocessor_config.json"
    says = _object(path) if path.is_file() else {}
    factor = says.get("rescale_factor", 1 / 255) if says.get("do_rescale", True) else 1
    normalises = says.get("do_normalize")
    known = isinstance(normalises, bool) and not says.get("rescale_offset")
    mean, std = (says.get(f"image_{each}") for each in ("mean", "std"))
    if known and not normalises:
        mean, std = [0.0] * 3, [1.0] * 3
    found = {}
    if known and all(_is_numbers(each) for each in (mean, std, [factor])) and factor > 0:
        found = _normalisation(mean, std, factor)
    if says.get("do_flip_channel_order"):
        found["channels"] = "BGR"
    if isinstance(says.get("size_divisor"), int):
        found["stride"] = says["size_divisor"]
    return found


def _normalisation(mean: Iterable[float], std: Iterable[float], factor: float) -> dict:
    """The facts of ``(factor * pixel - mean) / std``, pixels of 0 to 255."""
    if abs(255 * factor - 1) < 1e-6:
        return dict(range=1, mean=list(mean), std=list(std))
    return dict(range=255, mean=[x / factor for x in mean], std=[x / factor for x in std])


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(each) in (int, float) for each in value)


def _card(folder: Path) -> dict:
    """Licence and training data in the head of the model's card, if they are there."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        says = _imported("huggingface_hub").metadata_load(path) or {}
    except UserError:
        raise
    except Exception:  # a card that its writer did not check
        return {}
    found = {}
    licence = says.get("license")
    if licence == "other":
        licence = says.get("license_name", licence)
    if isinstance(licence, str):
        found["licence"] = licence
    data = says.get("datasets")
    data = data if isinstance(data, list) else [data]
    if len(data) == 1 and isinstance(data[0], str):  # of several, which is the last is not said
        found["trained_on"] = data[0].split("/")[-1]
    return found


def _weights(folder: Path) -> list[Path]:
    for pattern in WEIGHTS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise UserError(f"{folder}: no weights in it ({' or '.join(WEIGHTS)})")


def _digest(files: Iterable[Path]) -> str:
    text = "".join(f"{path.name} {sha256(path)}\n" for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def _object(path: Path) -> dict:
    content = read_json(path, AGAIN)
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object; {AGAIN}")
    return content


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{name} cannot be imported ({error}): pip install 'ibnseg[hf]'") from error


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keeps transformers from reporting what is checked anyway."""
    logging = transformers.utils.logging
    verbosity, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
