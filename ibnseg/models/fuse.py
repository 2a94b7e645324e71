"""Folds BN into the convolutions before it, and adapters into their layers, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from ibnseg.models.kernels import dense, instance_norm
from ibnseg.models.lora import LoRALinear
from ibnseg.models.norm import IBN
from ibnseg.models.one_pass import fits, is_known, is_transformed, is_watched

STEM = (("conv1", "bn1"),)
BASIC = (*STEM, ("conv2", "bn2"))
BOTTLENECK = (*BASIC, ("conv3", "bn3"))

PAIRS = {
    "ibnseg.models.resnet.BasicBlock": BASIC,
    "ibnseg.models.resnet.Bottleneck": BOTTLENECK,
    "ibnseg.models.resnet.SEBottleneck": BOTTLENECK,
    "ibnseg.models.resnet.IBNResNet": STEM,
    "ibnseg.models.resnet.IBNResNeXt": STEM,
    "ibnseg.models.resnet.IBNSEResNet": STEM,
    "mmseg.models.backbones.resnet.BasicBlock": BASIC,
    "mmseg.models.backbones.resnet.Bottleneck": BOTTLENECK,
    "mmseg.models.backbones.resnet.ResNet": STEM,
    "mmseg.models.backbones.resnext.Bottleneck": BOTTLENECK,
    "mmseg.models.backbones.resnext.ResNeXt": STEM,
    "torchvision.models.densenet._DenseLayer": (("conv1", "norm2"),),
}
"""A convolution and the normalisation of its output, by their names in modules of these very types.

Besides, neighbours in a ``Sequential`` and the children of mmcv's ``ConvModule`` are such pairs.
"""


def fuse(network: nn.Module) -> nn.Module:
    """Folds BN into the convolutions before it, and LoRA into its linear layers, in place, for
    inference.

    A convolution's weights are multiplied by what BN would multiply by, in float64, and rounded
    once; BN is gone. IN is what is left of an IBN layer, and works in place. In float32 this
    changes outputs by about 1e-6 of their size, so that about one pixel in a million, whose two
    classes are as likely, gets another class (``python -m benchmarks network`` counts them). Tests,
    which count pixels, do not fuse. An adapted linear layer becomes a plain one
    (:meth:`~ibnseg.models.lora.LoRALinear.merged`).

    These layers stay as they are: BN that stands before its convolution, as in DenseNet, or after
    an addition; a layer with hooks, which would see something else; one that is used in two
    places; and those in modules of other classes than in :data:`PAIRS`, e.g. your own blocks.

    Args:
        network: in eval mode. Load it again to train it or to save its weights, which is refused
            now.

    Returns:
        The network, whose parameters no longer require gradients.

    Raises:
        ValueError: for a network in training mode.
    """
    if network.training:
        raise ValueError("fuse: the network is in training mode; call its eval() first")
    uses = Counter(child for module in network.modules() for child in module.children())
    for module in list(network.modules()):
        for names in list(_pairs(module)):
            conv, norm = (getattr(module, name) for name in names)
            is_used_once = uses[conv] == uses[norm] == 1
            if is_used_once and not any(map(is_watched, (conv, *norm.modules()))):
                fused = _fused(conv, norm)
                if fused is not None:
                    setattr(module, names[1], fused.eval())
        for name, child in list(module.named_children()):
            if isinstance(child, LoRALinear) and uses[child] == 1 and not is_watched(child):
                setattr(module, name, child.merged())
    return network.requires_grad_(False)


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names the children of a module that may be a convolution and what normalises its output."""
    kind = type(module)
    if isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward:
        names = [name for name, _ in module.named_children()]
        yield from pairwise(names)
    elif kind is ConvModule:
        if module.with_norm and module.order[:2] == ("conv", "norm"):
            yield "conv", module.norm_name
    else:
        for pair in PAIRS.get(f"{kind.__module__}.{kind.__qualname__}", ()):
            if all(hasattr(module, name) for name in pair):
                yield pair


def _fused(conv: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Changes a convolution, and returns what remains of the normalisation after it; None if they
    are of other kinds, and stay."""
    is_conv = isinstance(conv, nn.Conv2d) and type(conv)._conv_forward is nn.Conv2d._conv_forward
    if not is_conv or is_parametrized(conv):
        return None
    if type(norm) is IBN and _has_statistics(norm.BN) and norm.BN.num_features:
        rest = InstanceHalf(norm)
        _fold(conv, norm.BN, rest.batch)
        return rest
    if _has_statistics(norm):
        _fold(conv, norm, slice(0, norm.num_features))
        return Folded()
    return None


def _has_statistics(norm: nn.Module) -> bool:
    """Whether a layer is a BN that normalises by running statistics."""
    return isinstance(norm, _BatchNorm) and is_known(norm) and not norm.training


def _fold(conv: nn.Conv2d, norm: nn.Module, channels: slice) -> None:
    """Folds BN of some output channels into a convolution."""
    weight = conv.weight.detach().clone(memory_format=torch.preserve_format)
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().clone()
    of_norm = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    folded = fuse_conv_bn_weights(
        *(
            each.detach().double() if isinstance(each, Tensor) else each
            for each in (weight[channels], bias[channels], *of_norm)
        )
    )
    weight[channels], bias[channels] = (each.detach() for each in folded)
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)


class Folded(nn.Module):
    """What is left of BN that was folded into the convolution before it: nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def train(self, mode: bool = True) -> Folded:
        if mode:
            raise RuntimeError("a fused network cannot be trained; load it again")
        return super().train(mode)

    def _save_to_state_dict(self, *args: object) -> None:
        raise RuntimeError("a fused network has no weights to save; load it again")

    def _load_from_state_dict(self, *args: object) -> None:
        raise RuntimeError("a fused network takes no weights; load it again")


class InstanceHalf(Folded):
    """What is left of an IBN layer whose BN was folded into the convolution before it: IN of its
    channels, which is written over them, because nobody else sees the convolution's output.

    Args:
        ibn: the layer.
    """

    def __init__(self, ibn: IBN) -> None:
        super().__init__()
        first, channels = ibn.split[0], sum(ibn.split)
        self.own, self.batch = slice(0, first), slice(first, channels)
        if not ibn.in_first:
            self.own, self.batch = slice(first, channels), slice(0, first)
        self.IN = ibn.IN

    def forward(self, x: Tensor) -> Tensor:
        if not self.IN.num_features:
            return x
        if x.requires_grad or is_transformed():
            parts = [self.IN(x[:, self.own]), x[:, self.batch]]
            return torch.cat(parts if self.own.start == 0 else parts[::-1], dim=1)
        x = dense(x)
        own = x[:, self.own]
        if is_watched(self.IN) or not fits(own, self.IN):
            own.copy_(self.IN(own))
        else:
            instance_norm(own, self.IN.weight, self.IN.bias, self.IN.eps, own)
        return x
