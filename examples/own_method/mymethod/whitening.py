"""Whitens what follows the colours, after RobustNet (Choi et al., CVPR 2021)."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import Tensor, nn


class Whitening(nn.Module):
    """First measures which covariances of a layer's channels change with the colours of an image,
    then pulls those to 0.

    Args:
        layer: the name of the module in the network.
        channels: the number of its output channels.
        weight: the weight of the loss.
        share: the share of the covariances that are pulled to 0; those that change most are.
    """

    def __init__(self, layer: str, channels: int, weight: float = 0.6, share: float = 0.1) -> None:
        super().__init__()
        self.layers = (layer,)  # the segmentor keeps its outputs
        self.weight, self.share = weight, share
        self.register_buffer("change", torch.zeros(channels, channels))
        self.register_buffer("chosen", torch.zeros(channels, channels, dtype=torch.bool))

    def forward(self, views: dict, data_samples: list) -> dict[str, Tensor]:
        plain = covariances(views["image"].layers[self.layers[0]])
        if self.chosen.any():
            return dict(loss_whitening=self.weight * plain[:, self.chosen].abs().mean())
        colored = covariances(views["color"].layers[self.layers[0]])
        self.change += (plain - colored).detach().square().mean(0)
        return {}

    def choose(self) -> None:
        """Begins the second phase with what all processes have measured."""
        all_reduce(self.change)
        rows, columns = torch.triu_indices(*self.change.shape, offset=1)
        change = self.change[rows, columns]
        most = change.topk(max(1, round(self.share * len(change)))).indices
        self.chosen[rows[most], columns[most]] = True


class SecondPhase(Hook):
    """Lets every ``Whitening`` begin its second phase at an iteration."""

    def __init__(self, begin: int) -> None:
        self.begin = begin

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if runner.iter == self.begin:
            for module in runner.model.modules():
                if isinstance(module, Whitening):
                    module.choose()


def covariances(x: Tensor) -> Tensor:
    """The covariances of each image's channels: (N, C, H, W) to (N, C, C) float32."""
    x = x.float().flatten(2)
    x = x - x.mean(dim=2, keepdim=True)
    return x @ x.mT / x.shape[2]
