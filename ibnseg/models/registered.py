"""Imports all modules that register a model, because mmengine imports this one for ``ibnseg.X``.

Backbones need torch, torchvision, mmengine and mmcv only. If mmseg's models cannot be imported
(upstream's need mmcv's compiled operators), heads, segmentors and their preprocessor are left out
with a warning.
"""

import warnings

import ibnseg.models
import ibnseg.models.lora
import ibnseg.models.rein

try:
    import ibnseg.models.heads
    import ibnseg.models.preprocessor
    import ibnseg.models.segmentor  # noqa: F401
except ImportError as error:
    warnings.warn(
        "ibnseg has its backbones, but not its heads and segmentors, because mmseg's models cannot "
        f"be imported ({error})",
        stacklevel=2,
    )
