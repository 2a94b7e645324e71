"""Further views of an image, and what is packed for a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope

from ibnseg.datasets.transforms import FurtherView, LoadInstances, Pack
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError

quick = settings(deadline=None, max_examples=40)

# --- packing ---


@quick
@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=3, max_side=6)))
def test_packed_tensors_hold_the_pixels(values):
    image, label = values[..., :3], values[..., 2]  # views
    results = dict(
        img=image[:, ::-1], gt_seg_map=label[:, ::-1],
        img_path="a.png", ori_shape=(9, 9), img_shape=image.shape[:2],
    )  # fmt: skip
    packed = Pack()(results)
    inputs, sample = packed["inputs"], packed["data_samples"]
    target = sample.gt_sem_seg.data
    assert inputs.dtype == target.dtype == torch.uint8
    assert inputs.is_contiguous()
    assert target.is_contiguous()
    height, width = image.shape[:2]
    assert target.shape == (1, height, width)
    for y in range(height):
        for x in range(width):
            assert inputs[:, y, x].tolist() == image[y, width - 1 - x].tolist()
            assert target[0, y, x].item() == label[y, width - 1 - x]
    assert sample.metainfo == dict(img_path="a.png", ori_shape=(9, 9), img_shape=(height, width))


def test_an_image_without_label_is_packed_without_one():
    image = np.zeros((2, 2, 3), np.uint8)
    sample = Pack()(dict(img=image, img_path="a", ori_shape=(2, 2), img_shape=(2, 2)))
    assert "gt_sem_seg" not in sample["data_samples"]


def packed_instances(label: np.ndarray, instances: np.ndarray) -> object:
    results = dict(img=np.zeros((2, 2, 3), np.uint8), img_path="a", ori_shape=(4, 6))
    results |= dict(img_shape=(2, 2), gt_seg_map=label, gt_instance_map=instances)
    return Pack()(results)["data_samples"].get("gt_instance_ids")


def test_instances_become_int16_of_the_same_bits():
    instances = np.array([[7, 26000], [33999, 65535]], np.uint16)
    packed = packed_instances(np.zeros((2, 2), np.uint8), instances).data
    assert packed.dtype == torch.int16
    assert packed.numpy().view(np.uint16).tolist() == [instances.tolist()]


def test_instances_are_left_out_if_the_label_was_resized_or_cropped():
    for shape in ((2, 3), (4, 5), (6, 4)):
        assert packed_instances(np.zeros(shape, np.uint8), np.zeros((4, 6), np.uint16)) is None, (
            shape
        )


def test_without_a_map_of_instances_there_are_none():
    results = dict(ori_shape=(2, 2))
    assert LoadInstances()(results) == dict(ori_shape=(2, 2))
    sample = Pack()(
        dict(img=np.zeros((2, 2, 3), np.uint8), img_path="a", ori_shape=(2, 2), img_shape=(2, 2))
        | dict(gt_seg_map=np.zeros((2, 2), np.uint8))
    )
    assert "gt_instance_ids" not in sample["data_samples"]


# --- further views ---


@TRANSFORMS.register_module()
class Negative(BaseTransform):
    """Shows the negative of an image, in place."""

    def transform(self, results: dict) -> dict:
        np.subtract(255, results["img"], out=results["img"])
        return results


NEGATIVE = dict(type="ibnseg.Negative")
FLIP = dict(type="RandomFlip", prob=1.0)


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope("mmseg")


def sample() -> dict:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 6, 3), np.uint8)
    return dict(
        img=image,
        gt_seg_map=image[..., 0].copy(),
        seg_fields=["gt_seg_map"],
        img_path="a",
        ori_shape=(4, 6),
        img_shape=(4, 6),
    )


def packed(*steps) -> dict:
    results = sample()
    for step in steps:
        results = step(results)
    return Pack()(results)


def test_a_further_view_lies_beside_the_image_which_stays_as_it_is() -> None:
    image = sample()["img"].transpose(2, 0, 1)
    found = packed(FurtherView("plain"), FurtherView("negative", [NEGATIVE]), Negative())
    views = found["data_samples"].views
    assert sorted(views.keys()) == ["negative", "plain"]
    np.testing.assert_array_equal(found["inputs"], 255 - image)
    np.testing.assert_array_equal(views.plain, image)
    np.testing.assert_array_equal(views.negative, 255 - image)
    for tensor in (found["inputs"], views.plain, views.negative):
        assert (tensor.dtype, tensor.is_contiguous()) == (torch.uint8, True)


def test_without_further_views_there_are_none() -> None:
    assert "views" not in packed()["data_samples"]


@pytest.mark.parametrize(
    "steps",
    [
        [FurtherView("view", [dict(type="Resize", scale=(3, 2))])],
        [FurtherView("view"), dict(type="Resize", scale=(3, 2))],
        [dict(type="ibnseg.FurtherView", name="view", transforms=[FLIP])],
        [FurtherView("view"), FLIP],
    ],
    ids=["resized in the view", "resized after it", "flipped in the view", "flipped after it"],
)
def test_a_view_whose_pixels_are_not_those_of_the_label_is_refused(steps: list) -> None:
    init_default_scope("mmseg")
    built = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps]
    with pytest.raises(UserError, match="FurtherView 'view': its pixels are no longer those"):
        packed(*built)


def test_steps_before_a_view_may_move_pixels() -> None:
    found = packed(TRANSFORMS.build(FLIP), FurtherView("plain"))
    assert torch.equal(found["data_samples"].views.plain, found["inputs"])


def test_a_view_whose_name_cannot_be_one_is_refused() -> None:
    for name in ("image", "two words", "", 1, None):
        with pytest.raises(UserError, match="FurtherView: name is"):
            FurtherView(name)


def test_two_views_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two views are called 'color'"):
        packed(FurtherView("color"), FurtherView("color"))
