"""Writes a trained network as one file, for itself or for other programs: what ``ibnseg export``
does."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.engine.checkpoint import plain
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fuse import fuse
from ibnseg.models.partial import KEPT_IN_FILES
from ibnseg.networks.checking import (
    IMAGES,
    compare,
    evenly_chosen,
    images_below,
    images_shown,
    inputs_of,
    resized,
)
from ibnseg.networks.formats import FORMATS, Format
from ibnseg.networks.graph import INPUTS, OUTPUTS, Graph, require_exportable, traced
from ibnseg.networks.int8 import IMAGES as CALIBRATION
from ibnseg.networks.int8 import quantised
from ibnseg.networks.loading import load_network
from ibnseg.networks.metadata import as_text, describe, facts_in
from ibnseg.networks.runtime_script import write_script
from ibnseg.networks.sources import find_own
from ibnseg.networks.testing import test
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
    cfg, checkpoint = find_own(source, checkpoint, options)
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
    int8: str | Path | None = None,
    cost: str | None = None,
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
        int8: a folder of images, on which a file in int8 is calibrated; in float32 if None.
        cost: a domain, on whose test split the mIoU is measured in float32 and in int8.
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
    _require_int8(form, int8, cost)
    form.require()
    cfg, checkpoint = find_own(source, checkpoint, options)
    if cost is not None:  # before all that takes long
        Domains.of(cfg)[cost].root(roots or {})
    network = load_network(cfg, checkpoint).cpu()
    require_exportable(network, size)
    where, shown = _images(cfg, images, size, roots or {}, drawn)
    calibration = None if int8 is None else images_below(as_path(int8), CALIBRATION)
    graph = Graph(fuse(copy.deepcopy(network)), takes, gives)
    _require_padding(graph, size)
    program = traced(graph, size, batch)
    description = describe(cfg, checkpoint, graph, network.class_set, size, batch)
    said = []
    with form.written(out) as temporary:
        converted = form.convert(program)
        form.save(converted, temporary, as_text(description))
        bar = with_bar_if_long(shown, IMAGES, "Comparing with torch")
        agreement = compare(network, graph, temporary, bar, batch)
        agreement.require(str(out))
        said.append(f"Compared with torch on {agreement.images} images of {where}: {agreement}")
        if calibration is not None:
            exact = cost and _mean_iou(temporary, cost, roots)
            description |= dict(weights="int8", calibrated_on=len(calibration))
            shown = images_shown(calibration, size)
            inputs = inputs_of(shown, facts_in(description), graph, batch)
            bar = with_bar_if_long(inputs, len(calibration), "Calibrating")
            form.save(quantised(converted, bar), temporary, as_text(description))
            _, shown = _images(cfg, images, size, roots or {}, drawn)
            said.append(f"In int8: {compare(network, graph, temporary, shown, batch)}")
            if cost:
                rounded = _mean_iou(temporary, cost, roots)
                said.append(
                    f"mIoU on {cost}: {exact:.2%} in float32, {rounded:.2%} in int8 "
                    f"({100 * (rounded - exact):+.2f} points)"
                )
    say(f"{out}: {form.title}, {_size(out, form)}; takes {INPUTS[takes]}; gives {OUTPUTS[gives]}")
    say("\n".join(said))
    if form.suffix == ".onnx" and gives != "logits":
        say(f"{write_script(out, description)}: runs it by NumPy and ONNX Runtime alone")
    return out


def _require_int8(form: Format, int8: str | Path | None, cost: str | None) -> None:
    if int8 is not None and not form.is_onnx:
        raise UserError("--int8: expected --to onnx or --to openvino")
    if cost is not None and int8 is None:
        raise UserError(f"--cost {cost}: measures what int8 costs; give --int8 DIR, too")


def _mean_iou(file: Path, domain: str, roots: Mapping[str, str] | None) -> float:
    """The mIoU of a file on a domain's test split, in [0, 1]."""
    # what the test prints is of a folder that will not be there
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        given = dict(domains=[domain], protocols=["native"], roots=roots, work_dir=folder)
        found = test(str(file), **given)
    return found["tests"][0]["mIoU"]


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
