"""What tools wrap around weights: where in a checkpoint these lie, what precedes their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTAINERS = ("state_dict", "model", "model_state_dict", "ema")
"""The entries under which a checkpoint has its weights, the one that is taken first in front:
mmengine and Lightning, torchvision and timm, PyTorch's own examples, averages of weights."""

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that parallel and averaged networks, and ``torch.compile``, put anywhere."""

SHARED = ("model", "net")
"""First parts of names that are left out if all weights of a network have them."""


def weights_in(checkpoint: Mapping) -> tuple[object, list[str]]:
    """Finds the weights in a checkpoint, perhaps in several containers within each other.

    Returns:
        What stands for the weights, and the names of the :data:`CONTAINERS` on the way to it.
    """
    found, way = checkpoint, []
    while True:
        name = next((name for name in CONTAINERS if isinstance(found.get(name), Mapping)), None)
        if name is None:
            return found, way
        found = found[name]
        way.append(name)


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Leaves out of weights' names what tools put there: :data:`WRAPPERS` anywhere, and
    :data:`SHARED` in front of all names, in any nesting and order.

    Args:
        names: the names of all weights of a network, e.g. ``module.model.conv1.weight``.

    Returns:
        The name without them, by name, e.g. ``conv1.weight``. Unwrapping it again changes nothing.
    """
    parts = {name: [part for part in name.split(".") if part not in WRAPPERS] for name in names}
    while parts and all(len(each) > 1 for each in parts.values()):
        first = {each[0] for each in parts.values()}
        if len(first) > 1 or not first <= set(SHARED):
            break
        parts = {name: each[1:] for name, each in parts.items()}
    return {name: ".".join(each) or name for name, each in parts.items()}


def prefixes_of(wanted: Iterable[str], names: Iterable[str]) -> list[str]:
    """Finds what precedes all wanted names among other names, e.g. ``student.``; there may be
    several such prefixes, or none."""
    wanted, names = list(wanted), set(names)
    if not wanted:
        return []
    ends = (name.removesuffix(wanted[0]) for name in names if name.endswith(f".{wanted[0]}"))
    return sorted(each for each in ends if all(f"{each}{name}" in names for name in wanted))
