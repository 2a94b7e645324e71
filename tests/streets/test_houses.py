"""Houses have the sizes and places of their kinds, in metres."""

import itertools

import pytest

from ibnseg.streets.houses import HOUSES, house
from ibnseg.streets.scene import UP, Random, unit
from tests.streets.test_objects import NAMES, SEEDS, corners


def test_houses_have_the_size_that_their_kind_states():
    """From near to far along the street and back from it, as high as their floors say; a gable
    roof adds at most 4.9 m; its foot is 0.3 m under the lower end of the ground."""
    for name, side in itertools.product(HOUSES, (-1, 1)):
        kind = HOUSES[name]
        near, far = (side * 8.0, 0.5, 20.0), (side * 8.0, 0.2, 32.0)
        for seed in SEEDS:
            facets = house(near, far, side * 11.0, kind, Random(seed))
            points = corners(facets)
            assert {NAMES[f.label] for f in facets} == {"building"}
            walls = points[:20]
            assert walls[:, 1].min() == pytest.approx(0.2 - 0.3)
            floors = (walls[:12, 1].max() - (0.2 - 0.3) - 0.6) / 3
            assert floors == pytest.approx(round(floors))
            assert kind.floors[0] <= round(floors) <= kind.floors[1]
            back = side * points[:, 0]
            assert back.min() > 8 - 0.6
            assert back.max() == pytest.approx(8 + 11)
            assert points[:12, 2].min() == 20
            assert points[:12, 2].max() == 32
            rise = points[:, 1].max() - walls[:12, 1].max()
            assert (0.5 < rise < 4.95) if kind.gabled else rise == pytest.approx(0)


def test_a_roof_leans_back_from_its_eave_to_its_ridge():
    """Its upper edge lies over the middle of the house, as high as the gable's tip."""
    facets = house((8.0, 0, 20.0), (8.0, 0, 32.0), 10.0, HOUSES["cottage"], Random(0))
    (roof,) = (f for f in facets if f.material == "rooftiles")
    tip = max(corners([facets[-2]]).tolist(), key=lambda p: p[1])
    ridge = corners([roof])[2]
    assert ridge[:2] == pytest.approx(tip[:2])
    assert tip[0] == pytest.approx(8 + 10 / 2)
    assert unit(roof.up)[1] == pytest.approx(1)


def test_the_front_of_a_house_faces_the_street():
    """Trim and door are nearer to the street than its wall, on both sides of it."""
    for side in (-1, 1):
        facets = house((side * 8.0, 0, 20.0), (side * 8.0, 0, 32.0), side * 10.0,
                          HOUSES["block"], Random(1))  # fmt: skip
        assert [side * f.origin[0] for f in facets[3:]] == pytest.approx([8 - 0.12] * 3)
        assert all(f.up == UP for f in facets)
