"""Measures how much mIoU networks lose in other looks: what ``ibnseg robustness`` does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ibnseg.analysis.robustness import report
from ibnseg.analysis.robustness.corruptions import Corruption, corruptions
from ibnseg.analysis.robustness.count import Work
from ibnseg.appearance import SEVERITIES, Look, generator
from ibnseg.datasets.augment.looks import look_of_files, look_of_folder
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.engine.expand import expand
from ibnseg.evaluation.protocols import get_protocol
from ibnseg.networks.sources import find_source, require_runs
from ibnseg.registry import DATASETS
from ibnseg.report.records import check_seeds
from ibnseg.runs.recipe import hash_of, train_domains
from ibnseg.support.environment import versions
from ibnseg.support.errors import UserError
from ibnseg.support.files import alone_in, as_path
from ibnseg.support.ledger import Ledger, stamp
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.progress import bar

SCHEMA = 1
"""The version of the format of ``robustness.json`` and of the files in ``measured/``."""


@losses_in_one_line()
def measure_robustness(
    runs: Sequence[str | Path],
    domains: Sequence[str] | None = None,
    out: str | Path = "robustness",
    *,
    conditions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    looks: Sequence[str] = (),
    protocol: str = "native",
    roots: Mapping[str, str] | None = None,
    class_maps: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict:
    """Measures the mIoU of runs in domains that look different, prints the table and writes it.

    ``out`` has ``robustness.json``, ``.csv`` and ``.md``, the plot ``robustness.png`` and ``.svg``,
    ``conditions.png``, which shows an image in every corruption, and ``measured/``, with which an
    interrupted command continues.

    Args:
        runs: folders of runs, or networks that were not trained here, as
            :func:`ibnseg.networks.sources.find_source` takes them.
        domains: domains to test on; by default those of each run's config.
        out: the folder of the results.
        conditions, severities: as for
            :func:`~ibnseg.analysis.robustness.corruptions.corruptions`.
        looks: folders of images, or names of domains, whose look the images are given.
        protocol: the test protocol, which resizes and crops images before they are changed.
        roots: folders of data by the names of domains.
        class_maps: files with class maps of one's own, by the names of domains.
        seed: the random seed of the noise.

    Returns:
        What ``robustness.json`` holds.

    Raises:
        UserError: for wrong input: a folder that is not a run, an unknown domain or condition,
            missing data.
    """
    out, roots = as_path(out), roots or {}
    plans = [_plan(run, domains, protocol, roots, class_maps, out, seed) for run in runs]
    described = [own[0].run for own in plans]
    check_seeds((Path(run["folder"]), run) for run in described)
    work, titles = [each for own in plans for each in own], {}
    _require_one_protocol(work)
    for each in work:
        require_equal_sizes(each.dataset)
        cfg = each.source.cfg
        names = [each.test["domain"], *train_domains(cfg)]
        titles |= Domains.of(cfg).titles(names)
    found_looks: dict[str, Look] = {}
    for name in looks:
        called, look = find_look(name, work[0].source.cfg, roots)
        found_looks[name if called in found_looks else called] = look
    shown = corruptions(conditions, severities, found_looks)
    with alone_in(out, "is being measured"):
        for each in work:
            each.begin(shown)
        _count(work, shown, seed)
    records = [record for each in work for record in each.records(shown)]
    result = dict(
        schema=SCHEMA,
        protocol=dict(work[0].test["protocol"]),
        seed=seed,
        domains={
            name: titles.get(name, name) for name in dict.fromkeys(r["domain"] for r in records)
        },
        runs=described,
        records=records,
        versions=versions(),
    )
    image = work[0].dataset[0]["inputs"].numpy().transpose(1, 2, 0)[..., ::-1]
    pictures = [
        (each, each.change(np.ascontiguousarray(image), generator(seed, ""))) for each in shown
    ]
    with alone_in(out, "is being measured"):
        report.write_robustness(out, result, titles, pictures)
    return result


def _plan(
    source: str | Path,
    domains: Sequence[str] | None,
    protocol: str,
    roots: Mapping[str, str],
    class_maps: Mapping[str, str] | None,
    out: Path,
    seed: int,
) -> list[Work]:
    """Plans the work of a run; all that can be wrong with it is found before the first image."""
    require_runs([source])
    found = find_source(source).settled()
    cfg = found.cfg
    if domains is not None:
        cfg.test_domains = list(domains)
    if class_maps is not None:
        cfg.class_maps = dict(class_maps)
    cfg.protocol = [get_protocol(protocol).name]  # one alone, so not "all"
    cfg.tta_scales, cfg.test_precision = (), "float32"
    cfg = expand(cfg, roots, training=False)
    run = dict(found.describe(as_path(source)), folder=str(source))
    found = replace(found, cfg=cfg)
    work = []
    for test in cfg.test_cfg.tests:
        dataset = DATASETS.build(cfg.test_dataloader[test["name"]].dataset)
        identity = dict(
            **found.identity(),
            domain=test["domain"],
            split=test["split"],
            protocol=dict(test["protocol"]),
            images=_images_of(dataset),
            seed=seed,
        )
        name = f"{test['domain']}-{test['protocol']['name']}-{hash_of(identity)[:12]}"
        ledger = Ledger(out / "measured" / f"{name}.json", "counts", identity, SCHEMA)
        work.append(Work(found, run, dict(test), dataset, ledger))
    return work


def _require_one_protocol(work: Sequence[Work]) -> None:
    """Refuses domains with different class maps, because a result names one protocol for all."""
    first = work[0].test
    for each in work:
        if each.test["protocol"] != first["protocol"]:
            raise UserError(
                f"domains '{first['domain']}' and '{each.test['domain']}' have different class "
                "maps; measure them by different commands, each with its own --out"
            )


def _images_of(dataset: DrivingDataset) -> str:
    """Hashes the names, sizes and times of change of images and labels."""
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        for path in map(Path, (info["img_path"], info["seg_map_path"])):
            digest.update(f"{path.relative_to(dataset.data_root)}\0{stamp(path)}\0".encode())
    return digest.hexdigest()


def find_look(name: str, cfg: Config, roots: Mapping[str, str]) -> tuple[str, Look]:
    """Returns the title of a look, and the look.

    Args:
        name: a folder of images; or a domain, of which the images of the test split are taken.
        cfg: a config, whose domains can be named.
        roots: folders of data by the names of domains.

    Raises:
        UserError: if it is neither.
    """
    if as_path(name).is_dir():
        folder = as_path(name).resolve()
        return folder.name, look_of_folder(str(folder))
    domains = Domains.of(cfg)
    if name not in domains:
        raise UserError(
            f"look '{name}' is neither a folder of images nor a domain; ibnseg env lists domains"
        )
    domain = domains[name]
    own = domain.dataset_config(domain.root(roots), domain.test_split, test_mode=True)
    dataset = DATASETS.build(own)
    paths = [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
    return domain.title, look_of_files(paths)


def _count(work: Sequence[Work], shown: Sequence[Corruption], seed: int) -> None:
    """Counts all that is left, with one progress bar over all predictions."""
    total = sum(len(each.dataset) for each in work) * len(shown)
    left = sum(each.left(shown) for each in work)
    if left < total:
        print(f"{total - left} of {total} predictions are counted already")
    if not left:
        return
    with bar() as progress:
        task = progress.add_task("Measuring", total=total, completed=total - left)
        network, loaded = None, None
        for each in work:
            if not each.left(shown):
                continue
            if loaded is not each.source:
                network, loaded = each.source.load(), each.source
            description = f"{each.run['title']} on {each.test['domain']}"
            progress.update(task, description=description)
            each.count(network, shown, seed, partial(progress.advance, task))
