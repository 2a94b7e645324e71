"""A network in a TFLite file, ``$MODEL``, that takes uint8 images and gives train ids.

It needs ``pip install ai-edge-litert``.
"""

import os

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

from ibnseg.datasets.labels import CLASSES


class Network:
    """Predicts images one after another, as the file has a batch of one."""

    def __init__(self, path: str) -> None:
        self.interpreter = Interpreter(path)
        self.interpreter.allocate_tensors()
        (self.input,), (self.output,) = (
            self.interpreter.get_input_details(),
            self.interpreter.get_output_details(),
        )
        self.facts = dict(
            title="DeepLabV3 MobileNet-EdgeTPU",
            classes=CLASSES,
            channels="RGB",
            range=255,
            mean=(0, 0, 0),
            std=(1, 1, 1),
            size=self.input["shape"][1:3].tolist(),
            trained_on="cityscapes",
            gives="classes",
            licence="Apache-2.0",
        )

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        pixels = images.round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return np.concatenate([self.predict(each[None]) for each in pixels])

    def predict(self, image: np.ndarray) -> np.ndarray:
        """(1, H, W, 3) uint8 to (1, H, W) int64."""
        self.interpreter.set_tensor(self.input["index"], image)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"])


def deeplab() -> Network:
    return Network(os.environ["MODEL"])
