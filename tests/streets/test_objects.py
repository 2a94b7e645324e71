"""The things of a street: their sizes in metres, their classes, and where they stand."""

import numpy as np
import pytest

from ibnseg.datasets.labels import LABELS
from ibnseg.streets import objects
from ibnseg.streets.scene import Facet, Frame, Random

NAMES = {label.id: label.name for label in LABELS}
FOOT = np.array((3.0, 0.5, 20.0))
SEEDS = range(20)


def corners(facets: list[Facet]) -> np.ndarray:
    """(n, 3) corners in space, by the definition of a facet."""
    return np.array(
        [
            [o + a * r + b * u for o, r, u in zip(*facet[3:6], strict=True)]
            for facet in facets
            for a, b in facet.outline
        ]
    )


def drawn(name: str, frame: Frame, seed: int) -> list[Facet]:
    if name == "tram":  # whose cars share a tone
        return objects.tram(frame, Random(seed).random_sample())
    return getattr(objects, name)(frame, Random(seed))


SIZES = {  # least and most: width, height, length in metres; how far above the ground it begins
    "car": ((1.7, 2.0), (1.4, 2.0), (3.9, 5.1), 0),
    "truck": ((2.3, 2.6), (2.8, 4.0), (6, 10), 0),
    "bus": ((2.4, 2.6), (3.0, 3.5), (9, 13), 0),
    "tram": ((2.3, 2.7), (3.0, 3.8), (9.9, 10.2), 0.08),
    "bicycle": ((0.4, 0.7), (0.9, 1.15), (1.6, 1.9), 0),
    "motorcycle": ((0.6, 0.9), (1.0, 1.3), (1.9, 2.3), 0),
    "rider": ((0.4, 1.8), (1.6, 1.95), (1.0, 2.1), 0),
    "person": ((0.4, 1.1), (1.0, 1.95), (0, 0.1), 0),
    "tree": ((1.8, 8), (4, 12), (0, 0.1), 0),
    "bush": ((1.0, 4.5), (0.5, 2), (0, 0.1), 0),
    "street_lamp": ((1.8, 2.6), (6, 9.5), (0, 0.1), 0),
    "bollard": ((0.1, 0.2), (0.7, 1.2), (0, 0.1), 0),
    "litter_bin": ((0.4, 0.8), (0.8, 1.3), (0, 0.1), 0),
    "traffic_light": ((0.3, 0.5), (3, 4.2), (0, 0.1), 0),
    "traffic_sign": ((0.6, 1.5), (2.2, 3.3), (0, 0.1), 0),
}


def test_sizes_in_metres_and_standing_on_the_ground():
    """Checks 20 objects of each kind; the skirt of a tram ends a little above its rails."""
    for name in SIZES:
        *ranges, foot = SIZES[name]
        for seed in SEEDS:
            points = corners(drawn(name, Frame(tuple(FOOT)), seed)) - FOOT
            extents = np.ptp(points, axis=0)
            for extent, (least, most) in zip(extents, ranges, strict=True):
                assert least <= extent <= most, (name, seed, extents)
            assert points[:, 1].min() == pytest.approx(foot, abs=1e-9)


CLASSES = {
    "tram": {"train"},  # what a thing consists of, where that is not its name alone
    "tree": {"vegetation"},
    "bush": {"vegetation"},
    "street_lamp": {"pole"},
    "bollard": {"pole"},
    "litter_bin": {"static"},
    "traffic_light": {"traffic light", "pole"},
    "traffic_sign": {"traffic sign", "pole"},
}


def test_things_consist_of_their_classes():
    for name in SIZES.keys() - {"rider"}:
        for seed in SEEDS:
            classes = {NAMES[f.label] for f in drawn(name, Frame(tuple(FOOT)), seed)}
            assert classes == CLASSES.get(name, {name})


def test_a_rider_has_a_bicycle_or_a_motorcycle():
    """Both vehicles occur among 20 riders, and none is without its rider."""
    found = [{NAMES[f.label] for f in drawn("rider", Frame(tuple(FOOT)), s)} for s in SEEDS]
    assert {frozenset(x) for x in found} == {
        frozenset({"rider", "bicycle"}),
        frozenset({"rider", "motorcycle"}),
    }


def test_facets_are_planes_of_unit_vectors_square_to_each_other():
    """So that a and b are metres; tones choose a colour, so they are below 1."""
    for name in SIZES:
        for facet in drawn(name, Frame(tuple(FOOT)).turned(0.7), 3):
            right, up = np.array(facet.right), np.array(facet.up)
            assert (right @ right, up @ up) == pytest.approx((1, 1), abs=1e-12)
            assert right @ up == pytest.approx(0, abs=1e-12)
            assert 0 <= facet.tone < 1
            assert len(facet.outline) >= 3


def test_the_same_generator_gives_the_same_facets():
    for name in SIZES:
        frame = Frame(tuple(FOOT)).turned(0.3)
        assert drawn(name, frame, 5) == drawn(name, frame, 5)


def test_a_vehicle_turns_with_its_frame():
    """Facing along X, what was (x, y, z) from its foot is (z, y, -x)."""
    for name in ("car", "truck", "bus", "tram", "bicycle", "motorcycle"):
        straight = corners(drawn(name, Frame(tuple(FOOT)), 2)) - FOOT
        frame = Frame(tuple(FOOT), right=(0.0, 0.0, -1.0), ahead=(1.0, 0.0, 0.0))
        turned = corners(drawn(name, frame, 2)) - FOOT
        expected = np.stack([straight[:, 2], straight[:, 1], -straight[:, 0]], axis=1)
        np.testing.assert_allclose(turned, expected, atol=1e-9)


def test_taillights_are_behind_and_headlights_in_front():
    """Of the body: seen from behind it shows red, from the front it shows white."""
    for name in ("car", "truck", "bus"):
        facets = drawn(name, Frame((0.0, 0.0, 0.0)), 1)
        body = corners([f for f in facets if f.material == "paint"])
        lamps = corners([f for f in facets if f.material == "lamp"])
        tails = corners([f for f in facets if f.material == "taillight"])
        assert lamps[:, 2].min() > body[:, 2].max()
        assert tails[:, 2].max() < body[:, 2].min()


def test_one_light_of_a_traffic_light_is_lit_and_red_is_on_top():
    seen = set()
    for seed in SEEDS:
        facets = drawn("traffic_light", Frame(tuple(FOOT)), seed)
        lamps = sorted((f.outline[4][1], f.material) for f in facets[2:])
        (lit,) = (i for i, (_, material) in enumerate(lamps) if material != "tyre")
        assert lamps[lit][1] == ("green", "amber", "red")[lit]
        seen.add(lamps[lit][1])
    assert seen == {"green", "amber", "red"}


def test_the_arm_of_a_street_lamp_reaches_to_the_right_of_its_frame():
    for side in (-1, 1):
        frame = Frame((5.0, 0.0, 20.0))
        points = corners(drawn("street_lamp", frame if side > 0 else frame.mirrored(), 0))
        reach = side * (points[:, 0] - 5)
        assert reach.max() == pytest.approx(2.2)
        assert reach.min() == pytest.approx(-0.09)


def test_cutouts_are_each_nearer_than_the_one_before():
    surface, shape = (24, "cloth", 0.0), ((0, 0), (1, 0), (0, 1))
    facets = objects.cutouts(Frame((0.0, 0.0, 9.0)), [(surface, shape)] * 3, z=-0.1)
    np.testing.assert_allclose([f.origin[2] for f in facets], [8.9, 8.896, 8.892], atol=1e-12)
