"""The head of DeepLabV3+ against the sizes, weights and arithmetic of RobustNet's."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from ibnseg.models import DeepLabV3PlusHead
from ibnseg.registry import MODELS
from ibnseg.support.files import config_folder
from tests.models.cases import case


def model_config(name: str) -> Config:
    return Config.fromfile(config_folder() / "_base_" / "models" / f"{name}-d16.py").model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def conv(inputs: int, outputs: int, side: int) -> int:
    """Weights of a convolution without bias, and the scale and shift of its normalisation."""
    return inputs * outputs * side * side + 2 * outputs


PYRAMID = conv(2048, 256, 1) + 3 * conv(2048, 256, 3) + conv(2048, 256, 1)  # the last of the mean
DECODER = conv(1280, 256, 1) + conv(256, 48, 1) + conv(304, 256, 3) + conv(256, 256, 3)
CLASSIFIER = 256 * 19 + 19


def test_parameters_are_those_of_robustnet() -> None:
    """network/deepv3.py: aspp 15206912, bot_aspp and bot_fine 340576, final1 and final2 1296147."""
    assert PYRAMID == 15206912
    assert DECODER + CLASSIFIER == 340576 + 1296147
    model = model_config("deeplabv3plus_r50")
    with torch.device("meta"):
        head = MODELS.build(model.decode_head)
        auxiliary = MODELS.build({**model.auxiliary_head, "type": "mmseg.FCNHead"})
    assert count(head) == PYRAMID + DECODER + CLASSIFIER == 16843635
    # there 512 more: a bias, which the normalisation after it removes
    assert count(auxiliary) == conv(1024, 512, 3) + 512 * 19 + 19


@pytest.fixture
def head() -> DeepLabV3PlusHead:
    torch.manual_seed(0)
    cfg = model_config("deeplabv3plus_r50").decode_head
    small = dict(in_channels=16, channels=8, low_level_in=6, low_level=4)
    head = MODELS.build({**cfg, **small})
    head.init_weights()
    return head


def test_every_convolution_is_initialised_by_its_fan_in(head: DeepLabV3PlusHead) -> None:
    """Standard deviation sqrt(2 / fan_in); mmcv and mmseg would take fan_out, and 0.01 for
    the classifier."""
    convs = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 10
    for module in convs:
        weights = module.weight
        fan_in = weights[0].numel()
        estimate = weights.std().item() / math.sqrt(2 / fan_in)
        assert abs(estimate - 1) < 4 / math.sqrt(2 * weights.numel())
    assert not head.conv_seg.bias.any()


def test_the_forward_pass_equals_a_decoder_written_out_in_full(head: DeepLabV3PlusHead) -> None:
    """Computed in float64, with norms that are not the identity."""
    head = head.double().eval()
    torch.manual_seed(1)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_()
    inputs = tuple(
        torch.randn(2, channels, 48 // stride, 64 // stride, dtype=torch.float64)
        for channels, stride in ((6, 4), (8, 8), (12, 16), (16, 16))
    )

    def layer(module: nn.Module, x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
        side = module.conv.weight.shape[-1]
        padding = dilation * (side // 2)
        x = F.conv2d(x, module.conv.weight, padding=padding, dilation=dilation)
        scale = module.bn.weight / (module.bn.running_var + 1e-5).sqrt()
        x = (x - module.bn.running_mean[:, None, None]) * scale[:, None, None]
        return (x + module.bn.bias[:, None, None]).clamp(min=0)

    def upsample(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    deep = inputs[3]
    mean = layer(head.image_pool[1], deep.mean(dim=(2, 3), keepdim=True))
    branches = [upsample(mean, (3, 4))]
    branches += [layer(head.aspp_modules[i], deep, d) for i, d in enumerate((1, 6, 12, 18))]
    coarse = layer(head.bottleneck, torch.cat(branches, dim=1))
    joined = torch.cat([layer(head.low_level, inputs[0]), upsample(coarse, (12, 16))], dim=1)
    decoded = layer(head.decoder[1], layer(head.decoder[0], joined))
    expected = F.conv2d(decoded, head.conv_seg.weight, head.conv_seg.bias)
    found = head(inputs)
    assert found.shape == (2, 19, 12, 16)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_deeplabv3plus_has_output_stride_16() -> None:
    for name in ["r50", "ibn50a", "ibn50b"]:
        with case(name=name):
            model = model_config(f"deeplabv3plus_{name}")
            with torch.device("meta"):
                features = MODELS.build(model.backbone)(torch.zeros(2, 3, 64, 96))
            assert [tuple(f.shape[1:]) for f in features] == [
                (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 4, 6),
            ]  # fmt: skip
