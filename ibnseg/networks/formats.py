"""The formats of exported networks: a table, and what writes each."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.export import ExportedProgram

from ibnseg.networks.metadata import KEY
from ibnseg.support.errors import UserError
from ibnseg.support.files import written_whole
from ibnseg.support.reading import in_mib

if TYPE_CHECKING:  # of the extra
    from onnx import ModelProto

MOST_ONNX = 2**31 - 1
"""The most bytes that a protobuf file can have."""


class Format(NamedTuple):
    """A format."""

    title: str
    suffix: str
    packages: tuple[str, ...]
    """What writing and checking it needs, beside torch."""
    convert: Callable[[ExportedProgram], object]
    """Makes what is saved of a program."""
    save: Callable[[object, Path, str], None]
    """Writes that, and the metadata, to a path."""
    further: tuple[str, ...] = ()
    """Suffixes of further files that it consists of."""

    @property
    def is_onnx(self) -> bool:
        """Whether what is saved is an ONNX model."""
        return self.convert is as_onnx

    def require(self) -> None:
        """Raises a UserError if a package is missing."""
        for package in self.packages:
            try:
                import_module(package)
            except ImportError as error:
                raise UserError(
                    f"export: {package} cannot be imported ({error}): pip install 'ibnseg[export]'"
                ) from error

    @contextmanager
    def written(self, path: Path) -> Iterator[Path]:
        """Gives a temporary path beside ``path``, as :func:`~ibnseg.support.files.written_whole`
        does; further files become those of ``path`` at the end of the block, too.

        While files are exchanged, the main one is missing, so that nobody reads it with others that
        are not its own.
        """
        with written_whole(path) as temporary:
            parts = {temporary.with_suffix(each): path.with_suffix(each) for each in self.further}
            try:
                yield temporary
                if parts:
                    path.unlink(missing_ok=True)
                for part, target in parts.items():
                    with written_whole(target) as whole:
                        part.replace(whole)
            finally:
                for part in parts:
                    part.unlink(missing_ok=True)


def as_onnx(program: ExportedProgram) -> ModelProto:
    """Converts a program to ONNX; its sides are called ``batch``, ``height`` and ``width``.

    Raises:
        UserError: if torch has no ONNX for an operation of the network.
    """
    try:
        with _quietly():
            converted = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["images"], output_names=["output"]
            )
        model = converted.model_proto
    except Exception as error:  # whatever a network does that ONNX has not
        first = str(error).strip().splitlines()[0]
        raise UserError(f"export: the network cannot be written as ONNX ({first})") from error
    _rename_sides(model)
    return model


def _rename_sides(model: ModelProto) -> None:
    """Gives the sides of inputs and outputs names instead of torch's numbers."""
    names = {}
    shape = model.graph.input[0].type.tensor_type.shape.dim
    for side, name in zip(shape, ("batch", "channels", "height", "width"), strict=True):
        if side.dim_param.isidentifier():
            names[side.dim_param] = name
    for port in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in port.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), side.dim_param
                )


def save_onnx(model: ModelProto, path: Path, metadata: str) -> None:
    """Writes an ONNX model with its metadata in one file.

    Raises:
        UserError: if it is larger than such a file can be.
    """
    import onnx

    onnx.helper.set_model_props(model, {KEY: metadata})
    size = model.ByteSize()
    if size > MOST_ONNX:
        raise UserError(
            f"export: the network has {in_mib(size)}, an ONNX file at most {in_mib(MOST_ONNX)}; "
            "take --to torch"
        )
    onnx.save(model, path)


def save_openvino(model: ModelProto, path: Path, metadata: str) -> None:
    """Writes an ONNX model as OpenVINO's two files; weights stay float32.

    Raises:
        UserError: if OpenVINO cannot convert it.
    """
    import openvino

    onnx_file = path.with_suffix(".onnx")
    try:
        save_onnx(model, onnx_file, metadata)
        converted = openvino.convert_model(onnx_file)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"export: OpenVINO cannot convert the network ({first})") from error
    finally:
        onnx_file.unlink(missing_ok=True)
    converted.set_rt_info(metadata, [KEY])
    openvino.save_model(converted, path, compress_to_fp16=False)


def save_torch(program: ExportedProgram, path: Path, metadata: str) -> None:
    """Writes a program as ``torch.export.save`` does, with its metadata as an extra file."""
    with _quietly():
        torch.export.save(program, path, extra_files={KEY: metadata})


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves out what torch says of its own parts while it exports."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


FORMATS = {
    "onnx": Format(
        "ONNX",
        ".onnx",
        ("onnx", "onnxscript", "onnxruntime"),
        as_onnx,
        save_onnx,
    ),
    "openvino": Format(
        "OpenVINO",
        ".xml",
        ("onnx", "onnxscript", "openvino"),
        as_onnx,
        save_openvino,
        (".bin",),
    ),
    "torch": Format("torch.export", ".pt2", (), lambda program: program, save_torch),
}
"""The formats, by the name that ``--to`` takes."""
