"""From predictions to numbers: confusion matrices, protocols, results and tables."""

from ibnseg.evaluation.metric import Confusion
from ibnseg.evaluation.protocols import PROTOCOLS, Protocol, Slide, View, get_protocol

__all__ = ["PROTOCOLS", "Confusion", "Protocol", "Slide", "View", "get_protocol"]
