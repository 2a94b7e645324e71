"""mmseg's own models, from packed uint8 samples to losses and predictions."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope

from ibnseg.datasets.transforms import Pack
from ibnseg.datasets.view import RescaleImage
from ibnseg.evaluation.evaluator import Confusion
from ibnseg.models import Augmented, Preprocessor, build_network
from ibnseg.models.inference import upsamples_twice
from ibnseg.support.errors import UserError
from tests.models.tiny import BACKBONE, CLASSES, CROSS_ENTROPY, build, config, head_cfg

pytestmark = [
    pytest.mark.filterwarnings("ignore:When align_corners=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:``build_pixel_sampler``:UserWarning"),
    pytest.mark.filterwarnings("ignore:For binary segmentation:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning"),
]

PACKAGED = Path(mmseg.__file__).parent / ".mim/configs/_base_/models"
PREPROCESSOR = dict(
    type="SegDataPreProcessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(64, 64),
)
DICE = dict(type="DiceLoss", loss_weight=0.5)
LOVASZ = dict(type="LovaszLoss", per_image=True, reduction="none")
OHEM = dict(type="OHEMPixelSampler", thresh=0.7, min_kept=100)
OCR = dict(in_channels=64, in_index=3, channels=16, dropout_ratio=0, num_classes=CLASSES)
OWN = {
    "pyramid pooling, Dice, an auxiliary head with Lovasz": dict(
        type="EncoderDecoder",
        decode_head=dict(
            type="PSPHead",
            in_channels=64,
            channels=16,
            num_classes=CLASSES,
            pool_scales=(1, 2),
            loss_decode=[CROSS_ENTROPY, DICE],
        ),
        auxiliary_head=head_cfg(in_channels=32, channels=32, in_index=2, loss_decode=LOVASZ),
    ),
    "a cascade of heads (OCR)": dict(
        type="CascadeEncoderDecoder",
        num_stages=2,
        decode_head=[
            dict(OCR, type="FCNHead", num_convs=1, concat_input=False, loss_decode=CROSS_ENTROPY),
            dict(OCR, type="OCRHead", ocr_channels=8, loss_decode=CROSS_ENTROPY),
        ],
    ),
    "all features fused (UPerNet), hard pixels": dict(
        type="EncoderDecoder",
        decode_head=dict(
            type="UPerHead",
            in_channels=[8, 16, 32, 64],
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2),
            channels=8,
            num_classes=CLASSES,
            loss_decode=CROSS_ENTROPY,
            sampler=OHEM,
        ),
    ),
}


PLAIN = dict(
    type="EncoderDecoder",
    backbone=BACKBONE,
    decode_head=head_cfg(),
    data_preprocessor=PREPROCESSOR,
)


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope("mmseg")


def sample(seed: int = 0, classes: int = CLASSES) -> dict:
    """A random image with a random label, whose first row is ignored."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, (64, 64)).astype(np.uint8)
    label[0] = 255
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    shape = image.shape[:2]
    return dict(img=image, gt_seg_map=label, img_path="a.png", ori_shape=shape, img_shape=shape)


def packed(*samples: dict) -> dict:
    return pseudo_collate([Pack()(each) for each in samples])


def model_of_mmsegs(name: str) -> tuple[dict, int]:
    """A model of ``OWN``, or of a config that mmseg packages, and its number of classes."""
    if name in OWN:
        return dict(OWN[name], backbone=BACKBONE, data_preprocessor=PREPROCESSOR), CLASSES
    if not PACKAGED.is_dir():
        pytest.skip("mmseg's configs are not installed")
    model = Config.fromfile(PACKAGED / f"{name}.py").model
    model.data_preprocessor.size = (64, 64)
    return model, 19


@pytest.mark.parametrize("name", ["segformer_mit-b0", "fast_scnn", "stdc", *OWN])
def test_a_model_of_mmsegs_trains_and_is_tested_as_it_is(name: str) -> None:
    model, classes = model_of_mmsegs(name)
    network = build_network(model).train()
    before = deepcopy(network.state_dict())
    optimiser = OptimWrapper(torch.optim.SGD(network.parameters(), lr=0.01))
    logged = network.train_step(packed(sample(0, classes), sample(1, classes)), optimiser)
    losses = [value.item() for key, value in logged.items() if "loss" in key and key != "loss"]
    assert logged["loss"].item() == pytest.approx(sum(losses), rel=1e-5)
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    classifiers = {k for k, _ in network.named_parameters() if k.endswith("conv_seg.weight")}
    assert classifiers
    assert changed >= classifiers

    metric = Confusion([str(i) for i in range(classes)], ["0"], prefix="test")
    shown = sample(2, classes)
    with torch.no_grad():
        predictions = network.eval().test_step(packed(shown))
    metric.process({}, [prediction.to_dict() for prediction in predictions])
    ((_, counts, _),) = metric.results
    labelled = np.bincount(shown["gt_seg_map"][1:].ravel(), minlength=classes)
    np.testing.assert_array_equal(counts["confusion"].sum(axis=1), labelled)
    predicted = np.bincount(predictions[0].pred_sem_seg.data[0, 1:].ravel(), minlength=classes)
    np.testing.assert_array_equal(counts["confusion"].sum(axis=0), predicted)


@pytest.fixture(scope="module")
def pair() -> tuple:
    """Our segmentor and mmseg's, on the same weights, in evaluation mode."""
    init_default_scope("mmseg")
    ours = build(data_preprocessor=PREPROCESSOR)
    theirs = build_network(
        dict(config(data_preprocessor=PREPROCESSOR), type="mmseg.EncoderDecoder")
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize(
    "test_cfg", [dict(mode="whole"), dict(mode="slide", crop_size=(32, 24), stride=(17, 11))]
)
@torch.no_grad()
def test_on_the_same_weights_both_segmentors_predict_the_same(pair, test_cfg: dict) -> None:
    found = []
    for network in pair:
        network.test_cfg.clear()
        network.test_cfg.update(test_cfg)
        (prediction,) = network.test_step(packed(sample()))
        assert prediction.pred_sem_seg.data.dtype == torch.uint8
        found.append(prediction.pred_sem_seg.data)
    assert torch.equal(*found)
    assert len(found[0].unique()) > 2


@torch.no_grad()
def test_both_segmentors_average_augmented_images_alike(pair) -> None:
    found = []
    for network in pair:
        network.test_cfg.update(mode="whole")
        flipped = {**sample(), "flip": True, "flip_direction": "horizontal"}
        flipped["img"] = flipped["img"][:, ::-1]
        views = [Pack()(sample()), Pack()(flipped)]
        batch = {key: [[view[key]] for view in views] for key in views[0]}
        (prediction,) = Augmented(network).test_step(batch)
        found.append(prediction.pred_sem_seg.data)
    assert torch.equal(*found)


def test_only_whole_images_in_mmsegs_segmentor_are_upsampled_twice(pair) -> None:
    ours, theirs = pair
    for mode, expected in (("whole", True), ("slide", False)):
        ours.test_cfg.mode = theirs.test_cfg.mode = mode
        assert upsamples_twice(theirs) is expected
        assert upsamples_twice(ours) is False


@torch.no_grad()
def test_mmsegs_segmentor_upsamples_to_the_image_before_the_label(pair) -> None:
    """mmseg's logits are resized to 32x32 and from there to 64x64, as the record says."""
    _, theirs = pair
    theirs.test_cfg.mode = "whole"
    (found,) = theirs.test_step(packed(RescaleImage("times", 0.5)(sample())))
    batch = theirs.data_preprocessor(packed(RescaleImage("times", 0.5)(sample())))
    logits = theirs.decode_head(theirs.extract_feat(batch["inputs"]))
    for size in ((32, 32), (64, 64)):
        logits = torch.nn.functional.interpolate(logits, size, mode="bilinear")
    assert torch.equal(found.pred_sem_seg.data, logits.argmax(dim=1))


# ---- the preprocessor ------------------------------------------------------------------------


def test_labels_reach_losses_as_int64_and_evaluators_as_uint8() -> None:
    preprocessor = build_network(PLAIN).data_preprocessor
    assert type(preprocessor) is Preprocessor
    for training, dtype in ((True, torch.int64), (False, torch.uint8)):
        batch = packed(sample())
        label = preprocessor(batch, training)["data_samples"][0].gt_sem_seg.data
        assert label.dtype == dtype
        assert torch.equal(label[0], torch.from_numpy(sample()["gt_seg_map"]).to(dtype))
        assert batch["data_samples"][0].gt_sem_seg.data.dtype == torch.uint8  # is left as it was


def test_the_config_that_is_built_is_left_as_it_is() -> None:
    model = deepcopy(PLAIN)
    network = build_network(model)
    assert model == PLAIN
    assert network.test_cfg.mode == "whole"


class Own(Preprocessor):
    """A preprocessor of one's own."""


def test_a_preprocessor_of_ones_own_stays() -> None:
    own = {**PREPROCESSOR, "type": Own}
    assert type(build_network({**PLAIN, "data_preprocessor": own}).data_preprocessor) is Own


@pytest.mark.parametrize("given", [{}, dict(data_preprocessor=None)])
def test_images_that_would_not_be_normalised_are_refused(given: dict) -> None:
    model = {key: value for key, value in PLAIN.items() if key != "data_preprocessor"}
    with pytest.raises(UserError, match=r"model\.data_preprocessor is None"):
        build_network(model | given)
