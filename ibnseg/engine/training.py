"""Expands what training needs: loader, loop, optimiser, schedule, and validation for selection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS

from ibnseg.datasets.augment.looks import check_order
from ibnseg.datasets.balance import balanced_weights
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domain
from ibnseg.datasets.store import RECORD, prepared_folder
from ibnseg.datasets.transforms import check_resizes
from ibnseg.engine import schedule, words
from ibnseg.engine.features import from_features
from ibnseg.engine.overlap import image_files
from ibnseg.engine.testing import evaluator_of, test_dataloader
from ibnseg.evaluation.protocols import get_protocol
from ibnseg.registry import DATASETS, TRANSFORMS
from ibnseg.runs.kinds import is_list, is_number
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError, building, unknown_name


def expand_training(
    cfg: Config, domains: Mapping[str, Domain], found: Mapping[str, str], world_size: int
) -> None:
    """Sets ``train_dataloader``, ``train_cfg``, ``optim_wrapper`` and ``param_scheduler``.

    Args:
        cfg: the config, which is changed; with ``class_balance`` the losses of its heads, too.
        domains: by name, the training domains among them.
        found: the folder of each domain's data.
        world_size: number of processes, which share the batch.

    Raises:
        UserError: for values that contradict each other or cannot be built.
    """
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
    optim_wrapper = words.optim_wrapper(cfg)
    type_ = optim_wrapper["optimizer"]["type"]
    if type_ not in OPTIMIZERS:
        raise unknown_name("optimizer", type_, OPTIMIZERS.module_dict)
    dataset, sampler = _data(cfg, domains, found)
    total = cfg.get("iterations") or schedule.iterations(
        cfg.epochs, len(build_unshown(dataset)), cfg.batch
    )
    if cfg.class_balance:
        _balance(cfg.model, build_unshown(dataset), cfg.class_balance, cfg.workers)
    cfg.train_dataloader = dict(
        batch_size=cfg.batch // world_size,
        num_workers=cfg.workers,
        persistent_workers=cfg.workers > 0,
        sampler=sampler,
        dataset=dataset,
    )
    cfg.train_cfg = dict(
        type="ibnseg.TrainLoop",
        max_iters=total,
        accumulate=cfg.accumulate,
        val_interval=cfg.checkpoint_interval,
    )
    cfg.optim_wrapper = optim_wrapper
    cfg.param_scheduler = words.param_scheduler(cfg, total)


def _data(
    cfg: Config, domains: Mapping[str, Domain], found: Mapping[str, str]
) -> tuple[dict, dict]:
    """The configs of the training data, of one domain or of several, and of its sampler."""
    with building("augment"):
        steps = [TRANSFORMS.build(transform) for transform in cfg.augment]
        check_order(steps)
        check_resizes(steps, "augment")
    names = train_domains(cfg)
    parts = [
        domains[name].dataset_config(
            found[name],
            domains[name].train_split,
            pipeline(cfg, domains[name]),
            subset=cfg.train_subset,
            **({} if cfg.feature_draws else _prepared(name)),
        )
        for name in names
    ]
    if cfg.feature_draws:
        parts = from_features(cfg, domains, parts)
    shares = cfg.get("train_shares")
    joined = dict(type="ibnseg.JoinedDomains", datasets=parts)
    dataset = parts[0] if len(names) == 1 else joined
    if shares is not None:
        if set(shares) != set(names) or len(names) == 1:
            raise UserError(
                f"train_shares is {dict(shares)}, expected a share for each of several training "
                f"domains, which are {', '.join(names)}"
            )
        for key in ("class_uniform", "class_balance"):
            if cfg[key]:
                raise UserError(
                    f"{key} is {cfg[key]} and train_shares {dict(shares)}: both decide how often a "
                    "class is seen; set one of them"
                )
        return dataset, dict(type="ibnseg.ShareSampler", shares=[shares[name] for name in names])
    if cfg.class_uniform:
        return dataset, dict(
            type="ibnseg.ClassUniformSampler", share=cfg.class_uniform, workers=cfg.workers
        )
    return dataset, dict(type="ibnseg.StreamSampler")


def _prepared(name: str) -> dict[str, str]:
    """Where a domain is prepared, as an argument of its dataset; none if it is not.

    Raises:
        UserError: if the environment names a folder that is not there.
    """
    folder = prepared_folder()
    if folder is None:
        return {}
    if not (folder / name / RECORD).is_file():
        print_log(f"{name} is not prepared in {folder}; its files are read", "current")
        return {}
    return dict(prepared=str((folder / name).absolute()))


def pipeline(cfg: Config, domain: Domain) -> list[dict]:
    """Lists the transforms that each training image of a domain goes through."""
    return [
        dict(type="ibnseg.LoadImage"),
        dict(type="ibnseg.LoadLabel"),
        dict(
            type="ibnseg.ScaleCrop",
            scale=cfg.scale,
            aspect=cfg.aspect,
            size=domain.train_resize if cfg.train_resize == "domain" else cfg.train_resize,
            sampling=cfg.scale_sampling,
            interpolation=cfg.interpolation,
            one_class_at_most=cfg.one_class_at_most,
            crop_size=tuple(cfg.crop_size),
        ),
        dict(type="RandomFlip", prob=0.5),
        *cfg.augment,
        dict(type="ibnseg.Pack"),
    ]


def expand_selection(cfg: Config, domains: Mapping[str, Domain], found: Mapping[str, str]) -> None:
    """Sets ``val_dataloader``, ``val_cfg`` and ``val_evaluator`` if ``save_best`` is set.

    They validate during training, on a split of the training domain that is set aside for it.

    Args:
        cfg, domains, found: as for :func:`expand_training`.

    Raises:
        UserError: without such a split, if a tested image is in it, and with several training
            domains.
    """
    if not cfg.save_best:
        return
    if cfg.selection_split is None:
        raise UserError(
            "save_best needs a selection_split: a split of the training domain in which no tested "
            "image is; selecting on tested images would favour the run"
        )
    names = train_domains(cfg)
    if len(names) > 1:
        raise UserError(
            f"save_best is not defined over several training domains, {', '.join(names)}; set it "
            "to False, and the last iterate is tested"
        )
    (name,) = names
    domain, native = domains[name], get_protocol("native")
    cfg.val_dataloader = test_dataloader(cfg, domain, found[name], cfg.selection_split, native)
    cfg.val_cfg = dict(type="ibnseg.ValidationLoop")
    cfg.val_evaluator = evaluator_of(domain, native, name)
    selected = image_files(build_unshown(cfg.val_dataloader.dataset))
    for test_name in cfg.test_domains:
        tested = domains[test_name]
        dataset = tested.dataset_config(found[test_name], tested.test_split, test_mode=True)
        common = selected & image_files(build_unshown(dataset))
        if common:
            raise UserError(
                f"selection_split '{cfg.selection_split}' of '{name}' shares {len(common)} images "
                f"with the tested split '{tested.test_split}' of '{test_name}', e.g. "
                f"{min(common)}; choose another, or save_best=False"
            )


def build_unshown(dataset: Mapping) -> DrivingDataset:
    """Builds the dataset of a config without its transforms, to count or list its samples."""
    if "datasets" in dataset:
        return DATASETS.build(
            {**dataset, "datasets": [{**each, "pipeline": []} for each in dataset["datasets"]]}
        )
    return DATASETS.build({**dataset, "pipeline": []})


EDGES = ("STDCHead",)
"""Types of auxiliary heads that predict boundaries, from labels that they make themselves; their
``num_classes`` is not that of the dataset."""


def check_heads(model: Mapping, num_classes: int) -> None:
    """Checks that every head, decode and auxiliary, fits the dataset's number of classes.

    Raises:
        UserError: for a head with another ``num_classes`` or number of class weights, by its key.
    """
    for name, head in _heads(model):
        if not isinstance(head, Mapping):
            raise UserError(f"{name} is {head!r}, expected a dict")
        if str(head.get("type")).split(".")[-1] in EDGES:
            continue
        if head.get("num_classes") != num_classes:
            raise UserError(
                f"{name}.num_classes is {head.get('num_classes')}, the training domain has "
                f"{num_classes} classes"
            )
        losses = head.get("loss_decode") or []
        for loss in losses if is_list(losses) else [losses]:
            weights = loss.get("class_weight") if isinstance(loss, Mapping) else None
            outputs = head.get("out_channels") or num_classes
            if weights is None or isinstance(weights, str):  # a file's name
                continue
            if not is_list(weights) or not all(is_number(each) and each >= 0 for each in weights):
                raise UserError(
                    f"{name}.loss_decode.class_weight is {weights!r}, expected None, or a list of "
                    f"{outputs} numbers, 0 or more"
                )
            if len(weights) != outputs:
                raise UserError(
                    f"{name}.loss_decode.class_weight has {len(weights)} values, the network has "
                    f"{outputs} classes; set it to None, or to a list of {outputs}"
                )
            plain = str(loss.get("type")).split(".")[-1] == "CrossEntropyLoss"
            if plain and loss.get("avg_non_ignore") and not loss.get("use_sigmoid"):
                raise UserError(
                    f"{name}.loss_decode has class_weight and avg_non_ignore=True, which mmseg "
                    "cannot do together; set avg_non_ignore to False, and it is still the labelled "
                    "pixels that are averaged over"
                )


def _heads(model: Mapping) -> Iterator[tuple[str, object]]:
    """The key and the config of every head, decode and auxiliary."""
    for key in ("decode_head", "auxiliary_head"):
        heads = model.get(key) or []
        if isinstance(heads, (list, tuple)):
            yield from ((f"model.{key}[{i}]", head) for i, head in enumerate(heads))
        else:
            yield f"model.{key}", heads


def _balance(model: Mapping, dataset: DrivingDataset, exponent: float, workers: int) -> None:
    """Weights the classes in every head's loss; weights that are the same already stay."""
    heads = dict(_heads(model))
    for name, head in heads.items():
        _require_weightable(name, head.get("loss_decode"))
    weights = balanced_weights(dataset, exponent, workers)
    for name, head in heads.items():
        own = head["loss_decode"].get("class_weight")
        if own is not None and own != weights:
            raise UserError(
                f"{name}.loss_decode.class_weight is {own}, class_balance {exponent} gives "
                f"{weights}; set class_weight to None, or class_balance to 0"
            )
        # with weights, mmseg averages over labelled pixels if it is not asked to, and else fails
        head["loss_decode"].update(class_weight=weights, avg_non_ignore=False)


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
