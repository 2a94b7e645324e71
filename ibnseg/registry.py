"""The scope ``ibnseg``: one child of each mmengine registry that this package adds to.

The children hang on mmengine's root and not on mmseg's registries, so that ``type='ibnseg.X'`` is
found from any scope, and with none set; mmengine imports this module, and then ``locations``, by
itself.
"""

import warnings

from mmengine import registry as root
from mmengine.registry import Registry

from ibnseg.support.stack import check_stack

check_stack()
# mmcv's compiled operators are not used, and need not be there
warnings.filterwarnings("ignore", "Fail to import ``MultiScaleDeformableAttention``")
# with class weights, which need it so, mmseg leaves out ignored pixels all the same
warnings.filterwarnings("ignore", "Default ``avg_non_ignore`` is False")


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="ibnseg", locations=list(locations))


MODELS = _child(root.MODELS, "ibnseg.models")
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, "ibnseg.models")
ADAPTERS = ("bdd100k", "camvid", "cityscapes", "gta5", "mapillary")
DATASETS = _child(root.DATASETS, *(f"ibnseg.datasets.{name}" for name in ADAPTERS))
STEPS = ("transforms", "augment.photometric", "augment.looks", "view")
TRANSFORMS = _child(root.TRANSFORMS, *(f"ibnseg.datasets.{name}" for name in STEPS))
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, "ibnseg.datasets.sampler", "ibnseg.datasets.uniform")
METRICS = _child(root.METRICS, "ibnseg.evaluation.metric")
LOOPS = _child(root.LOOPS, "ibnseg.engine")
HOOKS = _child(root.HOOKS, "ibnseg.engine")
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "ibnseg.engine")
