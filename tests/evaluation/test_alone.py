"""The metric in a project of one's own: the recipe of docs/metric.md, without mmengine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

RECIPE = re.search(
    r"^```python\n(.*?)^```$",
    (Path(__file__).parents[2] / "docs/metric.md").read_text(),
    re.MULTILINE | re.DOTALL,
)[1]

# road is right twice and taken for sidewalk once; of two pixels of sidewalk, one is right
LABELS = [[[0, 0, 0, 255]], [[1, 1, 255, 255]]]
PREDICTIONS = [[[0, 0, 1, 7]], [[1, 0, 3, 3]]]
PRINTED = "mIoU 41.7 %, IoU of road 50.0 %\n"  # 2 / (3 + 3 - 2) and 1 / (2 + 2 - 1)

ALONE = f"""
import sys

for name in ("mmengine", "mmseg", "mmcv", "torch"):
    sys.modules[name] = None  # importing it is an error

import numpy as np

pairs = [
    (np.array(label, np.uint8), np.array(prediction, np.uint8))
    for label, prediction in zip({LABELS}, {PREDICTIONS})
]
"""


def test_the_recipe_runs_without_mmengine_mmseg_and_torch() -> None:
    command = [sys.executable, "-c", ALONE + RECIPE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (PRINTED, "")


@pytest.mark.parametrize("maps", [np.array, torch.tensor])
def test_the_recipe_takes_arrays_and_tensors(maps, capsys: pytest.CaptureFixture) -> None:
    pairs = [tuple(map(maps, pair)) for pair in zip(LABELS, PREDICTIONS, strict=True)]
    exec(RECIPE, dict(pairs=pairs))
    assert capsys.readouterr().out == PRINTED


def test_a_tensor_is_counted_where_torch_is_imported_but_not_mmengine() -> None:
    code = """
import sys

import torch

from ibnseg.evaluation.confusion import confusion_matrix, mean_iou

label = torch.tensor([[0, 0, 1, 255]])
print(mean_iou(confusion_matrix(label, torch.tensor([[0, 1, 1, 9]]), 2)))
print(*({"mmengine", "mmseg", "mmcv"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, text=True) == "0.5\n\n"
