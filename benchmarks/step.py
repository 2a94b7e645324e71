"""A training step on random crops, as the benchmarks of training measure it."""

from __future__ import annotations

import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.registry import OPTIM_WRAPPERS

CLASSES = 19


class Step:
    """A training step of a network on random crops, from uint8 on the host to new weights.

    Args:
        network: a segmentor, which is put into training mode.
        wrapper: its optimiser.
        images: number of crops.
        size: (height, width) of the crops.
        labels: the type of the labels; mmseg takes int64.
    """

    def __init__(
        self,
        network: nn.Module,
        wrapper: OptimWrapper,
        images: int,
        size: tuple[int, int],
        labels: torch.dtype = torch.uint8,
    ) -> None:
        self.network, self.wrapper = network.train(), wrapper
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, 3, *size), generator=generator)
        truth = torch.randint(0, CLASSES, (images, 1, *size), generator=generator)
        self.inputs, self.truth = list(pixels.byte()), list(truth.to(labels))
        if torch.cuda.is_available():  # as loaders give them
            self.inputs = [image.pin_memory() for image in self.inputs]

    def __call__(self) -> dict[str, Tensor]:
        samples = [SegDataSample(gt_sem_seg=PixelData(data=each)) for each in self.truth]
        data = dict(inputs=self.inputs, data_samples=samples)
        return self.network.train_step(data, self.wrapper)


def sgd(network: nn.Module, wrapper: str) -> OptimWrapper:
    """Makes an optimiser of all weights.

    Args:
        network: the network that is trained.
        wrapper: the type of the optimiser's wrapper, e.g. ``"OptimWrapper"``.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    return OPTIM_WRAPPERS.build(dict(type=wrapper, optimizer=optimizer))
