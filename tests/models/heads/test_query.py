"""The query head over a tiny ViT: its forward pass, losses, predictions, and what it refuses."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

from ibnseg.models import QueryHead, Segmentor
from ibnseg.models.heads.annealing import attention_mask
from ibnseg.models.heads.query_losses import QueryPrediction
from ibnseg.registry import MODELS
from tests.models.tiny import (
    BACKBONE,
    CLASSES,
    CROSS_ENTROPY,
    config,
    head_cfg,
    images,
    of_shapes,
    samples,
)

WIDTH, QUERIES = 32, 6
VIT = dict(
    type="ibnseg.ViT",
    name="vit_small_patch14_reg4_dinov2",
    image_size=64,
    out_indices=(1,),
    trained="all",
    options=dict(embed_dim=WIDTH, depth=4, num_heads=4),
)
HEAD = dict(
    type="ibnseg.QueryHead",
    in_channels=WIDTH,
    num_classes=CLASSES,
    queries=QUERIES,
    blocks=2,
    points=128,
)


def build(head: dict | None = None, *, std: float = 0.2, **vit) -> Segmentor:
    """A network in which each weight counts."""
    torch.manual_seed(0)
    net = Segmentor(**config({**HEAD, **(head or {})}, backbone={**VIT, **vit}))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.eval()


def predicted(net: Segmentor, queries: Tensor, patches: Tensor) -> QueryPrediction:
    """Classes and masks, by their formulas, of queries (N, Q, C) and patches (N, C, h, w)."""
    head = net.decode_head
    first, _, second, _, third = head.mask_mlp
    hidden = F.gelu(
        F.linear(F.gelu(F.linear(queries, first.weight, first.bias)), second.weight, second.bias)
    )
    vectors = F.linear(hidden, third.weight, third.bias)
    for block in head.upscaling:
        up, _, depthwise, norm = block
        patches = F.gelu(F.conv_transpose2d(patches, up.weight, up.bias, stride=2))
        patches = F.conv2d(patches, depthwise.weight, padding=1, groups=WIDTH)
        centred = patches - patches.mean(1, keepdim=True)
        patches = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        patches = patches * norm.weight[:, None, None] + norm.bias[:, None, None]
    masks = (vectors @ patches.flatten(2)).reshape(*vectors.shape[:2], *patches.shape[2:])
    return QueryPrediction(F.linear(queries, head.classifier.weight, head.classifier.bias), masks)


def as_in_eomt(net: Segmentor, x: Tensor, share: float) -> list[QueryPrediction]:
    """All predictions if the queries stand in front, as in EoMT, by timm's own blocks."""
    vit, head = net.backbone, net.decode_head
    size = (x.shape[2] // 16, x.shape[3] // 16)
    tokens, prefix, patches = vit.tokens(x), vit.num_prefix_tokens, size[0] * size[1]
    rope = vit.rope.get_embed(shape=list(size)) if hasattr(vit, "rope") else None
    place = {} if rope is None else dict(rope=rope)
    for block in vit.blocks[:2]:
        tokens = block(tokens, **place)
    tokens = torch.cat([head.queries.expand(len(x), -1, -1), tokens], dim=1)
    found = []

    def predict() -> QueryPrediction:
        normal = vit.norm(tokens)
        grid = normal[:, QUERIES + prefix :].mT.unflatten(2, size)
        return predicted(net, normal[:, :QUERIES], grid)

    order = [*range(prefix + patches, prefix + patches + QUERIES), *range(prefix + patches)]
    for block in vit.blocks[2:]:
        found.append(predict())
        mask = attention_mask(found[-1].masks, size, prefix, share)
        mask = None if mask is None else mask[..., order, :][..., order]
        if rope is not None:
            block.attn.num_prefix_tokens = prefix + QUERIES
        tokens = block(tokens, attn_mask=mask, **place)
        if rope is not None:
            block.attn.num_prefix_tokens = prefix
    return [*found, predict()]


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
def test_predictions_are_those_of_queries_in_front_of_the_tokens(name: str, training) -> None:
    """Where the queries stand changes nothing; learnt or rotary positions, masked or not."""
    net, x = build(name=name).double(), images(2, 3, 32, 48).double()
    features = net.extract_feat(x)
    expected = as_in_eomt(net, x, share=0)[-1]
    shares = expected.classes.softmax(-1)[..., :CLASSES]
    scores = sum(
        shares[:, q, :, None, None] * expected.masks[:, q, None].sigmoid() for q in range(QUERIES)
    )
    found = net.decode_head(features)
    assert found.shape == (2, CLASSES, 8, 12)
    torch.testing.assert_close(found, scores)

    net.decode_head.train()
    for iteration, share in ((0, 1), (100, 0)):
        training(iteration, 100)
        scores, predictions = net.decode_head(features)
        expected = as_in_eomt(net, x, share)
        assert len(predictions) == len(expected) == 3
        for own, other in zip(predictions, expected, strict=True):
            torch.testing.assert_close(tuple(own), tuple(other))
    torch.testing.assert_close(scores, found)  # nothing is masked at the end, as in tests
    masked = as_in_eomt(net, x, 1)[-1].masks
    assert not torch.allclose(masked, expected[-1].masks)


def test_tests_mask_nothing_at_any_time_of_the_training(training) -> None:
    net, x = build(), images(1, 3, 32, 32)
    found = []
    for iteration in (0, 100):
        training(iteration, 100)
        found.append(net.encode_decode(x))
    torch.testing.assert_close(found[0], found[1])


def test_at_full_size_it_has_the_weights_of_eomt() -> None:
    with torch.device("meta"):
        head = MODELS.build(dict(type="ibnseg.QueryHead", in_channels=1024, num_classes=19))
    upscaling = 2 * (4 * 1024 * 1024 + 1024 + 9 * 1024 + 2 * 1024)
    mlp = 3 * (1024 * 1024 + 1024)
    total = 100 * 1024 + 20 * 1025 + mlp + upscaling
    assert sum(p.numel() for p in head.parameters()) == total
    assert not any(name.startswith(("conv_seg", "backbone")) for name in head.state_dict())


def test_all_that_is_trained_gets_gradients_even_of_images_without_labels() -> None:
    for trained in ("all", "none"):
        net = build(trained=trained).train()
        batch = samples(2, 64, 64)
        for void in (False, True):
            net.zero_grad()
            for sample in batch if void else ():
                sample.gt_sem_seg.data[:] = 255
            losses = net.loss(images(2, 3, 64, 64), batch)
            assert [*losses] == [
                f"decode.{n}" for n in ("loss_class", "loss_mask", "loss_dice", "acc_seg")
            ]
            sum(value for name, value in losses.items() if "loss" in name).backward()
            for name, parameter in net.named_parameters():
                assert (parameter.grad is not None) == parameter.requires_grad, name
                assert parameter.requires_grad == (
                    trained == "all" or name.startswith("decode_")
                ), name
                if parameter.requires_grad:
                    assert parameter.grad.isfinite().all(), name
                    assert void == (not parameter.grad.any()), name


def test_the_accuracy_is_the_share_of_right_pixels_in_percent() -> None:
    net, x, batch = build().train(), images(2, 3, 64, 64), samples(2, 64, 64)
    features = net.extract_feat(x)
    scores, _ = outputs = net.decode_head(features)
    found = net.decode_head.loss_by_feat(outputs, batch)["acc_seg"]
    full = F.interpolate(scores, (64, 64), mode="bilinear").argmax(1)
    labels = torch.cat([sample.gt_sem_seg.data for sample in batch])
    right = (full == labels)[labels != 255].float().mean()
    assert found.item() == pytest.approx(100 * right.item())


def test_the_vit_is_joined_but_not_stored_twice() -> None:
    net = build()
    names = [*net.state_dict()]
    assert len(names) == len({*names})
    assert not any(".backbone." in name for name in names)
    copied = deepcopy(net)
    assert copied.decode_head.backbone is copied.backbone is not net.backbone
    torch.testing.assert_close(copied(images(1, 3, 32, 32)), net(images(1, 3, 32, 32)))


def test_linked_queries_come_from_reins_tokens() -> None:
    rein = dict(type="ibnseg.Rein", tokens=QUERIES, rank=2, link=8)
    net = build(dict(link=True), trained="none", adapter=rein).train()
    assert not hasattr(net.decode_head, "queries")
    assert net.decode_head.linked.weight.shape == (WIDTH, 8)
    losses = net.loss(images(2, 3, 64, 64), samples(2, 64, 64))
    sum(value for name, value in losses.items() if "loss" in name).backward()
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == name.startswith(("decode_head", "backbone.adapter")), name
        assert not parameter.requires_grad or parameter.grad.any(), name


def test_a_window_as_large_as_the_image_predicts_as_the_whole() -> None:
    net, x = build(), images(1, 3, 64, 96)
    net.test_cfg.update(logits=True)
    whole = net.predict(x, of_shapes((64, 96)))[0].seg_logits.data
    net.test_cfg.update(mode="slide", crop_size=(64, 96), stride=(32, 32))
    torch.testing.assert_close(net.predict(x, of_shapes((64, 96)))[0].seg_logits.data, whole)
    assert whole.std(dim=(1, 2)).min() > 0.01


def test_windows_average_scores_and_probabilities_are_their_shares() -> None:
    net, x = build(), images(1, 3, 64, 96)
    net.test_cfg.update(mode="slide", crop_size=(64, 64), stride=(64, 32), logits=True)
    (found,) = net.predict(x, of_shapes((64, 96)))
    left, right = (
        F.interpolate(net.encode_decode(x[..., part]), (64, 64), mode="bilinear")
        for part in (slice(0, 64), slice(32, 96))
    )
    scores = F.pad(left, (0, 32)) + F.pad(right, (32, 0))
    scores[..., 32:64] /= 2
    shares = found.seg_logits.data.softmax(0)
    torch.testing.assert_close(shares, scores[0] / scores[0].sum(0))
    assert torch.equal(found.pred_sem_seg.data[0].long(), shares.argmax(0))


def test_further_losses_get_logits() -> None:
    class Seen(nn.Module):
        def forward(self, views, data_samples) -> dict[str, Tensor]:
            self.logits = views["image"].logits
            return dict(loss=0 * self.logits.sum())

    net = build().train()
    net.further_losses.append(Seen())
    losses = net.loss(images(2, 3, 64, 64), samples(2, 64, 64))
    assert losses["further_0.loss"].requires_grad
    scores = net.eval().encode_decode(images(2, 3, 64, 64))
    found = net.further_losses[0].logits.softmax(1)
    assert found.shape == scores.shape
    torch.testing.assert_close(found.sum(1), torch.ones(2, 16, 16))


def test_scores_of_zero_have_finite_logits() -> None:
    assert build().decode_head.as_logits(torch.zeros(1, 3, 1, 1)).isfinite().all()


def test_it_trains_in_bfloat16() -> None:
    net = build(std=0.05).train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.loss(images(2, 3, 64, 64), samples(2, 64, 64))
        scores = net.eval().decode_head(net.extract_feat(images(1, 3, 64, 64)))
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    assert scores.dtype == torch.float32


def test_it_has_to_be_joined_to_a_vit() -> None:
    net = EncoderDecoder(**config(HEAD, backbone=VIT))
    with pytest.raises(RuntimeError, match="was not joined .*; take model.type='ibnseg.Segmentor'"):
        net(images(1, 3, 64, 64))
    with pytest.raises(ValueError, match="IBNResNet has no blocks that queries can join; take"):
        Segmentor(**config(HEAD, backbone=BACKBONE))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (dict(queries=4), "queries=4, expected at least one for each of 5 classes"),
        (dict(blocks=3), r"last 3 of 4 blocks .* out_indices=\(1,\), expected 0 to 0"),
        (dict(anneal=[(0, 0.5)]), r"expected 2 pairs \(start, end\) of shares"),
        (dict(anneal=[(0, 0.5), (0.7, 0.6)]), "0 <= start <= end <= 1"),
        (dict(in_channels=16), "in_channels 16, the features of ViT have 32 channels"),
        (dict(link=True), "no adapter with queries; take model.backbone.adapter=dict"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(head: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(head)


def test_an_adapter_with_another_number_of_queries_is_refused() -> None:
    rein = dict(type="ibnseg.Rein", tokens=9, rank=2, link=8)
    with pytest.raises(ValueError, match="queries=6, but the adapter it is linked to has 9"):
        build(dict(link=True), trained="none", adapter=rein)


def test_a_neck_between_it_and_the_vit_is_refused() -> None:
    neck = dict(type="FPN", in_channels=[WIDTH], out_channels=WIDTH, num_outs=1)
    with pytest.raises(ValueError, match="no neck can be between them; remove model.neck"):
        Segmentor(**config(HEAD, backbone=VIT, neck=neck))


def test_another_head_behind_its_vit_counts_features_from_the_front() -> None:
    """The last feature is tokens for the query head."""
    auxiliary = head_cfg(in_channels=WIDTH, channels=WIDTH, in_index=0)
    net = Segmentor(**config(HEAD, backbone=VIT, auxiliary_head=auxiliary)).train()
    assert net.loss(images(2, 3, 64, 64), samples(2, 64, 64))["aux.loss_ce"].isfinite()
    several = dict(in_index=[0, -1], in_channels=[WIDTH] * 2, input_transform="resize_concat")
    for behind in (dict(in_index=-1), {**several, "num_convs": 1}):
        with pytest.raises(ValueError, match="aux head has in_index .*; count from the front, 0 "):
            Segmentor(**config(HEAD, backbone=VIT, auxiliary_head={**auxiliary, **behind}))


def test_mmsegs_segformer_head_takes_a_vits_maps() -> None:
    segformer = dict(
        type="SegformerHead",
        in_channels=[WIDTH] * 3,
        in_index=[0, 1, 2],
        channels=8,
        dropout_ratio=0,
        num_classes=CLASSES,
        align_corners=False,
        loss_decode=CROSS_ENTROPY,
    )
    net = Segmentor(**config(segformer, backbone={**VIT, "out_indices": (0, 1, 3)})).train()
    losses = net.loss(images(2, 3, 64, 64), samples(2, 64, 64))
    losses["decode.loss_ce"].backward()
    assert losses["decode.loss_ce"].isfinite()
    (found,) = net.eval().predict(images(1, 3, 32, 64), of_shapes((32, 64)))
    assert found.pred_sem_seg.data.shape == (1, 32, 64)


def test_heads_are_found_by_their_types() -> None:
    assert MODELS.get("ibnseg.QueryHead") is QueryHead
