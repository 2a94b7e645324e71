"""Writes a run's results: the run and its checkpoint, each test's record, and the tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook

import ibnseg
from ibnseg.datasets.groups import GROUPS
from ibnseg.engine.runner import Runner
from ibnseg.evaluation import results
from ibnseg.evaluation.per_image import write_per_image
from ibnseg.report import tables
from ibnseg.runs.recipe import domain_label, train_domains
from ibnseg.runs.run import RESULTS, Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import sha256, written_whole
from ibnseg.support.stack import DISTRIBUTIONS


class Recorder(Hook):
    """Adds each test's record to ``results.json`` when the test ends.

    Args:
        run: from :func:`describe_run`.
    """

    def __init__(self, run: dict) -> None:
        self.run = run

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        folder = Path(runner.work_dir)
        record = _record(runner, runner.test_loop.test)
        content = results.merge(Run(folder).results, self.run, [record], runner.cfg.domains)
        results.write(folder / RESULTS, content)


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
        ``config and checkpoint``.

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
        versions={
            "ibnseg": ibnseg.__version__,
            "python": platform.python_version(),
            **{d.name: d.version for d in distributions() if d.name in DISTRIBUTIONS},
        },
    )


def _record(runner: Runner, test: Mapping) -> dict:
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
    write_per_image(Path(runner.work_dir) / file, matrices, groups, counts)
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
    )
    # recorded only if true: logits upsampled twice change the predictions
    return record | (dict(upsampled="twice") if runner.test_loop.upsampled_twice else {})


def write_tables(folder: Path, content: dict, show: bool) -> None:
    """Writes ``results.md`` and ``results.csv`` of the checkpoint that was tested last.

    Args:
        folder: the run's.
        content: of its results file.
        show: whether the table is printed too.
    """
    shown = results.current(content)
    table = tables.run_markdown(shown)
    for name, text in {"results.md": table, "results.csv": tables.run_csv(shown)}.items():
        with written_whole(folder / name) as temporary:
            temporary.write_text(text)
    if show:
        folder = os.path.relpath(folder)
        print(f"\n{table}\nResults: {folder}/{RESULTS}, results.md, results.csv, per_image/")
