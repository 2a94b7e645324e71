"""Builds networks and loads their weights: those that were trained here, and all others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import nn

import ibnseg.networks.foreign  # noqa: F401 (registers its type)
from ibnseg.datasets.domain import Domains
from ibnseg.engine.automatic import resolved
from ibnseg.engine.testing import slide_of
from ibnseg.engine.training import check_heads
from ibnseg.models.build import build_network
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fitting import load_exactly
from ibnseg.models.partial import weights_for
from ibnseg.networks.classes import class_set_of
from ibnseg.networks.facts import Facts
from ibnseg.networks.kinds import no_network
from ibnseg.runs.keys import KEYS
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError, building
from ibnseg.support.files import sha256


def load_network(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """Builds the network of a config and loads its weights, in eval mode, on the GPU if there is
    one.

    Its ``class_set`` is that of the domain that it was trained in.

    Args:
        cfg: the config, expanded or not.
        checkpoint: a path or an address.

    Raises:
        UserError: for a config without a network or a training domain, or with another mode of
            inference than whole and slide; and for a checkpoint that cannot be read or belongs to
            another network.
    """
    init_default_scope("mmseg")
    if not isinstance(cfg.get("model"), Mapping):
        raise UserError(f"{cfg.filename or 'config'}: model is {cfg.get('model')!r}, not a dict")
    if not KEYS["train_domain"].kind.accepts(cfg.get("train_domain")):
        raise UserError(
            f"{cfg.filename or 'config'}: train_domain is {cfg.get('train_domain')!r}, expected a "
            "name, by which the network's classes are known"
        )
    layout, kind = cfg.get("channels_last", False), KEYS["channels_last"].kind
    if not kind.accepts(layout):
        raise UserError(
            f"{cfg.filename or 'config'}: channels_last is {layout!r}, expected {kind.words}"
        )
    class_set = Domains.of(cfg)[train_domains(cfg)[0]].class_set
    check_heads(cfg.model, len(class_set.classes))
    slide_of(cfg.model.get("test_cfg") or {})
    with building("model"):
        network = build_network(cfg.model)
    weights = weights_for(network, read_checkpoint(checkpoint), str(checkpoint))
    load_exactly(network, weights, str(checkpoint))
    if resolved(cfg)["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
    network.class_set = class_set
    return network.to(get_device()).eval()


def load_foreign(cfg: Config) -> nn.Module:
    """Builds a network that was not trained here, in eval mode, on the GPU if there is one.

    Its ``class_set`` is that of Cityscapes if it has no other classes, else its own.

    Args:
        cfg: its config; an expanded one predicts the classes of the tested domains.

    Raises:
        UserError: if it cannot be built, or does not look at images.
    """
    init_default_scope("mmseg")
    if not cfg.foreign["sees_images"]:
        raise no_network(cfg.foreign["source"])
    class_set = class_set_of(Facts.of(cfg.model.facts))
    with building("model"):
        network = build_network({"target": class_set.classes, **cfg.model})
    network.class_set = class_set
    return network.to(get_device()).eval()


def describe_network(cfg: Config, checkpoint: Path) -> dict[str, str]:
    """Returns what decides a prediction besides the image: hashes of the weights and of the
    config's network."""
    network = {key: cfg.get(key) for key in ("model", "channels_last")}
    text = json.dumps(network, sort_keys=True, default=str)
    return dict(
        checkpoint_sha256=sha256(checkpoint),
        network_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
