"""Label maps and overlays for a folder of images: what ``ibnseg predict`` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from ibnseg.datasets.labels import PALETTE
from ibnseg.datasets.transforms import read_image
from ibnseg.draw import overlay
from ibnseg.engine.network import find_network, load_network, predict_image
from ibnseg.errors import UserError
from ibnseg.files import require_writable, sha256, written_whole
from ibnseg.progress import bar

SUFFIXES = (".png", ".jpg", ".jpeg")
RECORD = "predictions.json"
SCHEMA = 1


def predict_folder(
    source: str | Path,
    checkpoint: str | Path | None,
    images: str | Path,
    out: str | Path,
    *,
    options: Sequence[str] = (),
) -> int:
    """Writes a label map and an overlay for every image below a folder, or for one image.

    ``out/labels/<name>.png`` holds train ids (255 never occurs), with the classes' colours as its
    palette; ``out/overlays/<name>.jpg`` shows them over the image. ``out/predictions.json`` records
    the network and the images, so that what is there already is not predicted again.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        images: PNG and JPEG images, in subfolders too; or one image.
        out: where predictions go.

    Returns:
        The number of images.

    Raises:
        UserError: for wrong input: no images, two of one name, an unreadable one, an ``out`` that
            holds files of another network or not of this command.
    """
    out = Path(out)
    found = find_images(Path(images), out)
    cfg, checkpoint = find_network(source, checkpoint, options)
    stamps = {name: _stamp(path) for name, path in found.items()}
    network = load_network(cfg, checkpoint)
    left = _begin(out, describe_network(cfg, checkpoint), stamps)
    with bar() as progress:
        for name in progress.track(left, total=len(left), description="Predicting"):
            image = read_image(found[name])
            train_ids = predict_image(network, image, found[name])
            label_file, overlay_file = _targets(out, name)
            write_label(label_file, train_ids)
            with written_whole(overlay_file) as temporary:
                picture = overlay(image[..., ::-1], train_ids)
                Image.fromarray(picture).save(temporary, quality=90)
    before = f" ({len(found) - len(left)} of them there already)" if len(left) < len(found) else ""
    print(f"{len(found)} predictions{before}: {out}/labels, {out}/overlays")
    return len(found)


def find_images(source: Path, out: Path) -> dict[str, Path]:
    """The images to predict, by the name of their predictions, relative and without suffix.

    Args:
        source: a folder, or one image.
        out: is left out if it lies in the folder.

    Raises:
        UserError: if there are none, or two have one name.
    """
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise UserError(f"{source}: no image, which would be one of {', '.join(SUFFIXES)}")
        return {source.stem: source}
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or image")
    images = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not path.resolve().is_relative_to(out.resolve())
    ]
    if not images:
        raise UserError(f"{source}: no images ({', '.join(SUFFIXES)}) in it")
    found: dict[str, Path] = {}
    for path in images:
        name = path.relative_to(source).with_suffix("").as_posix()
        if name in found:
            raise UserError(
                f"{source}: two images are called {name}, as their predictions would be"
            )
        found[name] = path
    return found


def describe_network(cfg: Config, checkpoint: Path) -> dict[str, str]:
    """What decides a prediction besides the image: hashes of the weights and of the config's
    network."""
    network = {key: cfg.get(key) for key in ("model", "channels_last")}
    text = json.dumps(network, sort_keys=True, default=str)
    return dict(
        checkpoint_sha256=sha256(checkpoint),
        network_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def write_label(path: Path, train_ids: np.ndarray) -> None:
    """Writes (H, W) uint8 train ids as a palette PNG in the classes' colours, whole."""
    image = Image.fromarray(train_ids)
    image.putpalette(np.array(PALETTE, np.uint8).tobytes())
    with written_whole(path) as temporary:
        image.save(temporary)


def _begin(out: Path, network: dict[str, str], stamps: dict[str, str]) -> list[str]:
    """Records what is about to be predicted, and returns the names of what is not there yet.

    A prediction of an image that has changed is removed before the record says otherwise.
    """
    require_writable(out)
    recorded = _read_record(out, network)
    left = []
    for name, stamp in stamps.items():
        targets = _targets(out, name)
        there = [path for path in targets if path.exists()]
        if there and name not in recorded:
            raise UserError(
                f"{there[0]}: is there, and not recorded in {RECORD}; give another --out"
            )
        if len(there) < len(targets) or recorded[name] != stamp:
            left.append(name)
            for path in there:
                path.unlink()
    with written_whole(out / RECORD) as temporary:
        content = dict(schema=SCHEMA, **network, images=recorded | stamps)
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return left


def _read_record(out: Path, network: dict[str, str]) -> dict[str, str]:
    """The stamps of recorded images, of which there are none in a new folder."""
    path = out / RECORD
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
        if record["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {record['schema']}, expected {SCHEMA}")
        images = dict(record["images"])
        same = {key: record[key] for key in network} == network
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); give another --out") from error
    if not same:
        raise UserError(
            f"{out}: holds predictions of another checkpoint or config; give another --out"
        )
    return images


def _targets(out: Path, name: str) -> tuple[Path, Path]:
    """The label map and the overlay of an image; its name may hold dots and slashes."""
    return out / "labels" / f"{name}.png", out / "overlays" / f"{name}.jpg"


def _stamp(path: Path) -> str:
    """Size and time of change, by which an image that has changed is known."""
    stat = path.stat()
    return f"{stat.st_size} bytes of {stat.st_mtime_ns} ns"
