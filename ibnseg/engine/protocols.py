"""The protocols that the network of a config is tested by; label maps have one of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ibnseg.evaluation.protocols import PREDICTIONS, Protocol, find_protocols
from ibnseg.runs.keys import KEYS
from ibnseg.runs.kinds import as_list
from ibnseg.runs.recipe import sees_images
from ibnseg.support.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

OF_NETWORKS = {
    "protocol": "--protocol",
    "tta_scales": "--tta",
    "test_precision": "--precision",
    "test_batch": "--batch",
}
"""Keys that say how a network is tested, and the options that set them."""


def protocols_of(cfg: Config) -> list[Protocol]:
    """Finds the protocols that a config is tested by.

    Args:
        cfg: the config, with a value for every key.

    Raises:
        UserError: for an unknown name; and for label maps, if anything is set that says how images
            are shown to a network.
    """
    if sees_images(cfg):
        return find_protocols(as_list(cfg.protocol))
    for key, option in OF_NETWORKS.items():
        expected = PREDICTIONS.name if key == "protocol" else KEYS[key].default
        if json.dumps(as_list(cfg[key])) != json.dumps(as_list(expected)):
            raise UserError(
                f"{cfg.foreign['source']}: label maps are counted as they are, and {key} is "
                f"{cfg[key]!r}; leave out {option}"
            )
    return [PREDICTIONS]
