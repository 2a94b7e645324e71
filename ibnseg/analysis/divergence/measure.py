"""Measures the feature divergence of runs between two sets of images: what ``ibnseg divergence``
does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ibnseg.analysis.divergence.content import classes_present, parse_query
from ibnseg.analysis.divergence.features import Layer, find_layers, watching
from ibnseg.analysis.divergence.formula import EPSILON, divergence
from ibnseg.analysis.divergence.moments import REPLICATES, FeatureMoments
from ibnseg.analysis.divergence.report import Measured, networks, write_divergence
from ibnseg.appearance import PAPER
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.networks.sources import find_source
from ibnseg.registry import DATASETS
from ibnseg.report.records import check_seeds
from ibnseg.report.statistics import CONFIDENCE
from ibnseg.support.environment import versions
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import alone_in, as_path, require_writable
from ibnseg.support.memory import enough_memory
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.progress import bar

SCHEMA = 2
"""The version of the format of ``divergence.json``."""
SEED = 0
"""The seed of the bootstrap."""


class Pass(NamedTuple):
    """A set of images that go through a network once."""

    dataset: DrivingDataset
    title: str
    transform: str | None  # a name of ``ibnseg.appearance.PAPER``, or None
    key: tuple[int, ...]  # the bootstrap's: an image and its copy have the same weights


class Sample(NamedTuple):
    """An image of a pass, and whether it has the content that is asked for."""

    path: str
    image: Tensor  # (1, H, W, 3) RGB on the scale of 0 to 255
    matches: bool | None  # None if no content is asked for


class Question(NamedTuple):
    """The two sets of images that are compared."""

    kind: str  # appearance or content
    passes: tuple[Pass, ...]  # two, or one that the content divides
    content: (
        Callable[[Tensor], bool] | None
    )  # maps (H, W) train ids to whether the content is there
    sets: tuple[dict, dict]  # what is recorded of the two sets
    title: str


@losses_in_one_line()
def measure_divergence(
    runs: Sequence[str | Path],
    domains: Sequence[str],
    out: str | Path,
    *,
    transform: str | None = None,
    content: str | None = None,
    min_share: float = 0.001,
    layers: Sequence[str] | None = None,
    roots: Mapping[str, str] | None = None,
) -> dict:
    """Measures the feature divergence of runs, prints the tables and writes them.

    ``out`` has ``divergence.json``, ``.csv``, ``.md``, ``.png`` and ``.svg``.

    Args:
        runs: folders of runs, or networks that were not trained here, as
            :func:`ibnseg.networks.sources.find_source` takes them; runs that differ in their seed
            alone are one network.
        domains: two domains, whose test splits are compared; or one, with a transform or content.
        out: the folder of the results.
        transform: a name of ``ibnseg.appearance.PAPER``; the domain is compared with itself in this
            appearance.
        content: classes, as for :func:`ibnseg.analysis.divergence.content.parse_query`; the
            domain's images that have them are compared with its others.
        min_share: the least share of an image's counted pixels that a class must cover to be there,
            in [0, 1].
        layers: patterns of module names, instead of each network's default layers.
        roots: folders of data by the names of domains.

    Returns:
        What ``divergence.json`` holds.

    Raises:
        UserError: for wrong input; before any image is read, unless an image itself is wrong.
    """
    out, runs = as_path(out), [as_path(run) for run in runs]
    if (len(domains), bool(transform), bool(content)) not in (
        (2, False, False),
        (1, True, False),
        (1, False, True),
    ):
        raise UserError(
            f"divergence: found {len(domains)} domains"
            + (" with --transform" if transform else "")
            + (" with --content" if content else "")
            + "; expected two domains, or one with either --transform or --content"
        )
    if len(set(domains)) < len(domains):
        raise UserError(
            f"divergence: domain '{domains[0]}' is named twice; name two, or give --transform"
        )
    found = [find_source(run).settled() for run in runs]
    described = [each.describe(run) for run, each in zip(runs, found, strict=True)]
    check_seeds(zip(runs, described, strict=True))
    question = _question(found[0].cfg, domains, transform, content, min_share, roots or {})
    for each in found:  # errors of the last are found before the first is run
        find_layers(each.load(), layers)
    trained = [run["train_domain"] for run in described]
    titles = Domains.of(found[0].cfg).titles(trained)
    require_writable(out)
    measured = []
    with bar() as progress:
        for run, own, each in zip(runs, described, found, strict=True):
            network, name = each.load(), own["title"]
            shown = find_layers(network, layers)
            a, b = _moments(network, shown, question, progress, name, each.cfg)
            measured.append(Measured({**own, "folder": os.fspath(run)}, divergence(a, b)))
    sets = [{**facts, "images": s.images} for facts, s in zip(question.sets, (a, b), strict=True)]
    result = dict(
        schema=SCHEMA,
        kind=question.kind,
        title=question.title,
        sets=sets,
        epsilon=EPSILON,
        confidence=CONFIDENCE,
        replicates=REPLICATES,
        seed=SEED,
        networks=networks(measured, titles),
        runs=[each.record() for each in measured],
        versions=versions(),
    )
    with alone_in(out, "is being measured"):
        write_divergence(out, result)
    return result


def _question(
    cfg: Config,
    domains: Sequence[str],
    transform: str | None,
    content: str | None,
    min_share: float,
    roots: Mapping[str, str],
) -> Question:
    if transform is not None and transform not in PAPER:
        raise unknown_name("transform", transform, PAPER)
    all_domains = Domains.of(cfg)
    known = [all_domains[name] for name in domains]
    all_domains.check_roots(roots, known)
    classes = known[0].class_set.classes
    query = parse_query(content, classes) if content else None
    pipeline = [dict(type="ibnseg.LoadImage")] + [dict(type="ibnseg.LoadLabel")] * bool(content)
    passes = [
        Pass(
            DATASETS.build(
                domain.dataset_config(
                    domain.root(roots), domain.test_split, pipeline, test_mode=True
                )
            ),
            domain.title,
            transform=None,
            key=(SEED, i),
        )
        for i, domain in enumerate(known)
    ]
    facts = [
        dict(domain=domain.name, split=domain.test_split, transform=None, content=None)
        for domain in known
    ]
    title = known[0].title
    if content:
        require_equal_sizes(passes[0].dataset)

        def matches(train_ids: Tensor) -> bool:
            return query(classes_present(train_ids.numpy(), len(classes), min_share))

        own = dict(facts[0], min_share=min_share)
        sets = dict(own, content=content), dict(own, content=f"not ({content})")
        return Question("content", tuple(passes), matches, sets, f"{title}: {content} | all others")
    if transform:
        passes.append(passes[0]._replace(title=f"{title} {transform}", transform=transform))
        facts.append(dict(facts[0], transform=transform))
        title = f"{title}: as it is | {transform}"
    else:
        title = f"{title} | {known[1].title}"
    return Question("appearance", tuple(passes), None, tuple(facts), title)


def _moments(
    network: nn.Module,
    layers: Sequence[Layer],
    question: Question,
    progress: Progress,
    name: str,
    cfg: Config,
) -> tuple[FeatureMoments, FeatureMoments]:
    """Measures the moments of both sets; with content, images without it are in the second."""
    sets = []
    with watching(network, layers) as means_of:
        for each in question.passes:
            whole, others = FeatureMoments(key=each.key), FeatureMoments(key=each.key)
            samples = _samples(each, question.content, cfg.get("workers", 0))
            words = f"{name} on {each.title}"
            for i, sample in enumerate(
                progress.track(samples, len(each.dataset), description=words)
            ):
                height, width = sample.image.shape[1:3]
                with enough_memory(
                    f"{sample.path} ({width}x{height})",
                    "name fewer --layers, or take smaller images",
                ):
                    means = means_of(sample.image)
                (others if sample.matches is False else whole).update(means, [i])
            sets += [whole] if question.content is None else [whole, others]
    if question.content is not None and min(s.images for s in sets) < 2:
        counts = " and ".join(str(s.images) for s in sets)
        raise UserError(
            f"--content: {counts} images with and without it, expected 2 or more of each; ask for "
            "other classes, or change --min-share"
        )
    return sets[0], sets[1]


def _samples(
    each: Pass, content: Callable[[Tensor], bool] | None, workers: int
) -> Iterator[Sample]:
    """Reads the images of a pass, in its appearance."""
    change = PAPER[each.transform] if each.transform else None

    def sample(items: list[dict]) -> Sample:
        (item,) = items
        image = torch.from_numpy(item["img"][None, ..., ::-1].copy())
        if change:
            image = change(image.float())
        matches = None if content is None else content(torch.from_numpy(item["gt_seg_map"]))
        return Sample(item["img_path"], image, matches)

    yield from DataLoader(each.dataset, batch_size=1, num_workers=workers, collate_fn=sample)
