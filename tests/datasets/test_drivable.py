"""The release of a drivable map is recognised by its ids."""

import numpy as np

from ibnseg.datasets.drivable import maps_of_another_release, release_of


def drivable(top: int, below: int, rows: int = 20) -> np.ndarray:
    ids = np.full((rows, 10), below, np.uint8)
    ids[: rows // 2] = top
    return ids


def test_the_upper_tenth_of_a_map_tells_its_release() -> None:
    for ids, release in (
        (drivable(0, 1), "2018"),
        (drivable(0, 2), "2018"),
        (drivable(2, 0), "2021"),
        (drivable(2, 1), "2021"),
        (drivable(1, 0), None),
        (drivable(0, 0), None),  # one id says nothing
        (drivable(2, 2), None),
        (drivable(2, 1, rows=4), "2021"),  # fewer rows than ten: the first
    ):
        assert release_of(ids) == release, release


def test_up_to_a_hundredth_of_the_upper_tenth_may_differ() -> None:
    ids = drivable(2, 1, rows=200)  # the upper tenth: 20 rows of 10
    ids[0, :2] = 0
    assert release_of(ids) == "2021"
    ids[0, 2] = 0
    assert release_of(ids) is None


def test_a_few_odd_maps_do_not_count_as_the_other_release() -> None:
    maps = {f"{i:03d}": "2021" for i in range(99)} | {"odd": "2018", "nothing": None}
    assert maps_of_another_release(maps, "2021") == []
    assert maps_of_another_release(maps | {"odder": "2018"}, "2021") == ["odd", "odder"]
    assert len(maps_of_another_release(maps, "2018")) == 99
    assert maps_of_another_release({}, "2018") == []
