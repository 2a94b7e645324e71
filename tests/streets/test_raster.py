"""Which facet each pixel sees and where on it, against cases worked out by hand and float64.

The scenes of one facet are seen by a camera 1.5 m high, one picture width of focal length, horizon
half-way down a picture of 64x32: u = 64 X / Z + 31.5 and v = 16 - 64 (Y - 1.5) / Z.
"""

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import NEAR, rasterise, shadow
from ibnseg.streets.scene import AHEAD, RIGHT, UP, Camera, Facet, Frame, Scene, box, unit

WIDTH, HEIGHT = 64, 32
CAMERA = Camera(height=1.5, focal=1.0, horizon=0.5)
WALL, CAR, ROAD, SKY = 12, 26, 7, 23
quick = settings(deadline=None, max_examples=60)


def seen(*facets: Facet, camera: Camera = CAMERA, size=(WIDTH, HEIGHT)):
    return rasterise(Scene(camera, UP, list(facets)), *size)


def board(label: int, left, right, low, high, z) -> Facet:
    """An upright rectangle across the view."""
    return Frame((0.0, 0.0, z)).across((label, "paint", 0), box(left, right, low, high))


def expected(label: int, rows: slice, columns: slice) -> np.ndarray:
    labels = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    labels[rows, columns] = label
    return labels


def test_a_rectangle_covers_the_pixels_worked_out_by_hand():
    """At Z = 8 a metre is 8 pixels: u from 31.5 - 8.2 = 23.3 to 31.5 + 12.2 = 43.7, v from
    16 - 6.7 = 9.3 to 16 + 7.7 = 23.7; pixels 24 to 43 and 10 to 23 have their centres inside."""
    raster = seen(board(WALL, -1.025, 1.525, 1.5 - 0.9625, 1.5 + 0.8375, 8.0))
    np.testing.assert_array_equal(raster.labels, expected(WALL, np.s_[10:24], np.s_[24:44]))
    np.testing.assert_array_equal(raster.numbers, raster.labels == WALL)


def test_edges_on_centres_of_pixels_belong_to_the_facet():
    """At Z = 8, u from 31.5 - 7.5 = 24 to 40, v from 16 - 6 = 10 to 20."""
    raster = seen(board(WALL, -0.9375, 1.0625, 1.0, 2.25, 8.0))
    np.testing.assert_array_equal(raster.labels, expected(WALL, np.s_[10:21], np.s_[24:41]))


def test_edges_move_with_the_lens_and_the_eye():
    """Focal length 0.5, horizon a quarter down, eye at 2 m: at Z = 8 a metre is 4 pixels, u from
    31.5 - 4.2 = 27.3 to 31.5 + 4.2 = 35.7, v from 8 + 0.4 to 8 + 7.6."""
    camera = Camera(height=2.0, focal=0.5, horizon=0.25)
    raster = seen(board(CAR, -1.05, 1.05, 0.1, 1.9, 8.0), camera=camera)
    np.testing.assert_array_equal(raster.labels, expected(CAR, np.s_[9:16], np.s_[28:36]))


def test_each_pixel_has_four_samples():
    """Sample (2v + 1, 2u + 1) lies half a pixel right of and below the centre of (v, u): one edge
    at u = 43.7 covers the samples up to 87 of 128."""
    samples = seen(board(WALL, -1.025, 1.525, 0.5375, 2.3375, 8.0)).samples
    assert samples.shape == (2 * HEIGHT, 2 * WIDTH)
    rows, columns = np.nonzero(samples)
    # fillPoly draws the outline too: a sample is covered if the edge is within half of one
    assert (columns.min(), columns.max()) == (47, 87)
    assert (rows.min(), rows.max()) == (19, 47)


def test_the_nearer_facet_wins_whatever_the_order():
    """A car at 6 m before a wall at 8 m, and the other way about."""
    for order in (1, -1):
        car, wall = board(CAR, -1, 1, 1, 2, 6.0), board(WALL, -2, 2, 0.5, 2.5, 8.0)
        labels = seen(*(car, wall)[::order]).labels
        assert labels[16, 32] == CAR, order
        assert labels[16, 18] == WALL, order
        assert (labels == CAR).sum() == (seen(car).labels == CAR).sum(), order


def test_two_crossing_facets_are_parted_at_the_crossing():
    """A facet that runs through the other's plane at X = 0 is seen on one side of it only."""
    ahead, _ = unit((1.0, 0.0, -0.5))
    slanted = Facet(CAR, "paint", 0, (0.0, 1.5, 8.0), ahead, UP, box(-3, 3, -1, 1))
    labels = seen(slanted, board(WALL, -3, 3, 0.5, 2.5, 8.0)).labels
    assert set(labels[16, 12:31]) == {WALL}
    assert set(labels[16, 33:52]) == {CAR}


def test_a_facet_that_begins_behind_the_camera_is_cut():
    """A road from 5 m behind to 5 m ahead, 2 m wide: below v = 16 + 64 * 1.5 / 5 = 35.2, so seen
    by a taller picture; at row v its edges are at 31.5 -+ (v - 24) / 1.5 (horizon at 24)."""
    road = Facet(ROAD, "asphalt", 0, (0.0, 0.0, 0.0), RIGHT, AHEAD, box(-1, 1, -5, 5))
    labels = seen(road, size=(64, 48)).labels
    assert (labels[:43] == SKY).all()
    for v in range(44, 48):
        left, right = 31.5 - (v - 24) / 1.5, 31.5 + (v - 24) / 1.5
        columns = np.flatnonzero(labels[v] == ROAD)
        np.testing.assert_array_equal(columns, np.arange(columns[0], columns[-1] + 1))
        assert abs(columns[0] - left) <= 1
        assert abs(columns[-1] - right) <= 1


def test_a_long_wall_beside_the_camera_reaches_the_border():
    """X = 1 from behind to 100 m ahead, Y from 0 to 3: seen from u = 32.1 to the right border, not
    mirrored to the left, and at each column as high as 64 * 1.5 / Z says, Z = 64 / (u - 31.5)."""
    raster = seen(Frame((0.0, 0.0, 0.0)).along((WALL, "brick", 0), box(-50, 100, 0, 3), 1))
    assert (raster.labels[:, :32] == SKY).all()
    for u in range(34, 64):
        half = 1.5 * (u - 31.5)
        rows = np.flatnonzero(raster.labels[:, u] == WALL)
        assert abs(rows[0] - max(16 - half, 0)) <= 1
        assert abs(rows[-1] - min(16 + half, 31)) <= 1
        assert raster.near[16, u] == pytest.approx((u - 31.5) / 64, rel=1e-5)


def test_what_is_not_in_view_is_not_seen():
    """A facet that is seen from its edge gives finite numbers only."""
    for facet in (
        board(WALL, -9, 9, -9, 9, -3.0),
        board(WALL, -9, 9, -9, 9, NEAR - 0.01),
        board(WALL, 5, 6, 1, 2, 8.0),
        board(WALL, -6, -5, 1, 2, 8.0),
        board(WALL, -1, 1, 5, 6, 8.0),
        board(WALL, -1, 1, -9, -8, 8.0),
        Facet(WALL, "paint", 0, (0.0, 1.5, 0.0), AHEAD, UP, box(2, 9, -1, 1)),
        Facet(WALL, "paint", 0, (0.0, 1.5, 0.0), RIGHT, AHEAD, box(-1, 1, 2, 9)),
    ):
        raster = seen(facet)
        assert (raster.labels == SKY).all(), facet
        assert all(np.isfinite(x).all() for x in raster[-4:]), facet


def test_what_lies_just_beyond_the_near_plane_is_seen():
    assert (seen(board(WALL, -9, 9, -9, 9, NEAR + 0.01)).labels == WALL).all()


def test_no_facets_make_a_picture_of_sky():
    assert (seen().labels == SKY).all()


UNIT = st.floats(-1, 1)


@st.composite
def facets(draw) -> Facet:
    """Rectangles of any place and turn in view, some partly behind, none near to its edge."""
    right, up = (np.array(draw(st.tuples(UNIT, UNIT, UNIT))) for _ in range(2))
    assume(np.linalg.norm(right) > 0.1)
    right = right / np.linalg.norm(right)
    up = up - (up @ right) * right
    assume(np.linalg.norm(up) > 0.1)
    up = up / np.linalg.norm(up)
    origin = np.array([draw(st.floats(-4, 4)), draw(st.floats(-1, 4)), draw(st.floats(1, 20))])
    eye = origin - (0, CAMERA.height, 0)
    assume(abs(np.cross(right, up) @ eye) > 0.2)
    half = draw(st.floats(0.3, 6))
    return Facet(WALL, "paint", 0, *(tuple(v.tolist()) for v in (origin, right, up)),
                 box(-half, half, -half, half))  # fmt: skip


@quick
@given(facets())
def test_places_project_back_to_their_pixels(facet):
    """origin + a right + b up, through the camera in float64, is the pixel; near is 1 / Z."""
    raster = seen(facet)
    v, u = np.nonzero(raster.numbers)
    a, b, near = (x[v, u].astype(np.float64)[:, None] for x in (raster.a, raster.b, raster.near))
    x, y, z = (np.array(facet.origin) + a * facet.right + b * facet.up).T
    assert (z > 0).all()
    np.testing.assert_allclose(64 * x / z + 31.5, u, atol=0.01)
    np.testing.assert_allclose(16 - 64 * (y - 1.5) / z, v, atol=0.01)
    np.testing.assert_allclose(near[:, 0] * z, 1, rtol=1e-3)


@quick
@given(facets())
def test_a_facet_is_seen_where_the_ray_meets_it(facet):
    """Where the rays of a pixel and of its neighbours meet it, by float64, it is covered; where
    the pixel is further than one from its outline in the picture, it is not.

    The pixels at the picture's border are left out of the second, because OpenCV draws an edge that
    is just outside of the picture on them.
    """
    covered = seen(facet).numbers > 0
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - 31.5) / 64, (16 - v) / 64, np.ones_like(u)], -1)
    normal, eye = np.cross(facet.right, facet.up), np.array(facet.origin) - (0, 1.5, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (normal @ eye) / (rays @ normal)
        hit = rays * z[..., None] - eye
        place = np.maximum(abs(hit @ facet.right), abs(hit @ facet.up)) / facet.outline[2][0]
    inside = ((place < 1) & (z > NEAR)).astype(np.uint8)
    solid = cv2.erode(inside, np.ones((3, 3)), borderValue=0)
    assert covered[solid > 0].all()
    x, y, z = (np.array(facet.origin) + [a * np.array(facet.right) + b * np.array(facet.up)
                                         for a, b in facet.outline]).T  # fmt: skip
    if (z > NEAR).all():
        outline = np.stack([64 * x / z + 31.5, 16 - 64 * (y - 1.5) / z], 1).astype(np.float32)
        for v, u in (np.argwhere(covered[1:-1, 1:-1]) + 1).tolist():
            assert cv2.pointPolygonTest(outline, (u, v), True) > -1


@quick
@given(facets())
def test_normals_are_unit_square_and_face_the_camera(facet):
    normal = seen(facet).normals[1]
    assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-12)
    assert normal @ facet.right == pytest.approx(0, abs=1e-12)
    assert normal @ facet.up == pytest.approx(0, abs=1e-12)
    assert normal @ (np.array([0, 1.5, 0]) - facet.origin) > 0


def test_the_step_of_a_texture_on_a_board_and_on_the_road():
    """A board at 8 m: 8 / 64 m a pixel both ways. The road at Z: Z / 64 across and Z^2 / 96 ahead,
    plus what it moves sideways; straight ahead the geometric mean of the two."""
    wall = seen(board(WALL, -9, 9, -9, 9, 8.0))
    np.testing.assert_allclose(wall.step, 1 / 8, rtol=1e-5)
    road = seen(Facet(ROAD, "asphalt", 0, (0.0, 0.0, 0.0), RIGHT, AHEAD, box(-9, 9, 1, 90)))
    z = 64 * 1.5 / 10  # in row 26
    x = 0.5 * z / 64  # in column 32
    across, ahead = z / 64 + x * z / 96, z * z / 96
    assert road.b[26, 32] == pytest.approx(z, rel=1e-5)
    assert road.step[26, 32] == pytest.approx((across * ahead) ** 0.5, rel=1e-4)


def test_a_known_sun_throws_a_shadow_at_the_computed_place():
    """Sun at (1, 1, 0): a board of 2 m along the view at X = 1, Z from 6 to 12, throws its shadow
    to the left, on the ground from X = 1 to -1: rows 16 + 96 / 12 = 24 to 32, and in each from
    31.5 - 64 / Z to 31.5 + 64 / Z."""
    upright = Frame((1.0, 0.0, 9.0)).along((WALL, "paint", 0), box(-3, 3, 0, 2))
    dark = shadow(seen(upright), unit((1.0, 1.0, 0.0))[0])
    assert (dark[:23] == 0).all()
    assert ((dark >= 0) & (dark <= 1)).all()
    for v in range(25, 32):
        z = 96 / (v - 16)  # of the ground in that row
        columns = np.flatnonzero(dark[v] > 0.99)
        assert abs(columns[0] - (31.5 - 64 / z)) <= 1.2
        assert abs(columns[-1] - (31.5 + 64 / z)) <= 1.2


def test_a_shadow_comes_towards_the_camera_from_a_sun_ahead():
    """Sun at (0, 1, 2): a board of 1.5 m at Z = 9 throws a shadow from Z = 9 to 6, which is rows
    16 + 96 / 9 = 26.7 to 16 + 96 / 6 = 32, X from -1 to 1."""
    dark = shadow(seen(board(WALL, -1, 1, 0, 1.5, 9.0)), unit((0.0, 1.0, 2.0))[0])
    assert (dark[:26] == 0).all()
    assert (dark[28:, 24:39] == 1).all()
    assert (dark[:, :19] == 0).all()


def test_under_a_vertical_sun_a_shadow_lies_where_the_thing_stands():
    """A board at Z = 8: a line at v = 28, X from -1 to 1: u from 23.5 to 39.5."""
    dark = shadow(seen(board(WALL, -1, 1, 0, 2, 8.0)), UP)
    rows, columns = np.nonzero(dark)
    assert set(rows) <= {27, 28}
    assert (columns.min(), columns.max()) == (23, 39)


def test_a_shadow_lies_at_the_height_of_the_foot():
    """The same board with its foot 1 m up: v = 16 + 32 / 8 = 20."""
    high = Frame((0.0, 1.0, 8.0)).across((WALL, "paint", 0), box(-1, 1, 0, 2))
    rows, _ = np.nonzero(shadow(seen(high), UP))
    assert set(rows) <= {19, 20}


def test_the_shadow_of_a_wall_follows_its_slope():
    """A wall that climbs 1 m in 10 from Z = 4 to 12: under a vertical sun its shadow is its foot,
    at v = 16 + 64 (1.5 - Y) / Z: row 40 at Z = 4 and 19.7 at Z = 12."""
    ahead, length = unit((0.0, 0.8, 8.0))
    wall = Facet(WALL, "brick", 0.0, (1.0, 0.0, 4.0), ahead, UP, box(0, length, 0, 2))
    rows, _ = np.nonzero(
        shadow(seen(wall, size=(WIDTH, 64), camera=CAMERA._replace(horizon=0.25)), UP)
    )
    assert (rows.min(), rows.max()) == (19, 40)


def test_a_wall_throws_the_same_shadow_whatever_its_origin():
    """Described from behind the camera, as walls along the street are, or from its middle."""
    sun = unit((1.0, 1.0, 0.0))[0]
    near = Frame((1.0, 0.0, 9.0)).along((WALL, "paint", 0), box(-3, 3, 0, 2))
    far = Frame((1.0, 0.0, -1.0)).along((WALL, "paint", 0), box(7, 13, 0, 2))
    np.testing.assert_array_equal(shadow(seen(far), sun), shadow(seen(near), sun))


def test_nothing_behind_the_camera_or_level_throws_a_shadow():
    for facet in (
        board(WALL, -9, 9, 0, 9, -2.0),
        Facet(ROAD, "asphalt", 0, (0.0, 0.0, 3.0), RIGHT, AHEAD, box(-9, 9, 0, 9)),
    ):
        assert not shadow(seen(facet), unit((0.2, 1.0, 0.2))[0]).any(), facet


def test_labels_are_equal_to_the_bit_on_every_machine():
    """If a change of the drawing is wanted, raise ``write.VERSION`` and renew this."""
    labels = [rasterise(draw_layout(seed), 128, 64).labels.tobytes() for seed in range(5)]
    assert hashlib.sha256(b"".join(labels)).hexdigest() == (
        "ccb91d183d0e7b63a02f92bc900be37b93f609e79bdb0f7077e4b0cd7ac08d34"
    )
