"""Imports all that registers a model: mmengine looks here for ``type='ibnseg.X'``.

Backbones need torch, torchvision, mmengine and mmcv only. If mmseg's models cannot be imported
(upstream's need mmcv's compiled operators), heads, segmentors and their preprocessor are left out
with a warning.
"""

import warnings

import ibnseg.models

try:
    import ibnseg.models.heads
    import ibnseg.models.preprocessor
    import ibnseg.models.segmentor  # noqa: F401
except ImportError as error:
    warnings.warn(
        f"ibnseg's heads and segmentors are not there, its backbones are: mmseg's models cannot be "
        f"imported ({error})",
        stacklevel=2,
    )
