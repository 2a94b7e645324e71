"""Labels the drivable area of a street as BDD100K does."""

from __future__ import annotations

import numpy as np

from ibnseg.datasets.labels import DRIVABLE
from ibnseg.streets.objects import ID
from ibnseg.streets.raster import Raster

DIRECT, ALTERNATIVE, BACKGROUND = map(DRIVABLE.classes.index, DRIVABLE.classes)


def drivable_area(raster: Raster) -> np.ndarray:
    """Labels where the camera's car may drive, (H, W) uint8 train ids of ``labels.DRIVABLE``.

    As in BDD100K (Yu et al., CVPR 2020), visible road is direct in the lane of the camera's car and
    alternative in the other lanes of the street. Everything else is background, also things that
    hide the road, parking bays, and the side roads of a crossing.

    Args:
        raster: a scene whose road facets have as their ``a`` the metres to the right of the middle
            of the street, as ``Street.strip`` makes them.
    """
    edges, ego = raster.scene.lanes
    lane = np.digitize(raster.a, edges) - 1
    drivable = (raster.labels == ID["road"]) & (lane >= 0) & (lane < len(edges) - 1)
    area = np.full(lane.shape, BACKGROUND, np.uint8)
    area[drivable] = ALTERNATIVE
    area[drivable & (lane == ego)] = DIRECT
    return area
