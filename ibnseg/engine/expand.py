"""From a config that reads like a sentence to one that mmengine can run, self-contained."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS

from ibnseg.datasets.augment.looks import check_order
from ibnseg.datasets.balance import balanced_weights
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domain, Domains
from ibnseg.datasets.labels import ClassSet
from ibnseg.datasets.transforms import INTERPOLATION, SCALE_SAMPLING
from ibnseg.engine import schedule
from ibnseg.engine.checkpoint import LATEST
from ibnseg.evaluation.protocols import WHOLE, Protocol, Slide, View, full_name, get_protocol
from ibnseg.registry import DATASETS, TRANSFORMS
from ibnseg.support.errors import UserError, building, unknown_name

DEFAULTS = dict(
    train_subset="full",
    start_from=None,
    train_resize="domain",
    scale_sampling="log_uniform",
    interpolation="bilinear",
    augment=[],
    class_uniform=0.0,
    class_balance=0.0,
    protocol="native",
    tta_scales=(),
    accumulate=1,
    workers=4,
    poly_power=0.9,
    precision="float32",
    channels_last=False,
    sync_bn="torch",
    tensorboard=False,
    seed=0,
    log_interval=50,
    checkpoint_interval=1000,
    keep_checkpoints=2,
    save_best=False,
    selection_split=None,
    console="log",
)
"""What a config need not say."""

OPTIONAL = ("epochs", "iterations", "name", "model_name", "model_title")
REQUIRED = (
    "train_domain",
    "test_domains",
    "model",
    "crop_size",
    "scale",
    "aspect",
    "batch",
    "optimizer",
)
TRAINING_KEYS = (
    "train_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "val_dataloader",
    "val_cfg",
    "val_evaluator",
)


def _is_pair(value: object, kind: type) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(x, kind) and not isinstance(x, bool) and x > 0 for x in value)
    )


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _one_of(names: Iterable[str]) -> tuple[Callable[[object], bool], str]:
    names = list(names)
    return lambda value: value in names, " or ".join(map(repr, names))


_COUNT = (_is_count, "a whole number above 0")
_BOUNDS = (
    lambda value: _is_pair(value, (int, float)) and value[0] <= value[1],
    "(least, most), numbers above 0",
)
_NAMES = (
    lambda value: (
        isinstance(value, (str, list, tuple))
        and bool(value)
        and all(isinstance(name, str) for name in value)
    ),
    "a name, or a list of names",
)
_FRACTION = (
    lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    ),
    "a number from 0 to 1",
)
_SWITCH = (lambda value: isinstance(value, bool), "True or False")

VALUES = {
    "model": (lambda value: isinstance(value, Mapping), "a dict"),
    "poly_power": (lambda value: _is_pair((value, value), (int, float)), "a number above 0"),
    "channels_last": _SWITCH,
    "sync_bn": (lambda value: value in ("torch", None), "'torch' or None"),
    "save_best": _SWITCH,
    "tensorboard": _SWITCH,
    "optimizer": (lambda value: isinstance(value, Mapping) and "type" in value, "a dict with type"),
    "train_domain": (lambda value: isinstance(value, str), "a name"),
    "test_domains": _NAMES,
    "start_from": (lambda value: value is None or isinstance(value, str), "a path, or None"),
    "protocol": _NAMES,
    "tta_scales": (
        lambda value: (
            isinstance(value, (list, tuple))
            and all(_is_pair((scale, scale), (int, float)) for scale in value)
            and len(set(value)) == len(value)
        ),
        "a list of different numbers above 0, empty for no test-time augmentation",
    ),
    "crop_size": (lambda value: _is_pair(value, int), "(height, width), whole numbers above 0"),
    "train_resize": (
        lambda value: value in ("domain", None) or _is_pair(value, int),
        "'domain', None, or (width, height), whole numbers above 0",
    ),
    "scale": _BOUNDS,
    "aspect": _BOUNDS,
    "scale_sampling": _one_of(SCALE_SAMPLING),
    "interpolation": _one_of(INTERPOLATION),
    "augment": (
        lambda value: (
            isinstance(value, (list, tuple))
            and all(isinstance(each, Mapping) and "type" in each for each in value)
        ),
        "a list of dicts with type",
    ),
    "class_uniform": _FRACTION,
    "class_balance": _FRACTION,
    "batch": _COUNT,
    "accumulate": _COUNT,
    "workers": (lambda value: _is_count(value, 0), "a whole number, 0 or more"),
    "seed": (
        lambda value: _is_count(value, 0) and value < 2**32,
        "a whole number from 0 to 2^32 - 1",
    ),
    "log_interval": _COUNT,
    "console": (lambda value: value in ("log", "bar"), "'log' or 'bar'"),
    "checkpoint_interval": _COUNT,
    "keep_checkpoints": (lambda value: _is_count(value, 0), "a whole number, 0 or more"),
    "epochs": (lambda value: value is None or _is_count(value), "a whole number above 0, or None"),
    "iterations": (
        lambda value: value is None or _is_count(value),
        "a whole number above 0, or None",
    ),
}
"""What the value of a key has to be: a test, and words for it."""

PRECISIONS = {"float32": "OptimWrapper", "bfloat16": "ibnseg.BFloat16OptimWrapper"}


def expand(
    cfg: Config,
    roots: Mapping[str, str] | None = None,
    world_size: int = 1,
    training: bool = True,
) -> Config:
    """Turns names into mmengine's loaders, loops, evaluators and hooks.

    The training data is listed on the way, because the schedule's length depends on its size. The
    result keeps the names and holds the domains, so that it can be read without any other file, and
    expanded again.

    Args:
        cfg: an experiment; see ``docs/configs.md`` for its keys.
        roots: data folders from the command line, by name.
        world_size: number of processes, which share the batch.
        training: without it nothing of the training domain need be there but its name.

    Raises:
        UserError: for a key that is missing or contradicts another, an unknown domain, protocol or
            split, data that is not there, domains of different classes, a head whose number of
            classes is not theirs, or whose loss ``class_balance`` cannot weight.
    """
    cfg = copy.deepcopy(cfg)
    for key, value in DEFAULTS.items():
        cfg.setdefault(key, value)
    missing = [key for key in REQUIRED if cfg.get(key) is None]
    if missing:
        raise UserError(f"{cfg.filename or 'config'}: no value for {', '.join(missing)}")
    for key in ("test_domains", "protocol"):
        cfg[key] = several(cfg[key])
    for key, (is_right, expected) in VALUES.items():
        if not is_right(cfg.get(key)):
            found = cfg.get(key)
            raise UserError(f"{cfg.filename or 'config'}: {key} is {found!r}, expected {expected}")
    if cfg.optimizer["type"] not in OPTIMIZERS:
        raise unknown_name("optimizer", cfg.optimizer["type"], OPTIMIZERS.module_dict)
    if cfg.get("name") is None:
        cfg.name = Path(cfg.filename or "unnamed").stem
    cfg.experiment_name = cfg.name
    names = list(dict.fromkeys([cfg.train_domain, *cfg.test_domains]))
    known = Domains.of(cfg)
    domains = {name: known[name] for name in names}
    cfg.domains = {name: domain.as_dict() for name, domain in domains.items()}
    class_set = domains[cfg.train_domain].class_set
    for domain in domains.values():
        _require_same_classes(domain, class_set, cfg.train_domain)
    check_heads(cfg.model, len(class_set.classes))
    known.check_roots(roots or {}, domains.values())
    protocols = [get_protocol(name) for name in cfg.protocol]
    read = names if training else cfg.test_domains
    found = {name: domains[name].root(roots or {}) for name in read}
    cfg.default_scope = "mmseg"
    cfg.load_from, cfg.resume = _start_of(cfg) if training else None, False
    cfg.model.data_preprocessor.size = tuple(cfg.crop_size)
    for key in TRAINING_KEYS:
        cfg[key] = None
    if training:
        _expand_training(cfg, domains[cfg.train_domain], found, world_size)
        _expand_selection(cfg, domains, found)
    _expand_testing(cfg, domains, found, protocols)
    _expand_runtime(cfg)
    return cfg


def _start_of(cfg: Config) -> str | None:
    """The checkpoint whose weights a training starts from."""
    if cfg.start_from is None:
        return None
    path = Path(cfg.start_from).expanduser()
    path = path / LATEST if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"start_from: no checkpoint {path}; expected a finished run's folder or a checkpoint"
        )
    return str(path)


def check_heads(model: Mapping, num_classes: int) -> None:
    """Compares ``num_classes`` of every head, decode and auxiliary, with the dataset's.

    Raises:
        UserError: naming the head.
    """
    for name, head in _heads(model):
        if not isinstance(head, Mapping):
            raise UserError(f"{name} is {head!r}, expected a dict")
        if head.get("num_classes") != num_classes:
            raise UserError(
                f"{name}.num_classes is {head.get('num_classes')}, the training domain has "
                f"{num_classes} classes"
            )


def _heads(model: Mapping) -> Iterator[tuple[str, object]]:
    """Every head, decode and auxiliary, after its key."""
    for key in ("decode_head", "auxiliary_head"):
        heads = model.get(key) or []
        if isinstance(heads, (list, tuple)):
            yield from ((f"model.{key}[{i}]", head) for i, head in enumerate(heads))
        else:
            yield f"model.{key}", heads


def _require_weightable(name: str, loss: object) -> None:
    plain = isinstance(loss, Mapping) and loss.get("type") in (
        "CrossEntropyLoss",
        "mmseg.CrossEntropyLoss",
    )
    if not plain or loss.get("use_sigmoid") or loss.get("use_mask"):
        raise UserError(
            f"{name}.loss_decode is {loss!r}, and class_balance weights the classes of a softmax "
            "CrossEntropyLoss alone; take that loss, or set class_balance to 0"
        )


def _balance(model: Mapping, dataset: DrivingDataset, exponent: float) -> None:
    """Weights the classes in every head's loss; those that are weighted so already stay."""
    heads = dict(_heads(model))
    for name, head in heads.items():
        _require_weightable(name, head.get("loss_decode"))
    weights = balanced_weights(dataset, exponent)
    for name, head in heads.items():
        own = head["loss_decode"].get("class_weight")
        if own is not None and own != weights:
            raise UserError(
                f"{name}.loss_decode.class_weight is {own}, class_balance {exponent} gives "
                f"{weights}; set class_weight to None, or class_balance to 0"
            )
        # with weights, mmseg averages over labelled pixels if it is not asked to, and else fails
        head["loss_decode"].update(class_weight=weights, avg_non_ignore=False)


def _require_same_classes(domain: Domain, class_set: ClassSet, train_domain: str) -> None:
    found = domain.class_set
    if found.classes != class_set.classes:
        raise UserError(
            f"domain '{domain.name}' has the {len(found.classes)} classes of {found.name}, the "
            f"training domain '{train_domain}' the {len(class_set.classes)} of {class_set.name}; "
            "test on domains with the same classes"
        )


def _expand_training(
    cfg: Config, domain: Domain, found: Mapping[str, str], world_size: int
) -> None:
    parts = world_size * cfg.accumulate
    if cfg.batch % parts:
        raise UserError(
            f"batch {cfg.batch} cannot be divided by {world_size} processes x accumulate "
            f"{cfg.accumulate}"
        )
    if (cfg.get("epochs") is None) == (cfg.get("iterations") is None):
        raise UserError(
            f"{cfg.filename or 'config'}: expected either 'epochs' or 'iterations'; "
            "set the other to None"
        )
    if cfg.precision not in PRECISIONS:
        raise unknown_name("precision", cfg.precision, PRECISIONS)
    with building("augment"):
        check_order([TRANSFORMS.build(transform) for transform in cfg.augment])
    pipeline = [
        dict(type="ibnseg.LoadImage"),
        dict(type="ibnseg.LoadLabel"),
        dict(
            type="ibnseg.RandomScaleAspect",
            scale=cfg.scale,
            aspect=cfg.aspect,
            size=domain.train_resize if cfg.train_resize == "domain" else cfg.train_resize,
            sampling=cfg.scale_sampling,
            interpolation=cfg.interpolation,
        ),
        dict(type="ibnseg.CropAround", crop_size=tuple(cfg.crop_size)),
        dict(type="RandomFlip", prob=0.5),
        *cfg.augment,
        dict(type="ibnseg.Pack"),
    ]
    dataset = domain.dataset_config(
        found[cfg.train_domain], domain.train_split, pipeline, subset=cfg.train_subset
    )
    total = cfg.get("iterations") or schedule.iterations(
        cfg.epochs, len(_build(dataset)), cfg.batch
    )
    if cfg.class_balance:
        _balance(cfg.model, _build(dataset), cfg.class_balance)
    cfg.train_dataloader = dict(
        batch_size=cfg.batch // world_size,
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
        sampler=(
            dict(type="ibnseg.ClassUniformSampler", share=cfg.class_uniform)
            if cfg.class_uniform
            else dict(type="ibnseg.StreamSampler")
        ),
        dataset=dataset,
    )
    cfg.train_cfg = dict(
        type="ibnseg.TrainLoop",
        max_iters=total,
        accumulate=cfg.accumulate,
        val_interval=cfg.checkpoint_interval,
    )
    cfg.optim_wrapper = dict(
        type=PRECISIONS[cfg.precision],
        optimizer=cfg.optimizer,
        accumulative_counts=cfg.accumulate,
    )
    cfg.param_scheduler = [schedule.poly(total, cfg.poly_power)]


def _expand_selection(cfg: Config, domains: Mapping[str, Domain], found: Mapping[str, str]) -> None:
    """``save_best``: validation during training, on a split of the training domain set aside for
    it."""
    if not cfg.save_best:
        return
    if cfg.selection_split is None:
        raise UserError(
            "save_best needs a selection_split: a split of the training domain in which no "
            "tested image is; "
            "selecting on tested images would favour the run"
        )
    domain = domains[cfg.train_domain]
    cfg.val_dataloader = _test_dataloader(
        cfg, domain, found[cfg.train_domain], cfg.selection_split, get_protocol("native")
    )
    cfg.val_cfg = dict(type="ibnseg.ValidationLoop")
    cfg.val_evaluator = _evaluator(domain, get_protocol("native"), cfg.train_domain)
    selected = _files(cfg.val_dataloader.dataset)
    for name in cfg.test_domains:
        tested = domains[name]
        dataset = tested.dataset_config(found[name], tested.test_split, test_mode=True)
        common = selected & _files(dataset)
        if common:
            raise UserError(
                f"selection_split '{cfg.selection_split}' of '{cfg.train_domain}' shares "
                f"{len(common)} images "
                f"with the tested split '{tested.test_split}' of '{name}', as {min(common)}; "
                "choose another, or save_best=False"
            )


def _build(dataset: Mapping) -> DrivingDataset:
    """The dataset to be counted or listed: without what its samples go through."""
    return DATASETS.build({**dataset, "pipeline": []})


def _files(dataset: Mapping) -> set[str]:
    built = _build(dataset)
    return {os.path.realpath(built.get_data_info(i)["img_path"]) for i in range(len(built))}


def several(value: object) -> object:
    """A list of names, of which a single one may be given."""
    return [value] if isinstance(value, str) else value


def _expand_testing(
    cfg: Config,
    domains: Mapping[str, Domain],
    found: Mapping[str, str],
    protocols: Sequence[Protocol],
) -> None:
    own = slide_of(cfg.model.get("test_cfg") or {})
    scales = tuple(sorted(cfg.tta_scales))
    tests, loaders, evaluators = [], {}, {}
    for protocol in protocols:
        slide = {None: own, WHOLE: None}.get(protocol.inference, protocol.inference)
        record = dict(
            name=full_name(protocol, slide, scales),
            version=protocol.version,
            inference=describe_inference(slide),
        )
        for domain_name in cfg.test_domains:
            domain = domains[domain_name]
            name = domain_name if len(protocols) == 1 else f"{domain_name}-{record['name']}"
            tests.append(
                dict(
                    name=name,
                    domain=domain_name,
                    split=domain.test_split,
                    protocol=record,
                    inference=dict(mode="slide", **asdict(slide)) if slide else dict(mode="whole"),
                    augmented=bool(scales),
                )
            )
            loaders[name] = _test_dataloader(
                cfg, domain, found[domain_name], domain.test_split, protocol, scales
            )
            evaluators[name] = _evaluator(domain, protocol, name)
    cfg.test_dataloader, cfg.test_evaluator = loaders, evaluators
    cfg.test_cfg = dict(type="ibnseg.DomainTestLoop", tests=tests)


def describe_inference(slide: Slide | None) -> str:
    """``whole``, or ``slide`` with crop and stride, (height)x(width), as results record it."""
    if slide is None:
        return WHOLE
    crop, stride = ("x".join(map(str, size)) for size in (slide.crop_size, slide.stride))
    return f"slide {crop}/{stride}"


def slide_of(test_cfg: Mapping) -> Slide | None:
    """The sliding windows that a model's ``test_cfg`` asks for; None for whole images.

    Raises:
        UserError: for another mode, and for sliding windows without a size and stride.
    """
    if not isinstance(test_cfg, Mapping):
        raise UserError(f"model.test_cfg is {test_cfg!r}, expected a dict")
    mode = test_cfg.get("mode", "whole")
    if mode == "whole":
        return None
    if mode != "slide":
        raise unknown_name("model.test_cfg.mode", mode, ("whole", "slide"))
    missing = [key for key in ("crop_size", "stride") if key not in test_cfg]
    if missing:
        raise UserError(
            f"model.test_cfg: mode 'slide' without {' and '.join(missing)}, (height, width) each"
        )
    for key in ("crop_size", "stride"):
        if not _is_pair(test_cfg[key], int):
            raise UserError(
                f"model.test_cfg.{key} is {test_cfg[key]!r}, expected (height, width), whole "
                "numbers above 0"
            )
    crop, stride = (tuple(test_cfg[key]) for key in ("crop_size", "stride"))
    if any(s > c for s, c in zip(stride, crop, strict=True)):
        words = ("x".join(map(str, size)) for size in (stride, crop))
        raise UserError("model.test_cfg: stride {} is larger than crop_size {}".format(*words))
    return Slide(crop, stride)


def _test_dataloader(
    cfg: Config,
    domain: Domain,
    root: str,
    split: str,
    protocol: Protocol,
    scales: Sequence[float] = (),
) -> dict:
    dataset = domain.dataset["type"].split(".")[-1]
    pipeline = [
        dict(type="ibnseg.LoadImage"),
        dict(type="ibnseg.LoadLabel"),
        dict(type="ibnseg.LoadInstances"),
        *view_steps(protocol.view(dataset)),
        *pack_steps(scales),
    ]
    other = protocol.class_maps.get(dataset)
    class_map = dict(class_map=other) if other else {}
    return dict(
        batch_size=1,
        num_workers=cfg.workers,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        dataset=domain.dataset_config(root, split, pipeline, test_mode=True, **class_map),
    )


def view_steps(view: View) -> list[dict]:
    """The transforms that show an image and its label so."""
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
    """An image packed, or with test-time augmentation each of its scales, as it is and flipped."""
    pack = dict(type="ibnseg.Pack")
    if not scales:
        return [pack]
    resize = [dict(type="ibnseg.RescaleImage", rule="times", to=scale) for scale in scales]
    flip = [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)]
    return [dict(type="TestTimeAug", transforms=[resize, flip, [pack]])]


def _evaluator(domain: Domain, protocol: Protocol, prefix: str) -> dict:
    classes = domain.class_set.classes
    if not set(protocol.eval_classes or ()) <= set(classes):
        raise UserError(
            f"protocol '{protocol.name}' averages classes that domain '{domain.name}' does not "
            f"have, as {protocol.eval_classes[0]}; test it by another, as native"
        )
    eval_classes = list(protocol.eval_classes or domain.averaged)
    return dict(
        type="ibnseg.Confusion",
        classes=list(classes),
        eval_classes=eval_classes,
        prefix=prefix,
    )


def _expand_runtime(cfg: Config) -> None:
    cfg.default_hooks = dict(
        logger=dict(type="LoggerHook", interval=cfg.log_interval, log_metric_by_epoch=False),
        checkpoint=dict(
            type="ibnseg.Checkpoints",
            interval=cfg.checkpoint_interval,
            keep=cfg.keep_checkpoints,
            best=f"{cfg.train_domain}/mIoU" if cfg.save_best else None,
        ),
    )
    cfg.custom_hooks = [dict(type="ibnseg.HostMemory")]
    cfg.log_processor = dict(by_epoch=False, window_size=cfg.log_interval)
    backends = [dict(type="LocalVisBackend")]
    if cfg.tensorboard:
        backends.append(dict(type="TensorboardVisBackend"))
    cfg.visualizer = dict(type="Visualizer", vis_backends=backends)
    cfg.randomness = dict(seed=cfg.seed)
    cfg.env_cfg = dict(
        cudnn_benchmark=True,  # training crops have one size
        mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    )
