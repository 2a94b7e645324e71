"""Networks exported to ONNX and run by its own runtime, against torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ibnseg.models import Segmentor
from ibnseg.models.fuse import fuse
from tests.models.tiny import CLASSES, CROSS_ENTROPY, build, config, images

VIT = dict(
    type="ibnseg.ViT",
    name="vit_small_patch14_reg4_dinov2",
    image_size=64,
    out_indices=(1,),
    options=dict(embed_dim=32, depth=4, num_heads=4),
)
LINEAR = dict(
    type="ibnseg.LinearHead",
    in_channels=32,
    num_classes=CLASSES,
    align_corners=False,
    loss_decode=CROSS_ENTROPY,
)
QUERY = dict(
    type="ibnseg.QueryHead", in_channels=32, num_classes=CLASSES, queries=6, blocks=2, points=128
)
LORA = dict(type="ibnseg.LoRA", rank=2)


def vit(head: dict, **kwargs) -> Segmentor:
    torch.manual_seed(0)
    network = Segmentor(**config(head, backbone={**VIT, **kwargs})).eval()
    for parameter in network.parameters():  # so that each of them counts
        nn.init.normal_(parameter, std=0.2)
    return network


NETWORKS = {
    "a ViT with LoRA": lambda: vit(LINEAR, adapter=LORA),
    "a ViT with rotary positions": lambda: vit(LINEAR, name="vit_small_patch16_dinov3"),
    "a ViT with queries": lambda: vit(QUERY),
    "a ResNet": build,
}


class Logits(nn.Module):
    """A segmentor whose forward pass gives the decode head's output."""

    def __init__(self, segmentor: Segmentor) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, x: Tensor) -> Tensor:
        return self.segmentor.encode_decode(x)


@pytest.mark.extras
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    """At another size than that of the position embeddings; BN and LoRA are folded before."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network, x = NETWORKS[name](), images(1, 3, 64, 96)
    with torch.no_grad():
        wanted = network.encode_decode(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(Logits(fuse(network)), (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "network.onnx")
    session = runtime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    error = (torch.from_numpy(found) - wanted).abs().max() / wanted.abs().max()
    print(f"{name}: {error:.1e} of the largest output")
    assert error < 1e-4
