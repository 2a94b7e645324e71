"""What ``auto`` comes to: the arithmetic that is fastest on a device, by what the device can do.

No stopwatch is asked, so that the same machine and config always give the same recipe. The rules
follow from measurements (``python -m benchmarks choices``): how many times as fast as in float32,
NCHW, a training step is, on one thread of a Xeon with AMX and torch 2.14. R18 and IBN18-a are FCNs
at output stride 8; the others are the narrower networks of the generated streets. The crops are two
of 256x256 for the networks of 18 layers, and two of 128x128 for the others.

=======================  =====  =======  ===============  ========  ============  ========
step                     R18    IBN18-a  streets IBN18-a  IBNX50-a  IBNDense121a  SEIBN50a
=======================  =====  =======  ===============  ========  ============  ========
float32, channels-last   1.02   1.06     1.11             1.18      1.12          1.05
bfloat16                 2.85   2.70     1.52             1.08      0.93          0.94
bfloat16, channels-last  3.36   3.32     1.78             1.30      1.10          1.10
=======================  =====  =======  ===============  ========  ============  ========

Compiled (``choices r18 ibn18a --compile``), bfloat16 with channels-last was 3.06 and 2.38 times as
fast as float32 where it was 3.71 and 2.80 in the same run without, so that it loses a sixth; and
compiling takes half a minute or more. So on processors that compute in bfloat16, bfloat16 with
channels-last is taken; on others NCHW is kept, because what channels-last gives in float32 was not
measured on any of them; and compiling is not chosen. On GPUs the rules are reasoned, not measured:
Tensor Cores take bfloat16 in channels-last without rearranging it; what is between the convolutions
is bound by memory, which compiling fuses, and as that takes minutes it pays in a long training
alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.device import get_device

from ibnseg.engine.compiled import why_not
from ibnseg.engine.precision import fast_bfloat16
from ibnseg.runs.keys import KEYS
from ibnseg.runs.kinds import AUTO

AUTOMATIC = ("precision", "channels_last", "compile")
"""The keys that take ``auto``."""

LONG = 5000
"""The fewest steps of a training that ``auto`` compiles."""


def resolved(cfg: Mapping) -> dict[str, object]:
    """Returns the values of :data:`AUTOMATIC` in a config, with ``auto`` replaced by what it comes
    to on this machine.

    ``precision`` is bfloat16 if the device computes in it by itself, else float32; float32, too,
    beside an ``optim_wrapper.type``, which decides it then. ``channels_last`` goes with bfloat16.
    ``compile`` is True on a GPU if the training has at least :data:`LONG` steps or its length is
    given in epochs, no further loss looks at the network's layers, and what compiling needs is
    there.

    Args:
        cfg: an experiment, expanded or not; a key that it lacks has its default.
    """
    values = {name: cfg.get(name, KEYS[name].default) for name in AUTOMATIC}
    if values["precision"] == AUTO:
        own = cfg.get("optim_wrapper")
        given = isinstance(own, Mapping) and "type" in own
        values["precision"] = "bfloat16" if fast_bfloat16() and not given else "float32"
    if values["channels_last"] == AUTO:
        values["channels_last"] = values["precision"] == "bfloat16"
    if values["compile"] == AUTO:
        values["compile"] = (
            get_device() == "cuda"
            and (cfg.get("iterations") or LONG) >= LONG
            and not cfg["model"].get("further_losses")
            and why_not() is None
        )
    return values
