"""Pure functions over images that change how a scene looks and never where things are.

``paper`` has the appearances of the paper's table 1, in floating point and never clipped; ``road``
has what happens to images on the road, at five severities; ``look`` gives an image the look of
another domain.
"""

from ibnseg.appearance.look import (
    BETA,
    LOOKS,
    Look,
    look_of_images,
    match_amplitudes,
    match_moments,
)
from ibnseg.appearance.paper import IMAGENET_MEAN, PAPER, shift, stretch
from ibnseg.appearance.road import CONDITIONS, SEVERITIES, Condition, generator

__all__ = [
    "BETA",
    "CONDITIONS",
    "IMAGENET_MEAN",
    "LOOKS",
    "PAPER",
    "SEVERITIES",
    "Condition",
    "Look",
    "generator",
    "look_of_images",
    "match_amplitudes",
    "match_moments",
    "shift",
    "stretch",
]
