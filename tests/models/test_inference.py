"""The segmentor's predictions, whole and by windows, against numpy in float64 and mmseg."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmseg.models.decode_heads import EncHead
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

from ibnseg.models import Segmentor
from ibnseg.models.inference import window_starts
from tests.models.cases import case
from tests.models.tiny import (
    CLASSES,
    CROSS_ENTROPY,
    assert_largest,
    bilinear,
    build,
    config,
    head_cfg,
    head_logits,
    images,
    of_shapes,
    samples,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:When align_corners=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:``build_pixel_sampler``:UserWarning"),
]


# ---- predictions ---------------------------------------------------------------------------------


@torch.no_grad()
def predict(segmentor: Segmentor, inputs: Tensor, batch: list | None = None) -> list:
    return segmentor.predict(inputs, batch)


@pytest.mark.parametrize("align_corners", [False, True])
def test_prediction_is_the_argmax_of_one_resize(segmentor, align_corners):
    segmentor.align_corners = align_corners
    x = images(2, 3, 40, 56)
    shapes = (80, 112), (33, 50)  # of the images before they were resized to 40 x 56
    results = predict(segmentor, x, of_shapes(*shapes))
    logits = head_logits(segmentor, x)
    for result, shape, own in zip(results, shapes, logits, strict=True):
        prediction = result.pred_sem_seg.data
        assert prediction.dtype == torch.uint8
        assert "seg_logits" not in result
        assert_largest(prediction, bilinear(own, shape, align_corners))
        assert len(prediction.unique()) == CLASSES
    raw = segmentor.encode_decode(x).detach()
    for i, shape in enumerate(shapes):
        resized = F.interpolate(raw[[i]], shape, mode="bilinear", align_corners=align_corners)
        assert torch.equal(results[i].pred_sem_seg.data, resized.argmax(1).to(torch.uint8))


def test_prediction_without_samples_has_the_size_of_the_input(segmentor):
    x = images(2, 3, 40, 56)
    results = predict(segmentor, x)
    assert len(results) == 2
    for result, own in zip(results, head_logits(segmentor, x), strict=True):
        assert_largest(result.pred_sem_seg.data, bilinear(own, (40, 56)))


def test_prediction_keeps_what_the_samples_had(segmentor):
    batch = samples(1, 40, 56)
    label = batch[0].gt_sem_seg.data.clone()
    (result,) = predict(segmentor, images(1, 3, 40, 56), batch)
    assert result is batch[0]
    assert torch.equal(result.gt_sem_seg.data, label)


def test_logits_are_kept_on_request(segmentor):
    segmentor.test_cfg.logits = True
    x = images(2, 3, 40, 56)
    results = predict(segmentor, x, of_shapes((80, 112), (33, 50)))
    for result, own in zip(results, head_logits(segmentor, x), strict=True):
        logits = result.seg_logits.data
        assert logits.dtype == torch.float32
        shape = result.pred_sem_seg.shape
        np.testing.assert_allclose(logits, bilinear(own, shape), rtol=1e-4, atol=1e-4)
        assert torch.equal(logits.argmax(0), result.pred_sem_seg.data[0].long())


def test_up_to_255_classes_are_predicted_as_bytes():
    for colour in [0, 253, 254]:
        with case(colour=colour):
            net = build(head_cfg(num_classes=255))
            nn.init.zeros_(net.decode_head.conv_seg.weight)
            nn.init.zeros_(net.decode_head.conv_seg.bias)
            net.decode_head.conv_seg.bias.data[colour] = 1
            (result,) = predict(net, images(1, 3, 40, 56))
            assert (result.pred_sem_seg.data == colour).all()


@pytest.fixture
def resizes(monkeypatch) -> list[tuple]:
    """The sizes to which anything is interpolated."""
    sizes = []
    interpolate = F.interpolate

    def counted(x, size=None, *args, **kwargs):
        sizes.append(tuple(size))
        return interpolate(x, size, *args, **kwargs)

    monkeypatch.setattr(F, "interpolate", counted)
    return sizes


def test_each_image_is_resized_once(segmentor, resizes):
    segmentor.test_cfg.logits = True
    predict(segmentor, images(3, 3, 40, 56), of_shapes((80, 112), (40, 56), (33, 50)))
    assert resizes == [(80, 112), (40, 56), (33, 50)]


def test_nothing_is_resized_that_has_its_size(segmentor, resizes):
    x = images(2, 3, 40, 56)
    results = predict(segmentor, x, of_shapes((5, 7), (5, 7)))
    assert resizes == []
    for result, own in zip(results, head_logits(segmentor, x), strict=True):
        assert_largest(result.pred_sem_seg.data, own)


def test_logits_under_bfloat16_are_float32_and_close(segmentor):
    segmentor.test_cfg.logits = True
    x = images(1, 3, 40, 56)
    with torch.autocast("cpu", torch.bfloat16):
        (result,) = predict(segmentor, x)
    assert result.seg_logits.data.dtype == torch.float32
    want = bilinear(head_logits(segmentor, x)[0], (40, 56))
    assert np.abs(result.seg_logits.data.numpy() - want).max() < 0.2 * np.abs(want).max()


def test_padding_is_cropped_away(segmentor):
    for right, below in [(8, 24), (8, 0), (0, 24)]:
        with case(right=right, below=below):
            height, width = 64 - below, 64 - right
            x = images(1, 3, 64, 64)
            batch = of_shapes((height, width), img_padding_size=(0, right, 0, below))
            (result,) = predict(segmentor, x, batch)
            full = bilinear(head_logits(segmentor, x)[0], (64, 64))
            assert_largest(result.pred_sem_seg.data, full[:, :height, :width])


def test_no_padding_needs_no_crop(segmentor, resizes):
    predict(segmentor, images(1, 3, 64, 64), of_shapes((50, 70), img_padding_size=(0, 0, 0, 0)))
    assert resizes == [(50, 70)]


def test_padding_by_the_data_preprocessor_is_cropped_away():
    """From uint8 images to predictions at twice their size, padded to a multiple of 32 between."""
    net = build(
        data_preprocessor=dict(
            type="mmseg.SegDataPreProcessor",
            mean=[100.0, 110.0, 120.0],
            std=[50.0, 60.0, 70.0],
            bgr_to_rgb=True,
            pad_val=0,
            test_cfg=dict(size_divisor=32),
        )
    )
    rng = np.random.default_rng(0)
    bgr = rng.integers(0, 256, (2, 3, 40, 56), dtype=np.uint8)
    inputs = [torch.from_numpy(image) for image in bgr]
    results = net.test_step(dict(inputs=inputs, data_samples=of_shapes((80, 112), (80, 112))))

    mean, std = np.array([100, 110, 120.0]), np.array([50, 60, 70.0])
    padded = np.zeros((2, 3, 64, 64), np.float32)
    padded[:, :, :40, :56] = (bgr[:, ::-1] - mean[:, None, None]) / std[:, None, None]
    logits = head_logits(net, torch.from_numpy(padded))
    for result, own in zip(results, logits, strict=True):
        cropped = bilinear(own, (64, 64))[:, :40, :56]
        assert_largest(result.pred_sem_seg.data, bilinear(cropped, (80, 112)))


# ---- sliding windows -------------------------------------------------------------------------


def slide(crop: tuple[int, int], stride: tuple[int, int], **kwargs) -> ConfigDict:
    return ConfigDict(mode="slide", crop_size=crop, stride=stride, **kwargs)


def test_windows_start_where_worked_out_by_hand():
    for length, window, stride, starts in [
        (10, 4, 3, [0, 3, 6]),  # exact
        (11, 4, 3, [0, 3, 6, 7]),  # the last one moved back
        (10, 10, 7, [0]),
        (11, 10, 7, [0, 1]),
        (5, 10, 7, [0]),  # smaller than a window
        (10, 5, 5, [0, 5]),
        (1, 1, 1, [0]),
    ]:
        with case(length=length, window=window, stride=stride, starts=starts):
            assert window_starts(length, window, stride) == starts


@given(st.integers(1, 300), st.integers(1, 100), st.data())
def test_windows_cover_every_pixel_and_no_more(length, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_starts(length, window, stride)
    covered = {p for start in starts for p in range(start, min(start + window, length))}
    assert covered == set(range(length))
    assert starts[0] == 0
    assert starts[-1] == max(length - window, 0)
    assert starts == sorted(set(starts))
    assert len(starts) == max(length - window + stride - 1, 0) // stride + 1  # as mmseg counts


def slide_reference(segmentor, x: Tensor, crop: tuple, stride: tuple) -> np.ndarray:
    """The mean over windows, pixel by pixel, in float64; mmseg's enumeration of windows."""
    n, _, height, width = x.shape
    total, count = np.zeros((n, CLASSES, height, width)), np.zeros((height, width))
    for i in range(max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1):
        for j in range(max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1):
            bottom = min(i * stride[0] + crop[0], height)
            right = min(j * stride[1] + crop[1], width)
            top, left = max(bottom - crop[0], 0), max(right - crop[1], 0)
            own = head_logits(segmentor, x[:, :, top:bottom, left:right])
            total[:, :, top:bottom, left:right] += bilinear(own, (bottom - top, right - left))
            count[top:bottom, left:right] += 1
    assert count.min() >= 1
    return total / count


@pytest.mark.parametrize(
    ("size", "crop", "stride"),
    [
        ((40, 56), (32, 32), (20, 20)),
        ((41, 55), (32, 24), (17, 11)),
        ((40, 56), (64, 32), (40, 20)),  # lower than a window
        ((40, 56), (64, 64), (40, 40)),  # smaller than a window
        ((64, 64), (32, 32), (32, 32)),  # without overlap
    ],
)
def test_sliding_windows_are_averaged_where_they_overlap(segmentor, size, crop, stride):
    segmentor.test_cfg = slide(crop, stride, logits=True)
    x = images(2, 3, *size)
    want = slide_reference(segmentor, x, crop, stride)
    results = predict(segmentor, x, of_shapes(size, (30, 70)))
    np.testing.assert_allclose(results[0].seg_logits.data, want[0], rtol=1e-4, atol=1e-4)
    resized = bilinear(want[1], (30, 70))
    np.testing.assert_allclose(results[1].seg_logits.data, resized, rtol=1e-4, atol=1e-4)
    assert_largest(results[0].pred_sem_seg.data, want[0])
    assert_largest(results[1].pred_sem_seg.data, resized)


def test_sliding_windows_equal_mmsegs(segmentor):
    segmentor.test_cfg = slide((32, 24), (17, 11), logits=True)
    theirs = EncoderDecoder(**config(test_cfg=slide((32, 24), (17, 11)))).eval()
    theirs.load_state_dict(segmentor.state_dict())
    x = images(1, 3, 41, 55)
    meta = dict(img_shape=(41, 55))
    (own,) = predict(segmentor, x, of_shapes((41, 55), **meta))
    (other,) = predict(theirs, x, of_shapes((41, 55), **meta))
    torch.testing.assert_close(own.seg_logits.data, other.seg_logits.data, rtol=1e-5, atol=1e-5)
    assert torch.equal(own.pred_sem_seg.data, other.pred_sem_seg.data.to(torch.uint8))


@pytest.mark.parametrize("crop", [(40, 56), (100, 100)])
def test_one_window_over_the_whole_image_gives_the_same_logits(segmentor, crop):
    x = images(2, 3, 40, 56)
    segmentor.test_cfg = slide(crop, (20, 20))
    with torch.no_grad():
        got = segmentor.inference(x, [])
        whole = segmentor.encode_decode(x)
    want = F.interpolate(whole, (40, 56), mode="bilinear", align_corners=False)
    assert torch.equal(got, want)


def test_padding_is_cropped_away_after_sliding_windows(segmentor):
    segmentor.test_cfg = slide((32, 32), (16, 16))
    x = images(1, 3, 64, 64)
    batch = of_shapes((40, 56), img_padding_size=(0, 8, 0, 24))
    (result,) = predict(segmentor, x, batch)
    want = slide_reference(segmentor, x, (32, 32), (16, 16))
    assert_largest(result.pred_sem_seg.data, want[0, :, :40, :56])


def test_a_stride_that_leaves_gaps_is_refused(segmentor):
    segmentor.test_cfg = slide((16, 16), (24, 24))
    with pytest.raises(ValueError, match="stride"):
        predict(segmentor, images(1, 3, 64, 64))


def test_the_first_of_several_outputs_of_a_head_is_predicted():
    cfg = dict(
        type=EncHead,
        in_channels=[64],
        in_index=[3],
        channels=8,
        num_codes=4,
        num_classes=CLASSES,
        loss_decode=CROSS_ENTROPY,
        loss_se_decode=dict(CROSS_ENTROPY, use_sigmoid=True),
    )
    net = build(cfg)
    x = images(1, 3, 40, 56)
    (result,) = predict(net, x, of_shapes((80, 112)))
    with torch.no_grad():
        logits = net.decode_head(net.backbone(x))[0]
    assert_largest(result.pred_sem_seg.data, bilinear(logits[0], (80, 112)))


def test_logits_of_a_flipped_image_are_flipped_back():
    """What mmseg's test-time augmentation needs: logits of the image before it was flipped."""
    own = build(test_cfg=dict(mode="whole", logits=True))
    theirs = EncoderDecoder(**config()).eval()
    theirs.load_state_dict(own.state_dict())
    x = images(1, 3, 40, 56)
    logits = []
    for net in (own, theirs):
        meta = dict(img_shape=(40, 56), flip=True, flip_direction="horizontal")
        (result,) = predict(net, x, of_shapes((40, 56), **meta))
        logits.append(result.seg_logits.data)
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_an_unknown_mode_is_refused(segmentor):
    for mode in ["windows", "", None]:
        with case(mode=mode):
            segmentor.test_cfg.mode = mode
            with pytest.raises(ValueError, match=r"test_cfg\.mode"):
                predict(segmentor, images(1, 3, 32, 32))
