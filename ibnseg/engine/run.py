"""Training and testing from a config to a table: what ``ibnseg train`` and ``ibnseg test`` do."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import distributions
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook

import ibnseg
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.groups import GROUPS
from ibnseg.engine.checkpoint import BEST, LATEST
from ibnseg.engine.expand import DEFAULTS, expand
from ibnseg.engine.launch import start_processes
from ibnseg.engine.read import load_config
from ibnseg.engine.runner import Runner
from ibnseg.evaluation import results
from ibnseg.networks.network import find_network
from ibnseg.report import tables
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, require_writable, sha256, written_whole
from ibnseg.support.stack import DISTRIBUTIONS

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Of test-time augmentation: those of mmseg's configs."""

RECIPE = (
    "start_from",
    "train_domain",
    "train_subset",
    "class_uniform",
    "class_balance",
    "seed",
    "batch",
    "crop_size",
    "train_resize",
    "scale",
    "scale_sampling",
    "aspect",
    "interpolation",
    "augment",
    "optimizer",
    "poly_power",
    "model",
)
"""Keys that a run must be resumed with as it was begun; one that its config lacks had the
default."""


def train(
    config: str | Path,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    seed: int | None = None,
    work_dir: str | Path | None = None,
    resume: bool = False,
    show: bool = True,
) -> dict:
    """Trains in one domain, then tests on all, and writes and prints the table.

    Every domain's data is listed before the first step. The last iterate is tested, or the best one
    on the selection split where the config has ``save_best``.

    Args:
        config: path or name of an experiment.
        options: changes to it, ``key=value``.
        roots: data folders by name.
        domains: what to test on, instead of the config's ``test_domains``.
        protocols: how, instead of its ``protocol``.
        seed: instead of its ``seed``; the run then lies in a folder ``seed<k>``.
        work_dir: the run's folder; ``work_dirs/<config>`` by default.
        resume: go on from the run's latest checkpoint, if it has one, and with the tests that its
            results lack.
        show: print the table, which is in the run's folder in any case.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: for wrong input, and if the folder holds a run that is not to be resumed.
    """
    cfg = load_config(config, options)
    cfg = _prepare(cfg, roots, domains, protocols, seed, training=True)
    folder = Path(work_dir or _default_folder(cfg, seed))
    require_writable(folder)
    with alone_in(folder, "is being trained") if is_main_process() else nullcontext():
        return _train(cfg, folder, resume, show)


def test(
    source: str | Path,
    checkpoint: str | Path | None = None,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    work_dir: str | Path | None = None,
    resume: bool = False,
    tta: bool = False,
) -> dict:
    """Tests a network on every domain of its config, adds to ``results.json`` and prints the
    table.

    Args:
        source: a run's folder; or a config, by its path or name.
        checkpoint: the config's weights; for a run, another checkpoint of it.
        work_dir: where results go; by default the run, or the one that the checkpoint lies in, else
            ``work_dirs/<config>``.
        resume: leave out the tests whose results are there already.
        tta: test-time augmentation over ``TTA_SCALES`` and flips, where the config has none.
        options, roots, domains, protocols: as for :func:`train`.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: for wrong input.
    """
    cfg, checkpoint = find_network(source, checkpoint, options)
    if tta and not cfg.get("tta_scales"):
        cfg.tta_scales = TTA_SCALES
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint")
    cfg = _prepare(cfg, roots, domains, protocols, None, training=False)
    folder = Path(work_dir or _run_of(checkpoint) or _default_folder(cfg, None))
    return _test_and_report(_build_runner(cfg, folder), checkpoint, resume)


def _train(cfg: Config, folder: Path, resume: bool, show: bool) -> dict:
    latest = folder / LATEST
    if os.path.lexists(latest):
        if not resume:
            raise UserError(
                f"{folder} holds a run already ({latest.resolve().name}); go on with it "
                "(--resume), or give another --work-dir"
            )
        _require_same_recipe(cfg, folder)
        cfg.load_from, cfg.resume = str(latest), True
    runner = _build_runner(cfg, folder)
    _ = runner.test_loop  # is built, and so lists its data, before the first step
    runner.train()
    return _test_and_report(runner, folder / (BEST if cfg.save_best else LATEST), resume, show)


def _prepare(
    cfg: Config,
    roots: Mapping[str, str] | None,
    domains: Sequence[str] | None,
    protocols: Sequence[str] | None,
    seed: int | None,
    training: bool,
) -> Config:
    world_size = start_processes()
    for key, value in dict(test_domains=domains, protocol=protocols, seed=seed).items():
        if value is not None:
            cfg[key] = value
    cfg = expand(cfg, roots, world_size, training)
    cfg.launcher = "pytorch" if dist.is_initialized() else "none"
    return cfg


def _default_folder(cfg: Config, seed: int | None) -> Path:
    folder = Path("work_dirs") / cfg.name
    return folder if seed is None else folder / f"seed{seed}"


def _run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint lies in, known by its config.py."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.py").is_file():
            return folder
    return None


def _require_same_recipe(cfg: Config, folder: Path) -> None:
    """Refuses to go on with a run under another recipe, which would be neither the one nor the
    other."""
    if not (folder / "config.py").is_file():
        raise UserError(f"{folder}: no config.py, by which to tell that the recipe is the same")
    before = load_config(folder / "config.py")
    for key, value in DEFAULTS.items():
        before.setdefault(key, value)
    needed = {*RECIPE, "train_cfg"} - DEFAULTS.keys()
    lost = sorted(key for key in needed if before.get(key) is None)
    if lost:
        raise UserError(f"{folder / 'config.py'}: no value for {', '.join(lost)}")
    values = {key: (before[key], cfg[key]) for key in RECIPE}
    values["iterations"] = (before.train_cfg.max_iters, cfg.train_cfg.max_iters)
    for key, (was, now) in values.items():
        if json.dumps(was, sort_keys=True) != json.dumps(now, sort_keys=True):
            raise UserError(
                f"{folder}: {key} was {was} and is now {now}; resume with what it was, or train "
                "anew in another --work-dir"
            )


def _build_runner(cfg: Config, folder: Path) -> Runner:
    require_writable(folder)
    _read_results(folder)
    cfg.work_dir = str(folder)
    return Runner.from_cfg(cfg)


def _read_results(folder: Path) -> dict | None:
    file = folder / "results.json"
    return results.read(file) if file.exists() else None


def _test_and_report(runner: Runner, path: Path, resume: bool, show: bool = True) -> dict:
    """Tests a checkpoint on all domains; each one's record is written as soon as it is there."""
    path = path.resolve()  # of a run under way, the latest may move on meanwhile
    folder = Path(runner.work_dir)
    checkpoint = runner.load_weights(path)
    run = describe_run(runner.cfg, path, checkpoint, folder)
    before = _read_results(folder)
    loop = runner.test_loop
    if resume and before:
        loop.tests = [test for test in loop.tests if not results.is_done(before, run, test, folder)]
    if loop.tests:
        runner.register_hook(Recorder(run))
        runner.test()
    if not is_main_process():
        return {}
    if not loop.tests:
        runner.logger.info("Every test is done already")
        results.write(folder / "results.json", results.merge(before, run, []))
    content = results.read(folder / "results.json")
    _write_tables(runner.cfg, folder, content, show)
    return content


class Recorder(Hook):
    """Adds each test's record to ``results.json`` when it ends.

    Args:
        run: what the results say of the run and its checkpoint.
    """

    def __init__(self, run: dict) -> None:
        self.run = run

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        folder = Path(runner.work_dir)
        record = _record(runner, runner.test_loop.test)
        content = results.merge(_read_results(folder), self.run, [record])
        results.write(folder / "results.json", content)


def describe_run(cfg: Config, path: Path, checkpoint: Mapping, folder: Path) -> dict:
    """The ``run`` of a results file.

    Args:
        cfg: the expanded config.
        path: of the checkpoint; it is recorded relative to ``folder`` if it lies there.
        checkpoint: its content.
        folder: the run's.

    Returns:
        Among others the ``recipe``: a hash that trainings have in common which differ in their seed
        alone; None where it is not known.

    Raises:
        UserError: if the checkpoint was trained in another domain than the config's.
    """
    path, folder = path.resolve(), folder.resolve()
    meta = checkpoint.get("meta") or {}
    trained = meta.get("train_domain", cfg.train_domain)
    if trained != cfg.train_domain:
        raise UserError(
            f"{path}: was trained in '{trained}', the config says '{cfg.train_domain}'; "
            "test it with the config of its run"
        )
    return dict(
        name=cfg.name,
        model=cfg.get("model_name", cfg.name),
        title=cfg.get("model_title", cfg.name),
        train_domain=cfg.train_domain,
        checkpoint=str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        checkpoint_sha256=sha256(path),
        iteration=meta.get("iter"),
        seed=meta.get("seed"),
        recipe=_recipe_of(path),
        versions={
            "ibnseg": ibnseg.__version__,
            "python": platform.python_version(),
            **{d.name: d.version for d in distributions() if d.name in DISTRIBUTIONS},
        },
    )


def _recipe_of(checkpoint: Path) -> str | None:
    """A hash of the ``RECIPE`` without the seed, and of the number of iterations. Runs that start
    from runs of their own seeds, which lie in folders ``seed<k>`` of one folder, have the same.

    It is that of the config.py of the run which the checkpoint lies in; None if it lies in none, or
    that one does not say.
    """
    run = _run_of(checkpoint)
    try:
        before = run and load_config(run / "config.py")
    except UserError:
        return None
    needed = {*RECIPE, "train_cfg"} - DEFAULTS.keys()
    if not before or any(before.get(key) is None for key in needed):
        return None
    told = {key: before.get(key, DEFAULTS.get(key)) for key in RECIPE if key != "seed"}
    if told["start_from"] and Path(told["start_from"]).name == f"seed{before.get('seed')}":
        told["start_from"] = str(Path(told["start_from"]).parent)
    return hash_of(told | {"iterations": before.train_cfg.get("max_iters")})[:12]


def hash_of(values: Mapping) -> str:
    """A SHA-256 of a config's values but those that are defaults, so that a key that is new, with
    its default, changes no hash."""
    told = {key: value for key, value in values.items() if value != DEFAULTS.get(key)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


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
    results.write_per_image(Path(runner.work_dir) / file, matrices, by_group(list(matrices)))
    record = results.test_record(
        domain=test["domain"],
        split=test["split"],
        protocol=dict(test["protocol"]),
        classes=metric.classes,
        eval_classes=metric.eval_classes,
        confusion=sum(metric.per_image.values()),
        weighted=metric.weighted,
        images=len(dataset),
        skipped=dataset.skipped,
        per_image=file,
    )
    # only this changes what a model of mmseg predicts, so only this is recorded
    return record | (dict(upsampled="twice") if runner.test_loop.upsampled_twice else {})


def _write_tables(cfg: Config, folder: Path, content: dict, show: bool) -> None:
    shown = results.current(content)
    names = {record["domain"] for record in shown["tests"]} | {cfg.train_domain}
    table = tables.markdown(shown, Domains.of(cfg).titles(names))
    for name, text in {"results.md": table, "results.csv": tables.as_csv(shown)}.items():
        with written_whole(folder / name) as temporary:
            temporary.write_text(text)
    if show:
        folder = os.path.relpath(folder)
        print(f"\n{table}\nResults: {folder}/results.json, results.md, results.csv, per_image/")
