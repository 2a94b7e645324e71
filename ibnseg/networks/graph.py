"""The graph that is exported: a network, with what comes before and after it as chosen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmseg.models import SegDataPreProcessor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ibnseg.models.activations import as_logits
from ibnseg.support.errors import UserError

INPUTS = {
    "rgb": "RGB images, uint8, which the graph normalises",
    "normalised": "normalised images, float32",
}
"""What a graph can take, the default first."""

OUTPUTS = {
    "train-ids": "the class of each pixel of the image, uint8",
    "full-logits": "logits, upsampled to the size of the image, float32",
    "logits": "logits at the head's resolution, float32",
}
"""What a graph can give, the default first."""

NAMES = {"train-ids": "train_ids", "full-logits": "logits", "logits": "logits"}
"""The name of the graph's output, by what it gives; its input is always called ``images``."""

EXAMPLE = (5, 7)
"""Height and width of the example that a graph for any size is traced with, in units of
:data:`UNIT` or of what the size must be divisible by; different primes, so that no size is taken
for another."""
UNIT = 32


class Graph(nn.Module):
    """A network in inference, from images to what was chosen.

    Args:
        network: in eval mode; one that :func:`require_exportable` accepts.
        takes: one of :data:`INPUTS`.
        gives: one of :data:`OUTPUTS`. Logits at the head's resolution are those of the padded
            image, so that whoever feeds the graph pads it; elsewhere, the graph pads and crops.
    """

    def __init__(self, network: nn.Module, takes: str, gives: str) -> None:
        super().__init__()
        before = network.data_preprocessor
        self.network, self.takes, self.gives = network, takes, gives
        self.align_corners = bool(network.decode_head.align_corners)
        self.channels = "RGB" if _flips(before) else "BGR"
        self.divisor = (before.test_cfg or {}).get("size_divisor", 1)
        is_normalised = before._enable_normalize
        mean = before.mean if is_normalised else torch.zeros(3, 1, 1)
        std = before.std if is_normalised else torch.ones(3, 1, 1)
        self.register_buffer("mean", mean.detach().clone().float())
        self.register_buffer("std", std.detach().clone().float())

    @property
    def stride(self) -> int | None:
        """What the size of the images must be divisible by, if the graph does not pad them."""
        return self.divisor if self.gives == "logits" and self.divisor > 1 else None

    @property
    def normalisation(self) -> dict:
        """Channels, range, mean and std of what the network itself takes."""
        # as they were written, not as float32 rounds them
        mean, std = (
            [float(str(x)) for x in each.flatten().numpy()] for each in (self.mean, self.std)
        )
        return dict(channels=self.channels, range=255, mean=mean, std=std)

    @property
    def expected(self) -> dict:
        """Channels, range, mean and std of what the graph takes."""
        if self.takes == "normalised":
            return self.normalisation
        return dict(channels="RGB", range=255, mean=[0.0] * 3, std=[1.0] * 3)

    def forward(self, images: Tensor) -> Tensor:
        """Computes the chosen output.

        Args:
            images: ``(N, 3, H, W)``, uint8 or float32, as ``takes`` says.

        Returns:
            ``(N, H, W)`` uint8 train ids, ``(N, K, H, W)`` float32 logits, or those at the head's
            resolution.
        """
        x = images
        if self.takes == "rgb":
            x = images.float()
            if self.channels == "BGR":
                x = x.flip(1)
            x = (x - self.mean) / self.std
        if self.gives == "logits":
            return _head_output(self.network, x)
        (height, width), divisor = x.shape[2:], self.divisor
        if divisor > 1:
            # by a constant first, and in a form that torch's guards understand
            padding, value = (
                (0, divisor - 1, 0, divisor - 1),
                self.network.data_preprocessor.pad_val,
            )
            x = F.pad(x, padding, value=value)
            for axis, side in ((2, height), (3, width)):
                x = x.narrow(axis, 0, (side + divisor - 1) // divisor * divisor)
        scores = _upsampled(_head_output(self.network, x), x.shape[2:], self.align_corners)
        if divisor > 1:  # a slice would be guarded for its layout
            for axis, side in ((2, height), (3, width)):
                scores = scores.index_select(axis, torch.arange(side, device=scores.device))
        if self.gives == "train-ids":
            return scores.argmax(dim=1).to(torch.uint8)
        return as_logits(self.network.decode_head, scores)


def _upsampled(scores: Tensor, size: torch.Size, align_corners: bool) -> Tensor:
    return F.interpolate(scores, size, mode="bilinear", align_corners=align_corners)


def _head_output(network: nn.Module, x: Tensor) -> Tensor:
    """The output of the head, by which the class is decided, at its own resolution."""
    scores = network.decode_head(network.extract_feat(x))
    return (scores[0] if isinstance(scores, (list, tuple)) else scores).float()


def _flips(preprocessor: SegDataPreProcessor) -> bool:
    """Whether the network takes RGB; loaders give BGR."""
    return bool(preprocessor._channel_conversion or getattr(preprocessor, "_flips", False))


def require_exportable(network: nn.Module, size: tuple[int, int] | None) -> None:
    """Makes sure that a graph predicts what the network does.

    Args:
        network: from :func:`ibnseg.networks.network.load_network`.
        size: (height, width) of the images, if it is fixed.

    Raises:
        UserError: for a network that is not made of a backbone and a head which gives a logit for
            each class, for one that looks through windows, unless the size is that of a window, and
            for a preparation of images that the graph does not have.
    """
    head, before = getattr(network, "decode_head", None), network.data_preprocessor
    if not isinstance(head, BaseDecodeHead):
        raise UserError(
            f"export: {type(network).__name__} has a {type(head).__name__} as its decode head, "
            "expected a single decode head of mmseg's kind; --full writes its weights"
        )
    if type(head).predict_by_feat is not BaseDecodeHead.predict_by_feat or head.out_channels < 2:
        raise UserError(
            f"export: {type(head).__name__} makes its predictions in a way of its own, expected "
            "the class with the largest logit; --full writes its weights"
        )
    if not isinstance(before, SegDataPreProcessor):
        raise UserError(
            f"export: model.data_preprocessor is a {type(before).__name__}, expected "
            "ibnseg.Preprocessor or SegDataPreProcessor"
        )
    padding = dict(before.test_cfg or {})
    if padding.keys() - {"size_divisor"}:
        raise UserError(
            f"export: model.data_preprocessor.test_cfg is {padding}, expected size_divisor alone; "
            "change it by --cfg-options"
        )
    if network.test_cfg.get("mode") == "slide":
        window = tuple(network.test_cfg.crop_size)
        if size != window:
            words = f"{window[1]}x{window[0]}"
            raise UserError(
                f"export: the network looks at images through windows of {words}, which a file "
                f"does not have; give --size {words} for a file of one window, or "
                "--cfg-options model.test_cfg.mode=whole for one that sees whole images and "
                "predicts otherwise"
            )


def traced(graph: Graph, size: tuple[int, int] | None, batch: int | None) -> ExportedProgram:
    """Traces a graph by torch.export.

    Args:
        graph: on the CPU.
        size: (height, width), or None for any.
        batch: the number of images, or None for any.

    Raises:
        UserError: if torch cannot export the network; for any size, it says to fix the size.
    """
    unit = graph.divisor if graph.divisor > 1 else UNIT
    shape = (batch or 2, 3, *(size or (unit * each for each in EXAMPLE)))
    dtype = torch.uint8 if graph.takes == "rgb" else torch.float32
    dynamic = {} if batch else {0: Dim.DYNAMIC}
    if size is None and graph.stride:
        # images of other sizes are refused by whoever feeds the graph
        dynamic |= {axis: graph.stride * Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    elif size is None:
        dynamic |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        with torch.no_grad():
            example = (torch.zeros(shape, dtype=dtype),)
            program = torch.export.export(graph.eval(), example, dynamic_shapes=(dynamic,))
            if size is None:
                _require_any_size(program, unit, bool(graph.stride), example[0])
            return program
    except UserError:
        raise
    except Exception as error:  # whatever a network does that torch cannot trace
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "" if size and batch else "; try it with a fixed --size WxH and --batch N"
        raise UserError(f"export: torch cannot trace the network ({reason}){advice}") from error


def _require_any_size(program: ExportedProgram, unit: int, whole: bool, example: Tensor) -> None:
    """Runs a program on images of other sizes than it was traced with, of which some networks keep
    parts, such as the rotary positions of its patches.

    Raises:
        AssertionError: if torch's guards refuse them.
    """
    module, batch = program.module(), len(example)
    for height, width in ((3 * unit, 2 * unit), (2 * unit, 4 * unit)):
        rest = 0 if whole else 5
        module(example.new_zeros((batch, 3, height + rest, width)))
