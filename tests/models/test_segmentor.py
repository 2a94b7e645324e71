"""The segmentor's losses and what it refuses to be built from, against numpy, torch and mmseg."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import EncoderDecoder

from ibnseg.models import Segmentor
from ibnseg.models.segmentor import accuracy_of_logits, head_losses
from ibnseg.registry import MODELS
from tests.models.cases import case
from tests.models.tiny import (
    AUXILIARY,
    BACKBONE,
    CLASSES,
    CROSS_ENTROPY,
    bilinear,
    build,
    config,
    head_cfg,
    head_logits,
    images,
    samples,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:When align_corners=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:``build_pixel_sampler``:UserWarning"),
]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over the pixels that are not 255; 0 if there are none."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    n, y, x = np.nonzero(labels != 255)
    return -log_p[n, labels[n, y, x], y, x].mean() if len(n) else 0.0


def accuracy(logits: np.ndarray, labels: np.ndarray, ignore: int = 255) -> float:
    counted = labels != ignore
    return (logits.argmax(axis=1) == labels)[counted].mean() if counted.any() else 0.0


# ---- pixel accuracy ----------------------------------------------------------------------------


def test_pixel_accuracy_is_the_one_worked_out_by_hand():
    logits = torch.tensor([[[[2.0, 0.0, 1.0, -1.0]], [[1.0, 3.0, 0.0, -2.0]]]])  # 0 1 0 0
    for labels, want in (
        ([[[0, 1, 0, 0]]], 1.0),
        ([[[0, 1, 1, 1]]], 0.5),
        ([[[1, 0, 1, 1]]], 0.0),
        ([[[0, 255, 1, 0]]], 2 / 3),
        ([[[255, 255, 255, 0]]], 1.0),
        ([[[255, 255, 255, 255]]], 0.0),
    ):
        got = accuracy_of_logits(logits, torch.tensor(labels))
        assert got.shape == ()
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(want, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, 4) for _ in range(4))),
    ignore=st.sampled_from([255, 0, -100]),
    seed=st.integers(0, 1000),
)
def test_pixel_accuracy_is_that_of_numpy(shape, ignore, seed):
    rng = np.random.default_rng(seed)
    n, classes, height, width = shape
    logits = rng.normal(size=shape)
    labels = rng.integers(0, classes + 1, (n, height, width))
    labels[labels == classes] = ignore
    got = accuracy_of_logits(torch.from_numpy(logits), torch.from_numpy(labels), ignore)
    assert got.item() == pytest.approx(accuracy(logits, labels, ignore), abs=1e-6)


def test_pixel_accuracy_of_many_pixels_is_exact():
    """A count above 2**24, which float32 cannot hold by adding ones."""
    labels = torch.zeros(1, 4100, 4100, dtype=torch.uint8)
    labels[0, 0, 0] = 1
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4100, 4100)
    wrong = 1 - accuracy_of_logits(logits, labels).double().item()
    assert wrong == pytest.approx(0, abs=1.2e-7)
    labels[0, 1:] = 255
    assert accuracy_of_logits(logits, labels).item() == pytest.approx(4099 / 4100, abs=1e-7)


# ---- losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", ["none", "some", "all"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_loss_and_accuracy_of_a_head_are_those_of_numpy(segmentor, align_corners, ignored):
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


def test_a_head_with_a_loss_of_its_own_keeps_it():
    net = build(head_cfg(type=OwnLoss), auxiliary_head=AUXILIARY)
    x, batch = images(2, 3, 40, 56), samples(2, 40, 56)
    losses = net.loss(x, batch)
    assert list(losses) == ["decode.loss_own", "decode.count", "aux.loss_ce", "aux.acc_seg"]
    want = head_logits(net, x).sum()
    assert losses["decode.loss_own"].item() == pytest.approx(want, rel=1e-4)
    assert losses["decode.count"] == 2


def test_heads_have_the_names_of_their_losses(segmentor):
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


# ---- building ----------------------------------------------------------------------------------


def test_the_segmentor_is_built_from_any_scope():
    net = MODELS.build(dict(type="ibnseg.Segmentor", **config()))
    assert type(net) is Segmentor
    assert net.out_channels == CLASSES


@pytest.mark.filterwarnings("ignore:threshold is not defined:UserWarning")
def test_one_output_or_more_than_255_classes_are_refused():
    for classes in [
        dict(num_classes=2, out_channels=1),
        dict(num_classes=1),
        dict(num_classes=256),
    ]:
        with case(classes=classes):
            loss = dict(type="CrossEntropyLoss", use_sigmoid=True, avg_non_ignore=True)
            with pytest.raises(ValueError, match="out_channels"):
                Segmentor(**config(head_cfg(loss_decode=loss, **classes)))


def test_each_forward_mode_returns_what_mmengine_expects(segmentor):
    x, batch = images(1, 3, 40, 56), samples(1, 40, 56)
    assert set(segmentor(x, batch, mode="loss")) == {"decode.loss_ce", "decode.acc_seg"}
    with torch.no_grad():
        np.testing.assert_allclose(segmentor(x), head_logits(segmentor, x), rtol=1e-4, atol=1e-4)
        (result,) = segmentor(x, batch, mode="predict")
    assert result.pred_sem_seg.shape == (40, 56)


# ---- heads and what they take ------------------------------------------------------------------


def test_a_head_of_another_width_is_refused():
    for changes, said in [
        (dict(in_channels=77, channels=77), "in_index -1 and in_channels 77"),
        (dict(in_index=2), "in_index 2 and in_channels 64"),
        (dict(in_index=4), "in_index 4 and in_channels 64"),
    ]:
        with case(changes=changes, said=said):
            message = (
                f"the decode head has {said}, the features of IBNResNet have 8, 16, 32, 64 channels"
            )
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
