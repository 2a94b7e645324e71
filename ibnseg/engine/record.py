"""Writes a run's results: the run and its checkpoint, each test's record, and the tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook

import ibnseg
from ibnseg.datasets.groups import GROUPS
from ibnseg.engine.runner import Runner
from ibnseg.engine.selection import selection_of
from ibnseg.evaluation import results
from ibnseg.evaluation.per_image import write_per_image
from ibnseg.report import tables
from ibnseg.runs.recipe import domain_label, train_domains
from ibnseg.runs.run import RESULTS, Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import in_turn, remove_leftovers_of, sha256, written_whole
from ibnseg.support.stack import versions_of_stack
from ibnseg.support.terminal import say


class Recorder(Hook):
    """Adds each test's record to ``results.json`` when the test ends.

    Args:
        run: from :func:`describe_run`.
    """

    def __init__(self, run: dict) -> None:
        self.run = run

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        record, write_counts = _record(runner, runner.test_loop.test)
        add_test(Path(runner.work_dir), self.run, record, write_counts, runner.cfg.domains)


def add_test(
    folder: Path,
    run: dict,
    record: dict,
    write_counts: Callable[[Path], None],
    domains: Mapping[str, Mapping],
) -> None:
    """Adds a test to a run's results: its record, and the counts of its images.

    Several processes can do this at once. If the process is killed on the way, no record names
    counts that are not its own: the record whose counts are replaced stops naming them first, and
    the new record comes last.

    Args:
        folder: the folder of ``results.json``.
        run: from :func:`describe_run`.
        record: from :func:`ibnseg.evaluation.results.test_record`.
        write_counts: writes the counts of the images to a path, the record's ``per_image``.
        domains: facts of domains by name, as for :func:`ibnseg.evaluation.results.merge`.

    Raises:
        UserError: if the results that are there are damaged, or a file cannot be written.
    """
    path, file = folder / RESULTS, folder / record["per_image"]
    with in_turn(path):
        before = Run(folder).results
        if before is not None:
            without = results.without_counts(before, [record["per_image"]])
            if without != before:
                results.write(path, before := without)
        remove_leftovers_of(file)
        write_counts(file)
        results.write(path, results.merge(before, run, [record], domains))


def finish_results(
    folder: Path,
    run: dict,
    domains: Mapping[str, Mapping],
    before: dict | None,
    tests: Sequence[Mapping],
    show: bool,
) -> dict:
    """Records which checkpoint was tested last, and writes the tables of its tests.

    Args:
        folder, run, domains: as for :func:`add_test`.
        before, tests: as for :func:`ibnseg.evaluation.results.in_order`.
        show: whether the table is printed too.

    Returns:
        The content of ``results.json``.
    """
    path = folder / RESULTS
    with in_turn(path):
        content = results.merge(results.read(path), run, [], domains)
        content = results.in_order(content, before, run, tests)
        results.write(path, content)
        write_tables(folder, content, show)
    return content


def describe_run(cfg: Config, path: Path, checkpoint: Mapping, folder: Path) -> dict:
    """Describes a run and one of its checkpoints, as the ``run`` of a results file.

    Args:
        cfg: the expanded config.
        path: the checkpoint's; it is recorded relative to ``folder`` if it lies there.
        checkpoint: its content.
        folder: the one that the results are written to.

    Returns:
        A dict that JSON can hold. ``recipe`` is that of :class:`ibnseg.runs.run.Recipe`, None if it
        is not known; ``source`` says where the network is from, ``run`` or
        ``config and checkpoint``; ``selected_on`` is from
        :func:`ibnseg.engine.selection.selection_of`.

    Raises:
        UserError: if the checkpoint was trained in another domain than the config's.
    """
    path, folder = path.resolve(), folder.resolve()
    meta = checkpoint.get("meta") or {}
    label = domain_label(cfg)
    trained = meta.get("train_domain", label)
    if trained != label:
        raise UserError(
            f"{path}: was trained in '{trained}', the config says '{label}'; "
            "test it with the config of its run"
        )
    run = Run.of_checkpoint(path)
    recipe = run and run.recipe
    return dict(
        name=cfg.name,
        model=cfg.get("model_name") or cfg.name,
        title=cfg.get("model_title") or cfg.name,
        train_domain=label,
        train_domains=train_domains(cfg),
        checkpoint=str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        checkpoint_sha256=sha256(path),
        iteration=meta.get("iter"),
        seed=meta.get("seed"),
        recipe=recipe and recipe.as_dict(),
        source="run" if run else "config and checkpoint",
        selected_on=selection_of(path, meta),
        versions=_versions(),
    )


def describe_foreign(cfg: Config) -> dict:
    """Describes a network that was not trained here, as the ``run`` of a results file.

    ``foreign`` is what names it, and ``facts`` what is known of it.

    Args:
        cfg: its config, expanded or not.
    """
    foreign = cfg.foreign
    return dict(
        name=cfg.name,
        model=cfg.model_name,
        title=cfg.model_title,
        train_domain=domain_label(cfg),
        train_domains=train_domains(cfg),
        checkpoint=foreign["source"],
        checkpoint_sha256=foreign["sha256"],
        iteration=None,
        seed=None,
        recipe=None,
        source=foreign["kind"],
        foreign=foreign["source"],
        facts=dict(cfg.model.get("facts") or {}),
        selected_on=foreign["selected_on"],
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """The versions of this package, of Python and of what both stand on."""
    return {
        "ibnseg": ibnseg.__version__,
        "python": platform.python_version(),
        **{name: version for name, version in versions_of_stack().items() if version},
    }


def _record(runner: Runner, test: Mapping) -> tuple[dict, Callable[[Path], None]]:
    """The record of a test that has ended, and what writes the counts of its images to a path."""
    loop = runner.test_loop.loops[test["name"]]
    dataset, (metric,) = loop.dataloader.dataset, loop.evaluator.metrics
    if len(metric.per_image) != len(dataset):
        raise RuntimeError(
            f"{test['name']}: {len(metric.per_image)} of {len(dataset)} images counted"
        )
    file = f"per_image/{test['domain']}-{test['protocol']['name']}.npz"
    root = Path(dataset.data_root)
    matrices = {
        Path(name).relative_to(root).as_posix(): counts for name, counts in metric.per_image.items()
    }
    by_group = GROUPS[runner.cfg.domains[test["domain"]]["group"]]
    counts = {name: of_images.values() for name, of_images in metric.counts.items()}
    groups = by_group(list(matrices))
    record = results.test_record(
        domain=test["domain"],
        split=test["split"],
        protocol=dict(test["protocol"]),
        classes=metric.classes,
        eval_classes=metric.eval_classes,
        confusion=sum(metric.per_image.values()),
        counts={name: sum(of_images) for name, of_images in counts.items()},
        weighted=metric.weighted,
        images=len(dataset),
        skipped=dataset.skipped,
        per_image=file,
        without=test.get("without", ()),
    )
    if runner.test_loop.upsampled_twice:  # recorded only if true: it changes the predictions
        record["upsampled"] = "twice"
    return record, partial(write_per_image, matrices=matrices, groups=groups, counts=counts)


def write_tables(folder: Path, content: dict, show: bool) -> None:
    """Writes ``results.md`` and ``results.csv`` of the checkpoint that was tested last, and prints
    the table if it is to be shown."""
    shown = results.current(content)
    table = tables.run_markdown(shown)
    for name, text in {"results.md": table, "results.csv": tables.run_csv(shown)}.items():
        remove_leftovers_of(folder / name)
        with written_whole(folder / name) as temporary:
            temporary.write_text(text)
    if show:
        folder = os.path.relpath(folder)
        say(f"\n{table}\nResults: {folder}/{RESULTS}, results.md, results.csv, per_image/")
