"""torchvision's small MobileNetV3 as a backbone, with IBN layers at its beginning."""

from mmengine.registry import MODELS
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small
from torchvision.ops.misc import Conv2dNormActivation

from ibnseg.models import IBN


@MODELS.register_module()
class MobileIBN(nn.Module):
    """A backbone whose features have an output stride of 16.

    Args:
        weights: torchvision's name of the weights, e.g. ``"IMAGENET1K_V1"``; random if None.
        ibn: how many of the twelve blocks have an IBN layer, from the first on.
        ratio: the share of the channels in these that are normalised by instance.
    """

    def __init__(self, weights: str | None = None, ibn: int = 4, ratio: float = 0.5) -> None:
        super().__init__()
        network = mobilenet_v3_small(weights=weights, dilated=True)
        self.features = network.features[:-1]
        for block in self.features[:ibn]:
            parts = block if isinstance(block, Conv2dNormActivation) else block.block[0]
            parts[1] = self._with_instances(parts[1], ratio)

    @staticmethod
    def _with_instances(norm: nn.BatchNorm2d, ratio: float) -> IBN:
        """An IBN layer whose affine parameters are those of a batch normalisation."""
        layer = IBN(norm.num_features, ratio, norm.eps)
        first, _ = layer.split
        for half, part in ((layer.IN, slice(first)), (layer.BN, slice(first, None))):
            half.weight.data.copy_(norm.weight.data[part])
            half.bias.data.copy_(norm.bias.data[part])
        layer.BN.running_mean.copy_(norm.running_mean[first:])
        layer.BN.running_var.copy_(norm.running_var[first:])
        return layer

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Maps (N, 3, H, W) to a tuple of (N, 96, H / 16, W / 16)."""
        return (self.features(images),)
