"""Makes a run's folder of a network that others trained: what ``ibnseg pull`` does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ibnseg.engine.checkpoint import point
from ibnseg.engine.record import write_tables
from ibnseg.evaluation import results
from ibnseg.networks.hub import with_hash
from ibnseg.networks.hub_folder import INFO_FILE, HubFolder
from ibnseg.networks.portable import expanded
from ibnseg.runs.recipe import domain_label
from ibnseg.runs.run import BEST, CONFIG, LATEST, RESULTS
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, folder_written_whole, is_file_name, sha256
from ibnseg.support.terminal import say


def pull(source: str | Path, out: str | Path | None = None, *, revision: str | None = None) -> Path:
    """Makes a run's folder of a network that ``ibnseg push`` wrote, so that every command takes it.

    Its weights, recipe, seed and results are those of the run that was pushed. It has no state of
    the training, so that the training cannot go on.

    Args:
        source: a folder, or ``USER/NAME`` on the hub.
        out: the run's folder, which must not be there; by default ``work_dirs/NAME``.
        revision: of the hub, a branch, tag or commit.

    Returns:
        The run's folder.

    Raises:
        UserError: if the source is neither, cannot be downloaded, is damaged, or is not a network
            of this package; and if the folder is there, or cannot be written.
    """
    pushed = HubFolder.open(source, revision)
    out = as_path(out) if out is not None else _default_folder(pushed)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: is there already; give another --out")
    pushed.require_files()
    tested = _results(pushed)
    weights = pushed.network().state_dict()
    with folder_written_whole(out) as temporary:
        checkpoint = _write_checkpoint(temporary, pushed.info, weights)
        _write_config(temporary / CONFIG, pushed, out, revision)
        if tested is not None:
            path = temporary / checkpoint
            tested = with_hash(tested, sha256(path), checkpoint)
            for name in (test["per_image"] for test in tested["tests"] if test["per_image"]):
                (temporary / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(pushed.folder / name, temporary / name)
            results.write(temporary / RESULTS, tested)
            write_tables(temporary, tested, show=False)
    _report(out, pushed.info, tested)
    return out


def _default_folder(pushed: HubFolder) -> Path:
    place = Path(pushed.source)
    name = pushed.folder.resolve().name if place.is_dir() else place.name
    if not is_file_name(name):
        raise UserError(f"{pushed.source}: has no name that a run could have; give --out")
    return Path("work_dirs") / name


def _results(pushed: HubFolder) -> dict | None:
    """The results of a pushed network, which have to be its own; None if it was not tested."""
    if RESULTS not in pushed.info["files"]:
        return None
    path = pushed.folder / RESULTS
    content = results.read(path)
    of = {content["run"]["checkpoint_sha256"], *(t["checkpoint_sha256"] for t in content["tests"])}
    counts = {test["per_image"] for test in content["tests"]} - {None}
    if of != {pushed.info["checkpoint_sha256"]} or not counts <= {*pushed.info["files"]}:
        raise UserError(f"{path}: is not of the network in {INFO_FILE}; download or push it again")
    return content


def _write_checkpoint(run: Path, info: Mapping, weights: Mapping[str, Tensor]) -> str:
    """Writes a checkpoint, and the link by which a run's latest is known.

    Returns:
        Its path, relative to the run.
    """
    is_best = info["config"].get("save_best", False)
    name = "pulled" if info["iteration"] is None else f"iter_{info['iteration']}"
    name = BEST if is_best else f"checkpoints/{name}.pth"
    (run / name).parent.mkdir(exist_ok=True)
    meta = dict(
        epoch=0,
        iter=info["iteration"],
        seed=info["seed"],
        train_domain=domain_label(info["config"]),
    )
    meta = {key: value for key, value in meta.items() if value is not None}
    plain = {key: value.cpu().contiguous() for key, value in weights.items()}
    torch.save(dict(meta=meta, state_dict=plain), run / name)
    point(run / LATEST, name)
    return name


def _write_config(path: Path, pushed: HubFolder, out: Path, revision: str | None) -> None:
    """Writes a run's expanded config; every line gives plain data to a name."""
    info = pushed.info
    values = expanded(info["config"], info["length"]) | dict(
        pulled=dict(
            source=pushed.source,
            revision=revision,
            checkpoint_sha256=info["checkpoint_sha256"],
            selected=info["selected"],
            licence=info["licence"],
        ),
        work_dir=str(out),
    )
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()), "utf-8")


def _report(out: Path, info: Mapping, tested: Mapping | None) -> None:
    tests = len(tested["tests"]) if tested else 0
    seed = "of unknown seed" if info["seed"] is None else f"seed {info['seed']}"
    say(
        f"{out}: {info['title']}, trained on {' + '.join(info['train_domains'])}, {seed}, "
        f"with {tests} test{'' if tests == 1 else 's'}"
    )
    say(f"Licence: {info['licence'] or 'not stated; what the training data allow holds'}")
    if info["selected"]:
        say(f"Selected checkpoint: {info['selected']}")
