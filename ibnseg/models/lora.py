"""LoRA: low-rank changes of linear layers that are trained in place of the layers, and merged with
them for inference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

STARTS = ("zero", "minor", "qr")
"""How the factors may start."""

OWN = "lora_"
"""The beginning of the names of what an adapter adds to a layer."""

SEPARATE_BIASES = ("q_bias", "v_bias")
"""Where timm's EVA attention has the bias of ``qkv``; its keys have none."""


@MODELS.register_module()
class LoRA:
    """Adds ``alpha / rank * B A`` to the weights ``W`` of linear layers of a ViT, and trains A and
    B alone (Hu et al., ICLR 2022).

    ``start`` says what A and B are at the beginning:

    - ``"zero"``: A is random as in torch's Linear (Kaiming uniform with a = sqrt 5), B is 0.
    - ``"minor"``: of the r smallest singular values of W, with their vectors, ``B = U sqrt(S)`` and
      ``A = sqrt(S) V^T`` (SoMA, Yun et al., CVPR 2025).
    - ``"qr"``: of the pivoted QR decomposition ``W P = Q R``, the last r columns of Q and, in a
      second adapter, the first ``sub_rank`` ones: B is the columns and A the rows of ``R P^T`` that
      belong to them (RecycleLoRA, after a description at second hand: main adapter of rank 32,
      second one of rank 4, which learns at half the rate).

    Except for ``"zero"``, the factors at the start, B0 and A0, are subtracted, so that the function
    does not change: a layer gives ``W x + b + alpha / rank * (B A - B0 A0) x``. That is SoMA's
    frozen ``W - B0 A0`` beside a trained ``B A``, while ``W`` stays that of the backbone's file. No
    gradient is as large as W.

    The factors of a layer are its parameters ``lora_a`` and ``lora_b``, those of the second adapter
    ``lora_sub_a`` and ``lora_sub_b``: ``optim_wrapper.paramwise_cfg.custom_keys`` may name them.

    Args:
        rank: rank of the change.
        alpha: the scale of the change is ``alpha / rank``; ``None``: 1.
        layers: names of linear layers in a block, e.g. ``("attn.qkv", "mlp.fc1")``; ``None``: all.
        blocks: numbers of the blocks that are adapted, from 0, e.g. ``range(8, 24)``; ``None``:
            all.
        start: one of :data:`STARTS`.
        sub_rank: rank of the second adapter, which ``"qr"`` alone may have; 0: there is none.
        split_qkv: whether ``qkv`` counts as three layers, of queries, keys and values.
        dropout: probability that a value in front of A is 0 in training, in [0, 1).
        bias: whether the biases of the adapted layers are trained, too.

    Raises:
        ValueError: for a wrong argument.
        UserError: from :meth:`attach`, for a block or layer that is not there, and for a rank that
            a layer does not have; from :meth:`start`, for blocks that the network does not run.
    """

    def __init__(
        self,
        rank: int = 16,
        *,
        alpha: float | None = None,
        layers: Sequence[str] | None = None,
        blocks: Iterable[int] | None = None,
        start: str = "zero",
        sub_rank: int = 0,
        split_qkv: bool = False,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        if start not in STARTS:
            raise ValueError(f"LoRA: start={start!r}, expected one of {', '.join(STARTS)}")
        if rank < 1 or sub_rank < 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"LoRA: rank={rank}, sub_rank={sub_rank}, dropout={dropout}; expected a rank of 1 "
                "or more, a sub_rank of 0 or more, a dropout in [0, 1)"
            )
        if sub_rank and start != "qr":
            raise ValueError(f"LoRA: sub_rank={sub_rank} needs start='qr', found {start!r}")
        if isinstance(layers, str) or (layers is not None and not layers):
            raise ValueError(f"LoRA: layers={layers!r}, expected a list of names")
        self.rank, self.sub_rank, self.dropout = rank, sub_rank, dropout
        self.scale = 1.0 if alpha is None else alpha / rank
        self.layers = None if layers is None else tuple(layers)
        self.blocks = None if blocks is None else sorted(blocks)
        self.kind, self.split_qkv, self.bias = start, split_qkv, bias

    def attach(self, vit: nn.Module) -> None:
        """Replaces the layers of a ViT by adapted ones, under the same names, and marks what is
        trained.

        Args:
            vit: with ``blocks``.
        """
        depth = len(vit.blocks)
        self.blocks = list(range(depth)) if self.blocks is None else self.blocks
        for i in self.blocks:
            if not 0 <= i < depth:
                raise UserError(f"LoRA: there is no block {i}; the network has 0 to {depth - 1}")
            self._attach_to(vit.blocks[i], i)

    def _attach_to(self, block: nn.Module, i: int) -> None:
        linear = {name: m for name, m in block.named_modules() if isinstance(m, nn.Linear)}
        for name in self.layers or linear:
            if name not in linear:
                raise UserError(
                    f"LoRA: block {i} has no linear layer '{name}'; it has {', '.join(linear)}"
                )
            of, _, last = name.rpartition(".")
            parent, is_qkv = block.get_submodule(of), last == "qkv"
            if is_qkv and getattr(parent, "q_bias", None) is not None:
                parent.qkv_bias_separate = True  # timm would pass over the layer otherwise
            adapted = LoRALinear(linear[name], self, parts=3 if is_qkv and self.split_qkv else 1)
            if self.rank + self.sub_rank > min(adapted.part):
                raise UserError(
                    f"LoRA: {name} of block {i} has a rank of at most {min(adapted.part)}, too "
                    f"little for rank={self.rank} and sub_rank={self.sub_rank}"
                )
            setattr(parent, last, adapted)
            biases = [adapted.bias]
            biases += [getattr(parent, each, None) for each in SEPARATE_BIASES if is_qkv]
            for each in biases if self.bias else ():
                if each is not None:
                    each.requires_grad_(True)

    def start(self, vit: nn.Module) -> None:
        """Gives the factors their values at the start, which may depend on the weights.

        The decompositions are computed on the CPU in float64.

        Args:
            vit: with its weights loaded.
        """
        last, given = getattr(vit, "out_indices", (len(vit.blocks) - 1,))[-1], max(self.blocks)
        if given > last and not getattr(vit, "handed_over", 0):
            raise UserError(
                f"LoRA: block {given} is adapted, and the features end at block {last} "
                f"(out_indices); give blocks up to {last}"
            )
        for layer in adapted_layers(vit):
            layer.start(self.kind)

    def owned(self, name: str) -> bool:
        """Whether a parameter or module of the ViT is of the adapter, and so in no backbone's
        file."""
        return name.rpartition(".")[2].startswith(OWN)


def adapted_layers(network: nn.Module) -> Iterator[LoRALinear]:
    """Finds the adapted layers of a network."""
    return (each for each in network.modules() if isinstance(each, LoRALinear))


class LoRALinear(nn.Linear):
    """A frozen linear layer and a low-rank change of it (:class:`LoRA`).

    Attributes:
        part: rows and columns of the weight of one of the parts.
        lora_a: ``(parts, rank, in_features)``.
        lora_b: ``(parts, out_features / parts, rank)``.
        lora_sub_a, lora_sub_b: the same of the second adapter, if there is one.
        lora_start_a, lora_start_b: the factors at the start, side by side, unless B starts at 0.

    Args:
        linear: the layer whose parameters it takes over.
        settings: the adapter's.
        parts: number of layers that are one below another in the weight.

    Shape:
        ``(..., in_features)`` to ``(..., out_features)``.
    """

    def __init__(self, linear: nn.Linear, settings: LoRA, parts: int = 1) -> None:
        weight = linear.weight
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = weight, linear.bias
        self.part = (self.out_features // parts, self.in_features)
        self.scale, self.ranks = settings.scale, (settings.rank, settings.sub_rank)
        self.lora_dropout = nn.Dropout(settings.dropout)

        def factors(rank: int, trained: bool) -> tuple[nn.Parameter, nn.Parameter]:
            shapes = (parts, rank, self.part[1]), (parts, self.part[0], rank)
            return tuple(nn.Parameter(weight.new_zeros(shape), trained) for shape in shapes)

        self.lora_a, self.lora_b = factors(settings.rank, True)
        if settings.sub_rank:
            self.lora_sub_a, self.lora_sub_b = factors(settings.sub_rank, True)
        if settings.kind != "zero":
            # parameters, not buffers, which processes average
            self.lora_start_a, self.lora_start_b = factors(sum(self.ranks), False)
        for each in self.lora_a:
            nn.init.kaiming_uniform_(each, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight, self.bias)
        if self.lora_dropout.training and self.lora_dropout.p:
            out = out + _low_rank(self.lora_dropout(x), *self._trained())
            fixed = self._fixed()
            return out if fixed is None else out + _low_rank(x, *fixed)
        return out + _low_rank(x, *self._all())

    def _trained(self) -> tuple[Tensor, Tensor]:
        """A and B of what is trained; B is multiplied by the scale."""
        a, b = self.lora_a, self.lora_b
        if self.ranks[1]:
            a = torch.cat([a, self.lora_sub_a], dim=1)
            b = torch.cat([b, self.lora_sub_b], dim=2)
        return a, self.scale * b

    def _fixed(self) -> tuple[Tensor, Tensor] | None:
        """A and B of what is subtracted, B with its sign and scale; None if that is nothing."""
        if not hasattr(self, "lora_start_a"):
            return None
        return self.lora_start_a, -self.scale * self.lora_start_b

    def _all(self) -> tuple[Tensor, Tensor]:
        """A and B of the whole change."""
        (a, b), fixed = self._trained(), self._fixed()
        if fixed is None:
            return a, b
        return torch.cat([a, fixed[0]], dim=1), torch.cat([b, fixed[1]], dim=2)

    @torch.no_grad()
    def start(self, kind: str) -> None:
        """Gives the factors their values of one of :data:`STARTS`."""
        if kind == "zero":
            for each in self.lora_a:
                nn.init.kaiming_uniform_(each, a=math.sqrt(5))
            self.lora_b.zero_()
            return
        rank, sub_rank = self.ranks
        for i, part in enumerate(self.weight.double().cpu().split(self.part[0])):
            a, b = minor_factors(part, rank) if kind == "minor" else qr_factors(part, *self.ranks)
            self.lora_start_a[i], self.lora_start_b[i] = a, b
        self.lora_a.copy_(self.lora_start_a[:, :rank])
        self.lora_b.copy_(self.lora_start_b[..., :rank])
        if sub_rank:
            self.lora_sub_a.copy_(self.lora_start_a[:, rank:])
            self.lora_sub_b.copy_(self.lora_start_b[..., rank:])

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Makes a plain layer of the same function; its weight is computed in float64 and rounded
        once."""
        exact = torch.float32 if self.weight.device.type == "mps" else torch.float64
        a, b = (each.to(exact) for each in self._all())
        weight = self.weight.to(exact) + torch.bmm(b, a).flatten(0, 1)
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(weight.to(self.weight.dtype), requires_grad=False)
        plain.bias = self.bias
        return plain.train(self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, ranks={self.ranks}, parts={len(self.lora_a)}"


def _low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``B A x`` for each part, one behind another: ``(..., in)`` to ``(..., parts * out)``."""
    hidden = F.linear(x, a.flatten(0, 1)).chunk(len(a), dim=-1)
    parts = [F.linear(each, own) for each, own in zip(hidden, b, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def minor_factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Computes the factors of what the smallest singular values contribute to a weight.

    Args:
        weight: ``(out, in)``, floating point.
        rank: number of singular values, at most ``min(out, in)``.

    Returns:
        ``A = sqrt(S) V^T``, ``(rank, in)``, and ``B = U sqrt(S)``, ``(out, rank)``.
    """
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    root = s[-rank:].sqrt()
    return root[:, None] * vh[-rank:], u[:, -rank:] * root


def qr_factors(weight: Tensor, rank: int, sub_rank: int = 0) -> tuple[Tensor, Tensor]:
    """Computes the factors of what columns of Q contribute to a weight, by its pivoted QR
    decomposition ``W P = Q R``.

    Args:
        weight: ``(out, in)``, floating point, on the CPU.
        rank: number of the last columns of Q, which contribute least.
        sub_rank: number of its first columns, which contribute most.

    Returns:
        ``A``, ``(rank + sub_rank, in)``, rows of ``R P^T``, and ``B``, ``(out, rank + sub_rank)``,
        columns of Q; those of the last columns come first.
    """
    q, r, pivots = scipy.linalg.qr(weight.numpy(), mode="economic", pivoting=True)
    rows = torch.empty_like(torch.from_numpy(r))
    rows[:, torch.from_numpy(pivots).long()] = torch.from_numpy(r)
    count = len(rows)
    chosen = [*range(count - rank, count), *range(sub_rank)]
    return rows[chosen], torch.from_numpy(q)[:, chosen]
