"""What changes how a scene looks and never where things are: pure functions over images.

``paper`` has the appearances of the paper's table 1, floating point and never clipped; ``road``
what happens to images on the road, at five severities; ``look`` the look of another domain.
"""

from ibnseg.appearance.look import BETA, LOOKS, Look, describe, match_amplitudes, match_moments
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
    "describe",
    "generator",
    "match_amplitudes",
    "match_moments",
    "shift",
    "stretch",
]
