"""Images that patches do not fill: padded to the right and below, predicted, and cropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models.build import build_network
from ibnseg.networks.network import predict_images
from ibnseg.support.errors import UserError
from tests.models.tiny import CLASSES, head_cfg

TINY = dict(embed_dim=32, depth=2, num_heads=4)
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
NAMES = ("vit_small_patch14_dinov2", "vit_small_patch16_dinov3")


def network(name: str = NAMES[0], divisor: int | None = 16, **test_cfg) -> nn.Module:
    init_default_scope("mmseg")
    torch.manual_seed(0)
    padding = dict(size_divisor=divisor) if divisor else None
    built = build_network(
        dict(
            type="ibnseg.Segmentor",
            data_preprocessor=dict(
                type="SegDataPreProcessor",
                mean=MEAN,
                std=STD,
                bgr_to_rgb=True,
                size=(32, 48),
                test_cfg=padding,
            ),
            backbone=dict(
                type="ibnseg.ViT",
                name=name,
                image_size=64,
                out_indices=(0, 1),
                options=TINY,
                trained="all",
            ),
            decode_head=head_cfg(in_channels=32, channels=32, in_index=-1),
            test_cfg=test_cfg,
        )
    )
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3)
    return built.eval()


def image(height: int = 37, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def normalised(bgr: np.ndarray) -> Tensor:
    rgb = torch.tensor(bgr[..., ::-1].copy()).permute(2, 0, 1).float()
    return ((rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


@torch.no_grad()
def by_hand(net: nn.Module, bgr: np.ndarray) -> Tensor:
    """Shares of the classes: the image with its mean colour to the right and below, cropped."""
    height, width = bgr.shape[:2]
    padded = F.pad(normalised(bgr), (0, -width % 16, 0, -height % 16))
    logits = net.decode_head(net.backbone(padded))
    upsampled = F.interpolate(logits, size=padded.shape[2:], mode="bilinear")
    return upsampled[..., :height, :width].softmax(dim=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [dict(), dict(mode="slide", crop_size=(64, 64), stride=(32, 32))])
def test_an_odd_image_is_predicted_as_if_padded_by_hand(name: str, mode: dict) -> None:
    """A window that covers the image is the image."""
    net = network(name, **mode)
    ((train_ids, shares),) = predict_images(net, [image()], probabilities=True)
    wanted = by_hand(net, image())
    np.testing.assert_allclose(shares, wanted[0].numpy(), atol=1e-6)
    assert train_ids.shape == (37, 50)
    assert (train_ids == wanted[0].argmax(dim=0).numpy()).mean() > 0.999


def test_every_pixel_up_to_the_border_is_seen() -> None:
    net = network()
    (before,) = predict_images(net, [image()], probabilities=True)
    changed = image()
    changed[-1, -1] = 255 - changed[-1, -1]
    (after,) = predict_images(net, [changed], probabilities=True)
    assert np.abs(before[1] - after[1]).max() > 1e-4


def test_an_image_that_patches_fill_is_not_padded() -> None:
    for divisor in (None, 16):
        net = network(divisor=divisor)
        ((_, shares),) = predict_images(net, [image(32, 48)], probabilities=True)
        np.testing.assert_allclose(shares, by_hand(net, image(32, 48))[0].numpy(), atol=1e-6)


def test_windows_of_a_padded_image_are_averaged_and_cropped() -> None:
    net = network(mode="slide", crop_size=(32, 32), stride=(16, 16))
    bgr = image(37, 50)
    ((_, shares),) = predict_images(net, [bgr], probabilities=True)
    padded = F.pad(normalised(bgr), (0, 14, 0, 11))
    total, count = torch.zeros(1, CLASSES, 48, 64), torch.zeros(48, 64)
    with torch.no_grad():
        for top in (0, 16):
            for left in (0, 16, 32):
                part = padded[..., top : top + 32, left : left + 32]
                logits = net.decode_head(net.backbone(part))
                window = (..., slice(top, top + 32), slice(left, left + 32))
                total[window] += F.interpolate(logits, size=(32, 32), mode="bilinear")
                count[window] += 1
    wanted = (total / count)[0, :, :37, :50].softmax(dim=0)
    np.testing.assert_allclose(shares, wanted.numpy(), atol=1e-6)


def test_scales_and_flips_of_an_odd_image_are_padded_each_on_its_own() -> None:
    net = network()
    (found,) = predict_images(net, [image()], scales=(1.0,))
    flipped = by_hand(net, image()[:, ::-1]).flip(-1)
    mean = (by_hand(net, image()) + flipped)[0] / 2
    assert found.shape == (37, 50)
    assert (found == mean.argmax(dim=0).numpy()).mean() > 0.999


def test_the_class_map_of_a_test_has_the_size_of_the_label() -> None:
    """The label is larger than the image that the protocol shows."""
    net = network()
    sample = SegDataSample(metainfo=dict(ori_shape=(74, 100), img_shape=(37, 50)))
    bgr = torch.tensor(image()).permute(2, 0, 1)
    (found,) = net.test_step(dict(inputs=[bgr], data_samples=[sample]))
    logits = by_hand(net, image()).log()  # the largest stays the largest
    assert found.pred_sem_seg.data.shape == (1, 74, 100)
    small = found.pred_sem_seg.data[0, ::2, ::2]
    assert (small == logits[0].argmax(dim=0)).float().mean() > 0.9


def test_training_crops_at_the_edge_of_an_image_are_padded_to_their_size() -> None:
    net = network().train()
    label = torch.randint(0, CLASSES, (1, 32, 41), dtype=torch.uint8)
    sample = SegDataSample(gt_sem_seg=PixelData(data=label))
    crop = torch.tensor(image(32, 41)).permute(2, 0, 1)
    data = net.data_preprocessor(dict(inputs=[crop], data_samples=[sample]), training=True)
    assert data["inputs"].shape == (1, 3, 32, 48)
    assert (data["data_samples"][0].gt_sem_seg.data[..., 41:] == 255).all()
    losses = net.loss(**data)
    assert losses["decode.loss_ce"].isfinite()


def test_without_a_divisor_an_odd_image_is_refused_in_a_line() -> None:
    net = network(divisor=None)
    with pytest.raises(UserError, match="an image of 50x37 cannot be cut into patches of 16x16"):
        predict_images(net, [image()])
    sample = SegDataSample(metainfo=dict(ori_shape=(37, 50), img_shape=(37, 50)))
    data = pseudo_collate(
        [dict(inputs=torch.tensor(image()).permute(2, 0, 1), data_samples=sample)]
    )
    with pytest.raises(UserError, match=r"test_cfg=dict\(size_divisor=16\)"):
        net.test_step(data)
