"""Label maps and overlays for a folder of images and videos: what ``ibnseg predict`` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from rich.progress import Progress
from torch import nn

from ibnseg.datasets.labels import ClassSet
from ibnseg.datasets.transforms import read_image, read_label
from ibnseg.engine.read import find_network
from ibnseg.networks import video
from ibnseg.networks.drawing import blend, drawn, legend, overlay
from ibnseg.networks.network import (
    describe_network,
    load_network,
    predict_image,
)
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, written_whole
from ibnseg.support.ledger import Ledger, begin, stamp
from ibnseg.support.progress import bar

SUFFIXES = (".png", ".jpg", ".jpeg")
RECORD = "predictions.json"
"""The file beside predictions that lists the network and the images."""


def predict_folder(
    source: str | Path,
    checkpoint: str | Path | None,
    images: str | Path,
    out: str | Path,
    *,
    options: Sequence[str] = (),
) -> int:
    """Writes a label map and an overlay for every image and video below a folder, or for one.

    ``out/labels/<name>.png`` holds train ids (255 never occurs), with the classes' colours as its
    palette; ``out/overlays/<name>.jpg`` shows them over the image. Of a video there are
    ``out/labels/<name>/<frame>.png``, counted from 0, and ``out/overlays/<name>.mp4``.
    ``out/predictions.json`` records the network and the images, so that what is there already is
    not predicted again.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        images: PNG and JPEG images and videos, in subfolders too; or one image or video.
        out: where predictions go.

    Returns:
        The number of images and videos.

    Raises:
        UserError: for wrong input: no images, two of one name, an unreadable one, an ``out`` that
            holds files of another network or not of this command.
    """
    out = Path(out)
    found = find_images(Path(images), out)
    cfg, checkpoint = find_network(source, checkpoint, options)
    stamps = {name: stamp(path) for name, path in found.items()}
    targets = {name: _targets(out, name, path) for name, path in found.items()}
    network = load_network(cfg, checkpoint)
    ledger = Ledger(out / RECORD, "predictions", describe_network(cfg, checkpoint), schema=1)
    with alone_in(out, "is being written"):
        left = begin(ledger, stamps, targets)
        pictures = [name for name in left if not is_video(found[name])]
        with bar() as progress:
            if pictures:
                pictures = progress.track(pictures, len(pictures), description="Predicting")
            for name in pictures:
                _predict_image(network, found[name], *targets[name])
            for name in left:
                if is_video(found[name]):
                    _predict_video(network, found[name], *targets[name], progress)
    before = f" ({len(found) - len(left)} of them there already)" if len(left) < len(found) else ""
    print(f"{len(found)} predictions{before}: {out}/labels, {out}/overlays")
    return len(found)


def _predict_image(network: nn.Module, path: Path, label_file: Path, overlay_file: Path) -> None:
    image = read_image(path)
    train_ids = predict_image(network, image, path)
    write_label(label_file, train_ids, network.class_set)
    with written_whole(overlay_file) as temporary:
        picture = overlay(image[..., ::-1], train_ids, network.class_set)
        Image.fromarray(picture).save(temporary, quality=90)


def _predict_video(
    network: nn.Module, path: Path, labels: Path, overlay_file: Path, progress: Progress
) -> None:
    """Predicts the frames that have no label map yet, and draws all of them anew."""
    facts, names = video.read_facts(path), None

    def pictures() -> Iterator[np.ndarray]:
        nonlocal names
        frames = progress.track(video.read_frames(path), facts.frames, description=path.name)
        for i, frame in enumerate(frames):
            file = labels / f"{i:06d}.png"
            if not file.exists():
                write_label(file, predict_image(network, frame, path), network.class_set)
            if names is None:
                names = legend(drawn(network.class_set), frame.shape[1], network.class_set)
            picture = blend(frame[..., ::-1], read_label(file), network.class_set)
            yield np.concatenate([picture, names])

    video.write_video(overlay_file, pictures(), facts.rate)


def is_video(path: Path) -> bool:
    """Whether a file is called as a video."""
    return path.suffix.lower() in video.SUFFIXES


def find_images(source: Path, out: Path) -> dict[str, Path]:
    """The images and videos to predict, by the name of their predictions, relative and without
    suffix.

    Args:
        source: a folder, or one image or video.
        out: is left out if it lies in the folder.

    Raises:
        UserError: if there are none, two have one name, or a folder has that of a video.
    """
    known = (*SUFFIXES, *video.SUFFIXES)
    if source.is_file():
        if source.suffix.lower() not in known:
            raise UserError(f"{source}: no image or video ({', '.join(known)})")
        return {source.stem: source}
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or image")
    images = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in known
        and path.is_file()
        and not path.resolve().is_relative_to(out.resolve())
    ]
    if not images:
        raise UserError(f"{source}: no images or videos ({', '.join(known)}) in it")
    found: dict[str, Path] = {}
    for path in images:
        name = path.relative_to(source).with_suffix("").as_posix()
        if name in found:
            raise UserError(
                f"{source}: two images are called {name}, as their predictions would be"
            )
        found[name] = path
    for name, path in found.items():
        folders = [found.get(folder.as_posix()) for folder in PurePosixPath(name).parents]
        video_file = next((each for each in folders if each and is_video(each)), None)
        if video_file:
            raise UserError(
                f"{source}: {path} lies in a folder that is called as {video_file}, as the "
                "label maps of its frames would; rename one, or predict them to two --out"
            )
    return found


def write_label(path: Path, train_ids: np.ndarray, class_set: ClassSet) -> None:
    """Writes (H, W) uint8 train ids as a palette PNG in the classes' colours, whole."""
    image = Image.fromarray(train_ids)
    image.putpalette(np.array(class_set.palette, np.uint8).tobytes())
    with written_whole(path) as temporary:
        image.save(temporary)


def _targets(out: Path, name: str, source: Path) -> tuple[Path, Path]:
    """The label map (of a video the folder of them) and the overlay of an image; its name may hold
    dots and slashes."""
    if is_video(source):
        return out / "labels" / name, out / "overlays" / f"{name}.mp4"
    return out / "labels" / f"{name}.png", out / "overlays" / f"{name}.jpg"
