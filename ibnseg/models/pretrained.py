"""How a backbone starts: from weights that fit, or from plain weights whose BN is divided."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import Tensor, nn

from ibnseg.models.fitting import load_exactly, state_dict_of
from ibnseg.models.norm import IBN, INBN
from ibnseg.models.partial import digest, whole_checkpoint
from ibnseg.models.recognise import recognise
from ibnseg.registry import WEIGHT_INITIALIZERS
from ibnseg.support.errors import UserError

CLASSIFIERS = ("fc.", "classifier.")
"""Prefixes of the classifier in an ImageNet checkpoint, which a backbone does not have."""


class Pretrainable:
    """A backbone that a checkpoint fills completely or not at all.

    Attributes:
        left_out: beginnings of the names of weights that a checkpoint may have and the backbone
            has not; by default those of an ImageNet classifier.
        hash_in_file: the :func:`~ibnseg.models.partial.digest` of what :meth:`frozen_names` names,
            as the file has it; None before it was read.

    Raises:
        UserError: from ``init_weights``, if the checkpoint of an ``init_cfg`` of type
            ``Pretrained`` or ``ibnseg.SplitPretrained`` does not fit.
        ValueError: from ``init_weights``, if an ``init_cfg`` is not a dict with a type.
    """

    left_out: tuple[str, ...] = CLASSIFIERS
    hash_in_file: str | None = None

    def translated(self, weights: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """Gives the weights of a checkpoint the backbone's own names; as they are, unless files in
        other layouts are known."""
        return weights

    def init_weights(self) -> None:
        given, loading = self.init_cfg, self._loading()
        self.init_cfg = [cfg for cfg in self._several() if cfg not in loading]
        super().init_weights()
        self.init_cfg = given
        self.load_pretrained()

    def load_pretrained(self) -> None:
        """Reads the checkpoint of ``init_cfg``, if there is one; the first half of
        :meth:`init_weights`, which gives plain values, is left out."""
        for cfg in self._loading():
            kind = _initialiser(cfg)
            init = kind(**{key: value for key, value in cfg.items() if key != "type"})
            LOADERS[kind](self, init.checkpoint, init.prefix or "")
        names = self.frozen_names() if self.is_from_file else ()
        if names:
            state = self.state_dict()
            self.hash_in_file = digest({name: state[name] for name in names})

    def frozen_names(self) -> set[str]:
        """Names the parameters that training leaves as they are, if their values are those that the
        backbone's file has: all if none is trained, else none."""
        parameters = dict(self.named_parameters())
        return set() if any(p.requires_grad for p in parameters.values()) else {*parameters}

    @property
    def is_from_file(self) -> bool:
        """Whether ``init_cfg`` names a checkpoint."""
        return bool(self._loading())

    @property
    def source(self) -> str:
        """The checkpoints that ``init_cfg`` names."""
        return ", ".join(str(cfg.get("checkpoint")) for cfg in self._loading())

    def _several(self) -> list[Mapping]:
        given = self.init_cfg
        several = given if isinstance(given, list) else [given] if given else []
        for cfg in several:
            if not isinstance(cfg, Mapping) or "type" not in cfg:
                raise ValueError(
                    f"{type(self).__name__}: init_cfg={cfg!r}, expected a dict with a type, e.g. "
                    "dict(type='Pretrained', checkpoint=...)"
                )
        return several

    def _loading(self) -> list[Mapping]:
        return [cfg for cfg in self._several() if _initialiser(cfg) in LOADERS]


def _initialiser(cfg: Mapping) -> type | None:
    """The class of an initialiser, whether a config gives the class or one of its names."""
    return WEIGHT_INITIALIZERS.get(cfg["type"]) if isinstance(cfg["type"], str) else cfg["type"]


def load_backbone(backbone: Pretrainable, source: str, prefix: str = "") -> None:
    """Fills a backbone from an ImageNet checkpoint; only its classifier may be left over.

    Raises:
        UserError: as :func:`~ibnseg.models.checkpoints.read_checkpoint` and
            :func:`load_backbone_weights`.
    """
    weights = state_dict_of(whole_checkpoint(source), source, prefix)
    load_backbone_weights(backbone, backbone.translated(weights, source), source)


def load_backbone_weights(backbone: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Fills a backbone with weights that have its names and shapes, and perhaps a classifier's.

    Raises:
        UserError: if they do not fit (:func:`~ibnseg.models.fitting.load_exactly`); it says
            which network the weights look like.
    """
    found, wanted = recognise(weights), recognise(backbone.state_dict())
    hint = ""
    splits = not any(isinstance(module, INBN) for module in backbone.modules())
    if splits and found and wanted and wanted.startswith(f"{found}_ibn_"):
        hint = "; init_cfg.type='ibnseg.SplitPretrained' starts from plain weights on purpose"
    _load(backbone, weights, source, f"{_likeness(found, wanted)}{hint}")


def _load(backbone: nn.Module, weights: Mapping[str, Tensor], source: str, hint: str) -> None:
    try:
        load_exactly(backbone, weights, source, getattr(backbone, "left_out", CLASSIFIERS))
    except UserError as error:
        raise UserError(f"{error}{hint}") from None


def _likeness(found: str | None, wanted: str | None) -> str:
    if found is None or found == wanted:
        return ""
    return f"; they look like {found}" + (f", expected {wanted}" if wanted else "")


def split_backbone(backbone: nn.Module, source: str, prefix: str = "") -> None:
    """Fills a backbone with IN or IBN layers from a checkpoint of the plain network.

    Raises:
        UserError: as :func:`load_backbone`, and for variant c, whose convolutions are wider.
    """
    if any(isinstance(module, INBN) for module in backbone.modules()):
        raise UserError(
            f"{source}: SplitPretrained cannot fill variant 'c', whose second convolutions are "
            "twice as wide as the plain network's; train it from scratch with init_cfg=None"
        )
    weights = state_dict_of(whole_checkpoint(source), source, prefix)
    if any(key.endswith(".IN.weight") for key in weights):
        raise UserError(
            f"{source}: has IN layers already, expected weights of a plain network; load it with "
            "init_cfg.type='Pretrained'"
        )
    own, counts = divide(backbone, weights)
    wanted = recognise(backbone.state_dict())
    plain = wanted and wanted.partition("_ibn_")[0]
    _load(backbone, own, source, _likeness(recognise(weights), plain))
    changes = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    print_log(
        f"{type(backbone).__name__} starts from plain weights, not from an IBN-Net's ({source}): "
        f"{changes or 'no layer differs'}",
        logger="current",
    )


@WEIGHT_INITIALIZERS.register_module()
class SplitPretrained:
    """Starts an IBN-Net from the weights of the plain network, with
    ``init_cfg=dict(type='ibnseg.SplitPretrained', checkpoint=...)``.

    The scale and shift of each BN are divided between the IN and the BN that stand in its place;
    IN has no running statistics, and those of its channels are left out. The normalisation of a
    sum, which the plain network does not have, keeps its initial values. The log says so.

    In tables of segmentation since RobustNet (Choi et al., CVPR 2021), "IBN-Net" is variant b that
    starts in this way.

    Args:
        checkpoint: as for ``Pretrained``: a path, an address, ``torchvision://NAME``.
        prefix: the beginning of the names to load, which is removed.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix or ""

    def __call__(self, module: nn.Module) -> None:
        split_backbone(module, self.checkpoint, self.prefix)


OF_BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""The names of a BN layer's parameters and buffers."""
DIVIDED = "BN layers are divided between IN and BN"
BECAME = "BN layers become IN"
ANEW = "normalisations of sums start anew"

LOADERS = {PretrainedInit: load_backbone, SplitPretrained: split_backbone}
"""What fills a backbone for each initialiser that reads a checkpoint."""


def divide(
    backbone: nn.Module, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Turns the weights of a plain network into those of a backbone with IN and IBN layers.

    Returns:
        The weights, and the numbers of layers that are :data:`DIVIDED`, that :data:`BECAME` IN, and
        that start :data:`ANEW`. A BN whose width does not fit its layer is left as it is, so that
        loading it reports the mismatch.
    """
    weights, own = dict(weights), backbone.state_dict()
    counts = dict.fromkeys((DIVIDED, BECAME, ANEW), 0)
    layers = [
        (n, m) for n, m in backbone.named_modules() if isinstance(m, (IBN, nn.InstanceNorm2d))
    ]
    halves = {child for _, layer in layers for child in layer.children()}
    for name, layer in layers:
        if layer in halves:
            continue
        if name.endswith((".IN", ".IBN")):  # of a sum
            counts[ANEW] += 1
            weights |= {key: value for key, value in own.items() if key.startswith(f"{name}.")}
            continue
        of_bn = {key: weights.pop(f"{name}.{key}") for key in OF_BN if f"{name}.{key}" in weights}
        affine = {key: of_bn[key] for key in ("weight", "bias") if key in of_bn}
        if isinstance(layer, nn.InstanceNorm2d):
            counts[BECAME] += 1
            weights |= {f"{name}.{key}": value for key, value in affine.items()}
            continue
        of_bn.pop("num_batches_tracked", None)
        if any(value.shape != (sum(layer.split),) for value in of_bn.values()):
            weights |= {f"{name}.{key}": value for key, value in of_bn.items()}
            continue
        counts[DIVIDED] += 1
        instance, batch = (0, 1) if layer.in_first else (1, 0)
        weights |= {f"{name}.BN.{k}": v.split(layer.split)[batch] for k, v in of_bn.items()}
        weights |= {f"{name}.IN.{k}": v.split(layer.split)[instance] for k, v in affine.items()}
    return weights, counts
