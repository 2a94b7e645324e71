"""IoU of categories and iIoU against cases worked by hand, and against a loop over pixels."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ibnseg.datasets.labels import CATEGORIES, CITYSCAPES_IDS, CLASSES, INSTANCE_CLASSES, LABELS
from ibnseg.evaluation.confusion import confusion_matrix, iou
from ibnseg.evaluation.official import (
    AVERAGE_SIZES,
    by_category,
    further_scores,
    instance_iou,
    weighted_confusion,
)

quick = settings(deadline=None, max_examples=60)

# train ids
ROAD, SIDEWALK, BUILDING, SKY, PERSON, RIDER, CAR, TRUCK, BUS = 0, 1, 2, 10, 11, 12, 13, 14, 15
CAR_SIZE, BUS_SIZE, PERSON_SIZE = 12794.0202738185, 35732.1511111111, 3462.4756337644


def weigh(instances: list[int], prediction: list[int]) -> np.ndarray:
    return weighted_confusion(np.array([instances], np.uint16), np.array([prediction], np.uint8))


def nonzero(matrix: np.ndarray) -> dict[tuple[int, int], float]:
    return {(int(i), int(j)): float(matrix[i, j]) for i, j in zip(*matrix.nonzero(), strict=True)}


def confusion(cells: dict[tuple[int, int], int]) -> np.ndarray:
    matrix = np.zeros((19, 19), np.int64)
    for cell, count in cells.items():
        matrix[cell] = count
    return matrix


# --- categories ---


def test_categories_merge_what_is_confused_within():
    # road taken for sidewalk is right, for building wrong; a car on the sidewalk's truth is wrong
    merged = by_category(
        confusion({(ROAD, ROAD): 5, (ROAD, SIDEWALK): 3, (ROAD, BUILDING): 2, (SIDEWALK, CAR): 1})
    )
    flat, construction, vehicle = (
        list(CATEGORIES).index(name) for name in ("flat", "construction", "vehicle")
    )
    assert merged.dtype == np.int64
    assert nonzero(merged) == {(flat, flat): 8, (flat, construction): 2, (flat, vehicle): 1}
    scores = further_scores(
        confusion({(ROAD, ROAD): 5, (ROAD, SIDEWALK): 3, (ROAD, BUILDING): 2, (SIDEWALK, CAR): 1})
    )
    # flat: 8 / (8 + 3 missed); construction and vehicle are predicted and never true
    of_category = scores["category_iou"]
    assert of_category["flat"] == 8 / 11
    assert (of_category["construction"], of_category["vehicle"]) == (0, 0)
    assert all(math.isnan(of_category[name]) for name in ("object", "nature", "sky", "human"))
    assert scores["category_mIoU"] == pytest.approx(8 / 11 / 3, abs=1e-15)
    assert scores.keys() == {"category_iou", "category_mIoU"}  # nothing of instances


def test_a_category_of_one_class_has_its_iou():
    matrix = confusion({(SKY, SKY): 6, (SKY, BUILDING): 1, (CAR, SKY): 2})
    assert further_scores(matrix)["category_iou"]["sky"] == iou(matrix)[SKY] == 6 / 9


@quick
@given(arrays(np.int64, (19, 19), elements=st.integers(0, 10**6)))
def test_no_pixel_is_lost_among_categories(matrix):
    members = [[CLASSES.index(name) for name in names] for names in CATEGORIES.values()]
    expected = [
        [sum(int(matrix[i, j]) for i in rows for j in columns) for columns in members]
        for rows in members
    ]
    assert by_category(matrix).tolist() == expected
    assert sorted(i for rows in members for i in rows) == list(range(19))


# --- weighted counts ---


def test_instances_of_a_class_weigh_alike():
    # a car of two pixels, one right; a car of four, three right
    weighted = weigh([26000, 26000, 26001, 26001, 26001, 26001], [CAR, TRUCK, CAR, CAR, CAR, ROAD])
    assert nonzero(weighted) == {
        (CAR, CAR): pytest.approx(CAR_SIZE * (1 / 2 + 3 / 4), rel=1e-15),
        (CAR, TRUCK): pytest.approx(CAR_SIZE / 2, rel=1e-15),
        (CAR, ROAD): pytest.approx(CAR_SIZE / 4, rel=1e-15),
    }


def test_instances_are_weighed_by_the_average_size_of_their_class():
    weighted = weigh([24001, 28007, 28007], [PERSON, BUS, SKY])
    assert nonzero(weighted) == {
        (PERSON, PERSON): PERSON_SIZE,
        (BUS, BUS): BUS_SIZE / 2,
        (BUS, SKY): BUS_SIZE / 2,
    }


def test_an_instance_in_two_parts_is_one():
    weighted = weigh([26003, 7, 26003, 26003], [CAR, ROAD, CAR, ROAD])
    assert weighted[CAR, CAR] == pytest.approx(CAR_SIZE * 2 / 3, rel=1e-15)


def test_equal_ids_in_two_images_are_two_instances():
    first, second = weigh([26000, 26000], [CAR, ROAD]), weigh([26000], [ROAD])
    assert (first + second)[CAR].sum() == 2 * CAR_SIZE


def test_ids_up_to_1000_are_no_instances():
    """Stuff, and groups such as 26, cars that cannot be told apart."""
    for id_ in (0, 7, 26, 255, 999, 1000):
        assert not weigh([id_, id_], [CAR, ROAD]).any(), id_


def test_instances_of_ignored_classes_do_not_count():
    """Caravan (29) and trailer (30), and what lies above 1000 of the void classes."""
    for id_ in (1001, 6000, 29001, 30000):
        assert not weigh([id_, id_], [CAR, ROAD]).any(), id_


def test_what_is_predicted_on_ignored_instances_may_be_anything():
    assert not weigh([29001, 29001], [255, 19]).any()


def test_the_first_instance_of_a_class_is_number_0():
    assert weigh([24000], [PERSON])[PERSON, PERSON] == PERSON_SIZE


def test_an_image_without_instances_has_no_weights():
    assert not weigh([7, 26, 0], [ROAD, CAR, ROAD]).any()
    assert weighted_confusion(np.zeros((0, 4), np.uint16), np.zeros((0, 4), np.uint8)).shape == (
        19,
        19,
    )


def test_transposed_and_flipped_views_are_counted_as_they_are():
    instances = np.array([[26000, 7], [26001, 7]], np.uint16)
    prediction = np.array([[CAR, CAR], [ROAD, ROAD]], np.uint8)
    np.testing.assert_array_equal(
        weighted_confusion(instances.T[::-1], prediction.T[::-1]),
        weighted_confusion(instances, prediction),
    )


# --- iIoU ---


def test_false_positives_are_counted_in_pixels_without_weight():
    # all of car: weights 1.25 of 2 sizes; car is predicted on 500 pixels of road and 20 of bus
    counts = confusion({(CAR, CAR): 4, (CAR, TRUCK): 1, (ROAD, CAR): 500, (BUS, CAR): 20})
    weighted = weigh([26000, 26000, 26001, 26001, 26001, 26001], [CAR, TRUCK, CAR, CAR, CAR, ROAD])
    expected = 1.25 * CAR_SIZE / (2 * CAR_SIZE + 520)
    assert instance_iou(counts, weighted)[CAR] == pytest.approx(expected, rel=1e-15)


def test_classes_taken_for_each_other_within_a_category_count_as_right():
    # truck is right as a vehicle, road is not; bus on car's place is no false positive of vehicles
    counts = confusion({(CAR, CAR): 4, (CAR, TRUCK): 1, (ROAD, CAR): 500, (BUS, CAR): 20})
    weighted = weigh([26000, 26000, 26001, 26001, 26001, 26001], [CAR, TRUCK, CAR, CAR, CAR, ROAD])
    scores = further_scores(counts, weighted)
    expected = 1.75 * CAR_SIZE / (2 * CAR_SIZE + 500)
    assert scores["category_iIoU"]["vehicle"] == pytest.approx(expected, rel=1e-15)
    assert math.isnan(scores["category_iIoU"]["human"])
    assert scores["category_mean_iIoU"] == scores["category_iIoU"]["vehicle"]


def test_a_category_weighs_each_instance_by_its_own_class():
    weighted = weigh([26000, 28000, 28000], [BUS, BUS, ROAD])
    scores = further_scores(confusion({(CAR, BUS): 1, (BUS, BUS): 1, (BUS, ROAD): 1}), weighted)
    expected = (CAR_SIZE + BUS_SIZE / 2) / (CAR_SIZE + BUS_SIZE)
    assert scores["category_iIoU"]["vehicle"] == pytest.approx(expected, rel=1e-15)
    assert scores["iIoU"]["car"] == 0
    # the car's pixel is a false positive of bus, as it is
    assert scores["iIoU"]["bus"] == pytest.approx(BUS_SIZE / 2 / (BUS_SIZE + 1), rel=1e-15)
    # the mean is of the two that are there
    assert scores["mean_iIoU"] == pytest.approx(scores["iIoU"]["bus"] / 2, rel=1e-15)


def test_absent_is_undefined_and_predicted_without_truth_is_0():
    scores = further_scores(confusion({(ROAD, BUS): 3, (ROAD, ROAD): 1}), np.zeros((19, 19)))
    assert scores["iIoU"].keys() == set(INSTANCE_CLASSES)
    assert scores["iIoU"].pop("bus") == 0
    assert all(math.isnan(x) for x in scores["iIoU"].values())
    assert (scores["mean_iIoU"], scores["category_mean_iIoU"]) == (0, 0)


def test_a_group_alone_is_undefined_however_it_is_predicted():
    """A group counts in IoU; in iIoU it only gives false positives of other classes."""
    instances, label = np.full((1, 4), 26, np.uint16), np.full((1, 4), CAR, np.uint8)
    prediction = np.array([[CAR, CAR, CAR, BUS]], np.uint8)
    counts = confusion_matrix(label, prediction, 19)
    scores = further_scores(counts, weighted_confusion(instances, prediction))
    assert iou(counts)[CAR] == 3 / 4
    assert math.isnan(scores["iIoU"]["car"])
    assert scores["iIoU"]["bus"] == 0
    assert math.isnan(scores["category_iIoU"]["vehicle"])
    assert scores["category_iou"]["vehicle"] == 1


def test_without_any_pixel_every_score_is_undefined(recwarn):
    scores = further_scores(confusion({}), np.zeros((19, 19)))
    assert all(
        math.isnan(x)
        for score in scores.values()
        for x in (score.values() if isinstance(score, dict) else [score])
    )
    assert not recwarn.list


# --- wrong input ---


def test_instances_of_classes_that_have_none_are_named():
    with pytest.raises(ValueError, match=r"^instances 7001, 34005 are of no class that has inst"):
        weigh([26000, 34005, 7001], [CAR, CAR, CAR])


def test_predictions_that_are_no_class_are_named():
    with pytest.raises(ValueError, match=r"^prediction has values 19, 255, which are none of 19"):
        weigh([26000, 26000, 26001], [CAR, 255, 19])


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"prediction has shape \(3, 2\), its instances \(2, 3\)"):
        weighted_confusion(np.zeros((2, 3), np.uint16), np.zeros((3, 2), np.uint8))


def test_instances_or_predictions_of_another_dtype_are_refused():
    for first, second in (("int32", "uint8"), ("uint16", "int64")):
        with pytest.raises(ValueError, match=f"got {first} and {second}"):
            weighted_confusion(np.zeros((2, 2), first), np.zeros((2, 2), second))


# --- a loop over pixels ---

BY_ID = {label.id: label for label in LABELS}
IDS = [7, 8, 11, 23, 24, 26, 28, 26000, 26001, 28000, 24000, 24013, 25002, 29000, 3, 0, 1000]
PREDICTED = [ROAD, SIDEWALK, SKY, PERSON, RIDER, CAR, TRUCK, BUS]


@st.composite
def scenes(draw):
    """Instance ids and a prediction."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8))
    return (
        draw(arrays(np.uint16, shape, elements=st.sampled_from(IDS))),
        draw(arrays(np.uint8, shape, elements=st.sampled_from(PREDICTED))),
    )


def class_of(id_: int) -> int:
    """Its class's id; 1000 is no instance of class 1, but both of its classes are ignored."""
    return id_ // 1000 if id_ >= 1000 else id_


def labels_of(instances: np.ndarray) -> np.ndarray:
    train_ids = [CITYSCAPES_IDS[class_of(int(id_))] for id_ in instances.flat]
    return np.array(train_ids, np.uint8).reshape(instances.shape)


def by_loops(images: list) -> dict:
    """Every score, pixel by pixel and instance by instance."""
    pixels = [
        (image, int(id_), BY_ID[class_of(int(id_))], CLASSES[answer])
        for image, (instances, prediction) in enumerate(images)
        for id_, answer in zip(instances.flat, prediction.flat, strict=True)
    ]
    sizes = {}
    for image, id_, _, _ in pixels:
        sizes[image, id_] = sizes.get((image, id_), 0) + 1

    def scores(names: tuple[str, ...]) -> tuple[float, float]:
        """IoU and iIoU of the classes of these names, taken for one."""
        hit = missed = false = weighted_hit = weighted_missed = 0
        for image, id_, truth, answer in pixels:
            if truth.train_id == 255:
                continue
            if truth.name in names:
                right = answer in names
                hit, missed = hit + right, missed + (not right)
                if id_ > 1000:
                    weight = AVERAGE_SIZES[truth.name] / sizes[image, id_]
                    weighted_hit += weight * right
                    weighted_missed += weight * (not right)
            elif answer in names:
                false += 1
        total, weighted = hit + missed + false, weighted_hit + weighted_missed + false
        return (
            hit / total if total else math.nan,
            weighted_hit / weighted if weighted else math.nan,
        )

    return dict(
        category_iou={name: scores(classes)[0] for name, classes in CATEGORIES.items()},
        iIoU={name: scores((name,))[1] for name in INSTANCE_CLASSES},
        category_iIoU={name: scores(CATEGORIES[name])[1] for name in ("human", "vehicle")},
    )


@quick
@given(st.lists(scenes(), min_size=1, max_size=3))
def test_scores_equal_a_loop_over_pixels(images):
    counts = sum(confusion_matrix(labels_of(ids), answer, 19) for ids, answer in images)
    weighted = sum(weighted_confusion(ids, answer) for ids, answer in images)
    found = further_scores(counts, weighted)
    for key, expected in by_loops(images).items():
        assert found[key] == pytest.approx(expected, abs=1e-12, nan_ok=True), key
        defined = [x for x in expected.values() if not math.isnan(x)]
        mean = {
            "category_iou": "category_mIoU",
            "iIoU": "mean_iIoU",
            "category_iIoU": "category_mean_iIoU",
        }[key]
        expected_mean = sum(defined) / len(defined) if defined else math.nan
        assert found[mean] == pytest.approx(expected_mean, abs=1e-12, nan_ok=True)


@quick
@given(scenes())
def test_a_row_is_the_number_of_instances_times_their_average_size(scene):
    instances, prediction = scene
    weighted = weighted_confusion(instances, prediction)
    for name, id_ in (("person", 24), ("rider", 25), ("car", 26), ("bus", 28)):
        number = sum(i > 1000 and i // 1000 == id_ for i in set(instances.ravel().tolist()))
        row = weighted[CLASSES.index(name)].sum()
        assert row == pytest.approx(number * AVERAGE_SIZES[name], rel=1e-12)


@quick
@given(scenes(), st.integers(2, 3))
def test_weights_do_not_depend_on_the_resolution(scene, factor):
    larger = [x.repeat(factor, axis=0).repeat(factor, axis=1) for x in scene]
    np.testing.assert_allclose(
        weighted_confusion(*larger), weighted_confusion(*scene), rtol=1e-12, atol=0
    )


@quick
@given(scenes(), st.permutations(range(4)))
def test_renumbering_instances_changes_nothing(scene, order):
    instances, prediction = scene
    renamed = instances.copy()
    for old, new in zip((26000, 26001, 26002, 26003), order, strict=True):
        renamed[instances == old] = 26000 + new
    np.testing.assert_allclose(
        weighted_confusion(renamed, prediction), weighted_confusion(*scene), rtol=1e-12, atol=0
    )


def test_a_cityscapes_image_is_counted_in_30_ms():
    rng = np.random.default_rng(0)
    instances = np.full((1024, 2048), 7, np.uint16)
    for i in range(100):  # a tenth of the pixels or more
        top, left = rng.integers(400, 900), rng.integers(0, 1900)
        instances[top : top + 80, left : left + 80] = 26000 + i
    prediction = rng.integers(0, 19, instances.shape, np.uint8)
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        weighted_confusion(instances, prediction)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.03  # the others share the processor
