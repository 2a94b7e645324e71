"""The weights of a checkpoint, named as their network names them: all of them fit, or none is
loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ibnseg.models.inert import Inert
from ibnseg.models.wrappers import CONTAINERS, prefixes_of, unwrapped, weights_in
from ibnseg.support.errors import UserError
from ibnseg.support.finite import non_finite, some


def state_dict_of(checkpoint: Mapping, source: str, prefix: str = "") -> dict[str, Tensor]:
    """Takes the weights out of a checkpoint, and names them as their network does.

    They may lie in one of :data:`~ibnseg.models.wrappers.CONTAINERS`, the first of which is taken;
    the log says which, unless it is ``state_dict``. What tools put around names is removed
    (:func:`~ibnseg.models.wrappers.unwrapped`), and torchvision's old names of dense layers
    (``norm.1``) become those of today (``norm1``).

    Args:
        checkpoint: from :func:`~ibnseg.models.checkpoints.read_checkpoint`.
        source: what error messages call the checkpoint.
        prefix: if given, only weights below this name are taken, e.g. ``backbone``, and named
            without it.

    Raises:
        UserError: if there is anything but named tensors; if two have the same name; and for
            tensors that are sparse, quantised, nested or without values (meta).
    """
    found, way = weights_in(checkpoint)
    beside = [name for name in CONTAINERS if isinstance(checkpoint.get(name), Mapping)]
    if way not in ([], ["state_dict"]) or len(beside) > 1:
        others = f", not from {', '.join(map(repr, beside[1:]))}" if beside[1:] else ""
        print_log(f"{source}: weights are taken from '{'.'.join(way)}'{others}", "current")
    weights = _named_tensors(found, source, way)
    odd = {key: kind for key, value in weights.items() if (kind := _layout(value)) != "strided"}
    if odd:
        key = min(odd)
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UserError(
            f"{source}: {key} is a {odd[key]} tensor{more}, expected dense ones with values"
        )
    weights = _renamed(weights, source)
    if prefix:
        dot = prefix.rstrip(".") + "."
        below = {k.removeprefix(dot): v for k, v in weights.items() if k.startswith(dot)}
        weights = _renamed(below, source)
    return weights


def _named_tensors(found: object, source: str, way: list[str]) -> dict[str, Tensor]:
    where = f"'{'.'.join(way)}'" if way else "it"
    expected = f"expected names of tensors in it or in one of {', '.join(CONTAINERS)}"
    for key, value in found.items():
        if not isinstance(key, str):
            raise UserError(f"{source}: {where} has the key {key!r}, {expected}")
        if not isinstance(value, Tensor):
            kind = repr(value) if isinstance(value, Inert) else type(value).__name__
            raise UserError(f"{source}: '{key}' in {where} is of type {kind}, {expected}")
    return dict(found)


def _layout(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "meta"
    if tensor.is_quantized:
        return "quantised"
    return str(tensor.layout).removeprefix("torch.")


def _renamed(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    plain = {key: _name_of_today(name) for key, name in unwrapped(weights).items()}
    if len(set(plain.values())) < len(plain):
        twice = next(key for key, name in plain.items() if key != name and name in weights)
        raise UserError(f"{source}: has two weights {plain[twice]}, one of them as {twice}")
    return {plain[key]: value for key, value in weights.items()}


def _name_of_today(key: str) -> str:
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)


COUNTER = "num_batches_tracked"
"""The end of the names of counters, which a checkpoint may lack or have as floating numbers."""

SPARE = ("auxiliary_head.", "n_averaged")
"""The beginnings of names that a network need not have: mmseg's head that only training uses, and
the count of ``torch.optim.swa_utils.AveragedModel``."""


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], source: str, spare: Iterable[str] = ()
) -> None:
    """Loads ``weights`` into ``module`` if every name and shape fits, and changes nothing
    otherwise.

    Args:
        module: the network to fill.
        weights: names to tensors; ``num_batches_tracked`` may be missing (checkpoints older than
            torch 0.4.1).
        source: what error messages call the checkpoint.
        spare: prefixes of weights that the module need not have, besides :data:`SPARE`. The log
            says what is left out.

    Raises:
        UserError: if they do not fit; it names the keys that are missing, left over or misshapen,
            those that hold another kind of numbers, and what precedes all names. If a weight that
            is used is NaN or infinite.
    """
    state = module.state_dict()
    names = _plain_names(state, weights)
    own = {names[key]: value for key, value in state.items()}
    needed = [k for k in own if not k.endswith(COUNTER)]
    missing = [k for k in needed if k not in weights]
    left_out = [k for k in weights if k not in own and k.startswith((*SPARE, *spare))]
    both = [k for k in own if k in weights]
    faults = {
        "missing": missing,
        "left over": [k for k in weights if k not in own and k not in left_out],
        "of another shape": [
            f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}"
            for k in both
            if weights[k].shape != own[k].shape
        ],
        "of another kind": [
            f"{k} {_dtype(weights[k])} for {_dtype(own[k])}"
            for k in both
            if _kind(weights[k]) not in (_kind(own[k]), k.endswith(COUNTER) and "floating")
        ],
    }
    if any(faults.values()):
        found = "; ".join(f"{len(v)} {kind}: {some(v, 4)}" for kind, v in faults.items() if v)
        below = ", ".join(map(repr, prefixes_of(needed, weights)))
        hint = (
            f"; all its names are there below {below}, which init_cfg takes as prefix"
            if below
            else ""
        )
        raise UserError(f"{source}: does not fit {type(module).__name__}: {found}{hint}")
    if left_out:
        print_log(
            f"{source}: left out, because {type(module).__name__} does not have them: "
            f"{some(left_out, 4)}",
            "current",
        )
    used = {key: weights[name] for key, name in names.items() if name in weights}
    parameters = {name for name, _ in module.named_parameters()}
    require_finite(
        [k for k in non_finite(used) if k in parameters or not _same_places(used[k], state[k])],
        source,
    )
    module.load_state_dict(used, strict=False)


def _plain_names(own: Iterable[str], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """What a network's weights are called in a checkpoint, by their own names: the same, or without
    what :func:`state_dict_of` removes, which may be parts of the network's own names."""
    plain = unwrapped(own)
    same = all(key in weights or key.endswith(COUNTER) for key in own)
    return {key: key for key in own} if same or len({*plain.values()}) < len(plain) else plain


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_floating_point():
        return "floating"
    return "boolean" if tensor.dtype == torch.bool else "integer"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _same_places(buffer: Tensor, own: Tensor) -> bool:
    """Whether a network's own buffer has the same finite values and others, as a mask may."""
    return not own.is_meta and torch.equal(buffer.isfinite().cpu(), own.isfinite().cpu())


def require_finite(names: list[str], source: str) -> None:
    """Refuses a checkpoint of which some tensors are not finite.

    Args:
        names: the names of these tensors.
        source: what the message calls the checkpoint.

    Raises:
        UserError: if there are any.
    """
    if names:
        raise UserError(
            f"{source}: NaN or infinity in {some(names)}, as a training that diverged leaves "
            "there; take an earlier checkpoint, or train again with a lower rate"
        )
