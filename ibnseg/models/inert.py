"""What other tools save beside weights, read without its code: in place of each object stands one
that does nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch.serialization import safe_globals

BESIDE = (
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",  # a HistoryBuffer names its methods with it
    "argparse.Namespace",
)
"""The classes and functions of numbers of NumPy, mmengine's logs and parsed command lines, which
are no weights and are not used. None of them is called."""


class Inert:
    """Stands for an object whose class is not used; it takes any arguments and state, and ignores
    them."""

    def __new__(cls, *_: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}"


def _stand_in(full_name: str) -> type[Inert]:
    module, _, name = full_name.rpartition(".")
    return type(name, (Inert,), {"__module__": module, "__qualname__": name})


_STAND_INS = [_stand_in(name) for name in BESIDE]


def inert_objects() -> AbstractContextManager[None]:
    """Lets ``torch.load(weights_only=True)`` read :data:`BESIDE` as :class:`Inert` objects, within
    a ``with`` block."""
    return safe_globals(_STAND_INS)
