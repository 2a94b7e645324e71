"""A network that was not trained here, tested by the same code as any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models.inference import Inference
from ibnseg.networks.classes import (
    NONE,
    class_table,
    classes_as_tested,
    merges,
)
from ibnseg.networks.facts import Facts, named_as_tested
from ibnseg.networks.kinds import kind_of
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError
from ibnseg.support.own_code import own_code


@MODELS.register_module()
class Foreign(Inference, BaseModel):
    """A network of another program, between images as datasets give them and a domain's classes.

    An image is normalised by the ``data_preprocessor``, and brought to the network's ``size``
    (bilinearly) or padded to its ``stride`` (with the mean, to the right and below). Logits are
    resized to the size of the label; the class is the largest of the network's own ones, which is
    then brought to the domain's. A class that the domain does not have becomes K, the number of the
    domain's classes: the pixel is wrong, whatever its label.

    Args:
        source: what names the network, as for :func:`~ibnseg.networks.kinds.kind_of`.
        facts: those of :class:`~ibnseg.networks.facts.Facts`, by name.
        target: names of the domain's classes; by default, the network's own ones.
        options: what the network's kind takes besides, such as the ``runtime`` of an ONNX file.
        data_preprocessor, test_cfg: as for mmseg's segmentors.

    Raises:
        UserError: for a network that cannot be built.
    """

    align_corners = False

    def __init__(
        self,
        source: str,
        facts: Mapping,
        target: Sequence[str] | None = None,
        data_preprocessor: dict | None = None,
        test_cfg: dict | None = None,
        **options: object,
    ) -> None:
        super().__init__(data_preprocessor)
        self.source, self.facts = source, Facts.of(facts)
        self.test_cfg = ConfigDict(test_cfg or {})
        self.out_channels = len(self.facts.classes)
        self.names = named_as_tested(self.facts.classes, self.facts.class_map)
        self.target = list(target or classes_as_tested(self.facts))
        self.network: Callable = kind_of(source).module.build(source, self.facts, **options)
        if isinstance(self.network, nn.Module):
            self.network.eval().requires_grad_(False)
        table = torch.from_numpy(class_table(self.names, self.target))
        self.register_buffer("table", table, persistent=False)

    @property
    def backbone(self) -> nn.Module:
        """The network, if it is a module of torch whose layers can be looked at.

        Raises:
            UserError: if it is not.
        """
        if isinstance(self.network, nn.Module):
            return self.network
        raise UserError(f"{self.source}: its layers cannot be looked at, because it is no module")

    def forward(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None, mode: str = "predict"
    ) -> list[SegDataSample] | Tensor:
        """Predicts a batch in mode ``predict``, and gives what the network does in ``tensor``."""
        if mode == "tensor":
            return self.encode_decode(inputs)
        if mode != "predict":
            raise UserError(f"{self.source}: was not trained here, and cannot be trained on")
        return self.predict(inputs, data_samples)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predicts a batch.

        Raises:
            UserError: if logits are wanted of a network that gives classes.
        """
        if self.test_cfg.get("logits", False):
            self._require_logits("there are no probabilities")
        return super().predict(inputs, data_samples)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Computes the network's logits, (N, K, h, w) float32, or its classes, (N, 1, h, w) uint8,
        of normalised images, (N, 3, H, W) float32.

        Raises:
            UserError: if the network fails, or gives something else than its facts say.
        """
        if not isinstance(self.network, nn.Module) and torch.is_autocast_enabled(
            inputs.device.type
        ):
            raise UserError(
                f"{self.source}: runs in a precision of its own; leave out --precision bfloat16"
            )
        height, width = inputs.shape[2:]
        shown = self._fitted(inputs)
        with own_code(f"{self.source}, images of {shown.shape[3]}x{shown.shape[2]}"):
            output = self.network(shown)
        scores = self._checked(output, len(inputs))
        if self.facts.size is not None or shown.shape == inputs.shape:
            return scores
        return self._resized(scores, shown.shape[2:])[..., :height, :width]

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Averages the logits of windows.

        Raises:
            UserError: for a network that gives classes.
        """
        self._require_logits("windows cannot be averaged")
        return super().slide_inference(inputs, batch_img_metas)

    def logits_of(self, scores: Tensor) -> Tensor:
        """Brings logits to the target's classes: a class that the network does not have has minus
        infinity, so its probability is 0.

        Raises:
            UserError: if several of the network's classes are one of the target's, or if the
                target does not have all of them.
        """
        if merges(self.names, self.target) or not set(self.names) <= set(self.target):
            raise UserError(
                f"{self.source}: its classes are not those of the domain, so there are no "
                "probabilities of the domain's classes; leave out --tta and metrics of logits"
            )
        found = scores.new_full((len(scores), len(self.target), *scores.shape[2:]), -torch.inf)
        found[:, self.table[: self.out_channels].long()] = scores
        return found

    def classes_of(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Finds the target's class of each pixel, (1, height, width) uint8; K for other classes."""
        own = self._resized(scores, size)[0] if _is_classes(scores) else None
        own = super().classes_of(scores, size) if own is None else own
        return self.table[own.long()]

    def _require_logits(self, why_not: str) -> None:
        if self.facts.gives == "classes":
            raise UserError(f"{self.source}: gives classes instead of logits, so {why_not}")

    def _fitted(self, inputs: Tensor) -> Tensor:
        """The images at a size that the network takes."""
        size, stride = self.facts.size, self.facts.stride
        if size is not None:
            return self._upsample(inputs, size)
        height, width = inputs.shape[2:]
        below, right = -height % (stride or 1), -width % (stride or 1)
        return F.pad(inputs, (0, right, 0, below)) if right or below else inputs

    def _resized(self, scores: Tensor, size: Sequence[int]) -> Tensor:
        if not _is_classes(scores):
            return self._upsample(scores, tuple(size))
        resized = F.interpolate(scores.float(), tuple(size), mode="nearest-exact")
        return resized.to(torch.uint8)

    def _checked(self, output: object, images: int) -> Tensor:
        """What the network gives, as it should be."""
        facts, wanted = self.facts, f"(N, {self.out_channels}, h, w) of floating point"
        if facts.gives == "classes":
            wanted = "(N, h, w) of whole numbers"
        found = torch.from_numpy(output) if isinstance(output, np.ndarray) else output
        is_right = isinstance(found, Tensor) and (
            found.ndim == 3 and not found.is_floating_point() and not found.is_complex()
            if facts.gives == "classes"
            else found.ndim == 4 and found.is_floating_point()
        )
        if not is_right or len(found) != images:
            raise UserError(
                f"{self.source}: gave {_description(output)}, expected {wanted}, by its facts "
                f"(gives: {facts.gives})"
            )
        if facts.gives == "logits":
            if found.shape[1] != self.out_channels:
                raise UserError(
                    f"{self.source}: gave {found.shape[1]} channels, but its facts name "
                    f"{self.out_channels} classes; write a name for each channel into classes, and "
                    "null into class_map for one that no tested domain has"
                )
            if not found.isfinite().all():
                raise UserError(f"{self.source}: gave logits that are not finite numbers")
            return found.to(self.table.device, torch.float32)
        classes = found[found != NONE]
        low, high = (int(each) for each in classes.aminmax()) if len(classes) else (0, 0)
        if low < 0 or high >= self.out_channels:
            raise UserError(
                f"{self.source}: gave class {low if low < 0 else high}, but its facts name "
                f"{self.out_channels} classes, 0 to {self.out_channels - 1}"
            )
        return found.to(self.table.device, torch.uint8)[:, None]


def _is_classes(scores: Tensor) -> bool:
    return not scores.is_floating_point()


def _description(output: object) -> str:
    if isinstance(output, (Tensor, np.ndarray)):
        return f"an array of shape {tuple(output.shape)} and type {output.dtype}"
    return f"a {type(output).__name__}"
