"""Saves the network of ``smp_net.py`` as ``unet.onnx``, and what is known of it beside the file."""

import json
from pathlib import Path

import torch
from smp_net import FACTS, unet

sides = {2: torch.export.Dim("rows", min=1) * 32, 3: torch.export.Dim("columns", min=1) * 32}
torch.onnx.export(
    unet().eval(),
    (torch.zeros(2, 3, 128, 256),),
    "unet.onnx",
    dynamic_shapes=[{0: torch.export.Dim("images"), **sides}],
    dynamo=True,
    external_data=False,
)
Path("unet.json").write_text(json.dumps(FACTS))
