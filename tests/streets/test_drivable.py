"""The drivable area of a scene is labelled lane by lane."""

import numpy as np
import pytest

from ibnseg.streets.drivable import drivable_area
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.objects import ID
from ibnseg.streets.raster import rasterise
from ibnseg.streets.scene import AHEAD, RIGHT, UP, Camera, Facet, Lanes, Scene, box

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2


def test_lanes_of_a_flat_road_lie_where_worked_out_by_hand() -> None:
    """A flat road, seen from 1 m above with a focal length of the image's width.

    In row v the road is 1 / (v + 0.5 - 16) * 64 m away for 64x32 pixels with the horizon in the
    middle, so that column u sees it (u + 0.5 - 32) / (v + 0.5 - 16) m to the right.
    """
    road = Facet(ID["road"], "asphalt", 0, (0, 0, 0), RIGHT, AHEAD, box(-9, 9, 0.5, 300))
    lanes = Lanes((-6.0, -3.0, 0.5, 4.0), ego=1)
    scene = Scene(Camera(1.0, 1.0, 0.5), UP, [road], lanes)
    raster = rasterise(scene, 64, 32)
    area = drivable_area(raster)
    u, v = np.meshgrid(np.arange(64), np.arange(32))
    with np.errstate(divide="ignore", invalid="ignore"):
        right = (u - 32) / (v - 16.0)
    for row in (20, 24, 28):
        for column in range(64):
            x = right[row, column]
            if min(abs(x - edge) for edge in (-9, -6, -3, 0.5, 4, 9)) < 1.0 / (row - 16):
                continue  # within a pixel of an edge
            expected = BACKGROUND
            if -6 < x < 4:
                expected = DIRECT if -3 < x < 0.5 else ALTERNATIVE
            assert area[row, column] == expected, (row, column, x)
    assert (area[:15] == BACKGROUND).all()
    assert {*np.unique(area[20])} == {DIRECT, ALTERNATIVE, BACKGROUND}


@pytest.fixture(scope="module")
def rasters() -> list:
    return [rasterise(draw_layout(i), 128, 64) for i in range(12)]


def test_only_the_road_is_drivable(rasters) -> None:
    for raster in rasters:
        area = drivable_area(raster)
        assert area.dtype == np.uint8
        assert (raster.labels[area != BACKGROUND] == ID["road"]).all()
        inside = np.abs(raster.a) < raster.scene.lanes.edges[-1]
        assert (area[(raster.labels == ID["road"]) & inside] != BACKGROUND).all()


def test_the_lane_below_the_camera_is_direct(rasters) -> None:
    """Road in the middle of the lowest row is direct."""
    seen = 0
    for raster in rasters:
        if raster.labels[-1, 64] == ID["road"]:
            assert drivable_area(raster)[-1, 64] == DIRECT
            seen += 1
    assert seen >= 8


def test_there_is_another_lane_on_the_left(rasters) -> None:
    """Streets have at least one lane each way."""
    for raster in rasters:
        edges, ego = raster.scene.lanes
        assert len(edges) % 2 == 1
        assert edges[ego] == 0 < edges[ego + 1]
    assert sum((drivable_area(raster) == ALTERNATIVE).any() for raster in rasters) >= 10


def test_a_scene_without_lanes_has_no_drivable_area() -> None:
    road = Facet(ID["road"], "asphalt", 0, (0, 0, 0), RIGHT, AHEAD, box(-9, 9, 0.5, 300))
    raster = rasterise(Scene(Camera(1.0, 1.0, 0.5), UP, [road]), 64, 32)
    assert (drivable_area(raster) == BACKGROUND).all()
