"""The drivable area of a street, as BDD100K labels it."""

from __future__ import annotations

import numpy as np

from ibnseg.datasets.labels import DRIVABLE
from ibnseg.streets.objects import ID
from ibnseg.streets.raster import Raster

DIRECT, ALTERNATIVE, BACKGROUND = map(DRIVABLE.classes.index, DRIVABLE.classes)


def drivable_area(raster: Raster) -> np.ndarray:
    """Where the camera's car may drive: (H, W) uint8 train ids of ``labels.DRIVABLE``.

    What is seen of the road is direct in the lane that the car is in, and alternative in the
    street's other lanes, as BDD100K has it (Yu et al., CVPR 2020). All else is background: what
    hides the road, parking bays, and the side roads of a crossing.

    Args:
        raster: a scene whose road facets have metres to the right of the street's middle as their
            ``a``, as ``Street.strip`` makes them.
    """
    edges, ego = raster.scene.lanes
    lane = np.digitize(raster.a, edges) - 1
    drivable = (raster.labels == ID["road"]) & (lane >= 0) & (lane < len(edges) - 1)
    area = np.full(lane.shape, BACKGROUND, np.uint8)
    area[drivable] = ALTERNATIVE
    area[drivable & (lane == ego)] = DIRECT
    return area
