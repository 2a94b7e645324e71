"""The script beside an exported ONNX file, which runs it by NumPy and ONNX Runtime alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pprint import pformat

from ibnseg.support.files import written_whole

SCRIPT = '''\
"""Predicts the class of each pixel by {file}; needs numpy and onnxruntime.

    python {script} IMAGE.npy [PREDICTION.npy]

IMAGE.npy is (H, W, 3) uint8, RGB; PREDICTION.npy becomes (H, W) uint8, indices of CLASSES.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

CLASSES = {classes}
COLORS = {colors}  # RGB
SESSION = onnxruntime.InferenceSession(Path(__file__).with_name("{file}"))


def predict(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, RGB -> (H, W) uint8, train ids."""
{body}

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not sys.argv[1].endswith(".npy"):
        sys.exit("expected IMAGE.npy [IDS.npy]: an array (H, W, 3) uint8, RGB, and where ids go")
    path = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else path.with_name(path.stem + "_ids.npy")
    np.save(out, ids := predict(np.load(path)))
    shares = np.bincount(ids.ravel(), minlength=len(CLASSES)) / ids.size
    print(out, *(f"{{name}} {{share:.1%}}" for name, share in zip(CLASSES, shares) if share))
'''


def script_of(file: str, script: str, description: Mapping) -> str:
    """Returns the script.

    Args:
        file: the ONNX file's name.
        script: its own name.
        description: the file's, from :func:`ibnseg.networks.metadata.describe`.
    """
    facts = description["facts"]
    lines = ["images = np.ascontiguousarray(image.transpose(2, 0, 1))[None]"]
    if facts["channels"] == "BGR":
        lines = ["images = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))[None]"]
    if description["takes"] == "normalised":
        lines += [
            f"mean, std = {facts['mean']}, {facts['std']}",
            "mean, std = (np.reshape(each, (3, 1, 1)) for each in (mean, std))",
            "images = ((images - mean) / std).astype(np.float32)",
        ]
    if description["batch"] not in (None, 1):
        lines.append(f"images = np.repeat(images, {description['batch']}, axis=0)")
    lines.append("(output,) = SESSION.run(None, {SESSION.get_inputs()[0].name: images})")
    ids = "output[0]" if description["gives"] == "train-ids" else "output[0].argmax(0)"
    lines.append(f"return {ids}.astype(np.uint8)")
    body = "".join(f"    {line}\n" for line in lines)
    return SCRIPT.format(
        file=file,
        script=script,
        classes=_wrapped(facts["classes"]),
        colors=_wrapped([tuple(color) for color in description["palette"]]),
        body=body,
    )


def _wrapped(values: list) -> str:
    return pformat(values, width=100, compact=True)


def write_script(file: Path, description: Mapping) -> Path:
    """Writes the script beside a file: ``NAME_run.py`` for ``NAME.onnx``.

    Returns:
        The script.
    """
    path = file.with_name(f"{file.stem}_run.py")
    with written_whole(path) as temporary:
        temporary.write_text(script_of(file.name, path.name, description))
    return path
