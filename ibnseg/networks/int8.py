"""Makes an ONNX model compute in int8, by the ranges of its activations on images."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ibnseg.support.errors import UserError

if TYPE_CHECKING:  # of the extra
    from onnx import ModelProto

IMAGES = 64
"""The most images that are calibrated on."""

QUANTISED = ("Conv", "MatMul", "Gemm", "Add", "Relu", "MaxPool", "Concat")
"""The operations that compute in int8. Normalisation, softmax, upsampling and the choice of the
class stay in float32."""


def quantised(model: ModelProto, inputs: Iterable[np.ndarray]) -> ModelProto:
    """Returns a model with QDQ pairs around what computes in int8: weights by channel, activations
    by the smallest and largest value that occurs.

    Args:
        model: in float32, of one input.
        inputs: what it is calibrated on.

    Raises:
        UserError: if ONNX Runtime cannot quantise it.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.inputs: Iterator[np.ndarray] = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(self.inputs, None)
            return None if found is None else {model.graph.input[0].name: found}

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            given, ready, done = (
                Path(folder, f"{name}.onnx") for name in ("given", "ready", "done")
            )
            onnx.save(model, given)
            quant_pre_process(given, ready, skip_symbolic_shape=True)
            quantization.quantize_static(
                ready,
                done,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return onnx.load(done)
    except UserError:
        raise
    except Exception as error:  # whatever ONNX Runtime cannot quantise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"--int8: the network cannot be quantised ({first})") from error
    finally:
        logging.disable(before)
