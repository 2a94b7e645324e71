"""Trains and tests from a config to a table: what ``ibnseg train`` does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import is_main_process

from ibnseg.engine import dry_run
from ibnseg.engine.automatic import AUTOMATIC
from ibnseg.engine.compiled import require_compiling
from ibnseg.engine.early import require_checkpoint
from ibnseg.engine.expand import expand
from ibnseg.engine.launch import start_processes
from ibnseg.engine.precision import fast_bfloat16, warn_if_emulated
from ibnseg.engine.read import load_config
from ibnseg.engine.record import (
    Recorder,
    describe_foreign,
    describe_run,
    finish_results,
)
from ibnseg.engine.runner import Runner
from ibnseg.evaluation import results
from ibnseg.runs.keys import KEYS
from ibnseg.runs.kinds import AUTO
from ibnseg.runs.recipe import MODULE, OF_A_PROCESS, differences, recipe_values
from ibnseg.runs.revisions import REVISION, why_not_resumed
from ibnseg.runs.run import BEST, CONFIG, LATEST, RESULTS, Run, default_folder
from ibnseg.support.differing import first_difference
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, as_path, require_writable
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.terminal import say

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""The scales of test-time augmentation in mmseg's configs, which ``--tta`` takes."""


@losses_in_one_line()
def train(
    config: str | Path,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    class_maps: Mapping[str, str] | None = None,
    seed: int | None = None,
    work_dir: str | Path | None = None,
    resume: bool = False,
    show: bool = True,
    dry: bool = False,
) -> dict:
    """Trains in one domain or several, tests on all test domains, and writes and prints the table.

    Every domain's data is listed before the first step. The last iterate is tested, or the best one
    on the selection split if the config has ``save_best``.

    Args:
        config: path or name of an experiment.
        options: changes to it, ``key=value``.
        roots: data folders from the command line, by name.
        domains: names of the domains to test on, instead of the config's ``test_domains``.
        protocols: names of the protocols to test by, instead of its ``protocol``.
        class_maps: files with class maps of one's own by the names of domains, instead of its
            ``class_maps``.
        seed: replaces its ``seed``; the default folder then ends in ``seed<k>``.
        work_dir: the run's folder; ``work_dirs/<config>`` by default.
        resume: go on from the run's latest checkpoint, if it has one, and do only the tests that
            its results lack.
        show: print the table, which is written to the run's folder in any case.
        dry: print what the training would take, and write nothing.

    Returns:
        The content of ``results.json``; an empty dict if dry, and on all processes but the main
        one.

    Raises:
        UserError: for wrong input, and if the folder holds a run already and ``resume`` is not set.
    """
    cfg = load_config(config, options)
    automatic = [name for name in AUTOMATIC if cfg.get(name) == AUTO]
    cfg = _prepare(cfg, roots, domains, protocols, class_maps, seed, training=True)
    folder = as_path(work_dir or _default_folder(cfg, seed))
    if dry:
        say(dry_run.describe_training(cfg, folder))
        return {}
    require_writable(folder)
    with alone_in(folder, "is being trained") if is_main_process() else nullcontext():
        recorded = _recorded(folder, automatic) if resume else {}
        if any(cfg[name] != value for name, value in recorded.items()):
            cfg.update(recorded)
            cfg = _prepare(cfg, roots, domains, protocols, class_maps, seed, training=True)
        return _train(cfg, folder, resume, show, automatic)


def test_network(
    cfg: Config,
    checkpoint: Path | None,
    roots: Mapping[str, str] | None = None,
    work_dir: str | Path | None = None,
    resume: bool = False,
) -> dict:
    """Tests a network on all test domains, adds to ``results.json``, writes and prints the table.

    Args:
        cfg: its config, not expanded, which says on what and how it is tested.
        checkpoint: its weights; None for a network that was not trained here.
        roots: as for :func:`train`.
        work_dir, resume: as for :func:`ibnseg.test`.

    Returns:
        The content of ``results.json``; an empty dict on all processes but the main one.

    Raises:
        UserError: for wrong input.
    """
    if checkpoint is not None:
        require_checkpoint(checkpoint)
    cfg = _prepare(cfg, roots, training=False)
    of_run = checkpoint and _folder_of(checkpoint)
    folder = as_path(work_dir or of_run or _default_folder(cfg, None))
    with _no_folder_if_refused(folder):
        runner = _build_runner(cfg, folder)
        warn_if_emulated(cfg.test_precision)
        return _test_and_report(runner, checkpoint, resume)


@contextmanager
def _no_folder_if_refused(folder: Path) -> Iterator[None]:
    """Removes a folder that a test has made and is refused in before it has results."""
    is_new = not folder.exists()
    try:
        yield
    except UserError:
        if is_new and is_main_process() and not (folder / RESULTS).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _recorded(folder: Path, names: Sequence[str]) -> dict[str, object]:
    """The values that a run was begun with: what was chosen by ``auto`` stays, so that the run has
    one recipe, on whichever machine it goes on."""
    run = Run(folder)
    if not run.is_begun or not (folder / CONFIG).is_file():
        return {}
    return {name: run.config.get(name, KEYS[name].default) for name in names}


def _train(cfg: Config, folder: Path, resume: bool, show: bool, automatic: Sequence[str]) -> dict:
    before = Run(folder)
    if before.is_begun:
        if not resume:
            raise UserError(
                f"{folder} holds a run already ({before.latest.resolve().name}); go on with it "
                "(--resume), or give another --work-dir"
            )
        _require_same_recipe(cfg, before)
        cfg.load_from, cfg.resume = str(before.latest), True
    if cfg.compile:
        require_compiling(resumed=before.is_begun)
    runner = _build_runner(cfg, folder)
    if automatic:
        speed = "is fast" if fast_bfloat16() else "is emulated"
        chosen = ", ".join(f"{name}={cfg[name]}" for name in automatic)
        runner.logger.info(f"auto: {chosen}; bfloat16 {speed} on this device")
    warn_if_emulated(cfg.precision)
    _ = runner.test_loop  # is built, and so lists its data, before the first step
    runner.train()
    return _test_and_report(runner, folder / (BEST if cfg.save_best else LATEST), resume, show)


def _prepare(
    cfg: Config,
    roots: Mapping[str, str] | None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    class_maps: Mapping[str, str] | None = None,
    seed: int | None = None,
    *,
    training: bool,
) -> Config:
    world_size = start_processes()
    given = dict(test_domains=domains, protocol=protocols, class_maps=class_maps, seed=seed)
    for key, value in given.items():
        if value is not None:
            cfg[key] = value
    cfg = expand(cfg, roots, world_size, training)
    cfg.launcher = "pytorch" if dist.is_initialized() else "none"
    return cfg


def _default_folder(cfg: Config, seed: int | None) -> Path:
    folder = default_folder(cfg.name)
    return folder if seed is None else folder / f"seed{seed}"


def _folder_of(checkpoint: Path) -> Path | None:
    run = Run.of_checkpoint(checkpoint)
    return run and run.folder


def _require_same_network(run: Mapping, folder: Path) -> None:
    """Refuses to add the tests of a network to those of another one of the same name."""
    before = Run(folder).results
    if before is not None and before["run"].get("foreign") != run["foreign"]:
        other = before["run"].get("foreign") or f"the run {before['run']['name']}"
        raise UserError(
            f"{folder}: holds the results of {other}, and {run['foreign']} is another network; "
            "give another --work-dir"
        )


def _tell_other_classes(runner: Runner) -> None:
    """Logs which classes of a network that was not trained here the tested domains do not have,
    because one of them may only be spelled in another way."""
    known = set(runner.cfg.model.target)
    others = [name for name in runner.cfg.foreign["classes"] if name not in known]
    if others:
        named = ", ".join(name for name in others if name) or "class_map maps them to null"
        runner.logger.info(
            f"{len(others)} of the network's classes are none of the tested domains' ({named}): "
            "pixels that are predicted as these count as wrong"
        )


def _require_same_recipe(cfg: Config, before: Run) -> None:
    """Refuses to resume a run under another recipe: the result would belong to neither.

    The run's config is read as data.
    """
    file = before.folder / CONFIG
    if not file.is_file():
        raise UserError(
            f"{before.folder}: no {CONFIG}, so its recipe is unknown; train again in another "
            "--work-dir"
        )
    config = before.config
    if before.pulled:
        raise UserError(
            f"{before.folder} was pulled, without the state of its training, so it cannot go on; "
            f"fine-tune it in another --work-dir, with start_from={before.folder}"
        )
    try:
        was = recipe_values(config)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    was["seed"] = before.config.get("seed", KEYS["seed"].default)
    now = {**recipe_values(cfg), "seed": cfg.seed}
    if "modules" not in before.config:  # by a version that did not record them
        now = {name: value for name, value in now.items() if not name.startswith(MODULE)}
    for name in sorted(differences(was, now), key=lambda each: each.startswith(REVISION)):
        if name == OF_A_PROCESS or (name in KEYS and not KEYS[name].refuses_resume):
            continue
        if name.startswith(MODULE) and name in was and name in now:
            change = (
                f"{name} has changed since the run was begun; resume with its files as they were"
            )
        elif name.startswith(REVISION):
            change = why_not_resumed(name)
        else:
            default = KEYS[name].default if name in KEYS else None
            both = was.get(name, default), now.get(name, default)
            what, before_it, after_it = first_difference(name, *both)
            change = f"{what} was {before_it} and is now {after_it}; resume with what it was"
        raise UserError(f"{before.folder}: {change}, or train again in another --work-dir")


def _build_runner(cfg: Config, folder: Path) -> Runner:
    require_writable(folder)
    _ = Run(folder).results  # damaged ones are refused before the first step
    cfg.work_dir = str(folder)
    return Runner.from_cfg(cfg)


def _test_and_report(runner: Runner, path: Path | None, resume: bool, show: bool = True) -> dict:
    """Tests a checkpoint on all domains, or a network that has none, and writes each test's record
    as soon as it ends."""
    folder = Path(runner.work_dir)
    if path is None:
        run = describe_foreign(runner.cfg)
        _require_same_network(run, folder)
        _tell_other_classes(runner)
    else:
        path = path.resolve()  # of a run under way, the latest checkpoint changes meanwhile
        run = describe_run(runner.cfg, path, runner.load_weights(path), folder)
    before = Run(folder).results
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
    return finish_results(folder, run, runner.cfg.domains, before, loop.tests, show)
