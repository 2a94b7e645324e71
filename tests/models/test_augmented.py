"""Test-time augmentation against a mean of softmaxes made by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv import transforms
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import SegTTAModel

from ibnseg.datasets.transforms import Pack
from ibnseg.datasets.view import RescaleImage
from ibnseg.models import Augmented
from tests.models.tiny import build

SCALES = (0.5, 1.0, 1.5)
PREPROCESSOR = dict(
    type="SegDataPreProcessor", mean=[120.0, 110, 100], std=[60.0, 50, 40], bgr_to_rgb=True
)


@pytest.fixture
def network():
    init_default_scope("mmseg")
    return build(data_preprocessor=PREPROCESSOR)


def sample(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    label = rng.integers(0, 5, (48, 64), np.uint8)
    shape = image.shape[:2]
    return dict(
        img=image,
        gt_seg_map=label,
        img_path="a.png",
        ori_shape=shape,
        img_shape=shape,
        seg_fields=["gt_seg_map"],
    )


def augmented(results: dict) -> dict:
    resize = [RescaleImage("times", scale) for scale in SCALES]
    flip = [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)]
    return pseudo_collate([transforms.TestTimeAug([resize, flip, [Pack()]])(results)])


@torch.no_grad()
def by_hand(network, image: np.ndarray) -> torch.Tensor:
    """The mean of the softmaxes, each at the size of the image, (C, H, W) float64."""
    shares = []
    for scale in SCALES:
        scaled = RescaleImage("times", scale)(dict(img=image.copy()))["img"]
        for flipped in (False, True):
            seen = scaled[:, ::-1] if flipped else scaled
            rgb = torch.tensor(seen[..., ::-1].copy()).permute(2, 0, 1).float()
            mean, std = (torch.tensor(PREPROCESSOR[key]) for key in ("mean", "std"))
            inputs = (rgb - mean[:, None, None]) / std[:, None, None]
            logits = network.decode_head(network.extract_feat(inputs[None]))
            if flipped:
                logits = logits.flip(3)
            logits = F.interpolate(logits.double(), image.shape[:2], mode="bilinear")
            shares.append(logits.softmax(1)[0])
    return torch.stack(shares).mean(0)


def test_augmented_prediction_is_the_largest_mean_softmax(network):
    results = sample()
    expected = by_hand(network, results["img"])
    (prediction,) = Augmented(network).test_step(augmented(results))
    found = prediction.pred_sem_seg.data
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, (1, 48, 64))
    best, second = expected.topk(2, dim=0).values
    clear = best - second > 1e-5
    assert clear.float().mean() > 0.99
    assert torch.equal(found[0].long()[clear], expected.argmax(0)[clear])
    assert len(found.unique()) > 2


def test_the_label_is_the_one_that_was_loaded(network):
    results = sample()
    label = torch.tensor(results["gt_seg_map"])
    (prediction,) = Augmented(network).test_step(augmented(results))
    assert torch.equal(prediction.gt_sem_seg.data[0], label)
    assert prediction.img_path == "a.png"


def test_the_network_is_left_as_it_was(network):
    Augmented(network).test_step(augmented(sample()))
    assert not network.test_cfg.get("logits", False)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:The shape of value will convert:UserWarning")
def test_mmsegs_model_gives_the_same_classes_and_logits(network):
    network.test_cfg.logits = True
    (own,) = Augmented(network).test_step(augmented(sample()))
    (theirs,) = SegTTAModel(network).test_step(augmented(sample()))
    assert torch.equal(own.pred_sem_seg.data.long(), theirs.pred_sem_seg.data)
    assert torch.equal(own.seg_logits.data.argmax(0), theirs.pred_sem_seg.data[0])
