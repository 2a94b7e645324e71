"""A tiny segmentor, batches for it, and what it computes in float64."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models import Segmentor

CLASSES = 5
CROSS_ENTROPY = dict(type="CrossEntropyLoss", avg_non_ignore=True)
BACKBONE = dict(
    type="ibnseg.IBNResNet",
    depth=18,
    variant="a",
    base_channels=8,
    stem_channels=8,
    strides=(1, 2, 1, 1),
    dilations=(1, 1, 2, 4),
)


def head_cfg(**kwargs) -> dict:
    """A head that is one 1x1 convolution of the last stage."""
    cfg = dict(
        type="FCNHead",
        in_channels=64,
        channels=64,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0,
        num_classes=CLASSES,
        loss_decode=CROSS_ENTROPY,
    )
    return {**cfg, **kwargs}


AUXILIARY = head_cfg(in_channels=32, channels=32, in_index=2)


def config(head: dict | None = None, **kwargs) -> ConfigDict:
    cfg = dict(backbone=BACKBONE, decode_head=head or head_cfg(), test_cfg=dict(mode="whole"))
    return ConfigDict({**cfg, **kwargs})


def build(head: dict | None = None, **kwargs) -> Segmentor:
    """A network in whose predictions all classes occur."""
    torch.manual_seed(0)
    net = Segmentor(**config(head, **kwargs)).eval()
    with torch.no_grad():
        features = net.extract_feat(images(1, 3, 64, 64, seed=1))
        for head in net.heads().values():
            if type(head) is FCNHead:
                nn.init.normal_(head.conv_seg.weight)
                logits = head(features)
                head.conv_seg.bias -= logits.mean((0, 2, 3))
                for parameter in head.conv_seg.parameters():
                    parameter /= logits.std()
    return net


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def samples(n: int, height: int, width: int, classes: int = CLASSES) -> list[SegDataSample]:
    """Samples with random labels, a fifth of them ignored, and the first row too."""
    rng = np.random.default_rng(n)
    labels = rng.integers(0, classes, (n, 1, height, width))
    labels[rng.random(labels.shape) < 0.2] = 255
    labels[:, :, 0] = 255
    return [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.from_numpy(label)),
            metainfo=dict(ori_shape=(height, width), img_shape=(height, width)),
        )
        for label in labels
    ]


def of_shapes(*shapes: tuple[int, int], **metainfo) -> list[SegDataSample]:
    return [SegDataSample(metainfo=dict(ori_shape=shape, **metainfo)) for shape in shapes]


def matrix(before: int, after: int, align_corners: bool = False) -> np.ndarray:
    """The linear map of bilinear interpolation along one axis."""
    out = np.zeros((after, before))
    for i in range(after):
        if align_corners:
            at = i * (before - 1) / (after - 1) if after > 1 else 0.0
        else:
            at = min(max((i + 0.5) * before / after - 0.5, 0), before - 1)
        low = int(at)
        high = min(low + 1, before - 1)
        out[i, low] += 1 - (at - low)
        out[i, high] += at - low
    return out


def bilinear(x, size: tuple[int, int], align_corners: bool = False) -> np.ndarray:
    x = np.asarray(x, np.float64)
    rows, cols = (matrix(a, b, align_corners) for a, b in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ cols.T


def assert_largest(prediction: Tensor, logits: np.ndarray) -> None:
    """The prediction is the largest of (C, H, W) logits, where rounding cannot decide."""
    ranked = np.sort(logits, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-4
    assert clear.mean() > 0.99
    assert prediction.shape == (1, *logits.shape[1:])
    np.testing.assert_array_equal(prediction[0].numpy()[clear], logits.argmax(axis=0)[clear])


def head_logits(segmentor: Segmentor, inputs: Tensor) -> np.ndarray:
    """The head's logits, by its weights, in float64."""
    with torch.no_grad():
        features = segmentor.backbone(inputs)[-1].double().numpy()
    conv = segmentor.decode_head.conv_seg
    weight, bias = (p.detach().double().numpy() for p in (conv.weight, conv.bias))
    return np.einsum("oc,nchw->nohw", weight[..., 0, 0], features) + bias[:, None, None]
