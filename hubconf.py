"""Entry points of torch.hub: every backbone and head of ``ibnseg.create`` by its name.

``torch.hub.load(REPOSITORY, "resnet50_ibn_a", source="local", pretrained=True)`` is a classifier,
``torch.hub.load(REPOSITORY, "fcn", "resnet50_ibn_a", source="local", num_classes=19)`` a
segmentation network; both take the arguments of :func:`ibnseg.models.create.create`.
"""

from functools import partial as _partial

from ibnseg.models.create import create as _create
from ibnseg.models.create import list_heads as _list_heads
from ibnseg.models.create import list_models as _list_models

dependencies = ["torch", "torchvision", "mmengine", "mmcv"]

for _name in (*_list_heads(), *_list_models()):
    globals()[_name] = _partial(_create, _name)
    globals()[_name].__doc__ = _create.__doc__
