"""Random streets: their geometry by hand, and what a sample of sixty holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibnseg.datasets.labels import CITYSCAPES_IDS, CLASSES
from ibnseg.streets.layout import END, KNOTS, START, Street, draw_layout
from ibnseg.streets.objects import ID
from ibnseg.streets.raster import rasterise
from ibnseg.streets.scene import Facet

SURFACE = (7, "asphalt", 0.0)
BENT = Street(  # to Z = 10 straight on the level, then 3 to the right and 1 up for each 4 ahead
    np.array([0.0, 10.0, 30.0]), np.array([2.0, 2.0, 17.0]), np.array([0.0, 0.0, 5.0]), (12.0, 20.0)
)


def corners(facet: Facet) -> np.ndarray:
    outline = np.array(facet.outline)
    return facet.origin + outline[:, :1] * facet.right + outline[:, 1:] * facet.up


# --- a street ---


def test_frames_along_a_bent_street():
    """At Z = 14 it is 4 beyond the knot: X = 2 + 3, Y = 1; it faces (3, 0, 4) / 5."""
    straight, bent = BENT.frame(5.0, 1.0), BENT.frame(14.0, 1.5, up=0.1)
    assert straight == ((3, 0, 5), (1, 0, 0), (0, 0, 1))
    assert bent.origin == pytest.approx((6.5, 1.1, 14))
    assert bent.ahead == pytest.approx((0.6, 0, 0.8))
    assert bent.right == pytest.approx((0.8, 0, -0.6))


def test_a_street_goes_on_straight_beyond_its_ends():
    assert BENT.frame(-4.0, 0).origin == pytest.approx((2, 0, -4))
    assert BENT.frame(34.0, 0).origin == pytest.approx((20, 6, 34))


def test_stretches_outside_the_crossing_are_those_worked_out_by_hand():
    """The crossing reaches from 12 to 20."""
    assert BENT.outside(5, 30) == [(5, 12.0), (20.0, 30)]
    assert BENT.outside(5, 9) == [(5, 9)]
    assert BENT.outside(22, 30) == [(22, 30)]
    assert BENT.outside(13, 19) == []
    assert BENT.outside(5, 15) == [(5, 12.0)]


@given(st.floats(0, 40), st.floats(0, 5))
def test_places_further_than_the_margin_from_the_crossing_are_free(z, margin):
    assert BENT.is_free(z, margin) == (z <= 12 - margin or z >= 20 + margin)


def test_a_strip_follows_the_street():
    """From Z = 6 to 14, 1 to 3 right of the middle: a level piece to the knot and one that
    climbs."""
    level, climbing = BENT.strip(SURFACE, 6.0, 14.0, 1, 3, up=0.1)
    np.testing.assert_allclose(
        corners(level), [(3, 0.1, 6), (5, 0.1, 6), (5, 0.1, 10), (3, 0.1, 10)], atol=1e-12
    )
    np.testing.assert_allclose(
        corners(climbing), [(3, 0.1, 10), (5, 0.1, 10), (8, 1.1, 14), (6, 1.1, 14)], atol=1e-12
    )


def test_a_strip_on_the_left_is_the_same_whatever_the_order_of_its_sides():
    one, other = BENT.strip(SURFACE, 1.0, 2.0, -1, -3), BENT.strip(SURFACE, 1.0, 2.0, -3, -1)
    assert [*one] == [*other]


def test_a_ribbon_stands_along_the_street():
    """Its feet lie on the line, its top is as far above them as said."""
    level, climbing = BENT.ribbon(SURFACE, 6.0, 14.0, 1, 0, 2)
    np.testing.assert_allclose(
        corners(level), [(3, 0, 6), (3, 0, 10), (3, 2, 10), (3, 2, 6)], atol=1e-12
    )
    np.testing.assert_allclose(
        corners(climbing), [(3, 0, 10), (6, 1, 14), (6, 3, 14), (3, 2, 10)], atol=1e-12
    )


# --- sixty streets ---


@pytest.fixture(scope="module")
def scenes():
    return [draw_layout(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def pixels(scenes) -> np.ndarray:
    """(60, 20) pixels of each train id, and of what is ignored, at 256x128."""
    table = np.full(256, len(CLASSES))
    for id_, train_id in CITYSCAPES_IDS.items():
        table[id_] = min(train_id, len(CLASSES))
    labels = (table[rasterise(scene, 256, 128).labels].ravel() for scene in scenes)
    return np.array([np.bincount(x, minlength=len(CLASSES) + 1) for x in labels])


def test_the_same_seed_gives_the_same_scene(scenes):
    for seed in (0, 7):
        assert draw_layout(seed) == scenes[seed]


def test_seeds_give_different_streets(scenes):
    assert len({(scene.camera, scene.sun) for scene in scenes}) == len(scenes)


SHARES = {  # of all pixels, in percent: least, most; and in how many of 60 streets at least
    "road": (15, 45, 60),
    "sidewalk": (2, 12, 50),
    "building": (10, 40, 58),
    "wall": (0.2, 3, 20),
    "fence": (0.2, 3, 15),
    "pole": (0.4, 3, 55),
    "traffic light": (0.03, 1, 15),
    "traffic sign": (0.1, 1.5, 50),
    "vegetation": (5, 25, 55),
    "terrain": (0.5, 6, 20),
    "sky": (4, 25, 58),
    "person": (0.3, 3, 50),
    "rider": (0.04, 1, 12),
    "car": (4, 20, 52),
    "truck": (0.2, 3, 18),
    "bus": (0.2, 3, 18),
    "train": (0.2, 3, 10),
    "motorcycle": (0.08, 1.5, 20),
    "bicycle": (0.08, 1.5, 20),
}


def test_every_class_occurs_about_as_often_as_in_a_town(pixels):
    """More than 20 pixels of it in so many streets, and its share of all pixels."""
    for name in CLASSES:
        least, most, streets = SHARES[name]
        own = pixels[:, CLASSES.index(name)]
        assert least <= 100 * own.sum() / pixels.sum() <= most
        assert (own > 20).sum() >= streets


def test_less_than_a_tenth_of_the_pixels_is_ignored(pixels):
    """Parking, rail tracks and bins: some, less than a tenth."""
    assert 0.005 < pixels[:, -1].sum() / pixels.sum() < 0.1


def test_cameras_are_those_of_cars_and_some_of_vans(scenes):
    heights = np.array([scene.camera.height for scene in scenes])
    assert ((heights >= 1.15) & (heights <= 2.6)).all()
    assert len(set(heights)) == 60
    assert 1 <= (heights > 2).sum() <= 18
    assert all(0.72 <= s.camera.focal <= 1.05 for s in scenes)
    assert all(0.4 <= s.camera.horizon <= 0.52 for s in scenes)


def test_suns_are_unit_vectors_above_the_ground(scenes):
    for scene in scenes:
        assert math.hypot(*scene.sun) == pytest.approx(1, abs=1e-12)
        assert scene.sun[1] > 0.3  # a shadow is at most three times as long as its thing


def middle(scene) -> np.ndarray:
    """(17, 3) of the road's middle at the knots, of the road's own facets."""
    road = [f for f in scene.facets if f.material == "asphalt"][: len(KNOTS) - 1]
    edges = [corners(f) for f in road]
    return np.array([e[:2].mean(axis=0) for e in edges] + [edges[-1][2:].mean(axis=0)])


def test_streets_bend_both_ways_and_are_mostly_nearly_straight(scenes):
    """How far the middle at 260 m is from the tangent at the camera: bend * 260^2, at most 225."""
    z, aside = np.array(KNOTS), []
    for scene in scenes:
        x = middle(scene)[:, 0]
        slope = (x[1] - x[0]) / (z[1] - z[0])
        aside.append(x[-1] - x[0] - slope * (z[-1] - z[0]))
    aside = np.array(aside)
    assert (aside > 10).sum() >= 5
    assert (aside < -10).sum() >= 5
    assert (np.abs(aside) < 30).sum() >= 20
    assert np.abs(aside).max() <= 226


def test_streets_climb_and_fall(scenes):
    """The profile starts at 0 under the camera, and no slope is steeper than 16 %."""
    ends = np.array([middle(scene)[-1, 1] for scene in scenes])
    assert (ends > 1).sum() >= 5
    assert (ends < -1).sum() >= 5
    for scene in scenes:
        _, y, z = middle(scene).T
        np.testing.assert_allclose(z, KNOTS)
        assert abs(y[0]) < 0.03
        assert np.abs(np.diff(y) / np.diff(z)).max() < 0.16


def test_some_streets_have_crossings_and_others_do_not(scenes):
    """A crossing has road to both sides, 90 m from the middle; and only then traffic lights."""
    wide = []
    for scene in scenes:
        road = [corners(f) for f in scene.facets if f.material == "asphalt"]
        wide.append(max(np.ptp(c[:2, 0]) for c in road) > 60)
        lights = any(f.label == ID["traffic light"] for f in scene.facets)
        assert lights == wide[-1]
    assert 15 <= sum(wide) <= 45


def test_facets_are_of_finite_numbers(scenes):
    """No facet is degenerate: three corners or more, its vectors unit, its tone below 1."""
    for scene in scenes[:10]:
        for f in scene.facets:
            assert np.isfinite(corners(f)).all()
            assert len(f.outline) >= 3
            assert 0 <= f.tone < 1
            assert math.hypot(*f.right) == pytest.approx(1, abs=1e-9)
            assert math.hypot(*f.up) == pytest.approx(1, abs=1e-9)


def test_knots_increase_from_the_start_to_the_end():
    assert (KNOTS[0], KNOTS[-1]) == (START, END)
    assert list(KNOTS) == sorted(set(KNOTS))
