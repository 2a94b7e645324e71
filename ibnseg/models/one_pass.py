"""IN of some channels and BN of the others, from moments of one pass into one output, on CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ibnseg.models.kernels import (
    dense,
    group_norm,
    instance_norm,
    is_channels_last,
    moments,
    moments_of,
    scale_and_shift,
    sums_of_gradients,
)


def normalise(
    x: Tensor, instance: nn.Module, batch: nn.Module | None = None, in_first: bool = True
) -> Tensor | None:
    """Computes what IN and BN give for their channels, in one pass.

    Args:
        x: ``(N, C, H, W)``.
        instance: the layer of IN.
        batch: the layer of BN; its running statistics are updated as it would do.
        in_first: whether the channels of IN come before those of BN.

    Returns:
        Like ``x``. None if the layers have to be called: if the tensor is not on a CPU, if they are
        of other types than torch's, if one of them is empty or would refuse the input, or if torch
        compiles or transforms what is computed.
    """
    layers = (instance,) if batch is None else (instance, batch)
    if not all(map(is_known, layers)) or not fits(x, *layers):
        return None
    if batch is None:
        affine = (instance.weight, instance.bias, instance.eps)
        if not is_channels_last(x):
            return group_norm(x, *affine)[0]
        if not torch.is_grad_enabled():
            return instance_norm(x, *affine, torch.empty_like(x))
        of_batch, running = slice(x.shape[1], x.shape[1]), (instance.weight[:0],) * 2
    else:
        first = instance.num_features if in_first else batch.num_features
        of_batch = slice(first, x.shape[1]) if in_first else slice(0, first)
        if not (batch.training or torch.is_grad_enabled() or is_channels_last(x)):
            return _halves_into_one(x, instance, batch, of_batch)
        layers = layers if in_first else layers[::-1]
        running = None if batch.training else (batch.running_mean, batch.running_var)
    weight, bias = (torch.cat([getattr(n, key) for n in layers]) for key in ("weight", "bias"))
    eps = torch.cat([torch.full_like(n.weight, n.eps, requires_grad=False) for n in layers])
    group = None if running is not None else _group_of(batch)
    out, *found = Normalisation.apply(x, weight, bias, of_batch, eps, running, group)
    if found:
        update_running_statistics(batch, *found)
    return out


@torch.no_grad()
def update_running_statistics(batch: nn.Module, mean: Tensor, var: Tensor, values: int) -> None:
    """Updates the running statistics of a BN layer as it would do itself.

    Args:
        batch: the layer.
        mean, var: the moments of the batch, the variance biased.
        values: how many there were of each channel.
    """
    batch.num_batches_tracked += 1
    momentum = batch.momentum
    if momentum is None:  # a mean over all batches
        momentum = 1 / float(batch.num_batches_tracked)
    batch.running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
    batch.running_var.mul_(1 - momentum).add_(var, alpha=momentum * values / (values - 1))


def _group_of(batch: nn.Module) -> dist.ProcessGroup | None:
    """The processes over which a layer of BN takes its statistics in training, if it does."""
    if not (isinstance(batch, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized()):
        return None
    group = batch.process_group or dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def _halves_into_one(x: Tensor, instance: nn.Module, batch: nn.Module, of_batch: slice) -> Tensor:
    """Normalises both halves in inference, where nothing of them is needed later."""
    x, own = dense(x), instance_channels(x.shape[1], of_batch)
    out = torch.empty_like(x)
    instance_norm(x[:, own], instance.weight, instance.bias, instance.eps, out[:, own])
    scale = batch.weight * (batch.running_var + batch.eps).sqrt().reciprocal()
    shift = batch.bias - batch.running_mean * scale
    wide = (len(x), len(scale))
    scale_and_shift(x[:, of_batch], scale.expand(wide), shift.expand(wide), out[:, of_batch])
    return out


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_watched(layer: nn.Module) -> bool:
    """Whether a layer has to be called, because it has hooks or a method ``forward`` of its own."""
    return "forward" in vars(layer) or any(getattr(layer, hooks) for hooks in HOOKS)


FORWARDS = (nn.InstanceNorm2d.forward, nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)


def is_known(layer: nn.Module) -> bool:
    """Whether a layer computes what torch's IN or BN does, with affine parameters and, if it is BN,
    running statistics."""
    is_instance = isinstance(layer, nn.InstanceNorm2d)
    return (
        (isinstance(layer, InstanceNorm) or type(layer).forward in FORWARDS)
        and layer.affine
        and (layer.running_mean is None) == is_instance
        and layer.track_running_stats != is_instance
    )


_separately = ContextVar("separately", default=False)


@contextmanager
def separately() -> Iterator[None]:
    """Calls IN and BN of all IBN layers inside of the block, as torch has them.

    Tests do so: what counts pixels gives what it has always given, to the last pixel. One pass
    rounds otherwise, and can change a pixel whose two classes are as likely.
    """
    token = _separately.set(True)
    try:
        yield
    finally:
        _separately.reset(token)


def is_transformed() -> bool:
    """Whether torch compiles, traces or transforms what is computed, or takes forward derivatives;
    each needs operations that it knows."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def fits(x: Tensor, *layers: nn.Module) -> bool:
    """Whether the kernels take an input of the channels of IN and, behind it, BN."""
    if is_transformed() or type(x) is not Tensor or _separately.get():
        return False
    return (
        x.device.type == "cpu"
        and x.layout is torch.strided
        and x.ndim == 4
        and x.shape[1] == sum(layer.num_features for layer in layers)
        and x.shape[2] * x.shape[3] > 1
        and x.numel() > 0
        and all(layer.num_features > 0 for layer in layers)
        and x.is_floating_point()
        and all(n.weight.dtype == torch.promote_types(x.dtype, torch.float32) for n in layers)
    )


class InstanceNorm(nn.InstanceNorm2d):
    """torch's ``InstanceNorm2d`` with its numbers, but for rounding, and faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        out = normalise(x, self) if self.affine else None
        return super().forward(x) if out is None else out


class Normalisation(Function):
    """Normalises some channels of each image by themselves, and the others over the batch.

    IN and BN both subtract a mean and divide by a standard deviation; they differ only in whose
    these are. So moments are computed for each channel of each image; BN's are combined over the
    images (Chan et al., 1983); and the input is scaled and shifted into one output. The backward
    pass does the same with the sums of the gradient. It can be differentiated again.

    Args:
        x: ``(N, C, H, W)`` on a CPU, floating point, H * W > 1.
        weight, bias: ``(C,)``, in float32, or in float64 for a float64 input.
        batch: the channels of BN, with start and stop: the first ones, the last ones or none.
        eps: added to the variance, ``(C,)``.
        running: the mean and variance of BN's channels, if they are not computed from the batch.
        group: the processes over which BN is synchronised, all of which have to call; None for this
            one alone.

    Returns:
        What the layer gives, like ``x``. If they were computed, also BN's mean and biased variance,
        and the number of values of each channel.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        batch: slice,
        eps: Tensor,
        running: tuple[Tensor, Tensor] | None,
        group: dist.ProcessGroup | None,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor, int]:
        x, values = dense(x), x.numel() // x.shape[1]
        if running is None:
            mean, var = moments(x)
            counts = mean.new_full((len(x), 1), values / len(x))
            of_batch = _together(mean[:, batch], var[:, batch], counts)
            if group is not None:
                *of_batch, values = _over_processes(*of_batch, values, group)
        else:
            own = instance_channels(x.shape[1], batch)
            mean, var = weight.new_empty(2, *x.shape[:2])
            mean[:, own], var[:, own] = moments_of(x, own)
            of_batch = running
        mean[:, batch], var[:, batch] = of_batch
        reciprocal = (var + eps).sqrt_().reciprocal_()
        scale = weight * reciprocal
        out = scale_and_shift(x, scale, bias - mean * scale, torch.empty_like(x))
        ctx.save_for_backward(x, weight, bias, mean, reciprocal)
        ctx.batch, ctx.eps, ctx.running, ctx.values, ctx.group = batch, eps, running, values, group
        if running is not None:
            return (out,)
        ctx.mark_non_differentiable(*of_batch)
        return out, *of_batch, values

    @staticmethod
    def backward(ctx, grad: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, reciprocal = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated
            if ctx.group is not None:
                raise RuntimeError("gradients of synchronised BN cannot be differentiated again")
            needed = [t for t, need in zip((x, weight, bias), ctx.needs_input_grad) if need]  # noqa: B905
            out = _plain(x, weight, bias, ctx.batch, ctx.eps, ctx.running)
            found = iter(torch.autograd.grad(out, needed, grad, create_graph=True))
            return tuple(next(found) if need else None for need in ctx.needs_input_grad)
        layout = torch.channels_last if is_channels_last(x) else torch.contiguous_format
        grad, batch = grad.contiguous(memory_format=layout), ctx.batch
        of_output, of_one = sums_of_gradients(grad, x, mean, reciprocal)
        of_weight, of_bias, of_input = of_output.sum(dim=0), of_one.sum(dim=0), None
        if ctx.needs_input_grad[0]:
            totals = torch.stack([of_weight[batch], of_bias[batch]])
            if ctx.group is not None:
                dist.all_reduce(totals, group=ctx.group)
            for sums, total in zip((of_output, of_one), totals, strict=True):
                sums /= x.shape[2] * x.shape[3]
                sums[:, batch] = total / ctx.values if ctx.running is None else 0.0
            # (grad - mean(grad) - normalised * mean(grad * normalised)) * weight * reciprocal
            scale = weight * reciprocal
            slope = -scale * reciprocal * of_output
            of_input = scale_and_shift(
                x, slope, -scale * of_one - slope * mean, torch.empty_like(x)
            )
            if x.dtype == scale.dtype:
                of_input.addcmul_(grad, scale[..., None, None])
            else:  # a product with coefficients in float32 would be in float32
                none = torch.zeros_like(scale)
                of_input += scale_and_shift(grad, scale, none, torch.empty_like(x))
        return of_input, of_weight, of_bias, *[None] * 4


def instance_channels(channels: int, batch: slice) -> slice:
    """Returns the channels of IN, given those of BN."""
    return slice(batch.stop, channels) if batch.start == 0 else slice(0, batch.start)


def _together(mean: Tensor, var: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of several sets of values together, ``(C,)``.

    Args:
        mean, var: the moments of each set, ``(sets, C)``.
        counts: the number of values in each set, ``(sets, 1)``.
    """
    share = counts / counts.sum()
    overall = (mean * share).sum(dim=0)
    return overall, ((var + (mean - overall).square()) * share).sum(dim=0)


def _over_processes(
    mean: Tensor, var: Tensor, values: int, group: dist.ProcessGroup
) -> tuple[Tensor, Tensor, int]:
    """Mean, variance and number of values over processes, from those of each."""
    own = torch.cat([mean, var, mean.new_tensor([values])]).double()
    of_each = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(of_each, own, group)
    means, variances, counts = torch.stack(of_each).split([len(mean), len(mean), 1], dim=1)
    found = _together(means, variances, counts)
    return *(each.to(mean.dtype) for each in found), int(counts.sum())


def _plain(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    batch: slice,
    eps: Tensor,
    running: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Computes by torch's own layers what :class:`Normalisation` does."""
    parts, own = {}, instance_channels(x.shape[1], batch)
    if own.start < own.stop:
        parts[own.start] = F.instance_norm(
            x[:, own], weight=weight[own], bias=bias[own], eps=float(eps[own][0])
        )
    if batch.start < batch.stop:
        parts[batch.start] = F.batch_norm(
            x[:, batch],
            *(running or (None, None)),
            weight[batch],
            bias[batch],
            running is None,
            eps=float(eps[batch][0]),
        )
    return torch.cat([parts[begin] for begin in sorted(parts)], dim=1)
