"""Writes a trained network as one file, for itself or for other programs: what ``ibnseg export``
does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.checkpoint import plain
from ibnseg.engine.read import find_network
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fuse import fuse
from ibnseg.models.partial import KEPT_IN_FILES
from ibnseg.networks.checking import (
    IMAGES,
    compare,
    evenly_chosen,
    images_below,
    images_shown,
    resized,
)
from ibnseg.networks.formats import FORMATS, Format
from ibnseg.networks.graph import INPUTS, OUTPUTS, Graph, require_exportable, traced
from ibnseg.networks.loading import load_network
from ibnseg.networks.metadata import as_text, describe
from ibnseg.networks.runtime_script import write_script
from ibnseg.registry import DATASETS
from ibnseg.runs.kinds import as_list
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, written_whole
from ibnseg.support.progress import with_bar_if_long
from ibnseg.support.reading import in_mib
from ibnseg.support.terminal import say


def export_weights(
    source: str | Path,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    options: Sequence[str] = (),
) -> Path:
    """Writes all weights of a network in one file, those of a frozen backbone included.

    The file is a checkpoint of the same network, without what training alone needs. Loading it
    needs no file of the backbone. Adapters stay as they are.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        out: the file.

    Returns:
        The file.

    Raises:
        UserError: for wrong input, and if the file cannot be written or would replace the
            checkpoint.
    """
    cfg, checkpoint = find_network(source, checkpoint, options)
    out = as_path(out)
    if out.resolve() == checkpoint.resolve():
        raise UserError(f"{out} is the checkpoint itself; give another --out")
    network = load_network(cfg, checkpoint)
    weights = {k: value.cpu().contiguous() for k, value in network.state_dict().items()}
    meta = read_checkpoint(checkpoint).get("meta")
    with written_whole(out) as temporary:
        torch.save(dict(meta=_meta(meta), state_dict=weights), temporary)
    size = sum(each.numel() * each.element_size() for each in weights.values())
    say(f"{out}: {len(weights)} weights, {size / 2**20:.1f} MiB, of {checkpoint}")
    return out


def _meta(given: object) -> dict:
    """What a checkpoint says of itself, as far as it is plain data."""
    found = {}
    for key, value in given.items() if isinstance(given, Mapping) else ():
        try:
            found[key] = plain(value)
        except TypeError:  # of another tool
            continue
    found.pop(KEPT_IN_FILES, None)
    return found


def export_network(
    source: str | Path,
    checkpoint: str | Path | None,
    to: str,
    out: str | Path,
    *,
    options: Sequence[str] = (),
    takes: str = "rgb",
    gives: str = "train-ids",
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    images: str | Path | None = None,
    roots: Mapping[str, str] | None = None,
    drawn: Callable[[int], Iterable[np.ndarray]] | None = None,
) -> Path:
    """Writes a network in a format of other programs, if it computes there what it does in torch.

    BN is folded into the convolutions, and adapters into their layers. The file says what it is
    (:mod:`ibnseg.networks.metadata`). Beside an ONNX file that gives something for each pixel lies
    a script that runs it.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        to: one of :data:`~ibnseg.networks.formats.FORMATS`.
        out: the file, whose suffix is the format's.
        takes, gives: of :data:`~ibnseg.networks.graph.INPUTS` and
            :data:`~ibnseg.networks.graph.OUTPUTS`.
        size: (height, width) of the images; any if None.
        batch: the number of images; any if None.
        images: a folder of images on which the file is compared with torch; by default those of the
            first of the config's test domains whose data is there, and else what is drawn.
        roots: data folders from the command line, by name.
        drawn: draws so many images, (H, W, 3) uint8, RGB.

    Returns:
        The file.

    Raises:
        UserError: for wrong input, a missing package, a network that cannot be exported, a file
            that computes something else than the network, and if it cannot be written. What is
            there stays as it is.
    """
    form, out = FORMATS[to], as_path(out)
    if out.suffix != form.suffix:
        raise UserError(f"--out {out}: expected a name that ends in {form.suffix}")
    form.require()
    cfg, checkpoint = find_network(source, checkpoint, options)
    network = load_network(cfg, checkpoint).cpu()
    require_exportable(network, size)
    where, shown = _images(cfg, images, size, roots or {}, drawn)
    graph = Graph(fuse(copy.deepcopy(network)), takes, gives)
    _require_padding(graph, size)
    program = traced(graph, size, batch)
    description = describe(cfg, checkpoint, graph, network.class_set, size, batch)
    with form.written(out) as temporary:
        form.save(form.convert(program), temporary, as_text(description))
        bar = with_bar_if_long(shown, IMAGES, "Comparing with torch")
        agreement = compare(network, graph, temporary, bar, batch)
        agreement.require(str(out))
    say(f"{out}: {form.title}, {_size(out, form)}; takes {INPUTS[takes]}; gives {OUTPUTS[gives]}")
    say(f"Compared with torch on {agreement.images} images of {where}: {agreement}")
    if form.suffix == ".onnx" and gives != "logits":
        say(f"{write_script(out, description)}: runs it by NumPy and ONNX Runtime alone")
    return out


def _require_padding(graph: Graph, size: tuple[int, int] | None) -> None:
    """Refuses a graph for which images would have to be padded with the mean colour."""
    needs_padding = size is None or any(side % graph.divisor for side in size)
    if graph.stride and graph.takes == "rgb" and needs_padding:
        raise UserError(
            f"export: images are padded to multiples of {graph.divisor} after they are normalised, "
            "which nobody can do in front of a graph that normalises and gives logits at the "
            "head's resolution; take --output full-logits, or --input normalised"
        )


def _images(
    cfg: Config,
    folder: str | Path | None,
    size: tuple[int, int] | None,
    roots: Mapping[str, str],
    drawn: Callable[[int], Iterable[np.ndarray]] | None,
) -> tuple[str, Iterable[np.ndarray]]:
    """What images to compare on, in words, and the images, (H, W, 3) uint8, RGB."""
    if folder is not None:
        return str(folder), images_shown(images_below(as_path(folder), IMAGES), size)
    domains = Domains.of(cfg)
    for name in as_list(cfg.get("test_domains")):
        domain = domains[name]
        if any(place.is_dir() for place in domain.places(roots)):
            root, split = domain.root(roots), domain.test_split
            dataset = DATASETS.build(domain.dataset_config(root, split, test_mode=True))
            files = [Path(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset))]
            return f"{name} ({split})", images_shown(evenly_chosen(files, IMAGES), size)
    if drawn is None:
        raise UserError("export: no data of the config's test domains is there; give --images DIR")
    return "drawn streets", (resized(image, size) for image in drawn(IMAGES))


def _size(path: Path, form: Format) -> str:
    files = [path, *(path.with_suffix(suffix) for suffix in form.further)]
    return in_mib(sum(file.stat().st_size for file in files))
