"""Learning rates by layer, as backbones that start from pretrained weights need them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from ibnseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from ibnseg.support.errors import UserError, unknown_name

PARAMWISE = ("layer_decay", "backbone_lr", "custom_keys")
"""The keys of ``paramwise_cfg`` that :class:`LayerRates` reads."""

OF_KEY = ("lr_mult", "decay_mult")
"""The factors that ``custom_keys`` may set."""


def layer_factor(name: str, blocks: int, layer_decay: float) -> float:
    """Computes the factor of a backbone's weight by the depth of its layer.

    The last block, and what follows the blocks, has 1, each block before it ``layer_decay`` times
    the factor of the next one, and what precedes the blocks that of the first block, as in EoMT
    (Kerssies et al., CVPR 2025, ``training/lightning_module.py``). timm multiplies what
    precedes the blocks by another ``layer_decay``; BEiT, and mmseg's
    ``LearningRateDecayOptimizerConstructor``, also multiply all of the backbone by ``layer_decay``.

    Args:
        name: the weight's name in the backbone, e.g. ``blocks.3.attn.qkv.weight``.
        blocks: number of blocks.
        layer_decay: the factor from one block to the one before it.
    """
    found = re.match(r"blocks\.(\d+)\.", name)
    if found is None and name.partition(".")[0] in ("norm", "fc_norm", "adapter"):
        return 1.0
    return layer_decay ** (blocks - 1 - int(found[1] if found else 0))


def parameter_groups(
    network: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    backbone_lr: float = 1.0,
    custom_keys: Mapping[str, Mapping[str, float]] | None = None,
) -> list[dict]:
    """Groups the weights that are trained by their learning rate and weight decay.

    Norms, biases and other vectors, embeddings, and what stands in no layer of the backbone or of
    its adapter, such as positions and tokens, do not decay.

    Args:
        network: has a ``backbone``, and that has ``blocks`` if ``layer_decay`` is not 1.
        lr: the learning rate of the heads.
        weight_decay: the weight decay of weights that decay.
        layer_decay: the factor from one block to the one before it; see :func:`layer_factor`.
        backbone_lr: a factor of the rates of all of the backbone.
        custom_keys: parts of names, each with a ``lr_mult`` that multiplies the rate, and a
            ``decay_mult`` that replaces 0 or 1 as the factor of the weight decay. The longest part
            that a name contains counts.

    Returns:
        Groups for an optimiser, the highest rate first: ``params``, ``lr`` and ``weight_decay``.

    Raises:
        UserError: if ``layer_decay`` is set for a backbone without blocks.
    """
    blocks = len(getattr(network.backbone, "blocks", ()))
    if layer_decay != 1 and not blocks:
        raise UserError(
            f"optim_wrapper.paramwise_cfg: layer_decay={layer_decay} needs a backbone with blocks, "
            f"such as ibnseg.ViT; {type(network.backbone).__name__} has none"
        )
    loose = _loose(network.backbone)
    embeddings = {
        p for m in network.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    keys = sorted(custom_keys or {}, key=lambda key: (-len(key), key))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        place, _, rest = name.partition(".")
        is_backbones = place == "backbone"
        factor = backbone_lr if is_backbones else 1.0
        if is_backbones and blocks:
            factor *= layer_factor(rest, blocks, layer_decay)
        is_embedding = parameter in embeddings or (is_backbones and rest in loose)
        decays = parameter.ndim > 1 and not is_embedding
        custom = next((custom_keys[key] for key in keys if key in name), {})
        rate = lr * factor * custom.get("lr_mult", 1.0)
        decay = weight_decay * custom.get("decay_mult", float(decays))
        groups.setdefault((rate, decay), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0], reverse=True)
    return [dict(params=p, lr=rate, weight_decay=decay) for (rate, decay), p in ordered]


def _loose(backbone: nn.Module) -> set[str]:
    """The names of parameters that belong to the backbone itself, or to its adapter itself."""
    parts = {"": backbone, "adapter.": getattr(backbone, "adapter", None)}
    return {
        f"{prefix}{name}"
        for prefix, part in parts.items()
        if isinstance(part, nn.Module)
        for name, _ in part.named_parameters(recurse=False)
    }


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerRates(DefaultOptimWrapperConstructor):
    """Builds the optimiser with the groups of :func:`parameter_groups`, by
    ``optim_wrapper=dict(constructor="ibnseg.LayerRates", paramwise_cfg=dict(layer_decay=0.8))``.

    Args:
        optim_wrapper_cfg: the config of wrapper and optimiser, whose ``lr`` and ``weight_decay``
            are those of the heads.
        paramwise_cfg: values for some keys of :data:`PARAMWISE`.

    Raises:
        UserError: if there is another key, a factor is not a number of 0 or more, or the optimiser
            has no ``lr``; when it is called, if no weight's name has a part in ``custom_keys``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.base_lr is None:
            raise UserError("optim_wrapper.optimizer has no lr, which ibnseg.LayerRates multiplies")
        factors = dict(self.paramwise_cfg)
        _require_known("optim_wrapper.paramwise_cfg", factors, PARAMWISE)
        for key, each in (factors.pop("custom_keys", None) or {}).items():
            where = f"optim_wrapper.paramwise_cfg.custom_keys['{key}']"
            _require_known(where, each, OF_KEY)
            _require_factors(where, each)
        _require_factors("optim_wrapper.paramwise_cfg", factors)

    def __call__(self, model: nn.Module) -> object:
        network = model.module if is_model_wrapper(model) else model
        for key in self.paramwise_cfg.get("custom_keys") or {}:
            if not any(key in name for name, _ in network.named_parameters()):
                raise UserError(
                    f"optim_wrapper.paramwise_cfg.custom_keys: no parameter's name has '{key}'"
                )
        groups = parameter_groups(network, self.base_lr, self.base_wd or 0.0, **self.paramwise_cfg)
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": groups})
        cfg = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(cfg, default_args=dict(optimizer=optimizer))


def _require_known(where: str, given: Mapping, known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise unknown_name(f"key of {where}", key, known)


def _require_factors(where: str, given: Mapping) -> None:
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise UserError(f"{where}: {key} is {value!r}, expected a number, 0 or more")
