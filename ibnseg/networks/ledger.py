"""A record beside predictions of what is there already, so that interrupted work goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from ibnseg.support.errors import UserError
from ibnseg.support.files import require_writable, sha256, written_whole

RECORD = "predictions.json"
SCHEMA = 1


def describe_network(cfg: Config, checkpoint: Path) -> dict[str, str]:
    """What decides a prediction besides the image: hashes of the weights and of the config's
    network."""
    network = {key: cfg.get(key) for key in ("model", "channels_last")}
    text = json.dumps(network, sort_keys=True, default=str)
    return dict(
        checkpoint_sha256=sha256(checkpoint),
        network_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def stamp(path: Path) -> str:
    """Size and time of change, by which an image that has changed is known."""
    stat = path.stat()
    return f"{stat.st_size} bytes of {stat.st_mtime_ns} ns"


def begin(
    out: Path,
    network: Mapping[str, str],
    stamps: Mapping[str, str],
    targets: Mapping[str, Sequence[Path]],
) -> list[str]:
    """Records what is about to be predicted, and returns the names of what is not there yet.

    A prediction of an image that has changed is removed before the record says otherwise.

    Args:
        out: the folder of the record.
        network: what decides a prediction besides the image, as from :func:`describe_network`.
        stamps: of the images, by name.
        targets: the files and folders of each image's prediction, by name.

    Raises:
        UserError: for a folder that cannot be written to, predictions of another network, and files
            that are not recorded.
    """
    require_writable(out)
    recorded = read_record(out, network)
    left = []
    for name, now in stamps.items():
        there = [path for path in targets[name] if path.exists()]
        if there and name not in recorded:
            raise UserError(
                f"{there[0]}: is there, and not recorded in {RECORD}; give another --out"
            )
        has_changed = recorded.get(name, now) != now
        if has_changed or len(there) < len(targets[name]):
            left.append(name)
        for path in there if has_changed else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with written_whole(out / RECORD) as temporary:
        content = dict(schema=SCHEMA, **network, images=recorded | dict(stamps))
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return left


def read_record(out: Path, network: Mapping[str, str]) -> dict[str, str]:
    """The stamps of recorded images by name, of which there are none in a new folder.

    Raises:
        UserError: for a damaged record, and one of another network.
    """
    path = out / RECORD
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text())
        if record["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {record['schema']}, expected {SCHEMA}")
        images = dict(record["images"])
        others = [key for key, value in network.items() if record[key] != value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error!r}); give another --out") from error
    if others:
        raise UserError(
            f"{out}: holds predictions of another {' and '.join(others)}; give another --out"
        )
    return images
