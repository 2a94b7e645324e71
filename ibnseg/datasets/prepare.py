"""Prepares domains for training: each image and label is decoded, checked and stored once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from ibnseg.datasets.domain import Domain, Domains
from ibnseg.datasets.features import FEATURES
from ibnseg.datasets.sizes import THREADS, require_equal_sizes, stored_size
from ibnseg.datasets.store import (
    PREPARED,
    VARIABLE,
    Store,
    map_pixels,
    save_array,
    stamp_of,
)
from ibnseg.datasets.transforms import LoadImage, LoadLabel
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from ibnseg.support.files import LOCK, alone_in, as_path
from ibnseg.support.ledger import begin, recorded_stamps
from ibnseg.support.overlapping import read_ahead
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.progress import bar
from ibnseg.support.reading import in_mib
from ibnseg.support.sharing import Team
from ibnseg.support.terminal import say

HEADER = 128
"""The bytes that an ``.npy`` has before the pixels."""

NAMED = 5
"""The samples that an error names."""


@losses_in_one_line()
def prepare(
    names: Sequence[str],
    out: str | Path,
    *,
    roots: Mapping[str, str] | None = None,
    verify: bool = False,
    class_maps: Mapping[str, str] | None = None,
) -> list[Path]:
    """Stores the training splits of domains, decoded, in ``out/<domain>``.

    A store that is there already is brought up to date: only what is missing or has changed is
    decoded. The processes of torchrun or Slurm share the images, and each uses its share of the
    cores. Training reads the stores if the environment variable ``IBNSEG_PREPARED`` is ``out``, and
    its samples are those of the files, bit for bit.

    Args:
        names: the domains' names.
        out: the folder of the stores.
        roots: data folders from the command line, as for :meth:`Domain.root`.
        verify: decode all, and compare with what is stored. What is equal stays, also if the files
            are copies with other times of change; the rest is stored anew.
        class_maps: files with class maps of one's own, by the names of domains; training then has
            to be given the same.

    Returns:
        The folders of the stores.

    Raises:
        UserError: for an unknown domain or missing data; a folder that holds something else; too
            little room on the disk, before anything is written; and at the end, if some images or
            labels cannot be used.
    """
    known = Domains(class_maps=class_maps)
    known.check_class_maps(names)
    domains = [known[name] for name in dict.fromkeys(names)]
    known.check_roots(roots or {}, domains)
    found = [domain.root(roots or {}) for domain in domains]
    folders = [as_path(out) / domain.name for domain in domains]
    team = Team()
    for domain, root, folder in zip(domains, found, folders, strict=True):
        _prepare(team, domain, root, folder, verify)
    if team.is_main:
        say(f"To train from them: {VARIABLE}={as_path(out)} ibnseg train CONFIG")
    return folders


def _prepare(team: Team, domain: Domain, root: str, folder: Path, verify: bool) -> None:
    """Brings the store of one domain up to date, with all processes."""
    dataset = DATASETS.build(domain.dataset_config(root, domain.train_split))
    require_equal_sizes(dataset)
    infos = dataset.infos()
    store = dataset.store_in(folder, infos)
    by_name = {store.name(info): info for info in infos}
    one = _Preparing(store, by_name)
    fill_store(team, store, by_name, domain.name, _sizes, one, _cores(), verify)


def fill_store(
    team: Team,
    store: Store,
    by_name: Mapping[str, Mapping],
    domain: str,
    sizes: Callable[[Mapping[str, Mapping]], Mapping[str, int]],
    one: Callable[[str], tuple[str | None, bool]],
    threads: int,
    verify: bool = False,
) -> None:
    """Brings a store up to date, with all processes.

    Args:
        team: the processes.
        store: the store, which need not exist.
        by_name: the samples that it is to hold, by their names in the store.
        domain: what messages call the samples' domain.
        sizes: computes the bytes that each sample takes, by its name.
        one: stores the sample of a name; returns what is wrong with it, if anything, and whether
            something was written.
        threads: how many call ``one`` at a time.
        verify: whether what is stored is to be compared, too.

    Raises:
        UserError: if the folder holds something else; if there is too little room on the disk,
            before anything is written; and at the end, if some samples cannot be used.
    """
    folder, infos = store.folder, by_name.values()
    with ExitStack() as locked:

        def plan() -> tuple[dict[str, str], list[str]]:
            _require_own(store)
            locked.enter_context(alone_in(folder, "is being prepared"))
            stamps = {name: stamp_of(info) for name, info in by_name.items()}
            return stamps, _begin(store, by_name, stamps, domain, sizes(by_name), verify)

        stamps, left = team.from_main(plan)
        shared = team.share(left)
        wrong, rewritten = [], 0
        with bar(hidden=not team.is_main) as progress:
            task = progress.add_task(f"Preparing {domain}", total=len(left))
            for problem, is_new in read_ahead(one, shared, threads):
                wrong += [problem] if problem else []
                rewritten += is_new
                progress.update(task, completed=shared.finish())
            parts = team.gather((wrong, rewritten))
            progress.update(task, completed=len(left))
        problems = [problem for part, _ in parts for problem in part]
        if problems:
            shown = "; ".join(problems[:NAMED])
            more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            raise UserError(
                f"{len(problems)} of {len(infos)} images or labels of {domain} cannot be "
                f"used: {shown}{more}; the same command goes on once they are mended"
            )
        if team.is_main:
            _remove_orphans(store, by_name)
            store.ledger.write(images=stamps, complete=True)  # as the files were before decoding
            new = sum(count for _, count in parts)
            say(f"{folder}: {len(infos)} images and labels, {new} of them stored now")


def _begin(
    store: Store,
    by_name: Mapping[str, Mapping],
    stamps: Mapping[str, str],
    domain: str,
    sizes: Mapping[str, int],
    verify: bool,
) -> list[str]:
    """Records what the store will hold, makes sure that there is room for it, and returns the names
    of the samples that have to be decoded."""
    outputs = {name: store.files(info) for name, info in by_name.items()}
    recorded = recorded_stamps(store.ledger.read(dict) or {"images": {}})
    missing = {
        name
        for name, paths in outputs.items()
        if not all(path.exists() for path in paths)
        or (recorded.get(name) != stamps[name] and not verify)
    }
    need, free = sum(sizes[name] for name in missing), shutil.disk_usage(store.folder).free
    has = sum(path.stat().st_size for name in missing for path in outputs[name] if path.exists())
    say(
        f"{domain}: {len(sizes)} images and labels take {_size(sum(sizes.values()))} in "
        f"{store.folder}, {_size(need)} of it are to be written; {_size(free)} are free"
    )
    if need - has > free:
        raise UserError(
            f"{store.folder}: {_size(need - has)} are needed and {_size(free)} are free; make "
            "room, or give another --out"
        )
    if not verify:
        return begin(store.ledger, stamps, outputs)
    # what is compared keeps its stamp until the end
    store.ledger.write(images={**stamps, **recorded})
    return list(by_name)


def _remove_orphans(store: Store, by_name: Mapping[str, Mapping]) -> None:
    """Removes what was stored of samples that the dataset no longer has."""
    own = {path.name for info in by_name.values() for path in store.files(info)}
    for path in store.folder.iterdir():
        if _STORED.fullmatch(path.name) and path.name not in own:
            path.unlink()


class _Preparing:
    """Decodes, checks and stores a sample; what is stored already and equal stays."""

    def __init__(self, store: Store, by_name: Mapping[str, Mapping]) -> None:
        self.store, self.by_name = store, by_name
        self.steps = LoadImage(), LoadLabel()

    def __call__(self, name: str) -> tuple[str | None, bool]:
        """Returns what is wrong with the files, if anything, and whether something was written."""
        info, is_new = self.by_name[name], False
        try:
            found = {**info, "seg_fields": []}
            for step in self.steps:
                found = step(found)
            pixels = found["img"], found["gt_seg_map"]
            for path, each in zip(self.store.files(info), pixels, strict=True):
                if not _holds(path, each):
                    save_array(path, each)
                    is_new = True
        except UserError as error:
            return str(error), is_new
        return None, is_new


def _holds(path: Path, pixels: np.ndarray) -> bool:
    """Whether a file of the store holds these pixels."""
    if not path.exists():
        return False
    try:
        return np.array_equal(map_pixels(path, pixels.ndim), pixels)
    except UserError:
        return False


def clean(names: Sequence[str], out: str | Path) -> None:
    """Removes the stores of domains below ``out``.

    Raises:
        UserError: if a folder is no store; nothing of it is removed then.
    """
    folders = [as_path(out) / name for name in dict.fromkeys(names)]
    for folder in folders:
        if not _record_in(folder):
            records = " or ".join(each.record for each in CONTENTS)
            raise UserError(
                f"{folder}: is not a prepared domain (no {records}); nothing is removed"
            )
    for folder in folders:
        with alone_in(folder, "is being prepared"):
            for path in folder.iterdir():
                if _STORED.fullmatch(path.name):
                    path.unlink()
            _record_in(folder).unlink()  # last, so that a killed command can be given again
        (folder / LOCK).unlink(missing_ok=True)
        rest = sorted(path.name for path in folder.iterdir())
        if rest:
            say(f"{folder}: removed but for what is not of the store: {', '.join(rest[:NAMED])}")
        else:
            folder.rmdir()
            say(f"{folder}: removed")


CONTENTS = (PREPARED, FEATURES)
"""What stores can hold."""

_STORED = re.compile(
    rf"[0-9a-f]{{32}}({'|'.join(re.escape(end) for each in CONTENTS for end in each.ends)})"
)
"""The names of a store's files."""


def _record_in(folder: Path) -> Path | None:
    """The record of the store in a folder, if there is one."""
    found = (folder / each.record for each in CONTENTS)
    return next((path for path in found if path.is_file()), None)


def _require_own(store: Store) -> None:
    """Raises a UserError if the folder of a store holds anything but such a store."""
    folder, own = store.folder, store.contents
    for each in CONTENTS:
        if each is not own and (folder / each.record).is_file():
            raise UserError(f"{folder}: holds {each.what}, not {own.what}; give another --out")
    if folder.is_dir() and not (folder / own.record).is_file():
        rest = [path.name for path in folder.iterdir() if path.name != LOCK]
        if rest:
            raise UserError(
                f"{folder}: holds {rest[0]} and is not a prepared domain; give another --out"
            )


def _cores() -> int:
    """How many cores this process may use; torchrun's processes share those of their machine, and
    Slurm gives each its own."""
    has_share = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_share else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _sizes(by_name: Mapping[str, Mapping]) -> dict[str, int]:
    """The bytes that each sample takes in a store, by its name, from the images' headers."""
    with ThreadPool(THREADS) as pool:
        sizes = pool.map(lambda info: stored_size(info["img_path"]), by_name.values())
    return {
        name: 4 * width * height + 2 * HEADER
        for name, (width, height) in zip(by_name, sizes, strict=True)
    }


def _size(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else in_mib(size)
