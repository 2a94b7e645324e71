"""What ``auto`` comes to: the arithmetic that is fastest on a device, by what the device can do.

No stopwatch is asked, so that the same machine and config always give the same recipe. The rules
follow from measurements: how many times as fast as in float32, NCHW, a training step is, on one
thread of a Xeon with AMX and torch 2.14. R18 and IBN18-a are FCNs at output stride 8, on 2 crops of
320x320 and of 224x224; the others are the narrower networks of the generated streets, on 2 crops of
256x256 (IBN18-a) and of 128x128.

=======================  =====  =======  ===============  ========  ============  ========
step                     R18    IBN18-a  streets IBN18-a  IBNX50-a  IBNDense121a  SEIBN50a
=======================  =====  =======  ===============  ========  ============  ========
float32, channels-last   1.02   0.98     1.00             0.94      1.03          1.00
bfloat16                 2.98   2.81     1.38             1.06      0.99          0.95
bfloat16, channels-last  3.76   2.96     1.49             1.13      1.08          1.01
=======================  =====  =======  ===============  ========  ============  ========

Compiling takes a minute or more on a processor; the step of R18 then takes 0.9 to 1.1 times as long
as without. So on processors that compute in bfloat16, bfloat16 with channels-last is taken; on
others, channels-last gains nothing; and compiling is not chosen. On GPUs the rules are reasoned,
not measured: Tensor Cores take bfloat16 in channels-last without rearranging it; what is between
the convolutions is bound by memory, which compiling fuses, and as that takes minutes it pays in a
long training alone.
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
