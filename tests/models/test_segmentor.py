"""The segmentor's losses and predictions against numpy in float64, torch and mmseg."""

from __future__ import annotations

import statistics
import time
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.decode_heads import EncHead, FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses import accuracy as mmseg_accuracy
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ibnseg.models import Segmentor
from ibnseg.models.segmentor import head_losses, pixel_accuracy, window_starts
from ibnseg.registry import MODELS

pytestmark = [
    pytest.mark.filterwarnings("ignore:When align_corners=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:``build_pixel_sampler``:UserWarning"),
]

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


@pytest.fixture(scope="module")
def shared() -> Segmentor:
    return build()


@pytest.fixture
def segmentor(shared) -> Segmentor:
    """A small dilated network for whole-image inference, in evaluation mode."""
    return deepcopy(shared)


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


# ---- references in float64 -------------------------------------------------------------------


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


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the pixels that are not 255; 0 if there are none."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    n, y, x = np.nonzero(labels != 255)
    return -log_p[n, labels[n, y, x], y, x].mean() if len(n) else 0.0


def accuracy(logits: np.ndarray, labels: np.ndarray, ignore: int = 255) -> float:
    counted = labels != ignore
    return (logits.argmax(axis=1) == labels)[counted].mean() if counted.any() else 0.0


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


# ---- pixel accuracy ----------------------------------------------------------------------------


def test_pixel_accuracy_by_hand():
    logits = torch.tensor([[[[2.0, 0.0, 1.0, -1.0]], [[1.0, 3.0, 0.0, -2.0]]]])  # 0 1 0 0
    for labels, want in (
        ([[[0, 1, 0, 0]]], 1.0),
        ([[[0, 1, 1, 1]]], 0.5),
        ([[[1, 0, 1, 1]]], 0.0),
        ([[[0, 255, 1, 0]]], 2 / 3),
        ([[[255, 255, 255, 0]]], 1.0),
        ([[[255, 255, 255, 255]]], 0.0),
    ):
        got = pixel_accuracy(logits, torch.tensor(labels))
        assert got.shape == ()
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(want, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, 4) for _ in range(4))),
    ignore=st.sampled_from([255, 0, -100]),
    seed=st.integers(0, 1000),
)
def test_pixel_accuracy(shape, ignore, seed):
    rng = np.random.default_rng(seed)
    n, classes, height, width = shape
    logits = rng.normal(size=shape)
    labels = rng.integers(0, classes + 1, (n, height, width))
    labels[labels == classes] = ignore
    got = pixel_accuracy(torch.from_numpy(logits), torch.from_numpy(labels), ignore)
    assert got.item() == pytest.approx(accuracy(logits, labels, ignore), abs=1e-6)


def test_pixel_accuracy_of_many_pixels_is_exact():
    """A count above 2**24, which float32 cannot hold by adding ones."""
    labels = torch.zeros(1, 4100, 4100, dtype=torch.uint8)
    labels[0, 0, 0] = 1
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4100, 4100)
    wrong = 1 - pixel_accuracy(logits, labels).double().item()
    assert wrong == pytest.approx(0, abs=1.2e-7)
    labels[0, 1:] = 255
    assert pixel_accuracy(logits, labels).item() == pytest.approx(4099 / 4100, abs=1e-7)


def test_pixel_accuracy_costs_less_than_the_loss_and_mmsegs_accuracy():
    coarse = images(1, 19, 32, 64).requires_grad_()
    logits = F.interpolate(coarse.detach(), (256, 512), mode="bilinear")
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 19, (1, 256, 512)))
    criterion = CrossEntropyLoss(avg_non_ignore=True)

    def loss() -> None:
        upsampled = F.interpolate(coarse, (256, 512), mode="bilinear")
        criterion(upsampled, labels, ignore_index=255).backward()

    def timed(function) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    functions = (
        lambda: pixel_accuracy(logits, labels),
        lambda: mmseg_accuracy(logits, labels, ignore_index=255),
        loss,
    )
    times = [[timed(function) for function in functions] for _ in range(6)]
    ours, *others = (statistics.median(column[1:]) for column in zip(*times, strict=True))
    assert ours < min(others)


# ---- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", ["none", "some", "all"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_head_losses(segmentor, align_corners, ignored):
    head = segmentor.decode_head
    head.align_corners = align_corners
    x = images(2, 3, 40, 56)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (2, 1, 40, 56))
    share = dict(none=0, some=0.4, all=1)[ignored]
    labels[rng.random(labels.shape) < share] = 255

    got = head_losses(head, head(segmentor.backbone(x)), torch.from_numpy(labels))

    assert list(got) == ["loss_ce", "acc_seg"]
    logits = bilinear(head_logits(segmentor, x), (40, 56), align_corners)
    assert got["loss_ce"].item() == pytest.approx(cross_entropy(logits, labels[:, 0]), rel=1e-5)
    want = 100 * accuracy(logits, labels[:, 0])
    assert got["acc_seg"].item() == pytest.approx(want, abs=0.05)  # two pixels


def test_loss_is_torchs_cross_entropy(segmentor):
    x, batch = images(2, 3, 40, 56), samples(2, 40, 56)
    losses = segmentor.loss(x, batch)
    assert list(losses) == ["decode.loss_ce", "decode.acc_seg"]
    logits = segmentor.decode_head(segmentor.backbone(x))
    assert logits.shape[2:] == (5, 7)
    logits = F.interpolate(logits, (40, 56), mode="bilinear", align_corners=False)
    labels = torch.cat([sample.gt_sem_seg.data for sample in batch]).long()
    want = F.cross_entropy(logits, labels, ignore_index=255, reduction="mean")
    torch.testing.assert_close(losses["decode.loss_ce"], want, rtol=1e-6, atol=1e-6)


OHEM = dict(type="OHEMPixelSampler", thresh=0.3, min_kept=100)
TWICE = [CROSS_ENTROPY, dict(CROSS_ENTROPY, loss_weight=0.5)]
NAMED = [CROSS_ENTROPY, dict(CROSS_ENTROPY, loss_name="loss_again", loss_weight=2.0)]


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        (dict(), ["decode.loss_ce"]),
        (dict(auxiliary_head=AUXILIARY), ["decode.loss_ce", "aux.loss_ce"]),
        (
            dict(auxiliary_head=[AUXILIARY, dict(AUXILIARY, num_convs=1)]),
            ["decode.loss_ce", "aux_0.loss_ce", "aux_1.loss_ce"],
        ),
        (dict(head=head_cfg(sampler=OHEM)), ["decode.loss_ce"]),
        (dict(head=head_cfg(sampler=dict(OHEM, thresh=None))), ["decode.loss_ce"]),
        (dict(head=head_cfg(loss_decode=TWICE)), ["decode.loss_ce"]),
        (dict(head=head_cfg(loss_decode=NAMED)), ["decode.loss_ce", "decode.loss_again"]),
        (dict(head=head_cfg(align_corners=True, ignore_index=0)), ["decode.loss_ce"]),
    ],
    ids=["one", "aux", "auxs", "ohem", "ohem_kept", "summed", "named", "aligned"],
)
def test_losses_and_gradients_equal_mmsegs(kwargs, names):
    own = build(**kwargs).train()
    theirs = EncoderDecoder(**config(**kwargs)).train()
    theirs.load_state_dict(own.state_dict(), strict=True)
    x, batch = images(2, 3, 40, 56), samples(2, 40, 56)
    if "ignore_index" in (kwargs.get("head") or {}):
        for sample in batch:
            sample.gt_sem_seg.data[sample.gt_sem_seg.data == 255] = 0
    results = []
    for net in (own, theirs):
        losses = net.loss(x, batch)
        total, _ = net.parse_losses(losses)
        total.backward()
        results.append((losses, total, [p.grad for p in net.parameters()]))
    (losses, total, grads), (their_losses, their_total, their_grads) = results
    assert list(losses) == list(their_losses)
    assert [name for name in losses if "loss" in name] == names
    for key, loss in losses.items():
        torch.testing.assert_close(loss, their_losses[key].squeeze(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(total, sum(losses[name] for name in names))
    torch.testing.assert_close(total, their_total, rtol=1e-6, atol=1e-6)
    for grad, theirs in zip(grads, their_grads, strict=True):
        torch.testing.assert_close(grad, theirs, rtol=1e-4, atol=1e-6)


class OwnLoss(FCNHead):
    """A head with a loss of its own."""

    def loss_by_feat(self, seg_logits, batch_data_samples):
        labels = self._stack_batch_gt(batch_data_samples)
        return dict(loss_own=seg_logits.sum(), count=torch.tensor(float(len(labels))))


def test_head_with_a_loss_of_its_own():
    net = build(head_cfg(type=OwnLoss), auxiliary_head=AUXILIARY)
    x, batch = images(2, 3, 40, 56), samples(2, 40, 56)
    losses = net.loss(x, batch)
    assert list(losses) == ["decode.loss_own", "decode.count", "aux.loss_ce", "aux.acc_seg"]
    want = head_logits(net, x).sum()
    assert losses["decode.loss_own"].item() == pytest.approx(want, rel=1e-4)
    assert losses["decode.count"] == 2


def test_heads(segmentor):
    assert segmentor.heads() == {"decode": segmentor.decode_head}
    one = Segmentor(**config(auxiliary_head=AUXILIARY))
    assert one.heads() == {"decode": one.decode_head, "aux": one.auxiliary_head}
    two = Segmentor(**config(auxiliary_head=[AUXILIARY, AUXILIARY]))
    names = {"decode": two.decode_head, "aux_0": two.auxiliary_head[0]}
    assert two.heads() == names | {"aux_1": two.auxiliary_head[1]}


def test_loss_under_bfloat16_is_float32(segmentor):
    x, batch = images(2, 3, 40, 56), samples(2, 40, 56)
    exact = segmentor.loss(x, batch)["decode.loss_ce"].item()
    with torch.autocast("cpu", torch.bfloat16):
        logits = segmentor.decode_head(segmentor.backbone(x)).detach()
        loss = segmentor.loss(x, batch)["decode.loss_ce"]
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.02)
    labels = torch.cat([sample.gt_sem_seg.data for sample in batch]).numpy()
    upsampled = bilinear(logits.float(), (40, 56))  # no rounding after the head
    assert loss.item() == pytest.approx(cross_entropy(upsampled, labels), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in segmentor.parameters())


def test_loss_of_a_bfloat16_network_is_computed_in_float32(segmentor):
    head = segmentor.bfloat16().decode_head
    features = segmentor.backbone(images(2, 3, 40, 56).bfloat16())
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples(2, 40, 56)]).long()
    loss = head_losses(head, head(features), labels)["loss_ce"]
    assert loss.dtype == torch.float32
    upsampled = bilinear(head(features).detach().float(), (40, 56))
    want = cross_entropy(upsampled, labels[:, 0].numpy())
    assert loss.item() == pytest.approx(want, rel=1e-5)


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


def test_samples_keep_what_they_had(segmentor):
    batch = samples(1, 40, 56)
    label = batch[0].gt_sem_seg.data.clone()
    (result,) = predict(segmentor, images(1, 3, 40, 56), batch)
    assert result is batch[0]
    assert torch.equal(result.gt_sem_seg.data, label)


def test_logits_on_request(segmentor):
    segmentor.test_cfg.logits = True
    x = images(2, 3, 40, 56)
    results = predict(segmentor, x, of_shapes((80, 112), (33, 50)))
    for result, own in zip(results, head_logits(segmentor, x), strict=True):
        logits = result.seg_logits.data
        assert logits.dtype == torch.float32
        shape = result.pred_sem_seg.shape
        np.testing.assert_allclose(logits, bilinear(own, shape), rtol=1e-4, atol=1e-4)
        assert torch.equal(logits.argmax(0), result.pred_sem_seg.data[0].long())


@pytest.mark.parametrize("colour", [0, 253, 254])
def test_every_class_fits_a_byte(colour):
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
    predict(segmentor, images(3, 3, 40, 56), of_shapes((80, 112), (40, 56), (33, 50)))
    assert resizes == [(80, 112), (40, 56), (33, 50)]


def test_nothing_is_resized_that_has_its_size(segmentor, resizes):
    x = images(2, 3, 40, 56)
    results = predict(segmentor, x, of_shapes((5, 7), (5, 7)))
    assert resizes == []
    for result, own in zip(results, head_logits(segmentor, x), strict=True):
        assert_largest(result.pred_sem_seg.data, own)


def test_prediction_under_bfloat16(segmentor):
    segmentor.test_cfg.logits = True
    x = images(1, 3, 40, 56)
    with torch.autocast("cpu", torch.bfloat16):
        (result,) = predict(segmentor, x)
    assert result.seg_logits.data.dtype == torch.float32
    want = bilinear(head_logits(segmentor, x)[0], (40, 56))
    assert np.abs(result.seg_logits.data.numpy() - want).max() < 0.2 * np.abs(want).max()


@pytest.mark.parametrize(("right", "below"), [(8, 24), (8, 0), (0, 24)])
def test_padding_is_cropped_away(segmentor, right, below):
    height, width = 64 - below, 64 - right
    x = images(1, 3, 64, 64)
    batch = of_shapes((height, width), img_padding_size=(0, right, 0, below))
    (result,) = predict(segmentor, x, batch)
    full = bilinear(head_logits(segmentor, x)[0], (64, 64))
    assert_largest(result.pred_sem_seg.data, full[:, :height, :width])


def test_no_padding_needs_no_crop(segmentor, resizes):
    predict(segmentor, images(1, 3, 64, 64), of_shapes((50, 70), img_padding_size=(0, 0, 0, 0)))
    assert resizes == [(50, 70)]


def test_padding_of_the_data_preprocessor():
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


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (10, 4, 3, [0, 3, 6]),  # exact
        (11, 4, 3, [0, 3, 6, 7]),  # the last one moved back
        (10, 10, 7, [0]),
        (11, 10, 7, [0, 1]),
        (5, 10, 7, [0]),  # smaller than a window
        (10, 5, 5, [0, 5]),
        (1, 1, 1, [0]),
    ],
)
def test_window_starts_by_hand(length, window, stride, starts):
    assert window_starts(length, window, stride) == starts


@given(st.integers(1, 300), st.integers(1, 100), st.data())
def test_windows_cover_exactly(length, window, data):
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
def test_sliding_windows(segmentor, size, crop, stride):
    segmentor.test_cfg = slide(crop, stride, logits=True)
    x = images(2, 3, *size)
    want = slide_reference(segmentor, x, crop, stride)
    results = predict(segmentor, x, of_shapes(size, (30, 70)))
    np.testing.assert_allclose(results[0].seg_logits.data, want[0], rtol=1e-4, atol=1e-4)
    resized = bilinear(want[1], (30, 70))
    np.testing.assert_allclose(results[1].seg_logits.data, resized, rtol=1e-4, atol=1e-4)
    assert_largest(results[0].pred_sem_seg.data, want[0])
    assert_largest(results[1].pred_sem_seg.data, resized)


def test_sliding_equals_mmsegs(segmentor):
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
def test_one_window_equals_the_whole(segmentor, crop):
    x = images(2, 3, 40, 56)
    segmentor.test_cfg = slide(crop, (20, 20))
    with torch.no_grad():
        got = segmentor.inference(x, [])
        whole = segmentor.encode_decode(x)
    want = F.interpolate(whole, (40, 56), mode="bilinear", align_corners=False)
    assert torch.equal(got, want)


def test_sliding_over_padding(segmentor):
    segmentor.test_cfg = slide((32, 32), (16, 16))
    x = images(1, 3, 64, 64)
    batch = of_shapes((40, 56), img_padding_size=(0, 8, 0, 24))
    (result,) = predict(segmentor, x, batch)
    want = slide_reference(segmentor, x, (32, 32), (16, 16))
    assert_largest(result.pred_sem_seg.data, want[0, :, :40, :56])


def test_stride_that_leaves_gaps(segmentor):
    segmentor.test_cfg = slide((16, 16), (24, 24))
    with pytest.raises(ValueError, match="stride"):
        predict(segmentor, images(1, 3, 64, 64))


def test_head_with_several_outputs():
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


def test_flipped_image():
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


# ---- building ----------------------------------------------------------------------------------


def test_built_from_any_scope():
    net = MODELS.build(dict(type="ibnseg.Segmentor", **config()))
    assert type(net) is Segmentor
    assert net.out_channels == CLASSES


@pytest.mark.filterwarnings("ignore:threshold is not defined:UserWarning")
@pytest.mark.parametrize(
    "classes", [dict(num_classes=2, out_channels=1), dict(num_classes=1), dict(num_classes=256)]
)
def test_number_of_classes(classes):
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True, avg_non_ignore=True)
    with pytest.raises(ValueError, match="out_channels"):
        Segmentor(**config(head_cfg(loss_decode=loss, **classes)))


@pytest.mark.parametrize("mode", ["windows", "", None])
def test_unknown_mode(segmentor, mode):
    segmentor.test_cfg.mode = mode
    with pytest.raises(ValueError, match=r"test_cfg\.mode"):
        predict(segmentor, images(1, 3, 32, 32))


def test_forward_modes(segmentor):
    x, batch = images(1, 3, 40, 56), samples(1, 40, 56)
    assert set(segmentor(x, batch, mode="loss")) == {"decode.loss_ce", "decode.acc_seg"}
    with torch.no_grad():
        np.testing.assert_allclose(segmentor(x), head_logits(segmentor, x), rtol=1e-4, atol=1e-4)
        (result,) = segmentor(x, batch, mode="predict")
    assert result.pred_sem_seg.shape == (40, 56)


# ---- heads and what they take ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(in_channels=77, channels=77), "in_index -1 and in_channels 77"),
        (dict(in_index=2), "in_index 2 and in_channels 64"),
        (dict(in_index=4), "in_index 4 and in_channels 64"),
    ],
)
def test_a_head_of_another_width_is_refused(changes, said):
    message = f"the decode head has {said}, the features of IBNResNet have 8, 16, 32, 64 channels"
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type="ibnseg.Segmentor", **config(head_cfg(**changes))))


def test_heads_of_the_right_width_are_built():
    backbone = dict(BACKBONE, out_indices=(1, 3))
    first = head_cfg(in_index=0, in_channels=16, channels=16)
    for head in (head_cfg(), head_cfg(in_index=1), first):
        model = MODELS.build(dict(type="ibnseg.Segmentor", **config(head, backbone=backbone)))
        width = model.backbone.out_channels[model.decode_head.in_index]
        assert width == head["in_channels"] == model.decode_head.in_channels
    several = head_cfg(in_index=(2, 3), in_channels=(32, 64), input_transform="resize_concat")
    model = MODELS.build(dict(type="ibnseg.Segmentor", **config(dict(several, channels=96))))
    assert model.decode_head.in_channels == 32 + 64
