"""Writes label maps and overlays for folders of images and videos: what ``ibnseg predict`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ibnseg.engine.launch import start_processes
from ibnseg.engine.precision import warn_if_emulated
from ibnseg.networks.inputs import find_images, is_video
from ibnseg.networks.outputs import Output, chosen_outputs
from ibnseg.networks.predictor import Outcome, Predictor, Todo, in_batches
from ibnseg.networks.sources import find_source
from ibnseg.support.data_files import count_by_suffix
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, as_path
from ibnseg.support.ledger import Ledger, begin, stamp
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.progress import bar
from ibnseg.support.sharing import Team
from ibnseg.support.terminal import say

RECORD = "predictions.json"
"""The file beside predictions that lists the network and the images."""
MOST_SHOWN = 5
"""The most failed inputs, and reasons, that are named."""


@losses_in_one_line()
def predict_folder(
    source: str | Path,
    checkpoint: str | Path | None,
    images: str | Path,
    out: str | Path,
    *,
    options: Sequence[str] = (),
    write: Sequence[str] = (),
    batch: int = 1,
    precision: str = "float32",
) -> int:
    """Writes a label map and an overlay for every image and video below a folder, or for one file.

    ``out/labels/<name>.png`` holds train ids (255 never occurs), with the classes' colours as its
    palette; ``out/overlays/<name>.jpg`` shows them over the image. For a video there are
    ``out/labels/<name>/<frame>.png``, counted from 0, and ``out/overlays/<name>.mp4``. Further
    outputs lie beside them, as :data:`ibnseg.networks.outputs.OUTPUTS` says.
    ``out/predictions.json`` records the network and the images, so that what exists already is not
    predicted again.

    The processes of torchrun or Slurm share the inputs; each file is written once, with the content
    that one process would give it.

    Args:
        source, checkpoint, options: the network, as for :func:`ibnseg.load`.
        images: a folder of images and videos, in subfolders and linked folders too; or one image
            or video. Images are turned upright as their EXIF orientation says, and so are their
            predictions.
        out: folder of the predictions.
        write: further outputs, by their names in :data:`~ibnseg.networks.outputs.OUTPUTS`.
        batch: images of one size that go through the network at a time, at most.
        precision: ``float32``, or ``bfloat16`` for autocast.

    Returns:
        The number of images and videos.

    Raises:
        UserError: for wrong input: no images, two of one name, an ``out`` that holds files of
            another network or not of this command; and at the end, if some inputs could not be
            predicted.
    """
    start_processes()
    team, out = Team(), as_path(out)
    found, left_out = team.from_main(lambda: find_images(as_path(images), out))
    found_network = find_source(source, checkpoint, options)
    network = found_network.load(fused=True)
    outputs = chosen_outputs(write, network.class_set)
    identity = dict(found_network.identity(), precision=precision)
    ledger = Ledger(out / RECORD, "predictions", identity, 1, {"precision": "float32"})
    todo = {name: Todo(path, _targets(out, name, path, outputs)) for name, path in found.items()}
    with ExitStack() as locked:

        def plan() -> tuple[list[str], dict[Path, str]]:
            locked.enter_context(alone_in(out, "is being written"))
            warn_if_emulated(precision)
            return _begin(ledger, todo)

        left, lost = team.from_main(plan)
        predictor = Predictor(network, outputs, batch, precision, Outcome())
        outcomes = _predict(team, predictor, [todo[name] for name in left])
    if team.is_main:
        done = len(found) - len(lost) - len(left)
        _report(out, [each.folder for each in outputs], found, left_out, done, lost, outcomes)
    return len(found)


def _begin(ledger: Ledger, todo: Mapping[str, Todo]) -> tuple[list[str], dict[Path, str]]:
    """Begins the ledger, and returns the names of what is left to do, videos first and the largest
    of them first; and what is wrong with files that are gone."""
    stamps, lost = {}, {}
    for name, (path, _) in todo.items():
        try:
            stamps[name] = stamp(path)
        except OSError as error:  # e.g. a link whose file is gone
            lost[path] = f"{path}: cannot be read ({error.strerror})"
    left = begin(ledger, stamps, {name: todo[name].targets for name in stamps})
    videos = {name: todo[name].path for name in left if is_video(todo[name].path)}
    sizes = {name: path.stat().st_size for name, path in videos.items()}
    pictures = [name for name in left if name not in videos]
    return sorted(videos, key=sizes.get, reverse=True) + pictures, lost


def _predict(team: Team, predictor: Predictor, left: Sequence[Todo]) -> list[Outcome]:
    """Predicts this process's share, shows how much all processes have done, and returns what has
    come of each share."""
    videos = [each for each in left if is_video(each.path)]
    pictures = team.share(list(in_batches(left[len(videos) :], predictor.batch)))
    with bar(hidden=not team.is_main) as progress:
        task = progress.add_task("Predicting", total=len(left), visible=bool(left))

        def finish() -> None:
            progress.update(task, completed=pictures.finish())

        for each in team.share(videos):
            predictor.predict_video(each, progress)
            finish()
        predictor.predict_images(pictures, finish)
        outcomes = team.gather(predictor.outcome)
        progress.update(task, completed=len(left))
    return outcomes


def _report(
    out: Path,
    folders: Sequence[str],
    found: Mapping[str, Path],
    left_out: Sequence[Path],
    done: int,
    lost: Mapping[Path, str],
    outcomes: Sequence[Outcome],
) -> None:
    """Says what all processes have done.

    Raises:
        UserError: if some inputs could not be predicted.
    """
    turned, images = (sum(getattr(each, key) for each in outcomes) for key in ("turned", "images"))
    if turned:
        print(
            f"{turned} of {images} images were turned upright, as their EXIF orientation says, and "
            "so are their predictions"
        )
    failed = dict(lost)
    for outcome in outcomes:
        failed |= outcome.failed
    before = f" ({done} of them there already)" if done else ""
    places = ", ".join(f"{out}/{each}" for each in (*folders, "overlays"))
    skipped = _skipped(left_out, list(failed))
    say(f"{len(found) - len(failed)} predictions{before}: {places}{skipped}")
    if failed:
        problems = list(dict.fromkeys(failed.values()))  # the images of a batch have one
        shown = "; ".join(problems[:MOST_SHOWN])
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise UserError(
            f"{len(failed)} of {len(found)} inputs could not be predicted: {shown}{more}; the same "
            "command predicts them once they are mended"
        )


def _skipped(left_out: Sequence[Path], failed: Sequence[Path]) -> str:
    """Says how many files have no prediction, and why; nothing if there are none."""
    parts = [count_by_suffix(left_out)] if left_out else []
    if failed:
        names = ", ".join(path.name for path in failed[:MOST_SHOWN])
        parts.append(f"{len(failed)} failed ({names}{', ...' * (len(failed) > MOST_SHOWN)})")
    return f"; {len(left_out) + len(failed)} skipped: {', '.join(parts)}" if parts else ""


def _targets(out: Path, name: str, source: Path, outputs: Sequence[Output]) -> tuple[Path, ...]:
    """Returns the file of each output (a folder for a video), then that of the overlay.

    Names may hold dots and slashes.
    """
    suffix = ".mp4" if is_video(source) else ".jpg"
    files = [
        out / each.folder / (name if is_video(source) else f"{name}{each.suffix}")
        for each in outputs
    ]
    return (*files, out / "overlays" / f"{name}{suffix}")
