"""Adapters that read driving datasets, from the official downloads to images and train ids.

Every type that a module in this folder registers is an attribute, e.g. ``ibnseg.datasets.GTA5``.
The modules are imported when the first of them is used, so that commands that need no torch start
at once.
"""


def __getattr__(name: str) -> object:
    if name[:1].isupper():  # Python itself imports modules, whose names are in lower case
        from ibnseg.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS

        for registry in (DATASETS, TRANSFORMS, DATA_SAMPLERS):
            registry.import_from_location()
            if name in registry.module_dict:
                return registry.module_dict[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
