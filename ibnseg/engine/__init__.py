"""Turns a config into a run: reads it, expands it, trains, tests and records the results."""

from ibnseg.engine.checkpoint import Checkpoints, HostMemory
from ibnseg.engine.expand import expand
from ibnseg.engine.logged import RuntimeInfo
from ibnseg.engine.loops import DomainTestLoop, TrainLoop, ValidationLoop
from ibnseg.engine.precision import BFloat16OptimWrapper
from ibnseg.engine.runner import Runner

__all__ = [
    "BFloat16OptimWrapper",
    "Checkpoints",
    "DomainTestLoop",
    "HostMemory",
    "Runner",
    "RuntimeInfo",
    "TrainLoop",
    "ValidationLoop",
    "expand",
]
