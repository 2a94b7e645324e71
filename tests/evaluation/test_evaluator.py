"""The metric as mmengine calls it, on samples made by hand."""

import math

import numpy as np
import pytest
import torch

from ibnseg.datasets.labels import CLASSES as LABELLED
from ibnseg.evaluation.evaluator import Confusion
from ibnseg.registry import METRICS
from ibnseg.support.errors import UserError

CLASSES = ("road", "car", "sky")


def sample(name: str, label: list, prediction: list) -> dict:
    """A data sample as a dict of (1, H, W) uint8 tensors."""
    return dict(
        img_path=name,
        gt_sem_seg=dict(data=torch.tensor([label], dtype=torch.uint8)),
        pred_sem_seg=dict(data=torch.tensor([prediction], dtype=torch.uint8)),
    )


# road and car, one road pixel taken for car, one pixel ignored
FIRST = sample("a.png", [[0, 0], [1, 255]], [[0, 1], [1, 0]])
# a road pixel taken for sky, which is never true
SECOND = sample("b.png", [[0, 0]], [[0, 2]])
FIRST_COUNTS = [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
SECOND_COUNTS = [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


def metric(**kwargs) -> Confusion:
    return Confusion(**dict(classes=CLASSES, eval_classes=CLASSES, prefix="gta5") | kwargs)


def test_the_metric_is_built_by_its_registered_name():
    built = METRICS.build(
        dict(type="ibnseg.Confusion", classes=CLASSES, eval_classes=["car"], prefix="x")
    )
    assert isinstance(built, Confusion)


def test_scores_of_two_images_under_their_names():
    counted = metric()
    counted.process({}, [FIRST])
    counted.process({}, [SECOND])
    # road: 2 / (4 true + 0), car: 1 / (1 + 1), sky: 0 / (0 + 1); hits 3 of 5
    assert counted.evaluate(2) == {
        "gta5/mIoU": pytest.approx(1 / 3, abs=1e-15),
        "gta5/pixel_accuracy": 3 / 5,
        "gta5/mean_class_accuracy": (2 / 4 + 1 / 1) / 2,  # sky is never true
        "gta5/frequency_weighted_iou": (4 * 0.5 + 1 * 0.5) / 5,
        "gta5/f_score": pytest.approx((4 / 6 + 2 / 3 + 0) / 3),
        "gta5/IoU/road": 0.5,
        "gta5/IoU/car": 0.5,
        "gta5/IoU/sky": 0.0,
    }


def test_each_image_is_kept_in_order_of_path():
    counted = metric()
    counted.process({}, [SECOND, FIRST])
    counted.evaluate(2)
    assert list(counted.per_image) == ["a.png", "b.png"]
    assert counted.per_image["a.png"].tolist() == FIRST_COUNTS
    assert counted.per_image["b.png"].tolist() == SECOND_COUNTS
    assert counted.per_image["a.png"].dtype == np.int64


def test_only_eval_classes_are_averaged_all_are_listed():
    counted = metric(eval_classes=("car", "sky"))
    counted.process({}, [FIRST, SECOND])
    scores = counted.evaluate(2)
    assert scores["gta5/mIoU"] == (0.5 + 0) / 2
    assert scores["gta5/IoU/road"] == 0.5


def test_a_class_that_is_nowhere_is_nan():
    counted = metric()
    counted.process({}, [FIRST])
    scores = counted.evaluate(1)
    assert math.isnan(scores["gta5/IoU/sky"])
    assert scores["gta5/mIoU"] == 0.5


def test_an_image_given_twice_counts_once():
    # as a sampler does that rounds up for several processes
    counted = metric()
    counted.process({}, [FIRST, SECOND, FIRST])
    scores = counted.evaluate(3)
    assert scores["gta5/pixel_accuracy"] == 3 / 5
    assert {name: x.tolist() for name, x in counted.per_image.items()} == {
        "a.png": FIRST_COUNTS,
        "b.png": SECOND_COUNTS,
    }


def test_a_second_evaluation_starts_anew():
    counted = metric()
    counted.process({}, [FIRST])
    counted.evaluate(1)
    counted.process({}, [SECOND])
    assert counted.evaluate(1)["gta5/pixel_accuracy"] == 1 / 2
    assert list(counted.per_image) == ["b.png"]


def test_wrong_labels_and_predictions_are_refused_with_the_image():
    for label, prediction, message in (
        ([[0, 3]], [[0, 0]], r"^c\.png: label has values 3"),
        ([[0, 0]], [[0, 255]], r"^c\.png: prediction has values 255"),
        ([[0, 0]], [[0], [0]], r"^c\.png: prediction has shape \(2, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            metric().process({}, [FIRST, sample("c.png", label, prediction)])


def test_an_unknown_averaged_class_is_named():
    counted = metric(eval_classes=("tram",))
    counted.process({}, [FIRST])
    with pytest.raises(ValueError, match="tram"):
        counted.evaluate(1)


# --- other classes than the domain's ---

# four pixels of road, one of them taken for a class that the domain does not have; one of two cars
OF_OTHERS = sample("c.png", [[0, 0, 0, 0], [1, 1, 255, 255]], [[0, 0, 3, 1], [1, 3, 3, 0]])


def test_a_pixel_of_another_class_is_a_miss_of_its_true_class():
    counted = metric(other=True)
    counted.process({}, [FIRST, OF_OTHERS])
    scores = counted.evaluate(2)
    assert counted.classes == [*CLASSES, "other"]
    assert counted.eval_classes == list(CLASSES)
    assert counted.per_image["a.png"].tolist() == [[*row, 0] for row in FIRST_COUNTS] + [[0] * 4]
    assert counted.per_image["c.png"].tolist() == [
        [2, 1, 0, 1], [0, 1, 0, 1], [0] * 4, [0] * 4
    ]  # fmt: skip
    # road: 3 right of 6 true, 3 predicted; car: 2 of 3 true, 4 predicted; sky is nowhere
    assert scores["gta5/IoU/road"] == 3 / (6 + 3 - 3)
    assert scores["gta5/IoU/car"] == 2 / (3 + 4 - 2)
    assert scores["gta5/mIoU"] == pytest.approx((1 / 2 + 2 / 5) / 2, abs=1e-15)
    assert scores["gta5/pixel_accuracy"] == 5 / 9
    assert scores["gta5/mean_class_accuracy"] == pytest.approx((3 / 6 + 2 / 3) / 2, abs=1e-15)
    assert "gta5/IoU/other" not in scores


def test_without_a_pixel_of_another_class_everything_is_as_usual():
    usual, counted = metric(), metric(other=True)
    seen = []
    for each in (usual, counted):
        each.process({}, [FIRST, SECOND])
        seen.append(each.evaluate(2))
        assert each.classes == list(CLASSES)
    np.testing.assert_equal(seen[0], seen[1])
    assert {name: x.tolist() for name, x in counted.per_image.items()} == {
        name: x.tolist() for name, x in usual.per_image.items()
    }


def test_a_later_evaluation_without_another_class_has_the_domains_classes():
    counted = metric(other=True)
    for image, classes in ((OF_OTHERS, [*CLASSES, "other"]), (FIRST, list(CLASSES))):
        counted.process({}, [image])
        counted.evaluate(1)
        assert counted.classes == classes


def test_a_label_is_never_another_class_and_a_prediction_only_the_next_one():
    for label, prediction, message in (
        ([[0, 3]], [[0, 0]], r"^c\.png: label has values 3, which are none of 3 classes"),
        ([[0, 0]], [[3, 4]], r"^c\.png: prediction has values 4"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(other=True).process({}, [sample("c.png", label, prediction)])


def test_a_domain_with_a_class_of_that_name_is_refused():
    classes = ("road", "other")
    assert metric(classes=classes, eval_classes=classes).classes == [*classes]
    with pytest.raises(UserError, match="^the domain has a class 'other', the name of all classes"):
        metric(classes=classes, eval_classes=classes, other=True)


def test_boundaries_of_another_class_are_none_of_the_domains():
    counted = metric(other=True, further=["boundary_iou"])
    counted.process({}, [OF_OTHERS])
    scores = counted.evaluate(1)
    # in images this small every pixel is at a boundary: the IoU of boundaries is the IoU
    assert counted.counts["boundary_iou"]["c.png"].tolist() == [[2, 4, 2], [1, 2, 2], [0, 0, 0]]
    assert scores["gta5/boundary_iou"] == scores["gta5/mIoU"]


# --- instances ---

ALL = dict(classes=LABELLED, eval_classes=LABELLED)
CAR = LABELLED.index("car")


def with_instances(sample: dict, ids: list) -> dict:
    return sample | dict(gt_instance_ids=dict(data=torch.tensor([ids], dtype=torch.int16)))


# a car of one pixel, missed; one of three, of which two are right
THIRD = with_instances(sample("c.png", [[CAR, 0]], [[0, 0]]), [[26000, 7]])
FOURTH = with_instances(
    sample("d.png", [[CAR, CAR], [CAR, CAR]], [[CAR, CAR], [0, CAR]]), [[26002, 26002], [26002, 26]]
)


def test_weighted_counts_of_instances_are_summed_over_images():
    counted = metric(**ALL)
    counted.process({}, [FOURTH])
    counted.process({}, [THIRD])
    counted.evaluate(2)
    size = 12794.0202738185
    expected = np.zeros((19, 19))
    expected[CAR, CAR], expected[CAR, 0] = size * 2 / 3, size * (1 + 1 / 3)
    np.testing.assert_allclose(counted.weighted, expected, rtol=1e-15, atol=0)


def test_instances_of_an_image_given_twice_count_once():
    once, twice = metric(**ALL), metric(**ALL)
    once.process({}, [THIRD, FOURTH])
    twice.process({}, [FOURTH, THIRD, FOURTH])
    once.evaluate(2)
    twice.evaluate(3)
    assert once.weighted.tolist() == twice.weighted.tolist()


def test_without_the_instances_of_all_images_there_are_no_weighted_counts():
    counted = metric(**ALL)
    counted.process({}, [THIRD, SECOND])
    counted.evaluate(2)
    assert counted.weighted is None
    counted.process({}, [THIRD])
    counted.evaluate(1)
    assert counted.weighted.sum() == 12794.0202738185


def test_what_is_logged_does_not_change_with_instances():
    scores = []
    for image in (THIRD, {k: v for k, v in THIRD.items() if k != "gt_instance_ids"}):
        counted = metric(**ALL)
        counted.process({}, [image])
        scores.append(counted.evaluate(1).keys())
    assert scores[0] == scores[1]


def test_iiou_is_of_tests_without_another_class_alone():
    other = with_instances(sample("e.png", [[CAR, 0]], [[19, 0]]), [[26000, 7]])
    ignored = with_instances(sample("f.png", [[255, 0]], [[19, 0]]), [[26000, 7]])
    for images, classes, is_known in (
        ([THIRD, FOURTH], LABELLED, True),
        ([THIRD, other], (*LABELLED, "other"), False),
        ([THIRD, ignored], LABELLED, False),
    ):
        counted = metric(**ALL, other=True)
        counted.process({}, images)
        scores = counted.evaluate(2)
        assert tuple(counted.classes) == classes
        assert (counted.weighted is not None) == is_known
        assert ("gta5/category_mIoU" in scores) == (classes == LABELLED)


def test_wrong_instances_name_the_image():
    wrong = with_instances(sample("e.png", [[0, 0]], [[0, 0]]), [[7, 7001]])
    with pytest.raises(ValueError, match=r"^e\.png: instances 7001 are of no class that has inst"):
        metric(**ALL).process({}, [wrong])
