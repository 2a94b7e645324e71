"""Rein: tokens that refine the features between the blocks of a frozen ViT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ibnseg.registry import MODELS


@MODELS.register_module()
class Rein(nn.Module):
    """Refines the patch tokens behind each block of a ViT by learnt tokens (Wei et al., CVPR 2024).

    For block i there are m tokens ``T_i = A_i B_i``. With patch tokens ``f``:

        w = softmax(f T_i^T / sqrt(C)), over the m tokens
        f <- f + s * MLP_f(f + sum over j >= 1 of w_j MLP_T(T_ij))

    The first token takes its share of the softmax and gives nothing. ``MLP_T`` and ``MLP_f`` are
    linear layers that all blocks share, ``s`` is a learnt number. Class token, registers and
    queries stay as they are.

    With ``link``, :meth:`queries` makes queries for a head out of the tokens.

    Weights start as in Rein's ``rein/models/backbones/reins.py``: A and B uniform, the linear
    layers as torch's. Rein takes no weight decay for its tokens and scale: ``custom_keys`` of
    ``optim_wrapper.paramwise_cfg`` may name ``adapter.tokens`` and ``adapter.scale``.

    Args:
        tokens: number of tokens, m, which is also that of the queries.
        rank: rank of a block's tokens, which are a matrix (m, C).
        scale: s at the start.
        link: width of the queries, 256 in Rein; ``None``: there are none.

    Raises:
        ValueError: for a wrong argument.
    """

    def __init__(
        self, tokens: int = 100, rank: int = 16, scale: float = 0.001, link: int | None = None
    ) -> None:
        super().__init__()
        if tokens < 2 or rank < 1 or (link is not None and link < 1):
            raise ValueError(
                f"Rein: tokens={tokens}, rank={rank}, link={link}; expected 2 tokens or more, a "
                "rank and a width of 1 or more"
            )
        self.count, self.rank, self.link, self.begin = tokens, rank, link, scale

    def attach(self, vit: nn.Module) -> None:
        """Makes the parameters, for the depth and width of a ViT.

        Args:
            vit: with ``blocks``, ``embed_dim``, and learnt weights whose device and type decide.
        """
        depth, width = len(vit.blocks), vit.embed_dim
        like = next(vit.parameters())
        kind = dict(device=like.device, dtype=like.dtype)
        self.tokens_a = nn.Parameter(torch.empty(depth, self.count, self.rank, **kind))
        self.tokens_b = nn.Parameter(torch.empty(depth, self.rank, width, **kind))
        self.mlp_token = nn.Linear(width, width, **kind)
        self.mlp_feature = nn.Linear(width, width, **kind)
        if self.link is not None:
            self.to_queries = nn.Linear(width, self.link, **kind)
            self.combine = nn.Linear(3 * self.link, self.link, **kind)
        self.scale = nn.Parameter(torch.full((), self.begin, **kind))
        # the bound of Rein's code, which takes patches of 16 pixels in 3 channels
        bound = math.sqrt(6 / (3 * 16**2 + math.sqrt(width * self.rank)))
        nn.init.uniform_(self.tokens_a, -bound, bound)
        nn.init.uniform_(self.tokens_b, -bound, bound)

    def start(self, vit: nn.Module) -> None:
        """Does nothing: the start does not depend on the ViT's weights."""

    def owned(self, name: str) -> bool:
        """Whether a parameter or module of the ViT is of the adapter, and so in no backbone's
        file."""
        return name.partition(".")[0] == "adapter"

    def after(self, index: int, tokens: Tensor, patches: slice) -> Tensor:
        """Refines the patch tokens behind a block.

        Args:
            index: the number of the block.
            tokens: ``(N, T, C)``.
            patches: where the patches are among the T tokens.

        Returns:
            ``(N, T, C)``.
        """
        refined = self.refine(index, tokens[:, patches])
        return torch.cat([tokens[:, : patches.start], refined, tokens[:, patches.stop :]], dim=1)

    def refine(self, index: int, features: Tensor) -> Tensor:
        """Refines features ``(N, P, C)`` of a block, to ``(N, P, C)``."""
        learnt = self.tokens_a[index] @ self.tokens_b[index]
        weights = (features @ learnt.mT * learnt.shape[1] ** -0.5).softmax(dim=-1)
        given = weights[..., 1:] @ self.mlp_token(learnt[1:])
        return features + self.scale * self.mlp_feature(features + given)

    def queries(self) -> Tensor:
        """Makes the queries out of the tokens of all blocks: ``(tokens, link)``.

        They are a linear function of the largest, the mean and the last of the linear layers'
        outputs over the blocks. Rein's head turns them into query features by a linear layer of its
        own.

        Raises:
            ValueError: if there is no ``link``.
        """
        if self.link is None:
            raise ValueError("Rein: no queries without link; set e.g. adapter.link=256")
        linked = self.to_queries(self.tokens_a @ self.tokens_b)
        return self.combine(torch.cat([linked.amax(0), linked.mean(0), linked[-1]], dim=-1))
