"""Parameters and operations, by hand."""

import torch
from torch import nn

from ibnseg.models.complexity import backbone_complexity, complexity
from ibnseg.models.names import LAYOUTS, build_backbone
from tests.models.cases import case


def test_a_convolution_and_its_norm_are_counted_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    own = complexity(network, 6, 10)
    assert own.parameters == 4 * 3 * 9 + 2 * 4
    assert own.flops == 2 * (6 * 10) * 4 * (3 * 9)  # the normalisation is not counted


def resnet50_at_stride_8(height: int, width: int) -> int:
    """Multiplications and additions of ResNet50's convolutions, from its table of widths."""
    area = height * width
    total = area // 4 * 64 * 3 * 49
    channels, here = 64, area // 16
    for width_, blocks, stride in zip((64, 128, 256, 512), (3, 4, 6, 3), (1, 2, 1, 1), strict=True):
        for i in range(blocks):
            total += here * width_ * channels  # before the stride
            here //= stride**2 if i == 0 else 1
            total += here * width_ * width_ * 9 + here * 4 * width_ * width_
            total += here * 4 * width_ * channels if i == 0 else 0
            channels = 4 * width_
    return 2 * total


def test_resnet50_has_the_operations_of_its_table():
    plain = backbone_complexity("resnet50", 64, 128)
    assert plain.parameters == 25_557_032 - 2049 * 1000  # torchvision's, without the classifier
    assert plain.flops == resnet50_at_stride_8(64, 128)


def test_variants_add_parameters_of_sums_and_no_operations():
    """Scale and shift of the normalised sums, and no operation of a convolution."""
    for variant, parameters in [
        ("a", 0),
        ("b", 2 * (256 + 512)),
        ("d", 2 * (256 + 512)),
        ("ax2", 0),
        ("in", 0),
    ]:
        with case(variant=variant, parameters=parameters):
            plain, own = (
                backbone_complexity(name, 64, 128)
                for name in ("resnet50", f"resnet50_ibn_{variant}")
            )
            assert own.parameters - plain.parameters == parameters
            with torch.device("meta"):
                network = build_backbone(f"resnet50_ibn_{variant}", **LAYOUTS[8])
            assert own.flops == plain.flops == complexity(network, 64, 128).flops


def test_variant_c_pays_for_its_wide_convolutions():
    """Each second convolution of stages 1 to 3 has twice the input, and its norm's BN beside IN."""
    plain, own = (backbone_complexity(name, 64, 128) for name in ("resnet50", "resnet50_ibn_c"))
    widths = [(64, 3, 64 * 128 // 16), (128, 4, 64 * 128 // 64), (256, 6, 64 * 128 // 64)]
    assert own.parameters - plain.parameters == sum(n * (9 * w * w + 2 * w) for w, n, _ in widths)
    assert own.flops - plain.flops == sum(2 * n * area * 9 * w * w for w, n, area in widths)
