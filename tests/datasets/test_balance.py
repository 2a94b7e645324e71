"""Class weights grow as shares fall; the shares of a dataset are counted."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.models.losses import CrossEntropyLoss

from ibnseg.datasets import GTA5, BDD100KDrivable
from ibnseg.datasets.balance import balanced_weights, class_counts, class_weights
from ibnseg.support.errors import UserError
from tests.conftest import HEIGHT, WIDTH, save_ids, save_rgb, scene, write_drivable, write_gta5

COUNTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=19).filter(any)
EXPONENT = st.floats(0, 1)


def test_class_weights_worked_out_by_hand() -> None:
    """The third class does not occur, and has the weight of the rarest."""
    for exponent, expected in (
        (0, [1, 1, 1]),
        # shares 0.64 and 0.36: 1 / 0.8 and 1 / 0.6 over their mean 0.8 + 0.6
        (0.5, [1 / 0.8 / 1.4, 1 / 0.6 / 1.4, 1 / 0.6 / 1.4]),
        # 1 / share, whose mean is the number of classes that occur
        (1, [1 / 0.64 / 2, 1 / 0.36 / 2, 1 / 0.36 / 2]),
    ):
        np.testing.assert_allclose(
            class_weights([64, 36, 0], exponent), expected, rtol=1e-14, err_msg=str(exponent)
        )


@given(COUNTS, EXPONENT)
def test_weights_have_mean_one_and_grow_as_shares_fall(counts: list[int], exponent: float) -> None:
    counts = np.array(counts)
    weights = class_weights(counts, exponent)
    np.testing.assert_allclose(counts @ weights / counts.sum(), 1, rtol=1e-9)
    assert (weights > 0).all()
    order = np.argsort(counts)
    assert (np.diff(weights[order]) <= 1e-12 * weights[order][:-1]).all()
    np.testing.assert_allclose(class_weights(7 * counts, exponent), weights, rtol=1e-9)


@given(COUNTS)
def test_with_class_balance_1_all_classes_that_occur_weigh_the_same(counts: list[int]) -> None:
    counts = np.array(counts)
    weighed = (counts * class_weights(counts, 1))[counts > 0] / counts.sum()
    np.testing.assert_allclose(weighed, 1 / len(weighed), rtol=1e-9)


def test_classes_that_never_occur_have_no_weights() -> None:
    with pytest.raises(ValueError, match="expected at least one above 0"):
        class_weights([0, 0], 0.5)


def test_counts_leave_out_what_is_ignored(data: Path) -> None:
    dataset = GTA5(data / "gta5", "train")
    counts = class_counts(dataset)
    labels = [scene(frame)[1] for frame in range(1, 9)]
    expected = sum(np.bincount(label[label != 255], minlength=19) for label in labels)
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == 8 * WIDTH * (HEIGHT - 1)  # the top row is ignored


def test_labels_are_counted_in_the_same_sample_each_time(data: Path) -> None:
    dataset = GTA5(data / "gta5", "train")
    (one, again), two = (class_counts(dataset, 1) for _ in range(2)), class_counts(dataset, 2)
    assert one.sum() == WIDTH * (HEIGHT - 1)
    assert two.sum() == 2 * one.sum()
    np.testing.assert_array_equal(one, again)
    first = int(np.random.RandomState(0).permutation(8)[0])
    label = scene(first + 1)[1]
    np.testing.assert_array_equal(one, np.bincount(label[label != 255], minlength=19))


def test_the_drivable_area_has_its_three_classes(tmp_path: Path) -> None:
    for release in ("2021", "2018"):
        write_drivable(tmp_path / release, release)
        dataset = BDD100KDrivable(tmp_path / release, "train")
        assert class_counts(dataset).tolist() == [2 * 16 * 64] * 3, release
        assert balanced_weights(dataset, 0.5) == [1, 1, 1], release


def test_labels_without_any_class_are_refused(tmp_path: Path) -> None:
    save_rgb(tmp_path / "images/00001.png", scene(1)[0])
    save_ids(tmp_path / "labels/00001.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "split.json").write_text('{"train": [[1, 1]], "val": []}')
    with pytest.raises(UserError, match="class_balance is 0.5, but no label has a pixel"):
        balanced_weights(GTA5(tmp_path, "train"), 0.5)


def test_the_loss_is_the_weighted_mean_over_labelled_pixels() -> None:
    """mmseg's, with what a config is given, against the formula of docs/configs.md in float64."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    weights = class_weights([70, 20, 10], 0.5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_pixel = np.where(labels == 255, 0, weights[labels % 255 % 3])
    entropy = -np.take_along_axis(log_p, (labels % 255)[:, None], axis=1)[:, 0]
    expected = (of_pixel * entropy).sum() / of_pixel.sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            CrossEntropyLoss(class_weight=(factor * weights).tolist(), avg_non_ignore=False)(
                torch.tensor(logits), torch.tensor(labels), ignore_index=255
            ).item()
            for factor in (1, 10)
        ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sizes_are_compared_before_classes_are_counted(tmp_path: Path) -> None:
    write_gta5(tmp_path)
    dataset = GTA5(tmp_path, "train")
    save_ids(Path(dataset.get_data_info(1)["seg_map_path"]), np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match="label of 7x5 for an image of"):
        balanced_weights(dataset, 0.5)
