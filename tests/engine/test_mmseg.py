"""A model of mmseg through the commands: trained, tested, resumed and predicted with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ibnseg import load, predict
from ibnseg.engine.run import train
from ibnseg.engine.training import check_heads
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from tests.conftest import scene

pytestmark = pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")

SEGFORMER = """
model = dict(
    _delete_=True,
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
    ),
    backbone=dict(
        type="MixVisionTransformer",
        embed_dims=8,
        num_stages=4,
        num_layers=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3),
        mlp_ratio=2,
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        type="SegformerHead",
        in_channels=[8, 8, 8, 8],
        in_index=[0, 1, 2, 3],
        channels=8,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
optimizer = dict(_delete_=True, type="AdamW", lr=0.003)
iterations = 4
"""


@pytest.fixture(scope="module")
def segformer(data: Path, tiny_config, tmp_path_factory) -> tuple[Path, dict[str, str], dict]:
    """The folder of a run of mmseg's SegFormer, its data folders, and its results."""
    config = tiny_config("gta5", ["gta5"], SEGFORMER, name="segformer")
    folder = tmp_path_factory.mktemp("segformer")
    roots = {"gta5": str(data / "gta5")}
    return folder, roots, train(config, work_dir=folder, roots=roots, show=False)


def test_a_model_of_mmsegs_is_trained_and_tested(segformer) -> None:
    folder, _, content = segformer
    (test,) = content["tests"]
    assert np.sum(test["confusion"]) == 5 * 64 * 47
    assert "upsampled" not in test
    weights = torch.load(folder / "latest.pth", weights_only=True)["state_dict"]
    assert any(key.startswith("backbone.layers.3.") for key in weights)


def test_a_foreign_models_windows_are_those_of_the_test(segformer, tmp_path: Path) -> None:
    folder, roots, content = segformer
    slide = ["mode=slide", "crop_size=(32,32)", "stride=(16,16)"]
    options = [f"model.test_cfg.{option}" for option in slide]
    tested = run_test(folder, roots=roots, options=options, work_dir=tmp_path)
    (test,) = tested["tests"]
    assert test["protocol"]["inference"] == "slide 32x32/16x16"
    assert test["confusion"] != content["tests"][0]["confusion"]
    assert "upsampled" not in test


def test_the_record_says_that_logits_were_upsampled_twice(segformer, tmp_path: Path) -> None:
    """Input and label differ in size under the paper's protocol, which shows GTA5 at 1024x563."""
    folder, roots, _ = segformer
    (test,) = run_test(folder, roots=roots, protocols=["paper"], work_dir=tmp_path)["tests"]
    assert test["upsampled"] == "twice"


def test_a_foreign_model_goes_on_from_its_checkpoint(
    segformer, tiny_config, tmp_path: Path
) -> None:
    """Four steps in one go are two and two, bit for bit."""
    folder, roots, _ = segformer
    for name in ("config.py", "checkpoints/iter_2.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "latest.pth").symlink_to("checkpoints/iter_2.pth")
    config = tiny_config("gta5", ["gta5"], SEGFORMER, name="segformer")
    train(config, work_dir=tmp_path, roots=roots, resume=True, show=False)
    whole, resumed = (
        torch.load(run / "checkpoints/iter_4.pth", weights_only=True)["state_dict"]
        for run in (folder, tmp_path)
    )
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_a_foreign_model_predicts_an_image(segformer) -> None:
    folder, _, _ = segformer
    network = load(folder)
    image, _ = scene(22)
    train_ids, shares = predict(network, image, probabilities=True)
    assert (train_ids.dtype, train_ids.shape) == (np.uint8, (48, 64))
    np.testing.assert_array_equal(shares.argmax(axis=0), train_ids)


def test_a_head_that_learns_edges_has_classes_of_its_own() -> None:
    heads = [dict(type="FCNHead", num_classes=19), dict(type="mmseg.STDCHead", num_classes=2)]
    model = dict(decode_head=dict(type="FCNHead", num_classes=19), auxiliary_head=heads)
    check_heads(model, 19)
    heads[0]["num_classes"] = 2
    with pytest.raises(UserError, match=r"auxiliary_head\[0\]\.num_classes is 2"):
        check_heads(model, 19)


def test_class_weights_of_another_number_of_classes_are_refused() -> None:
    loss = dict(type="CrossEntropyLoss", class_weight=[1.0, 2.0])
    head = dict(type="FCNHead", num_classes=2, loss_decode=[dict(type="DiceLoss"), loss])
    check_heads(dict(decode_head=head), 2)
    loss["class_weight"] = [1.0] * 19
    with pytest.raises(UserError, match="class_weight has 19 values, the network has 2 classes"):
        check_heads(dict(decode_head=head), 2)


def test_a_runs_config_keeps_the_models_own_words(segformer) -> None:
    model = Config.fromfile(segformer[0] / "config.py").model
    assert model.data_preprocessor.type == "SegDataPreProcessor"
    assert model.type == "EncoderDecoder"
