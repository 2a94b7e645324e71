"""IBN-ResNeXt and IBN-SE-ResNet against torchvision's, mmseg's and a functional forward."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torchvision
from mmseg.models.backbones import ResNet, ResNeXt
from torch import Tensor, nn

from ibnseg.models import IBN, IBNResNeXt, IBNSEResNet
from ibnseg.models.resnet import SE
from tests.models.cases import case
from tests.models.reference import functional_resnet, images, randomise

DILATED = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
NETWORKS = {
    IBNResNeXt: dict(groups=4, base_width=16, base_channels=16, stem_channels=8),
    IBNSEResNet: dict(base_channels=8, stem_channels=8),
}
both = pytest.mark.parametrize("network", NETWORKS)


def narrow(network: type, variant: str | None = None, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    net = network(50, variant, **NETWORKS[network], **kwargs).double()
    randomise(net)
    return net


def assert_all_close(own: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for a, b in zip(own, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# ---- ResNeXt -----------------------------------------------------------------------------------


def test_plain_resnext_is_torchvisions():
    """32x4d without being asked for it."""
    torch.manual_seed(0)
    other = torchvision.models.resnext50_32x4d(weights=None).double().eval()
    randomise(other)
    weights = {k: v for k, v in other.state_dict().items() if not k.startswith("fc.")}
    with torch.device("meta"):
        net = IBNResNeXt(50)
    assert list(net.state_dict()) == list(weights)
    net.load_state_dict(weights, strict=True, assign=True)
    x = want = images(1, 3, 64, 64, dtype=torch.float64)
    stages = []
    for name, module in other.named_children():
        if name == "avgpool":
            break
        want = module(want)
        if name.startswith("layer"):
            stages.append(want)
    with torch.no_grad():
        assert_all_close(net.eval()(x), tuple(stages))


@pytest.mark.parametrize("training", [False, True])
def test_plain_resnext_is_mmsegs(training):
    net = narrow(IBNResNeXt, **DILATED).train(training)
    other = ResNeXt(depth=50, **NETWORKS[IBNResNeXt], **DILATED).double()
    other.load_state_dict(net.state_dict(), strict=True)
    other.train(training)
    x = images(2, 3, 64, 48, dtype=torch.float64)
    assert all(map(torch.equal, net(x), other(x)))


def test_same_seed_same_resnext_weights_as_mmseg():
    nets = []
    for network in (IBNResNeXt, ResNeXt):
        torch.manual_seed(0)
        nets.append(network(depth=50, **NETWORKS[IBNResNeXt]))
        nets[-1].init_weights()
    pairs = zip(*(net.state_dict().items() for net in nets), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


# ---- squeeze and excitation --------------------------------------------------------------------


def test_squeeze_and_excitation_by_value():
    for channels, reduction in [(32, 16), (6, 2), (5, 3)]:
        with case(channels=channels, reduction=reduction):
            rng = np.random.default_rng(0)
            layer = SE(channels, reduction).double()
            hidden = channels // reduction
            squeeze, excite = (
                rng.normal(size=(hidden, channels)),
                rng.normal(size=(channels, hidden)),
            )
            weights = {
                "fc.0.weight": torch.from_numpy(squeeze),
                "fc.2.weight": torch.from_numpy(excite),
            }
            layer.load_state_dict(weights, strict=True)
            x = rng.normal(1, 2, (3, channels, 4, 5))
            want = np.empty_like(x)
            for n in range(3):
                mean = np.array([x[n, c].sum() / 20 for c in range(channels)])
                gate = 1 / (1 + np.exp(-excite @ np.maximum(squeeze @ mean, 0)))
                for c in range(channels):
                    want[n, c] = gate[c] * x[n, c]
            got = layer(torch.from_numpy(x)).detach().numpy()
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_squeeze_and_excitation_is_differentiable():
    layer = SE(4, 2).double()
    x = images(2, 4, 2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


def test_gates_of_one_half_give_a_plain_resnet():
    """With excitations of 0 every gate is one half; doubling the last scale undoes that."""
    net = narrow(IBNSEResNet).eval()
    weights = net.state_dict()
    for key in [key for key in weights if ".se." in key]:
        value = weights.pop(key)
        if key.endswith("fc.2.weight"):
            value.zero_()
    other = ResNet(depth=50, **NETWORKS[IBNSEResNet]).double()
    other.eval()
    other.load_state_dict(weights, strict=True)
    for name, module in net.named_modules():
        if re.fullmatch(r"layer\d\.\d+\.bn3", name):
            module.weight.data *= 2
            module.bias.data *= 2
    x = images(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert_all_close(net(x), other(x))


# ---- both --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", [None, "a"])
@both
def test_the_forward_pass_equals_one_written_out_in_full(network, variant, training):
    options = dict(ratio=(0.25, 0, 1, 0.5)) if variant and training else {}
    net = narrow(network, variant, **DILATED, **options).train(training)
    x = images(2, 3, 64, 48, dtype=torch.float64)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    assert_all_close(net(x), tuple(functional_resnet(weights, x, **DILATED, training=training)))


def test_ibn_stands_first_in_each_block_of_stages_1_to_3():
    for network in NETWORKS:
        with case(network=network):
            with torch.device("meta"):
                nets = {v: network(50, v) for v in (None, "a")}
                some = network(50, "a", (False, True, False, False))
            counts = (3, 4, 6, 3)
            where = {
                f"layer{stage}.{i}.bn1"
                for stage, count in enumerate(counts, 1)
                for i in range(count)
                if stage < 4
            }

            def of(net: nn.Module) -> set[str]:
                return {name for name, module in net.named_modules() if isinstance(module, IBN)}

            assert of(nets[None]) == set()
            assert of(nets["a"]) == where
            assert of(some) == {name for name in where if name.startswith("layer2")}


def test_dilated_stages_have_output_stride_8():
    for network in NETWORKS:
        for size, eighth in [((64, 96), (8, 12)), ((65, 97), (9, 13))]:
            with case(network=network, size=size, eighth=eighth):
                with torch.device("meta"):
                    outs = network(50, "a", **DILATED).eval()(torch.empty(1, 3, *size))
                quarter = tuple(-(-n // 4) for n in size)
                assert [tuple(out.shape) for out in outs] == [
                    (1, 256, *quarter),
                    (1, 512, *eighth),
                    (1, 1024, *eighth),
                    (1, 2048, *eighth),
                ]


@pytest.mark.filterwarnings("ignore:torch.utils.checkpoint:UserWarning")
@both
def test_gradient_checkpointing_changes_no_gradient(network):
    results = []
    for with_cp in (False, True):
        net = narrow(network, "a", with_cp=with_cp).train()
        x = images(2, 3, 64, 64, dtype=torch.float64).requires_grad_()
        sum(out.sin().sum() for out in net(x)).backward()
        assert all(p.grad is not None for p in net.parameters())
        results.append((x.grad, *(p.grad for p in net.parameters())))
    assert_all_close(*results)


@both
def test_bfloat16_autocast_has_finite_gradients(network):
    net = narrow(network, "a").float().train()
    with torch.autocast("cpu", torch.bfloat16):
        outs = net(images(2, 3, 64, 64))
        loss = sum(out.float().square().mean() for out in outs)
    assert {out.dtype for out in outs} == {torch.bfloat16}
    loss.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_depths_and_variants_that_are_not_published_are_refused():
    for depth, variant, message in [
        (18, None, "unknown depth 18, expected one of (50, 101, 152)"),
        (34, "a", "unknown depth 34, expected one of (50, 101, 152)"),
        (50, "b", "unknown variant 'b', expected one of (None, 'a')"),
        (50, "c", "unknown variant 'c', expected one of (None, 'a')"),
        (50, "e", "unknown variant 'e', expected one of (None, 'a')"),
    ]:
        for network in NETWORKS:
            said = re.escape(f"{network.__name__}: {message}")
            with case(network=network, message=message), pytest.raises(ValueError, match=said):
                network(depth, variant)
