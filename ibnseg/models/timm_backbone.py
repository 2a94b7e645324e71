"""timm's networks with feature maps as backbones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ibnseg.models.borrowed import Borrowed, FeatureMap, initial_weights, require_map
from ibnseg.models.from_timm import timm_network
from ibnseg.models.timm_hub import SCHEME, report_weights
from ibnseg.registry import MODELS
from ibnseg.support.errors import UserError

INNER = ("model", "body")
"""Under which name those of timm's feature networks hold the network that do not take it apart."""


@MODELS.register_module()
class Timm(Borrowed):
    """A network of timm as a backbone, by timm's ``features_only``.

    Its maps are numbered as timm numbers them, the finest first: most networks have five, of
    strides 2, 4, 8, 16 and 32, others four, of strides 4 to 32.

    The names in the state dict are those of timm's network, so that its files fit.

    Args:
        name: an architecture of ``timm.list_models()``, e.g. ``"efficientnet_lite0"``.
        weights: the initial weights: timm's name of them, e.g. ``timm://efficientnet_lite0``, a
            path or an address; short for ``init_cfg=dict(type='Pretrained', checkpoint=...)``. By
            default the network starts from timm's random ones.
        out_indices: which maps are given, in ascending order; negative ones count from the last. By
            default those of stride 4 and more.
        output_stride: the stride of the last map, by dilation, if timm can do that for the network.
        frozen_stages: the number of the last map that is not trained, nor anything that comes
            before it; -1 for none. If it is the last map's, nothing is trained.
        norm_eval: whether BN keeps its running statistics in training.
        options: further arguments of the network, e.g. ``dict(drop_path_rate=0.1)``, or
            ``dict(img_size=(512, 1024))`` for one that takes images of one size alone.
        init_cfg: mmengine's config of the initial weights.

    Attributes:
        out_channels: channels of the features, one for each of ``out_indices``.
        feature_strides: their strides in pixels.

    Shape:
        ``(N, 3, H, W)`` to a tuple of ``(N, C_i, H_i, W_i)``, one for each of ``out_indices``.

    Raises:
        UserError: if timm is missing; for an unknown name, options that the network does not take,
            and one without feature maps; from ``init_weights``, if weights do not fit exactly.
        ValueError: for an output stride that the network cannot have, out_indices or frozen_stages
            that it does not have, and a size that it needs.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        out_indices: Sequence[int] | None = None,
        *,
        output_stride: int | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        options: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        init_cfg = initial_weights("Timm", weights, init_cfg)
        options = dict(options or {})
        with torch.device("meta"):
            whole = timm_network(name, **options)
        maps = _maps(name, whole, options)
        if output_stride not in (None, maps[-1].stride):
            options["output_stride"] = output_stride
            with torch.device("meta"):
                maps = _maps(name, _dilated(name, options), options)
        super().__init__(name, maps, out_indices, frozen_stages, norm_eval, init_cfg)
        network = timm_network(name, features_only=True, out_indices=self.out_indices, **options)
        own = {name for name, _ in whole.named_children()}
        inner = next(
            (c for n, c in network.named_children() if n in INNER and n not in own), network
        )
        self._network, self._inner = (network,), (inner,)  # tuples: not this module's parts
        self.has_channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self._parameters, self._buffers = inner._parameters, inner._buffers
        self._take(whole)
        require_map(self)
        self.left_out = tuple({*whole.state_dict()} - {*self.state_dict()})
        self.train()

    def _take(self, whole: nn.Module) -> None:
        """Makes the children of timm's feature network this module's, by their names in the whole
        network: timm calls ``stages.0`` ``stages_0`` there."""
        names = {name.replace(".", "_"): name for name, _ in whole.named_modules()}
        for name, child in self._inner[0].named_children():
            *parents, own = names.get(name, name).split(".")
            place = self
            for parent in parents:
                if parent not in place._modules:
                    place.add_module(parent, nn.Module())
                place = place._modules[parent]
            place.add_module(own, child)
        weights = whole.state_dict()
        odd = [
            k
            for k, v in self.state_dict().items()
            if k not in weights or v.shape != weights[k].shape
        ]
        if odd:
            raise UserError(
                f"Timm: {self.name} has other weights with feature maps than without ({odd[0]}), "
                "so that no file would fit; take another network"
            )

    def train(self, mode: bool = True) -> Timm:
        self._inner[0].training = mode
        super().train(mode)
        return self

    def translated(self, weights: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        report_weights(source if source.startswith(SCHEME) else self.name)
        return weights

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self._network[0](x)
        if self.has_channels_last:
            features = [each.permute(0, 3, 1, 2).contiguous() for each in features]
        return tuple(features)


def _maps(name: str, network: nn.Module, options: dict) -> list[FeatureMap]:
    info = getattr(network, "feature_info", None)
    if not info:
        raise UserError(f"Timm: {name} has no feature maps")
    if network.pretrained_cfg.get("fixed_input_size") and "img_size" not in options:
        _, height, width = network.pretrained_cfg["input_size"]
        raise ValueError(
            f"Timm: {name} takes images of {width}x{height} alone; give the size of crops and "
            "windows in options=dict(img_size=(height, width)), or take ibnseg.ViT for a ViT"
        )
    return [FeatureMap(each["module"], each["num_chs"], each["reduction"]) for each in info]


def _dilated(name: str, options: dict) -> nn.Module:
    stride = options["output_stride"]
    try:
        network = timm_network(name, **options)
    except UserError as error:
        raise ValueError(
            f"Timm: {name} cannot have output_stride={stride!r}; leave it out, or take "
            "another network"
        ) from error
    found = network.feature_info[-1]["reduction"]
    if found != stride:
        raise ValueError(f"Timm: {name} has output_stride={found} if it is asked for {stride!r}")
    return network
