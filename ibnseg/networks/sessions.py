"""Opens exported networks by the programs that run them: ONNX Runtime, OpenVINO, torch."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ibnseg.networks.metadata import KEY
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.reading import DAMAGED, regular_file


class Port(NamedTuple):
    """An input or output of a network."""

    name: str
    dtype: str
    """The name of NumPy's type, e.g. ``uint8``."""
    shape: tuple[int | None, ...]
    """The sides, None for those that may be any."""

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.dtype} ({sides})"


class Session(NamedTuple):
    """A network that is ready to run."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: str | None
    """What the file says of itself under :data:`~ibnseg.networks.metadata.KEY`."""
    run: Callable[[Tensor, int], Tensor]
    """Computes an output, by its number, of the first input."""


class Runtime(NamedTuple):
    """A program that runs networks."""

    title: str
    package: str
    suffixes: tuple[str, ...]
    open: Callable[[ModuleType, Path, torch.device], Session]


def open_session(path: str | Path, runtime: str | None = None, device: str = "cpu") -> Session:
    """Opens a network.

    Args:
        path: a file that ends in ``.onnx``, ``.xml`` (its ``.bin`` lies beside it) or ``.pt2``.
        runtime: a name in :data:`RUNTIMES`; by default the first that takes the file and is
            installed.
        device: ``cpu`` or a GPU; a runtime that cannot use the GPU computes on the CPU.

    Raises:
        UserError: if the file is missing, damaged or of another format, for an unknown runtime or
            one that does not take the file, and for one that is not installed.
    """
    path = regular_file(path)
    chosen = _chosen(path, runtime)
    try:
        package = import_module(chosen.package)
    except ImportError as error:
        raise _missing(chosen, error) from error
    try:
        return chosen.open(package, path, torch.device(device))
    except UserError:
        raise
    except Exception as error:  # each runtime has errors of its own
        raise UserError(
            f"{path}: {chosen.title} cannot open it ({reason(error)}); is it a whole "
            f"{path.suffix} file?"
        ) from error


def _chosen(path: Path, name: str | None) -> Runtime:
    suffix = path.suffix.lower()
    fitting = {key: each for key, each in RUNTIMES.items() if suffix in each.suffixes}
    if not fitting:
        known = sorted({suffix for each in RUNTIMES.values() for suffix in each.suffixes})
        raise UserError(f"{path}: expected a file that ends in {', '.join(known)}")
    if name is None:
        return next((each for each in fitting.values() if find_spec(each.package)), None) or next(
            iter(fitting.values())
        )
    if name not in RUNTIMES:
        raise unknown_name("runtime in model.runtime", name, RUNTIMES)
    if name not in fitting:
        raise UserError(
            f"{path}: model.runtime is {name}, which does not take {suffix} files; expected "
            f"{' or '.join(fitting)}"
        )
    return fitting[name]


def _missing(runtime: Runtime, error: ImportError) -> UserError:
    return UserError(f"{runtime.title} cannot be imported ({error}): pip install 'ibnseg[export]'")


def reason(error: Exception) -> str:
    """Returns what an error of a runtime says, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception from")]
    return " ".join(lines)[:300].rstrip(":") or type(error).__name__


# ---- ONNX Runtime ------------------------------------------------------------------------------


def _open_onnxruntime(runtime: ModuleType, path: Path, device: torch.device) -> Session:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; what is wrong is raised, too
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    session = runtime.InferenceSession(path, options, providers=providers)
    inputs, outputs = (
        tuple(
            Port(
                each.name,
                _onnx_dtype(each.type),
                tuple(side if isinstance(side, int) else None for side in each.shape),
            )
            for each in ports
        )
        for ports in (session.get_inputs(), session.get_outputs())
    )

    def run(images: Tensor, output: int) -> Tensor:
        (found,) = session.run([outputs[output].name], {inputs[0].name: images.cpu().numpy()})
        return torch.from_numpy(found)

    metadata = session.get_modelmeta().custom_metadata_map.get(KEY)
    return Session(inputs, outputs, metadata, run)


def _onnx_dtype(name: str) -> str:
    """NumPy's name of a type that ONNX Runtime calls e.g. ``tensor(float)``."""
    name = name.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


# ---- OpenVINO ----------------------------------------------------------------------------------


def _open_openvino(openvino: ModuleType, path: Path, device: torch.device) -> Session:
    model = openvino.Core().read_model(path)
    # on some processors, bfloat16 would be taken otherwise
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    inputs, outputs = (
        tuple(
            Port(
                each.get_any_name() if each.get_names() else f"{kind}{i}",
                each.get_element_type().to_dtype().name,
                tuple(
                    side.get_length() if side.is_static else None
                    for side in each.get_partial_shape()
                ),
            )
            for i, each in enumerate(ports)
        )
        for kind, ports in (("input", model.inputs), ("output", model.outputs))
    )

    def run(images: Tensor, output: int) -> Tensor:
        found = compiled([images.cpu().numpy()])[output]
        return torch.from_numpy(np.array(found))

    metadata = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
    if path.suffix.lower() == ".onnx" and find_spec("onnx"):  # OpenVINO drops it
        onnx = import_module("onnx")
        properties = onnx.load(path, load_external_data=False).metadata_props
        metadata = {each.key: each.value for each in properties}.get(KEY)
    return Session(inputs, outputs, metadata, run)


# ---- torch -------------------------------------------------------------------------------------


def _open_torch(torch_: ModuleType, path: Path, device: torch.device) -> Session:
    from torch.export.passes import move_to_device_pass

    _require_tensors_alone(path)
    extra = {KEY: ""}
    with _weights_only():
        program = torch.export.load(path, extra_files=extra)
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    signature, module = program.graph_signature, program.module().requires_grad_(False)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs, outputs = (
        tuple(_torch_port(name, values.get(name)) for name in names)
        for names in (signature.user_inputs, signature.user_outputs)
    )

    def run(images: Tensor, output: int) -> Tensor:
        found = module(images)
        leaves = torch.utils._pytree.tree_leaves(found)
        return leaves[output]

    return Session(inputs, outputs, extra[KEY] or None, run)


def _torch_port(name: str, value: object) -> Port:
    if not isinstance(value, Tensor):
        return Port(str(name), type(value).__name__, ())
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Port(name, str(value.dtype).removeprefix("torch."), sides)


def _require_tensors_alone(path: Path) -> None:
    """Refuses what torch would unpickle: a file with Python objects, which could run code, and one
    that is not in the format of torch 2.9 and later."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except DAMAGED as error:
        raise UserError(f"{path}: not a whole torch.export file ({error})") from error
    if "archive_format" not in names:
        raise UserError(
            f"{path}: not a torch.export file of torch 2.9 or later; save it anew by "
            "torch.export.save"
        )
    if any(name.startswith(("custom_obj_", "opaque_obj_")) for name in names):
        raise UserError(
            f"{path}: holds Python objects, which are not loaded because they can run code; export "
            "tensors alone"
        )


@contextmanager
def _weights_only() -> Iterator[None]:
    """Lets torch load nothing but tensors inside of the block, whatever its code asks for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


RUNTIMES = {
    "onnxruntime": Runtime("ONNX Runtime", "onnxruntime", (".onnx",), _open_onnxruntime),
    "openvino": Runtime("OpenVINO", "openvino", (".onnx", ".xml"), _open_openvino),
    "torch": Runtime("torch", "torch", (".pt2",), _open_torch),
}
"""The runtimes, the one that is preferred first."""


def found_ports(ports: Sequence[Port]) -> str:
    """Lists inputs or outputs for a message."""
    return ", ".join(map(str, ports)) or "none"
