"""Networks in files that other programs run, exported here or elsewhere: ONNX, OpenVINO,
torch.export."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import Tensor

from ibnseg.networks.facts import Facts, Found, configured
from ibnseg.networks.kinds import kind_of
from ibnseg.networks.metadata import read_description
from ibnseg.networks.sessions import Port, Session, found_ports, open_session, reason
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path, sha256

IDS = ("uint8", "int32", "int64")
FLOATS = ("float32", "float16", "float64")


def configure(source: str) -> dict:
    """Makes the values of a config for a file.

    The facts are those in the file's metadata, if it was exported here, and in the JSON file
    beside it, ``NAME.json`` for ``NAME.onnx``. A size that the input is fixed to is a fact, too.

    Raises:
        UserError: for a file that is missing or cannot be opened, a missing runtime, an input that
            is not one of images, and as :func:`~ibnseg.networks.facts.facts_of`.
    """
    path = as_path(source)
    session = open_session(path)
    says = {"title": path.stem, **read_description(session.metadata, str(path)).get("facts", {})}
    size = _image_port(session, path).shape[2:]
    if None not in size:
        says["size"] = list(size)
    kinds = {_kind(port) for port in session.outputs}
    if "gives" not in says and kinds == {"classes"}:
        says["gives"] = "classes"
    found = Found(path.stem, _hash(path), path.with_suffix(".json"), says)
    return configured(str(path), kind_of(source).words, found)


def build(source: str, facts: Facts, *, runtime: str | None = None) -> FileNetwork:
    """Opens a file for inference.

    Args:
        source: the file.
        facts: what is known of it.
        runtime: ``onnxruntime`` or ``openvino`` for an ONNX file; by default the first of them
            that is installed. In a config, it is ``model.runtime``.

    Returns:
        A callable that takes images as the facts say, ``(N, 3, H, W)`` float32, and gives logits,
        ``(N, K, h, w)`` float32, or classes, ``(N, h, w)`` int64.

    Raises:
        UserError: as :func:`configure`; if no output fits the classes; and for an input of whole
            numbers whose images would be normalised.
    """
    path = as_path(source)
    session = open_session(path, runtime, get_device())
    return FileNetwork(path, session, facts)


class FileNetwork:
    """A network in a file, with images and outputs in the forms that the tests take.

    It is no module of torch, because its precision and its layers are those of the file.

    Args:
        path: the file, for messages.
        session: the opened file.
        facts: what is known of it.
    """

    def __init__(self, path: Path, session: Session, facts: Facts) -> None:
        self.path, self.port = path, _image_port(session, path)
        self.output, self.gives = _output(session, path, facts), facts.gives
        self.run = session.run
        self.classes = len(facts.classes)
        says = read_description(session.metadata, str(path))
        self.aligns = bool(says.get("align_corners")) and says.get("gives") == "logits"
        is_plain = facts.range == 255 and not any(facts.mean) and set(facts.std) == {1}
        if self.port.dtype == "uint8" and not is_plain:
            raise UserError(
                f"{path}: its input {self.port} takes pixels as they are; expected range 255, mean "
                "[0, 0, 0] and std [1, 1, 1] in its facts"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Computes logits or classes of images ``(N, 3, H, W)`` float32.

        Raises:
            UserError: if the runtime cannot take images of this size, or gives something else than
                it announced.
        """
        inputs = images.round().clamp(0, 255) if self.port.dtype == "uint8" else images
        inputs = inputs.to(getattr(torch, self.port.dtype)).contiguous()
        batch = self.port.shape[0] or len(images)
        parts = []
        for part in inputs.split(batch):
            missing = batch - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
            parts.append(self._run(filled)[: len(part)])
        found = torch.cat(parts).to(images.device)
        return self._checked(found, images)

    def _run(self, images: Tensor) -> Tensor:
        try:
            return self.run(images, self.output)
        except MemoryError:
            raise
        except Exception as error:  # each runtime has errors of its own
            height, width = images.shape[2:]
            raise UserError(
                f"{self.path}: cannot run on images of {width}x{height} ({reason(error)}); if it "
                f"takes certain sizes alone, state size or stride in "
                f"{self.path.with_suffix('.json')}"
            ) from error

    def _checked(self, found: Tensor, images: Tensor) -> Tensor:
        """The output as logits or classes."""
        if self.gives == "classes":
            ids = found.squeeze(1) if found.ndim == 4 and found.shape[1] == 1 else found
            if ids.ndim == 3:
                return ids.long()
        elif found.ndim == 4 and found.shape[1] == self.classes:
            logits = found.float()
            if self.aligns:  # others resize it the other way
                size = images.shape[2:]
                return F.interpolate(logits, size, mode="bilinear", align_corners=True)
            return logits
        raise UserError(
            f"{self.path}: gave an output of shape {tuple(found.shape)}, expected "
            f"({len(images)}, {self.classes}, h, w) or classes ({len(images)}, h, w)"
        )


def _image_port(session: Session, path: Path) -> Port:
    """The input, which has to be one of images."""
    if len(session.inputs) != 1:
        raise UserError(
            f"{path}: has the inputs {found_ports(session.inputs)}, expected one, of images "
            "(N, 3, H, W)"
        )
    (port,) = session.inputs
    if len(port.shape) == 4 and port.shape[3] == 3 and port.shape[1] != 3:
        raise UserError(
            f"{path}: its input {port} has the channels last, expected (N, 3, H, W); convert it "
            "with the channels first"
        )
    if len(port.shape) != 4 or port.shape[1] not in (3, None):
        raise UserError(f"{path}: its input {port} is not one of images, expected (N, 3, H, W)")
    if port.dtype not in ("uint8", *FLOATS):
        raise UserError(
            f"{path}: its input {port} is of another type than uint8, {', '.join(FLOATS)}"
        )
    return port


def _kind(port: Port) -> str | None:
    """What an output seems to have, ``logits`` or ``classes``; None if it is something else."""
    sides = len(port.shape)
    if port.dtype in FLOATS and sides == 4:
        return "logits"
    if port.dtype in IDS and (sides == 3 or (sides == 4 and port.shape[1] in (1, None))):
        return "classes"
    return None


def _output(session: Session, path: Path, facts: Facts) -> int:
    """The number of the first output that has what the facts say; warns if there are others."""
    classes, fitting = len(facts.classes), []
    for i, port in enumerate(session.outputs):
        fits = facts.gives == "classes" or port.shape[1:2] in ((classes,), (None,))
        if _kind(port) == facts.gives and fits:
            fitting.append(i)
    if len(fitting) > 1:
        found = found_ports([session.outputs[i] for i in fitting])
        first = session.outputs[fitting[0]].name
        print_log(
            f"{path}: several outputs could be the {facts.gives}, {found}; the first is taken, "
            f"{first}. If it is another one, export the network with that one alone",
            "current",
            logging.WARNING,
        )
    if fitting:
        return fitting[0]
    wanted = f"logits (N, {classes}, h, w) of floating point"
    if facts.gives == "classes":
        wanted = "classes (N, h, w) of whole numbers"
    raise UserError(
        f"{path}: has the outputs {found_ports(session.outputs)}, expected {wanted}, by its facts "
        f"(gives: {facts.gives}; {classes} classes)"
    )


def _hash(path: Path) -> str:
    """The hash of the file, and of the files beside it in which it keeps its weights."""
    weights = _weights_beside(path)
    if not weights:
        return sha256(path)
    together = "".join(sha256(each) for each in (path, *weights))
    return hashlib.sha256(together.encode()).hexdigest()


def _weights_beside(path: Path) -> list[Path]:
    """The files of weights of an OpenVINO or ONNX file; an ONNX file names them in plain text."""
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return [each for each in (path.with_suffix(".bin"),) if each.is_file()]
    if suffix != ".onnx":
        return []
    content = path.read_bytes()
    others = (each for each in sorted(path.parent.iterdir()) if each.is_file() and each != path)
    return [each for each in others if each.name.encode() in content]
