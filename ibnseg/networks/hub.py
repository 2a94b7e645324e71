"""Networks as Hugging Face's hub has them: ``save_pretrained`` writes one, ``from_pretrained``
loads one. Nothing is uploaded: the user's ``hf upload`` does that."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from torch import nn

import ibnseg
from ibnseg.evaluation import results
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.networks.hub_folder import (
    CARD,
    FORMAT,
    INFO_FILE,
    LIBRARY,
    WEIGHTS,
    HubFolder,
    import_hub,
)
from ibnseg.networks.loading import load_network
from ibnseg.networks.portable import length_of, portable
from ibnseg.runs.recipe import train_domains
from ibnseg.runs.run import CONFIG, RESULTS, Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, folder_written_whole, sha256
from ibnseg.support.reading import in_mib
from ibnseg.support.stack import versions_of_stack
from ibnseg.support.terminal import say


def from_pretrained(source: str | Path, *, revision: str | None = None) -> nn.Module:
    """Loads a network that :func:`save_pretrained` wrote, as :func:`ibnseg.load` loads a run's.

    Args:
        source: a folder, or ``USER/NAME`` on the hub, from which it is downloaded once.
        revision: of the hub, a branch, tag or commit.

    Raises:
        UserError: if it is neither, cannot be downloaded, is damaged, or is not a network of this
            package.
    """
    shared = HubFolder.open(source, revision)
    shared.require_files()
    return shared.network()


def save_pretrained(
    run: str | Path,
    folder: str | Path,
    checkpoint: str | Path | None = None,
    *,
    licence: str | None = None,
    max_shard_size: int | str = "5GB",
) -> Path:
    """Writes a run's network as the hub has it: all weights, what is needed to build the network
    and to test it again, its results and a model card.

    Args:
        run: the run's folder.
        folder: is made; if it is there, it has to be of the same run, written by this function, and
            unchanged since.
        checkpoint: another checkpoint of the run than the one that it tests.
        licence: the licence of the weights, as the hub calls it or in words.
        max_shard_size: the size above which weights are divided among files, e.g. ``500MB``.

    Returns:
        The folder.

    Raises:
        UserError: for wrong input, a network that needs code of the user's own, and a folder that
            cannot be written or replaced.
    """
    hub = import_hub()
    from ibnseg.networks.card import model_card

    run, out = Run.open(run), as_path(folder)
    path = as_path(checkpoint) if checkpoint is not None else run.tested
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    info = _info_of(run, path, licence)
    _require_replaceable(out, info)
    network = load_network(Config(info["config"]), path)
    info |= dict(
        classes=list(network.class_set.classes),
        palette=[list(map(int, color)) for color in network.class_set.palette],
    )
    with folder_written_whole(out) as temporary:
        hub.save_torch_model(network, temporary, max_shard_size=max_shard_size)
        tested = _copy_results(run, sha256(path), info["checkpoint_sha256"], temporary)
        (temporary / CARD).write_text(model_card(info, tested, out.absolute().name), "utf-8")
        files = sorted(each for each in temporary.rglob("*") if _is_written(each))
        info["files"] = {each.relative_to(temporary).as_posix(): sha256(each) for each in files}
        text = json.dumps(info, indent=1, allow_nan=False)
        (temporary / INFO_FILE).write_text(f"{text}\n", "utf-8")
    _report(out, info)
    return out


def _info_of(run: Run, checkpoint: Path, licence: str | None) -> dict:
    """The content of ``config.json``, but for the classes and the files."""
    source = str(run.folder / CONFIG)
    values = portable(run.config, source)
    meta = read_checkpoint(checkpoint).get("meta") or {}
    is_tested = checkpoint.resolve() == run.tested.resolve()
    pulled = (run.pulled or {}) if is_tested else {}
    return dict(
        library_name=LIBRARY,
        format=FORMAT,
        name=values["name"],
        title=values.get("model_title") or values["name"],
        train_domains=train_domains(values),
        recipe=run.recipe.hash,
        seed=meta.get("seed", values.get("seed")),
        iteration=meta.get("iter"),
        length=length_of(run.config),
        checkpoint_sha256=pulled.get("checkpoint_sha256") or sha256(checkpoint),
        selected=pulled.get("selected") or _selected(run, checkpoint, is_tested),
        licence=licence or pulled.get("licence"),
        versions={
            "ibnseg": ibnseg.__version__,
            "python": platform.python_version(),
            **{name: version for name, version in versions_of_stack().items() if version},
        },
        config=values,
    )


def _selected(run: Run, checkpoint: Path, is_tested: bool) -> str | None:
    """How a checkpoint was selected among those of its training, in words; None for the last."""
    if run.config.get("save_best") and is_tested:
        return (
            f"the best by mIoU on split {run.config.get('selection_split')} of "
            f"{run.config.get('train_domain')}"
        )
    name = checkpoint.resolve().name
    if "best" in name.lower():
        return f"by its name, {name}; on which images is not recorded"
    return None


def _copy_results(run: Run, own: str, shown: str, to: Path) -> dict | None:
    """Writes the tests of a checkpoint to a folder, with the counts of each image.

    Args:
        run: the run.
        own: the hash of the checkpoint in the run.
        shown: the hash that it is called by in the folder.
        to: the folder.

    Returns:
        The content of its ``results.json``; None if the checkpoint was not tested.
    """
    content = run.results
    tests = [t for t in content["tests"] if t["checkpoint_sha256"] == own] if content else []
    if not tests:
        return None
    missing = [t["per_image"] for t in tests if not _is_there(run.folder, t["per_image"])]
    found = with_hash({**content, "tests": tests}, shown, WEIGHTS)
    found = results.without_counts(found, [name for name in missing if name])
    for name in (test["per_image"] for test in found["tests"] if test["per_image"]):
        (to / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run.folder / name, to / name)
    results.write(to / RESULTS, found)
    return found


def _is_there(folder: Path, name: str | None) -> bool:
    return name is not None and (folder / name).is_file()


def with_hash(content: Mapping, digest: str, checkpoint: str) -> dict:
    """Returns the results of one checkpoint with another hash and path of the checkpoint's file,
    which holds the same weights."""
    own = dict(checkpoint_sha256=digest)
    tests = [{**test, **own} for test in content["tests"]]
    run = {**content["run"], **own, "checkpoint": checkpoint}
    if tests:
        run["iteration"] = tests[0]["iteration"]
    return {**content, "run": run, "tests": tests}


def _is_written(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


SAME = ("name", "train_domains", "recipe", "seed")
"""What a folder has to share with a network that replaces the one in it."""


def _require_replaceable(out: Path, info: Mapping) -> None:
    """Refuses a folder that holds anything but what this module wrote of the same run."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, expected a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / INFO_FILE).is_file():
        raise UserError(f"{out}: is there, and was not written by push; give another --out")
    before = HubFolder.open(out).info
    for name in SAME:
        if before[name] != info[name]:
            raise UserError(
                f"{out}: holds another network, whose {name} is {before[name]!r}, not "
                f"{info[name]!r}; give another --out"
            )
    own = {INFO_FILE, *before["files"]}
    for path in sorted(each for each in out.rglob("*") if each.is_file()):
        name = path.relative_to(out).as_posix()
        if name not in own:
            raise UserError(f"{path}: was not written by push; move it away, or give another --out")
        if name != INFO_FILE and sha256(path) != before["files"][name]:
            raise UserError(
                f"{path}: was changed since push wrote it; move it away, or give another --out"
            )


def _report(out: Path, info: Mapping) -> None:
    """Prints what was written, and what the user may do with it."""
    sizes = {name: (out / name).stat().st_size for name in (INFO_FILE, *info["files"])}
    weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    say(f"{out}: {len(sizes)} files, {in_mib(sum(sizes.values()))}, {in_mib(weights)} of weights")
    if RESULTS not in info["files"]:
        say("No results: this checkpoint has not been tested (ibnseg test)")
    if info["licence"] is None:
        say("No licence is stated (--licence); what the training data allow holds of the weights")
    say(f"Nothing is uploaded; you may: hf upload USER/{out.absolute().name} {out}")
