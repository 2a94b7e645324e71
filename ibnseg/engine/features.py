"""Lets a head be trained from the stored features of its frozen backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from torch import nn

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domain
from ibnseg.datasets.features import AGAIN, FEATURES, features_folder
from ibnseg.datasets.store import Store
from ibnseg.models.partial import digest
from ibnseg.models.segmentor import Segmentor
from ibnseg.registry import DATASETS
from ibnseg.runs.keys import KEYS
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError

DRAWN = (
    "feature_draws",
    "crop_size",
    "scale",
    "aspect",
    "scale_sampling",
    "interpolation",
    "one_class_at_most",
    "augment",
    "precision",
)
"""The keys that decide which crops are stored, and in which precision the backbone sees them."""

PRECEDING = "training images of the domains before this one"
"""What a store records of the place of its domain among several."""

START = ("init_cfg", "pretrained", "weights")
"""The arguments of backbones that say where weights are from; the weights are compared instead."""


def from_features(
    cfg: Config, domains: Mapping[str, Domain], parts: Sequence[Mapping]
) -> list[dict]:
    """Lets training datasets give stored features instead of images.

    Args:
        cfg: the config, with ``feature_draws`` above 0.
        domains: by name, the training domains among them.
        parts: the config of the dataset of each training domain.

    Returns:
        Configs of datasets, whose samples are those of
        :class:`~ibnseg.datasets.features.LoadFeatures`.

    Raises:
        UserError: if there is no finished store, if it is of other files, crops or another
            backbone, and for settings that need images.
    """
    require_possible(cfg)
    folder = features_folder()
    datasets = [DATASETS.build({**part, "pipeline": []}) for part in parts]
    images, first, changed = sum(map(len, datasets)), 0, []
    for name, part, dataset in zip(train_domains(cfg), parts, datasets, strict=True):
        infos = dataset.infos()
        store = store_of(cfg, domains[name], dataset, infos, folder / name, images, first)
        store.require_unchanged(infos)
        first += len(infos)
        step = dict(
            type="ibnseg.LoadFeatures",
            folder=str(store.folder.absolute()),
            root=str(store.root),
            shapes=store.ledger.read(dict)["maps"],
            draws=cfg.feature_draws,
            images=images,
        )
        changed.append({**part, "pipeline": [step]})
    return changed


def require_possible(cfg: Config) -> None:
    """Refuses settings that stored features cannot follow.

    Raises:
        UserError: naming the setting.
    """
    views = [step for step in cfg.augment if str(step.get("type")).endswith("FurtherView")]
    for name, value in {
        "class_uniform": cfg.class_uniform,
        "train_shares": cfg.get("train_shares"),
        "augment has a FurtherView, and augment": views,
        "model.further_losses": cfg.model.get("further_losses"),
    }.items():
        if value:
            raise UserError(
                f"{name} is {value} and feature_draws {cfg.feature_draws}: stored features are of "
                "crops that were drawn before, each image equally often, and have no further "
                "views; set one of them to its default"
            )


def store_of(
    cfg: Config,
    domain: Domain,
    dataset: DrivingDataset,
    infos: Sequence[Mapping],
    folder: Path,
    images: int,
    first: int,
) -> Store:
    """Returns the store of a domain's features, be it made or not; its identity lacks the maps'
    shapes and the backbone's weights, for which the network would have to be built.

    The crops of an image depend on its place among the training images of all domains, so a store
    is for domains in one order.

    Args:
        cfg: the config.
        domain: the domain.
        dataset: its training images.
        infos: what ``dataset.infos()`` returns.
        folder: the folder of the store.
        images: the number of training images of all domains.
        first: the number of training images of the domains before this one.
    """
    plain = dataset.store_in(folder, infos)
    resize = domain.train_resize if cfg.train_resize == "domain" else cfg.train_resize
    backbone = {key: value for key, value in cfg.model.backbone.items() if key not in START}
    settings = {
        **{name: cfg[name] for name in DRAWN},
        "train_resize": resize,
        "data_preprocessor": cfg.model.data_preprocessor,
        "backbone": backbone,
        "training images": images,
        PRECEDING: first,
    }
    plainly = json.loads(json.dumps(settings, default=str))
    # of what was not recorded then
    defaults = {**{name: KEYS[name].default for name in DRAWN}, PRECEDING: 0}
    identity = {**plain.identity, **plainly}
    return replace(plain, identity=identity, contents=FEATURES, defaults=defaults)


def require_frozen(network: nn.Module) -> None:
    """Checks that a network's features do not change while it is trained.

    Raises:
        UserError: if something in the backbone is trained, or the network is not a
            :class:`~ibnseg.models.segmentor.Segmentor`.
    """
    if not isinstance(network, Segmentor):
        raise UserError(
            f"feature_draws trains from stored features, which {type(network).__name__} cannot do; "
            "take model.type='ibnseg.Segmentor'"
        )
    trained = [name for name, p in network.backbone.named_parameters() if p.requires_grad]
    if trained:
        raise UserError(
            f"feature_draws trains from stored features, but the backbone is trained ({trained[0]} "
            f"and {len(trained) - 1} more); freeze all of it, e.g. by "
            "model.backbone.frozen_stages=4, or set feature_draws to 0"
        )


def require_stored_backbone(network: nn.Module, cfg: Config) -> None:
    """Checks that stored features, if a training is from such, are those of its backbone.

    Raises:
        UserError: if they are not, or the backbone is trained.
    """
    if not cfg.get("feature_draws"):
        return
    require_frozen(network)
    own = digest(network.backbone.state_dict())
    for name in train_domains(cfg):
        record = features_folder() / name / FEATURES.record
        stored = json.loads(record.read_text())["weights"]
        if stored != own:
            raise UserError(
                f"{record.parent}: has features of a backbone with other weights (SHA-256 "
                f"{stored[:8]}, the network's {own[:8]}); {AGAIN}"
            )
