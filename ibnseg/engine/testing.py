"""Expands what testing needs: loaders, evaluators and the loop over domains and protocols."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict

from mmengine.config import Config
from mmengine.dist import is_main_process

from ibnseg.datasets.domain import Domain
from ibnseg.engine.shared_loading import LOADING
from ibnseg.evaluation.metrics import counting, needs_logits
from ibnseg.evaluation.protocols import UNKNOWN, WHOLE, Protocol, Slide, View, full_name
from ibnseg.runs.kinds import SIZE
from ibnseg.runs.recipe import hash_of, is_foreign_network, sees_images
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.terminal import say

NOMINAL = (1024, 2048)
"""(height, width) of an image that windows are counted on."""

MOST_WINDOWS = 10_000


def expand_testing(
    cfg: Config,
    domains: Mapping[str, Domain],
    found: Mapping[str, str],
    protocols: Sequence[Protocol],
) -> None:
    """Sets ``test_dataloader``, ``test_evaluator`` and ``test_cfg``.

    A protocol that the config does not name, because it names ``all``, is left out where it cannot
    be honoured, and a line says so.

    Args:
        cfg: the config, which is changed.
        domains: by name, those of ``cfg.test_domains`` among them.
        found: the folder of each domain's data.
        protocols: those that each domain is tested by.

    Raises:
        UserError: for a wrong ``test_cfg`` of the model, an unknown metric, and a protocol that
            averages classes that a domain does not have.
    """
    own = slide_of(cfg.model.get("test_cfg") or {})
    scales = tuple(sorted(cfg.tta_scales))
    of_model = _tested_classes(cfg)
    honoured = _honoured(cfg, domains, protocols)
    _require_logits(cfg, [protocol for protocol, _ in honoured])
    logits = dict(logits=True) if needs_logits(cfg.metrics) else {}
    wanted = counting(cfg.metrics)
    tests, loaders, evaluators = [], {}, {}
    for protocol, domain_names in honoured:
        slide = {None: own, WHOLE: None, UNKNOWN: None}.get(protocol.inference, protocol.inference)
        record = dict(
            name=full_name(protocol, slide, scales, cfg.test_precision),
            version=protocol.version,
            inference=UNKNOWN if protocol.inference == UNKNOWN else describe_inference(slide),
        )
        for domain_name in domain_names:
            domain = domains[domain_name]
            own_record = record | _of_own_map(record["name"], domain)
            name = domain_name if len(honoured) == 1 else f"{domain_name}-{record['name']}"
            evaluators[name] = evaluator_of(domain, protocol, name, cfg.metrics, of_model)
            tests.append(
                dict(
                    name=name,
                    domain=domain_name,
                    split=domain.test_split,
                    protocol=own_record,
                    metrics=[
                        metric.name
                        for metric in wanted
                        if metric.applies_to(domain.class_set.classes)
                    ],
                    inference=dict(mode="slide", **asdict(slide), **logits)
                    if slide
                    else dict(mode="whole", **logits),
                    augmented=bool(scales),
                    precision=cfg.test_precision,
                    without=_left_out(domain, protocol, evaluators[name]["eval_classes"]),
                )
            )
            loaders[name] = test_dataloader(
                cfg, domain, found[domain_name], domain.test_split, protocol, scales
            )
    cfg.test_dataloader, cfg.test_evaluator = loaders, evaluators
    cfg.test_cfg = dict(type="ibnseg.DomainTestLoop", tests=tests)


def _of_own_map(name: str, domain: Domain) -> dict[str, object]:
    """What a class map of one's own changes of the record of a protocol: its name, so that results
    under different maps never share a column, and the map itself."""
    if domain.own_map is None:
        return {}
    own = dict(domain.own_map)
    return dict(name=f"{name}-map{hash_of(own)[:8]}", class_map=own)


def describe_inference(slide: Slide | None) -> str:
    """Describes the inference for results: ``whole``, or ``slide HxW/HxW``, crop and stride."""
    if slide is None:
        return WHOLE
    crop, stride = ("x".join(map(str, size)) for size in (slide.crop_size, slide.stride))
    return f"slide {crop}/{stride}"


def slide_of(test_cfg: Mapping) -> Slide | None:
    """Reads the sliding windows that a model's ``test_cfg`` asks for; None for whole images.

    Raises:
        UserError: for another mode, and for windows whose crop size or stride is missing, is not
            (height, width), or leaves gaps.
    """
    if not isinstance(test_cfg, Mapping):
        raise UserError(f"model.test_cfg is {test_cfg!r}, expected a dict")
    mode = test_cfg.get("mode", WHOLE)
    if mode == WHOLE:
        return None
    if mode != "slide":
        raise unknown_name("model.test_cfg.mode", mode, (WHOLE, "slide"))
    missing = [key for key in ("crop_size", "stride") if key not in test_cfg]
    if missing:
        raise UserError(
            f"model.test_cfg: mode 'slide' without {' and '.join(missing)}, (height, width) each"
        )
    for key in ("crop_size", "stride"):
        if not SIZE.accepts(test_cfg[key]):
            raise UserError(f"model.test_cfg.{key} is {test_cfg[key]!r}, expected {SIZE.words}")
    crop, stride = (tuple(test_cfg[key]) for key in ("crop_size", "stride"))
    if any(s > c for s, c in zip(stride, crop, strict=True)):
        words = ("x".join(map(str, size)) for size in (stride, crop))
        raise UserError("model.test_cfg: stride {} is larger than crop_size {}".format(*words))
    windows = math.prod(
        -(-max(side - c, 0) // s) + 1 for side, c, s in zip(NOMINAL, crop, stride, strict=True)
    )
    if windows > MOST_WINDOWS:
        raise UserError(
            f"model.test_cfg: crop_size {crop} and stride {stride} make {windows} windows of an "
            f"image of {NOMINAL[1]}x{NOMINAL[0]}, expected at most {MOST_WINDOWS}; take a larger "
            "stride"
        )
    return Slide(crop, stride)


LOADING_OF_MAPS = dict(type="ibnseg.LoadLabelMap")
"""The step that loads the label map of an image, where other tests load the image."""


def test_dataloader(
    cfg: Config,
    domain: Domain,
    root: str,
    split: str,
    protocol: Protocol,
    scales: Sequence[float] = (),
) -> dict:
    """Configures the loader of a domain's split under a protocol.

    Args:
        cfg: for ``test_batch`` and ``workers``.
        domain: the domain.
        root: the folder of its data.
        split: one of its splits.
        protocol: says how images and labels are shown.
        scales: the scales of test-time augmentation; empty for none.
    """
    dataset = domain.dataset["type"].split(".")[-1]
    pipeline = [
        *map(dict, LOADING if sees_images(cfg) else (LOADING_OF_MAPS, *LOADING[1:])),
        *view_steps(protocol.view(dataset)),
        *pack_steps(scales),
    ]
    other = None if domain.own_map else protocol.class_maps.get(dataset)
    class_map = dict(class_map=other) if other else {}
    return dict(
        batch_size=1 if scales else cfg.test_batch,
        num_workers=cfg.workers,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        dataset=domain.dataset_config(root, split, pipeline, test_mode=True, **class_map),
    )


def view_steps(view: View) -> list[dict]:
    """Lists the transforms that show an image and its label as a view says."""
    steps = []
    if view.both:
        rule, to = view.both
        steps.append(
            dict(type="ibnseg.Rescale", rule=rule, to=to, interpolation=view.interpolation)
        )
    if view.crop:
        steps.append(dict(type="ibnseg.CentreCrop", size=view.crop))
    if view.image:
        rule, to = view.image
        steps.append(dict(type="ibnseg.RescaleImage", rule=rule, to=to))
    return steps


def pack_steps(scales: Sequence[float]) -> list[dict]:
    """Lists the transforms that pack an image; with ``scales``, each of them, also flipped."""
    pack = dict(type="ibnseg.Pack")
    if not scales:
        return [pack]
    resize = [dict(type="ibnseg.RescaleImage", rule="times", to=scale) for scale in scales]
    flip = [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)]
    return [dict(type="TestTimeAug", transforms=[resize, flip, [pack]])]


def evaluator_of(
    domain: Domain,
    protocol: Protocol,
    prefix: str,
    metrics: Sequence[str] = (),
    of_model: Collection[str | None] | None = None,
) -> dict:
    """Configures the evaluator of a domain under a protocol.

    Args:
        domain, protocol: what is tested, and how.
        prefix: what the metrics' names in the log begin with.
        metrics: names of those that are measured beside the ones of the confusion matrix.
        of_model: what the classes of a network that was not trained here are called in the domain,
            None for one that it does not have; only those that both have are averaged.

    Raises:
        UserError: for a protocol that averages classes that the domain does not have, and for a
            network that has none of those that are averaged.
    """
    classes = domain.class_set.classes
    if not protocol.suits(classes):
        raise UserError(
            f"protocol '{protocol.name}' averages classes that domain '{domain.name}' does not "
            f"have, e.g. {protocol.eval_classes[0]}; test it by another, e.g. native"
        )
    averaged = list(protocol.eval_classes or domain.averaged)
    evaluator = dict(
        type="ibnseg.Confusion",
        classes=list(classes),
        eval_classes=averaged,
        further=list(metrics),
        prefix=prefix,
    )
    if of_model is None:
        return evaluator
    common = [name for name in averaged if name in of_model]
    if not common:
        found = ", ".join(name for name in of_model if name)
        raise UserError(
            f"domain '{domain.name}' averages {', '.join(averaged)}; the network has none of "
            f"these, but {found or 'none with a name'}; state their names in its class_map"
        )
    other = dict(other=True) if not set(of_model) <= set(classes) else {}
    return dict(evaluator, eval_classes=common, **other)


def _honoured(
    cfg: Config, domains: Mapping[str, Domain], protocols: Sequence[Protocol]
) -> list[tuple[Protocol, list[str]]]:
    """Each protocol with the domains that are tested by it; it says what ``all`` leaves out."""
    kept: list[tuple[Protocol, list[str]]] = []
    left_out: dict[str, list[str]] = {}
    for protocol in protocols:
        tested = []
        for name in cfg.test_domains:
            is_named = protocol.name in cfg.protocol
            why = None if is_named else _why_left_out(cfg, domains[name], protocol)
            if why is None:
                tested.append(name)
            else:
                left_out.setdefault(why, []).append(protocol.name)
        kept += [(protocol, tested)] if tested else []
    if is_main_process():
        for why, names in left_out.items():
            say(f"ibnseg: left out of the protocols: {', '.join(names)}; {why}", sys.stderr)
    return kept


def _why_left_out(cfg: Config, domain: Domain, protocol: Protocol) -> str | None:
    """What keeps a network from being tested in a domain by a protocol; None if nothing does."""
    if not protocol.suits(domain.class_set.classes):
        return f"domain '{domain.name}' does not have all classes that they average"
    if _gives_classes(cfg) and isinstance(protocol.inference, Slide):
        return f"{cfg.foreign['source']} does not give the logits that they need"
    return None


def _left_out(domain: Domain, protocol: Protocol, averaged: Collection[str]) -> list[str]:
    """The classes that a domain usually averages, and a test does not."""
    usual = protocol.eval_classes or domain.averaged
    return [name for name in usual if name not in averaged]


def _tested_classes(cfg: Config) -> list[str | None] | None:
    """What the classes of a network that was not trained here are called in the domains, None for
    one that they do not have, and if pixels may have none; None for other networks."""
    if not is_foreign_network(cfg):
        return None
    own = cfg.foreign["classes"] or cfg.model.target
    return [*own, *([None] if cfg.foreign["gives"] == "classes" else [])]


def _gives_classes(cfg: Config) -> bool:
    """Whether the network gives no logits."""
    return is_foreign_network(cfg) and cfg.foreign["gives"] != "logits"


def _require_logits(cfg: Config, protocols: Iterable[Protocol]) -> None:
    """Refuses tests that need the logits of a network that gives classes."""
    if not _gives_classes(cfg):
        return
    source, own = cfg.foreign["source"], slide_of(cfg.model.get("test_cfg") or {})
    slides = [p.name for p in protocols if isinstance(p.inference, Slide)]
    needing = [
        *(f"protocol {name}" for name in slides),
        *(["test-time augmentation"] if cfg.tta_scales else []),
        *(["metrics of logits"] if needs_logits(cfg.metrics) else []),
        *(["model.test_cfg.mode 'slide'"] if own else []),
    ]
    if needing:
        raise UserError(f"{source}: gives classes, and {needing[0]} needs logits; leave it out")
