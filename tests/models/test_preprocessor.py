"""Further views are prepared as the image is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from ibnseg.datasets.transforms import FurtherView, Pack
from ibnseg.models import Preprocessor

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope("mmseg")


def batch(*views: str) -> dict:
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(2):
        image, shape = rng.integers(0, 256, (6, 8, 3), np.uint8), (6, 8)
        results = dict(img=image, gt_seg_map=image[..., 0].copy(), img_path="a")
        results |= dict(ori_shape=shape, img_shape=shape)
        for name in views:
            results = FurtherView(name)(results)
        samples.append(Pack()(results))
    return pseudo_collate(samples)


def test_a_view_is_normalised_and_padded_as_the_image_is() -> None:
    preprocessor = Preprocessor(MEAN, STD, size=(8, 10), bgr_to_rgb=True, pad_val=0)
    given = batch("same", "again")
    prepared = preprocessor(given, training=True)
    assert prepared["inputs"].shape == (2, 3, 8, 10)
    assert prepared["inputs"].abs().sum() > 0
    for image, sample in zip(prepared["inputs"], prepared["data_samples"], strict=True):
        assert sorted(sample.views.keys()) == ["again", "same"]
        assert torch.equal(sample.views.same, image)
        assert torch.equal(sample.views.again, image)
        assert sample.gt_sem_seg.data.shape == (1, 8, 10)
    assert given["data_samples"][0].views.same.dtype == torch.uint8  # is left as it was


def test_without_views_nothing_is_added() -> None:
    prepared = Preprocessor(MEAN, STD, size=(8, 10))(batch(), training=True)
    assert all("views" not in sample for sample in prepared["data_samples"])
