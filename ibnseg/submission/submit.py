"""Makes a checked archive with a run: what ``ibnseg submit`` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from ibnseg.datasets.domain import Domains
from ibnseg.datasets.pictures import read_image
from ibnseg.datasets.sizes import stored_size
from ibnseg.engine.launch import start_processes
from ibnseg.engine.read import load_config
from ibnseg.engine.run import TTA_SCALES
from ibnseg.networks.label_maps import map_reader
from ibnseg.networks.network import predict_image
from ibnseg.networks.sources import Source, find_source
from ibnseg.submission import get_target
from ibnseg.submission.archive import encode, write_archive
from ibnseg.submission.check import Summary, check_archive
from ibnseg.submission.target import Target
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, as_path, remove_leftovers_of, written_whole
from ibnseg.support.ledger import Ledger, begin, recorded_stamps, stamp
from ibnseg.support.overlapping import WriteBehind, read_ahead
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.progress import bar
from ibnseg.support.sharing import Team
from ibnseg.support.terminal import say

RECORD = "predictions.json"
"""The file among the parts that lists the network and the images."""


@losses_in_one_line()
def submit(
    source: str | Path,
    checkpoint: str | Path | None,
    to: str,
    out: str | Path,
    *,
    domain: str | None = None,
    split: str = "test",
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    tta: bool = False,
) -> Summary:
    """Predicts a split and writes the archive that a target takes, checked.

    Predictions are kept in a folder ``<out>.parts`` until the archive is there, so that an
    interrupted command continues. The processes of torchrun or Slurm share the images.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        to: a name in :data:`ibnseg.submission.TARGETS`.
        out: the archive, which appears whole or not at all.
        domain: the domain whose images are predicted; the target's own if None. Another one must
            have the same layout on disk, and may have any number and size of images.
        split: ``test``, or ``val`` to compare with labels that are public.
        roots: data folders by name.
        tta: whether to use test-time augmentation over ``TTA_SCALES`` and flips if the config has
            none.

    Returns:
        What the archive holds.

    Raises:
        UserError: for wrong input: an archive that is there already, a network of other classes, a
            split that is not whole, an image that cannot be read.
    """
    start_processes()
    team, target, out = Team(), get_target(to), as_path(out)
    if out.suffix != ".zip":
        raise UserError(f"{out}: an archive is called .zip; give another --out")
    team.from_main(lambda: _require_absent(out))
    found = find_source(source, checkpoint, options)
    cfg = found.cfg
    images = team.from_main(lambda: split_images(target, cfg, domain, split, roots or {}))
    is_official = domain in (None, target.domain)
    sizes = team.from_main(lambda: image_sizes(target, images, is_official))
    scales = cfg.get("tta_scales") or (TTA_SCALES if tta else ())
    if found.sees_images:
        predict = _by_network(found, target, scales)
    else:
        predict = _by_maps(found, target, domain, images, roots or {}, scales)
    parts = out.with_name(f"{out.name}.parts")
    facts = dict(found.identity(), target=to, tta_scales=list(scales))
    ledger = Ledger(parts / RECORD, "predictions", facts, schema=1)
    files = {target.member(key): parts / target.member(key) for key in images}
    with ExitStack() as locked:

        def plan() -> list[str]:
            locked.enter_context(alone_in(parts, "is being written"))
            _require_absent(out)  # another process may have written it meanwhile
            remove_leftovers_of(out)
            stamps = {target.member(key): stamp(path) for key, path in images.items()}
            gone = sorted((ledger.read(recorded_stamps) or {}).keys() - files.keys())
            if gone:
                raise UserError(
                    f"{parts}: holds a prediction of {gone[0]}, whose image is not in the split "
                    "any more; put it back, or remove the folder"
                )
            left = set(begin(ledger, stamps, {name: (path,) for name, path in files.items()}))
            return [key for key in sorted(images) if target.member(key) in left]

        def pack() -> Summary:
            # the ids are known to be the target's, which the top of a picture need not show
            written = target._replace(drivable_release=None)
            summary = write_archive(
                out, files, lambda archive: check_archive(archive, written, sizes, str(out))
            )
            shutil.rmtree(parts)
            return summary

        todo = team.from_main(plan)
        _predict(team, predict, target, images, files, todo, f"Predicting {split}")
        summary = team.from_main(pack)
    before = f" ({len(files) - len(todo)} of them there already)" if len(todo) < len(files) else ""
    if team.is_main:
        say(
            f"{out}: {describe_archive(summary, target)}{before}, checked (a form {target.basis})"
            f"{_warning(summary, target)}"
        )
    return summary


class _Predict(NamedTuple):
    """What gives the train ids of an image."""

    read: Callable[[Path], np.ndarray]
    """Reads what is in a file, ahead of time."""
    train_ids: Callable[[Path, np.ndarray], np.ndarray]
    """Makes (H, W) uint8 train ids of that."""


def _by_network(found: Source, target: Target, scales: Sequence[float]) -> _Predict:
    network = found.load(fused=True)
    if network.class_set.classes != target.class_set.classes:
        raise UserError(
            f"{found.name}: a network of the {len(network.class_set.classes)} classes of "
            f"{network.class_set.name}; {target.title} takes the {len(target.class_set.classes)} "
            f"of {target.class_set.name}"
        )
    return _Predict(
        read_image, lambda path, image: predict_image(network, image, path, scales=scales)
    )


def _by_maps(
    found: Source,
    target: Target,
    domain: str | None,
    images: Mapping[str, Path],
    roots: Mapping[str, str],
    scales: Sequence[float],
) -> _Predict:
    """Takes label maps that are there already; :mod:`ibnseg.networks.label_maps` finds them."""
    if scales:
        raise UserError(f"{found.name}: are predictions already; leave out --tta")
    of_domain = Domains.of(found.cfg)[domain or target.domain]
    root = Path(of_domain.root(roots))
    read = map_reader(found.name, of_domain.name, root, images.values(), target.class_set)
    return _Predict(read, lambda path, train_ids: train_ids)


def _predict(
    team: Team,
    predict: _Predict,
    target: Target,
    images: Mapping[str, Path],
    files: Mapping[str, Path],
    todo: Sequence[str],
    title: str,
) -> None:
    """Predicts this process's share of the keys in ``todo``, and waits for the others."""
    shared = team.share(todo)

    def read(key: str) -> tuple[str, np.ndarray]:
        return key, predict.read(images[key])

    def write(key: str, train_ids: np.ndarray) -> None:
        png = encode(train_ids, target)
        with written_whole(files[target.member(key)]) as temporary:
            temporary.write_bytes(png)
        progress.update(task, completed=shared.finish())

    with bar(hidden=not team.is_main) as progress:
        task = progress.add_task(title, total=len(todo))
        with WriteBehind() as writer, closing(read_ahead(read, shared)) as pictures:
            for key, image in pictures:
                writer.call(write, key, predict.train_ids(images[key], image))
        team.gather(None)
        progress.update(task, completed=len(todo))


def _require_absent(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out}: is there already; remove it, or give another --out")


def check(
    path: str | Path,
    to: str,
    source: str | Path | None = None,
    *,
    domain: str | None = None,
    split: str = "test",
    roots: Mapping[str, str] | None = None,
) -> Summary:
    """Checks an archive against the images of a split.

    Args:
        path: the archive.
        source: the folder of a run, or a config; domains of the user's own are found beside it.
        to, domain, split, roots: as for :func:`submit`.

    Raises:
        UserError: naming what is wrong.
    """
    target = get_target(to)
    path, source = as_path(path), source and as_path(source)
    cfg = load_config(source / "config.py" if source.is_dir() else source) if source else Config()
    images = split_images(target, cfg, domain, split, roots or {})
    sizes = image_sizes(target, images, is_official=domain in (None, target.domain))
    summary = check_archive(path, target, sizes)
    say(
        f"{path}: {describe_archive(summary, target)}, as {target.title} takes them (a form "
        f"{target.basis}){_warning(summary, target)}"
    )
    return summary


def _warning(summary: Summary, target: Target) -> str:
    """Returns the end of a line that warns of an archive of a single class; empty for others."""
    if len(summary.pixels) > 1:
        return ""
    (only,) = (
        target.class_set.classes[train_id]
        for train_id, id_ in target.ids.items()
        if id_ in summary.pixels
    )
    return (
        f"; warning: every pixel of every map is {only}, which a trained network hardly predicts; "
        "look at the predictions before you upload the archive"
    )


def describe_archive(summary: Summary, target: Target) -> str:
    """Describes an archive's content in words: the number of members, and each class's share."""
    total = sum(summary.pixels.values())
    shares = ", ".join(
        f"{target.class_set.classes[train_id]} {summary.pixels[id_] / total:.1%}"
        for train_id, id_ in target.ids.items()
        if id_ in summary.pixels
    )
    return f"{summary.members} label maps ({shares})"


def split_images(
    target: Target, cfg: Config, domain: str | None, split: str, roots: Mapping[str, str]
) -> dict[str, Path]:
    """Returns the images of a split, by their adapter's keys.

    Args:
        target: the benchmark.
        cfg: a config, whose domains can be named.
        domain, split, roots: as for :func:`submit`.

    Raises:
        UserError: for a domain of another layout, a split that is not there, not whole or not of
            the official number, and two images that would have one member.
    """
    found = Domains.of(cfg)[domain or target.domain]
    if found.dataset["type"] != target.dataset:
        raise UserError(
            f"domain '{found.name}' lies on disk as {found.dataset['type']}, "
            f"{target.title} takes images that lie as {target.dataset}"
        )
    if split not in target.counts:
        raise UserError(f"split '{split}': expected one of {', '.join(target.counts)}")
    root, adapter = Path(found.root(roots)), found.adapter
    release = {key: found.dataset[key] for key in ("release",) if key in found.dataset}
    images = adapter.images(root, split, **release)
    if not images:
        raise UserError(f"{root}: no images of split '{split}'; expected {adapter.LAYOUT}")
    missing = sorted(adapter.labels(root, split, **release).keys() - images.keys())
    if missing:
        raise UserError(
            f"{root}: {missing[0]}: no image in split '{split}', which has its label "
            f"({len(missing)} such); unpack the images again"
        )
    if found.name == target.domain and len(images) != target.counts[split]:
        raise UserError(
            f"{root}: {len(images)} images of split '{split}', {target.title} has "
            f"{target.counts[split]}; unpack the images again"
        )
    members: dict[str, str] = {}
    for key in sorted(images):
        other = members.setdefault(target.member(key), key)
        if other != key:
            raise UserError(
                f"{root}: {other} and {key} would both be {target.member(key)} in the archive"
            )
    return images


def image_sizes(
    target: Target, images: Mapping[str, Path], is_official: bool
) -> dict[str, tuple[int, int]]:
    """Returns (width, height) of images, from their headers, by the names of their members.

    Args:
        target: the benchmark.
        images: paths by their adapter's keys.
        is_official: whether all must have the size of the target's official images.

    Raises:
        UserError: for an image that cannot be read, or has another size than the official ones.
    """
    sizes = {}
    for key, path in images.items():
        size = sizes[target.member(key)] = stored_size(path)
        if is_official and size != target.size:
            found, expected = ("x".join(map(str, each)) for each in (size, target.size))
            raise UserError(f"{path}: is of {found}, all images of {target.title} of {expected}")
    return sizes
