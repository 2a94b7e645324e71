"""The scope ``ibnseg``: one child of each mmengine registry that this package adds to.

The children hang on mmengine's root and not on mmseg's registries, so that ``type='ibnseg.X'`` is
found from any scope, and with none set; mmengine imports this module, and then the locations of a
registry, by itself.
"""

import pkgutil
from pathlib import Path

from mmengine import registry as root
from mmengine.registry import Registry


def _modules(package: str) -> list[str]:
    """Lists the modules of a package and of the packages in it, without importing them."""
    folder = Path(__file__).parent / package.partition(".")[2].replace(".", "/")
    found = []
    for module in pkgutil.iter_modules([str(folder)], prefix=f"{package}."):
        found += _modules(module.name) if module.ispkg else [module.name]
    return found


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="ibnseg", locations=list(locations))


_DATASETS = _modules("ibnseg.datasets")

MODELS = _child(root.MODELS, "ibnseg.models.registered")
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, "ibnseg.models.pretrained")
DATASETS = _child(root.DATASETS, *_DATASETS)
TRANSFORMS = _child(root.TRANSFORMS, *_DATASETS)
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, *_DATASETS)
METRICS = _child(root.METRICS, "ibnseg.evaluation.evaluator")
LOOPS = _child(root.LOOPS, "ibnseg.engine.registered")
HOOKS = _child(root.HOOKS, "ibnseg.engine.registered")
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, "ibnseg.engine.registered")
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "ibnseg.engine.registered")
