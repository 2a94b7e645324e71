"""Queries of classes, and the classes of an image."""

import numpy as np
import pytest

from ibnseg.analysis.divergence.content import classes_present, parse_query
from ibnseg.datasets.labels import CLASSES
from ibnseg.support.errors import UserError


def test_a_query_tells_whether_an_image_has_the_classes() -> None:
    for text, present, expected in (
        ("car", {"car"}, True),
        ("car", {"bus"}, False),
        ("car and not person", {"car"}, True),
        ("car and not person", {"car", "person"}, False),
        ("not car", set(), True),
        ("car or bus and person", {"car"}, True),  # and binds first, as in Python
        ("(car or bus) and person", {"car"}, False),
        ("not (car or bus)", {"bus"}, False),
        ("traffic light", {"traffic light"}, True),
        ("traffic_light and car", {"traffic light"}, False),
        ("'traffic light' or \"traffic sign\"", {"traffic sign"}, True),
        ("not traffic light and (traffic sign)", {"traffic sign"}, True),
        ("not not car", {"car"}, True),
    ):
        query = parse_query(text, CLASSES)
        assert query(np.array([name in present for name in CLASSES])) is expected, text


def test_a_query_that_cannot_be_read_is_refused() -> None:
    for text in (
        "",
        "()",
        "car and",
        "and car",
        "(car",
        "car)",
        "car (bus)",
        "car & bus",
        "car, bus",
        "'car",
        "car not bus",
        "car not",
        "not",
        "'car' 'bus'",
        "car if bus else train",
    ):
        with pytest.raises(
            UserError, match=r"--content|unknown class in --content 'car if bus else"
        ):
            parse_query(text, CLASSES)


def test_an_unknown_class_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="unknown class in --content 'cars'; did you mean car"):
        parse_query("cars and person", CLASSES)
    with pytest.raises(UserError, match="unknown class in --content 'car person'"):
        parse_query("car person", CLASSES)
    with pytest.raises(UserError, match="unknown class in --content '__import__"):
        parse_query("'__import__(\"os\")'", CLASSES)


def test_a_class_is_present_from_its_least_share_on() -> None:
    """200 pixels, of which 100 do not count: 1 of class 0 is 1 %, 99 of class 2 are the rest."""
    label = np.full((10, 20), 255, np.uint8)
    label[0, 0], label.ravel()[1:100] = 0, 2
    assert classes_present(label, 3, 0.01).tolist() == [True, False, True]
    assert classes_present(label, 3, 0.011).tolist() == [False, False, True]
    assert classes_present(label, 3, 0).tolist() == [True, False, True]
    assert classes_present(np.full((2, 2), 255, np.uint8), 3, 0).tolist() == [False] * 3
