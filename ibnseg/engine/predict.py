"""Label maps and overlays for a folder of images: what ``ibnseg predict`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from ibnseg.datasets.labels import CLASSES, PALETTE
from ibnseg.datasets.transforms import Pack, read_image
from ibnseg.draw import overlay
from ibnseg.engine.config import load_config
from ibnseg.engine.expand import check_heads
from ibnseg.errors import UserError
from ibnseg.files import written_whole
from ibnseg.models.weights import load_exactly, read_checkpoint, state_dict_of
from ibnseg.registry import MODELS

SUFFIXES = (".png", ".jpg", ".jpeg")


def load_network(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """The config's network with a checkpoint's weights, in eval mode, on the GPU if there is one.

    Raises:
        UserError: if the checkpoint cannot be read or is of another network.
    """
    init_default_scope("mmseg")
    check_heads(cfg.model, len(CLASSES))
    network = MODELS.build(cfg.model)
    weights = state_dict_of(read_checkpoint(checkpoint), str(checkpoint))
    load_exactly(network, weights, str(checkpoint))
    if cfg.get("channels_last"):
        network = network.to(memory_format=torch.channels_last)
    return network.to(get_device()).eval()


def predict(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    out: str | Path,
    *,
    options: Sequence[str] = (),
) -> int:
    """Writes a label map and an overlay for every image below a folder.

    ``out/labels/<name>.png`` holds train ids (255 never occurs), with the classes' colours as its
    palette; ``out/overlays/<name>.jpg`` shows them over the image.

    Args:
        config, checkpoint: the network.
        folder: PNG and JPEG images, in subfolders too.
        out: where predictions go.
        options: changes to the config, ``key=value``.

    Returns:
        The number of images.

    Raises:
        UserError: for wrong input: no images, two of one name, an unreadable one.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    images = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES]
    images = [path for path in images if not path.resolve().is_relative_to(out.resolve())]
    if not images:
        raise UserError(f"{folder}: no images ({', '.join(SUFFIXES)}) in it")
    names = [path.relative_to(folder).with_suffix("") for path in images]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{folder}: two images are called {min(twice)}, as their predictions would be"
        )
    network = load_network(load_config(config, options), checkpoint)
    columns = (TextColumn("Predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for path, name in progress.track(zip(images, names, strict=True), total=len(images)):
            image = read_image(path)
            train_ids = predict_image(network, image)
            write_label(out / "labels" / name.with_suffix(".png"), train_ids)
            with written_whole(out / "overlays" / name.with_suffix(".jpg")) as temporary:
                picture = overlay(image[..., ::-1], train_ids)
                Image.fromarray(picture).save(temporary, quality=90)
    print(f"{len(images)} predictions: {out}/labels, {out}/overlays")
    return len(images)


@torch.inference_mode()
def predict_image(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """The network's train ids for an image.

    Args:
        network: from :func:`load_network`.
        image: (H, W, 3) uint8, BGR, as :func:`ibnseg.datasets.transforms.read_image` gives it.

    Returns:
        (H, W) uint8.
    """
    size = image.shape[:2]
    sample = Pack()(dict(img=image, img_path=None, ori_shape=size, img_shape=size))
    (result,) = network.test_step(pseudo_collate([sample]))
    return result.pred_sem_seg.data.squeeze(0).cpu().numpy()


def write_label(path: Path, train_ids: np.ndarray) -> None:
    """Writes (H, W) uint8 train ids as a palette PNG in the classes' colours, whole."""
    image = Image.fromarray(train_ids)
    image.putpalette(np.array(PALETTE, np.uint8).tobytes())
    with written_whole(path) as temporary:
        image.save(temporary)
