"""Vision transformers of timm as backbones: maps of any blocks, at one stride or at four."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from mmengine.model import BaseModule
from torch import Tensor, nn

from ibnseg.models.from_timm import timm_network
from ibnseg.models.pretrained import Pretrainable
from ibnseg.models.timm_hub import SCHEME, report_weights
from ibnseg.models.vit_weights import RESAMPLES, fitted
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

LEFT_OUT = ("head.", "head_dist.", "fc_norm.", "attn_pool.")
"""The beginnings of names behind the blocks and the last norm: poolings and classifiers."""

TRAINED = ("none", "all")
"""What may be trained of a ViT, beside its adapter."""

PYRAMID = (4, 2, 1, 0.5)
"""How the four maps of a pyramid are resized (Rein, ``rein/models/backbones/dino_v2.py``)."""


@MODELS.register_module()
class ViT(Pretrainable, BaseModule):
    """A vision transformer of timm: DINOv2, DINOv3, EVA02, CLIP or a plain ViT.

    It takes over the parts of the network that timm builds, under the same names, so that weights
    from timm, and the official ones of DINOv2, are named as its own are.

    Position embeddings that are learnt have the grid of ``image_size``. For images of another size
    they are interpolated from it in the forward pass (timm's ``resample_abs_pos_embed``: bicubic,
    antialiased). Rotary ones (DINOv3, EVA02) are computed for the grid at hand.

    Args:
        name: an architecture of ``timm.list_models("vit_*")`` or ``"eva*"``, of timm's classes
            ``VisionTransformer`` and ``Eva``.
        patch_size: side of a patch in pixels. Weights for another one are resampled.
        image_size: side of a square image in pixels, or ``(height, width)``, a multiple of
            ``patch_size``: the grid of the position embeddings.
        out_indices: the blocks whose outputs are the features, counted from 0, in ascending order;
            ``None`` is the last block. Blocks behind the last of these are not run.
        pyramid: whether the four maps are resized bilinearly by 4, 2, 1 and 0.5, to strides 4, 8,
            16 and 32 if the patch has 16 pixels (Rein, Wei et al., CVPR 2024).
        final_norm: whether the ViT's last norm is applied to each map. Linear probes do that, Rein
            and SoMA do not.
        trained: ``"none"`` keeps all weights as they are, in evaluation mode; of ``"all"``, the
            weights that the features depend on are trained.
        adapter: a config of the adapter that is trained beside ``"none"``, e.g.
            ``dict(type="ibnseg.LoRA")``.
        resample: how weights for another patch or image size are resampled: ``"timm"`` is the
            pseudo-inverse for the patch kernel (FlexiViT, Beyer et al., CVPR 2023) and antialiased
            bicubic for positions; ``"rein"`` is plain bicubic for both, as Rein converts them.
        with_cp: whether to compute blocks again in the backward pass, to save memory.
        options: further arguments of the network, e.g. ``dict(drop_path_rate=0.1)``.
        init_cfg: mmengine's config of the initial weights, e.g. ``dict(type="Pretrained",
            checkpoint="dinov2_vitb14_pretrain.pth")``.

    Attributes:
        out_channels: channels of the maps, one for each of ``out_indices``.
        feature_strides: strides of the maps in pixels.
        blocks, norm, embed_dim, num_prefix_tokens: as timm has them; the prefix is the class token
            and the registers.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, embed_dim, H / patch_size, W / patch_size)``, one for
        each of ``out_indices``, or of a pyramid's sizes. After :meth:`hand_over`, tokens follow.

    Raises:
        UserError: if timm is missing; for an unknown name; for a network that is no ViT of these
            classes; from ``forward``, if the patch does not divide the image; from
            ``init_weights``, if weights do not fit exactly.
        ValueError: for other wrong arguments.
    """

    left_out = LEFT_OUT

    def __init__(
        self,
        name: str = "vit_base_patch14_dinov2",
        *,
        patch_size: int = 16,
        image_size: int | tuple[int, int] = 512,
        out_indices: Sequence[int] | None = (2, 5, 8, 11),
        pyramid: bool = False,
        final_norm: bool = False,
        trained: str = "none",
        adapter: dict | None = None,
        resample: str = "timm",
        with_cp: bool = False,
        options: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        network = _build(name, patch_size, _pair(image_size), options or {})
        # from here on this module has the network's parts, and timm's methods can be called on it
        vars(self).update(vars(network))
        self.timm_class = type(network)
        self.name = name
        self.out_indices = _checked(out_indices, len(self.blocks), pyramid)
        self.pyramid, self.final_norm, self.trained = pyramid, final_norm, trained
        self.resample, self.with_cp = resample, with_cp
        self.handed_over = 0
        if trained not in TRAINED:
            raise ValueError(f"ViT: trained={trained!r}, expected one of {TRAINED}")
        if resample not in RESAMPLES:
            raise ValueError(f"ViT: resample={resample!r}, expected one of {RESAMPLES}")
        if final_norm and isinstance(self.norm, nn.Identity):
            raise ValueError(f"ViT: {name} has no last norm, expected final_norm=False")
        if adapter is not None and trained != "none":
            raise ValueError(f"ViT: an adapter is trained beside trained='none', not {trained!r}")
        self._freeze()
        self.adapter = None
        if adapter is not None:
            self.adapter = MODELS.build(adapter)
            self.adapter.attach(self)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.patch_embed.patch_size[0]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features, one for each of ``out_indices``."""
        return (self.embed_dim,) * len(self.out_indices)

    @property
    def feature_strides(self) -> tuple[float, ...]:
        """Strides of the features in pixels, one for each of ``out_indices``."""
        factors = PYRAMID if self.pyramid else (1,) * len(self.out_indices)
        return tuple(self.patch_size / factor for factor in factors)

    @property
    def blocks_run(self) -> int:
        """Number of blocks that ``forward`` runs, from the first on."""
        if self.handed_over:
            return len(self.blocks) - self.handed_over
        return self.out_indices[-1] + 1

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        size = self.grid(x)
        tokens = self.tokens(x)
        maps, done = [], 0
        for i in self.out_indices:
            tokens = self.run(tokens, range(done, i + 1), size)
            maps.append(self.maps(self.norm(tokens) if self.final_norm else tokens, size))
            done = i + 1
        if self.pyramid:
            maps = [_resized(each, factor) for each, factor in zip(maps, PYRAMID, strict=True)]
        if self.handed_over:
            maps.append(self.run(tokens, range(done, self.blocks_run), size))
        return tuple(maps)

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Computes the size in patches of images ``(N, 3, H, W)``: ``(H / patch, W / patch)``.

        Raises:
            UserError: if the patch does not divide the size.
        """
        (height, width), patch = x.shape[2:], self.patch_size
        if height % patch or width % patch:
            raise UserError(
                f"ViT: an image of {width}x{height} cannot be cut into patches of {patch}x{patch}; "
                f"set model.data_preprocessor.test_cfg=dict(size_divisor={patch}), and crops and "
                f"windows to multiples of {patch}"
            )
        return height // patch, width // patch

    def tokens(self, x: Tensor) -> Tensor:
        """Embeds images ``(N, 3, H, W)`` into the tokens in front of the first block: ``(N, P + h *
        w, embed_dim)``, P prefix tokens and then the patches, row by row."""
        embedded = self.timm_class._pos_embed(self, self.patch_embed(x))
        if isinstance(embedded, tuple):  # Eva's has the rotations, too, which run() computes
            embedded = embedded[0]
        return self.norm_pre(embedded)

    def run(
        self,
        tokens: Tensor,
        blocks: Iterable[int],
        size: tuple[int, int],
        mask: Tensor | None = None,
    ) -> Tensor:
        """Runs some blocks.

        Args:
            tokens: ``(N, P + h * w + Q, embed_dim)``: prefix, patches, and perhaps Q further tokens
                such as queries, which have no position.
            blocks: the numbers of the blocks.
            size: the grid of the patches, ``(h, w)``.
            mask: what may attend to what, broadcastable to ``(N, heads, T, T)``: boolean, true if
                it may, or floating, added to the scores.

        Returns:
            The tokens behind the last of these blocks, in the shape of ``tokens``.
        """
        rotations = self._rotations(size, tokens)
        for i in blocks:
            if self.with_cp and torch.is_grad_enabled():
                tokens = torch.utils.checkpoint.checkpoint(
                    self._run_one, tokens, i, size, rotations, mask, use_reentrant=False
                )
            else:
                tokens = self._run_one(tokens, i, size, rotations, mask)
        return tokens

    def _run_one(
        self,
        tokens: Tensor,
        i: int,
        size: tuple[int, int],
        rotations: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:
        if rotations is None:
            tokens = self.blocks[i](tokens, attn_mask=mask)
        else:
            own = rotations[i] if self.rope_mixed else rotations
            tokens = self.blocks[i](tokens, rope=own, attn_mask=mask)
        if hasattr(self.adapter, "after"):
            tokens = self.adapter.after(i, tokens, self.patches(size))
        return tokens

    def _rotations(self, size: tuple[int, int], tokens: Tensor) -> Tensor | None:
        """Rotary embeddings of the patches, in timm's layout: sines, then cosines. Tokens behind
        the patches are turned by no angle."""
        rope = getattr(self, "rope", None)
        if rope is None:
            return None
        rotations = rope.get_embed(shape=list(size))
        further = tokens.shape[1] - self.patches(size).stop
        if further:
            still = rotations.new_zeros((*rotations.shape[:-2], further, rotations.shape[-1]))
            still[..., rotations.shape[-1] // 2 :] = 1
            rotations = torch.cat([rotations, still], dim=-2)
        return rotations

    def patches(self, size: tuple[int, int]) -> slice:
        """Says where, among the tokens, the patches of a grid ``(h, w)`` lie."""
        return slice(self.num_prefix_tokens, self.num_prefix_tokens + size[0] * size[1])

    def maps(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Turns tokens ``(N, P + h * w + Q, C)`` into the map of the patches, ``(N, C, h, w)``."""
        patches = tokens[:, self.patches(size)]
        return patches.transpose(1, 2).unflatten(2, size)

    def hand_over(self, count: int) -> None:
        """Leaves the last blocks and the last norm to a head, which runs them itself.

        From now on ``forward`` gives, behind the maps, the tokens in front of these blocks,
        ``(N, P + h * w, embed_dim)``.

        Args:
            count: number of blocks.

        Raises:
            ValueError: if there are fewer blocks, or a map of theirs is asked for.
        """
        first = len(self.blocks) - count
        if count < 1 or self.out_indices[-1] >= first:
            raise ValueError(
                f"ViT: its last {count} of {len(self.blocks)} blocks cannot be left to the head "
                f"with out_indices={self.out_indices}, expected 0 to {first - 1}"
            )
        self.handed_over = count
        for part in (*self._blocks_behind(), self.norm) if self.trained == "all" else ():
            part.requires_grad_(True)

    def _blocks_behind(self) -> list[nn.Module]:
        return list(self.blocks)[self.out_indices[-1] + 1 :]

    def _freeze(self) -> None:
        """Decides which weights are trained: none, or all that the features depend on."""
        self.requires_grad_(self.trained == "all")
        for part in self._blocks_behind() + [self.norm] * (not self.final_norm):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> ViT:
        super().train(mode)
        if self.trained == "none":
            for name, module in self.named_modules():
                if name and not self.is_adapters(name):
                    module.training = False
        return self

    def is_adapters(self, name: str) -> bool:
        """Whether a module, parameter or buffer belongs to the adapter."""
        if self.adapter is None:
            return False
        return name.split(".")[0] == "adapter" or self.adapter.owned(name)

    def init_weights(self) -> None:
        super().init_weights()
        if self.adapter is not None:
            self.adapter.start(self)

    def translated(self, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """Gives weights of a file this network's names and sizes
        (:func:`~ibnseg.models.vit_weights.fitted`), and the adapter's as they are."""
        report_weights(source if source.startswith(SCHEME) else self.name)
        own = {name: each for name, each in self.state_dict().items() if self.is_adapters(name)}
        return own | fitted(self, weights, source, self.resample)

    def frozen_names(self) -> set[str]:
        """Names the weights of the blocks that are as the file has them.

        Patch kernel and positions are not among them: they may be resampled, and so differ by
        roundings from machine to machine.
        """
        if self.trained != "none":
            return set()
        return {
            name
            for name, parameter in self.named_parameters()
            if name.startswith("blocks.")
            and not parameter.requires_grad
            and not self.is_adapters(name)
        }


def _build(name: str, patch_size: int, image_size: tuple[int, int], options: dict) -> nn.Module:
    if patch_size < 1 or any(side < 1 or side % patch_size for side in image_size):
        raise ValueError(
            f"ViT: image_size={image_size} has to be a multiple of patch_size={patch_size}"
        )
    sizes = dict(patch_size=patch_size, img_size=image_size, dynamic_img_size=True)
    # without a pooling all of them have the last norm behind the last block
    network = timm_network(name, num_classes=0, global_pool="", **sizes, **options)
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(network, (VisionTransformer, Eva)):
        raise UserError(
            f"ViT: {name} is timm's {type(network).__name__}, expected a VisionTransformer or Eva; "
            "take type='ibnseg.Timm' for other networks"
        )
    return network


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _checked(indices: Sequence[int] | None, depth: int, pyramid: bool) -> tuple[int, ...]:
    given = (depth - 1,) if indices is None else tuple(indices)
    if not given or list(given) != sorted({*given}) or not 0 <= given[0] <= given[-1] < depth:
        raise ValueError(
            f"ViT: out_indices={indices!r}, expected ascending numbers of blocks, 0 to {depth - 1}"
        )
    if pyramid and len(given) != len(PYRAMID):
        raise ValueError(f"ViT: a pyramid has {len(PYRAMID)} maps, out_indices={given}")
    return given


def _resized(features: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return features
    return F.interpolate(features, scale_factor=factor, mode="bilinear", align_corners=False)
