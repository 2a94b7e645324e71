"""Networks of the user's own code: ``MODULE:FUNCTION``."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from ibnseg.engine.imports import describe_package
from ibnseg.models.partial import digest
from ibnseg.networks.facts import Facts, Found, configured
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.own_code import own_code


def configure(source: str) -> dict:
    """Makes the values of a config of a network that the user's own function returns.

    The function is called, once in a process. An attribute ``facts`` of what it returns, or of the
    function, may say what is known of the network, and so may ``MODULE.json`` beside the module.

    Args:
        source: ``MODULE:FUNCTION``. The module is looked for in the working folder first, then in
            Python's path; the function takes no arguments.

    Raises:
        UserError: for a module or function that is not found or fails, for what cannot be called,
            and as :func:`ibnseg.networks.facts.facts_of`.
    """
    module, function = _opened(source)
    network = _built(function)
    file = Path(module.__file__).with_name(f"{module.__name__.split('.')[-1]}.json")
    name = source.replace(":", "_").replace(".", "_")
    says = dict(title=name) | _facts(source, network, function)
    return configured(source, "Python", Found(name, _digest(source, module, network), file, says))


def build(source: str, facts: Facts) -> Callable:
    """Returns what the user's function returned: a module of torch, or another callable.

    Args:
        source: as for :func:`configure`.
        facts: what is known of it.

    Raises:
        UserError: as :func:`configure`.
    """
    return _built(_opened(source)[1])


def _opened(source: str) -> tuple[ModuleType, Callable]:
    """The module and the function that a source names."""
    name, _, function = source.partition(":")
    here = Path.cwd()
    if sys.path[0] != str(here):
        sys.path.insert(0, str(here))
        importlib.invalidate_caches()
    with own_code(source):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # what the module itself imports
            meant = f"{name.removesuffix('.py')}:{function}"
            hint = f"; leave out .py: {meant}" if name.endswith(".py") else ""
            raise UserError(
                f"{source}: no module {error.name} in {here} or Python's path{hint}"
            ) from error
    if not getattr(module, "__file__", None):
        raise UserError(f"{source}: {name} is not a file of Python")
    top = name.split(".")[0]
    is_here = any((here / each).is_file() for each in (f"{top}.py", f"{top}/__init__.py"))
    other = sys.modules[top]
    if is_here and describe_package(top)["folder"] != str(here.resolve()):
        raise UserError(
            f"{source}: Python has loaded another module {top}, {other.__file__}; rename the one "
            f"in {here}"
        )
    found = getattr(module, function, None)
    if found is None:
        known = [each for each, value in vars(module).items() if callable(value)]
        raise UserError(f"{module.__file__}: {unknown_name('function', function, known)}")
    if not callable(found) or isinstance(found, nn.Module):
        raise UserError(
            f"{source}: is {type(found).__name__}, expected a function that returns the network"
        )
    return module, found


@cache  # as what it returns may have random weights
def _built(function: Callable) -> Callable:
    """What a function of the user's returns."""
    words = getattr(function, "__qualname__", type(function).__name__)
    name = f"{function.__module__}:{words}"
    with own_code(name):
        network = function()
    if not callable(network):
        raise UserError(
            f"{name}: returns {type(network).__name__}, expected a torch module or another "
            "callable of normalised images (N, 3, H, W)"
        )
    return network


def _facts(source: str, *places: object) -> dict:
    """The ``facts`` of the first of some objects that has them, as JSON would hold them."""
    says = next((each.facts for each in places if hasattr(each, "facts")), {})
    if not isinstance(says, Mapping):
        raise UserError(f"{source}: facts is {says!r}, expected a dict of facts by name")
    try:
        return json.loads(json.dumps(dict(says)))
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: facts: {error}; give plain numbers, texts and lists") from error


def _digest(source: str, module: ModuleType, network: object) -> str:
    """The hash of the files of a module's package, and of the weights if there are some."""
    found = describe_package(module.__name__.split(".")[0])["sha256"]
    if isinstance(network, nn.Module):
        with own_code(source):
            state = network.state_dict()
            found += digest({name: x for name, x in state.items() if isinstance(x, Tensor)})
    return hashlib.sha256(found.encode()).hexdigest()
