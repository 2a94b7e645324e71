"""Further losses see features of each view, and only what they ask for is computed."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import PixelData
from torch import Tensor, nn

from ibnseg.models import Segmentor
from ibnseg.models.activations import recorded
from ibnseg.support.errors import UserError
from tests.models.cases import case
from tests.models.tiny import AUXILIARY, BACKBONE, build, config, images, samples

pytestmark = pytest.mark.filterwarnings("ignore:When align_corners=True:UserWarning")


class Spy(nn.Module):
    """Keeps what it is given; its loss is what a function makes of the views."""

    def __init__(self, loss=lambda views: {}, layers: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.loss, self.layers = loss, layers

    def forward(self, views: dict, data_samples: list) -> dict[str, Tensor]:
        self.views, self.data_samples = views, data_samples
        return self.loss(views)


def spying(**kwargs) -> dict:
    return dict(type=Spy, **kwargs)


def network(*losses: dict, **kwargs) -> Segmentor:
    return build(further_losses=list(losses), **kwargs).train()


def batch(**views: Tensor) -> list:
    data_samples = samples(2, 40, 56)
    for i, sample in enumerate(data_samples if views else ()):
        sample.views = PixelData(**{name: stack[i] for name, stack in views.items()})
    return data_samples


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """The sums of the batches that the backbone sees."""
    seen = []
    extract_feat = Segmentor.extract_feat

    def watched(self: Segmentor, inputs: Tensor) -> tuple[Tensor, ...]:
        seen.append(round(inputs.sum().item(), 2))
        return extract_feat(self, inputs)

    monkeypatch.setattr(Segmentor, "extract_feat", watched)
    return seen


X, COLOR, WEAK = (images(2, 3, 40, 56, seed=seed) for seed in (0, 1, 2))


def test_a_loss_sees_features_logits_and_layers_of_every_view() -> None:
    name = "backbone.layer1.1.bn1.IN"

    def loss(views: dict) -> dict[str, Tensor]:
        gap = (views["image"].logits - views["color"].logits).square().mean()
        return dict(loss_consistency=2 * gap, gap=gap.detach())

    net = network(spying(loss=loss, layers=(name,)))
    (spy,) = net.further_losses
    losses = net.loss(X, data_samples := batch(color=COLOR))
    assert list(losses) == [
        "decode.loss_ce",
        "decode.acc_seg",
        "further_0.loss_consistency",
        "further_0.gap",
    ]
    assert list(spy.views) == ["image", "color"]
    assert spy.data_samples is data_samples
    net.eval()
    net.backbone.train()
    for view, inputs in (("image", X), ("color", COLOR)):
        seen = spy.views[view]
        assert torch.equal(seen.inputs, inputs)
        with recorded(net, [name]) as layers:  # the halves of a layer are called if one is watched
            features = net.extract_feat(inputs)
        assert len(seen.features) == 4
        torch.testing.assert_close(seen.features[-1], features[-1])
        torch.testing.assert_close(seen.logits, net.decode_head(features))
        torch.testing.assert_close(seen.layers[name], layers[name])
    total, logged = net.parse_losses(losses)
    assert total == losses["decode.loss_ce"] + losses["further_0.loss_consistency"]
    assert logged["further_0.gap"] > 0


def test_without_further_losses_the_losses_are_the_same_and_views_cost_nothing(runs) -> None:
    plain, spied = network(auxiliary_head=AUXILIARY), network(spying(), auxiliary_head=AUXILIARY)
    runs.clear()
    expected = plain.loss(X, batch())
    for net, data_samples in ((plain, batch(color=COLOR)), (spied, batch(color=COLOR))):
        found = net.loss(X, data_samples)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert torch.equal(found[key], value)
    assert len(runs) == 3
    assert plain.state_dict().keys() == spied.state_dict().keys()


def test_each_view_is_computed_once_and_only_if_it_is_asked_for(runs) -> None:
    asks = [lambda views: dict(loss=views["color"].logits.mean() + views["image"].logits.mean())]
    asks.append(lambda views: dict(loss=sum(f.mean() for f in views["color"].features)))
    net = network(*(spying(loss=loss) for loss in asks))
    runs.clear()
    net.loss(X, batch(color=COLOR, weak=WEAK))
    assert runs == [round(x.sum().item(), 2) for x in (X, COLOR)]


def test_a_layers_output_is_as_it_was_before_the_next_layer_changed_it() -> None:
    """The ReLU after an IBN-b's last normalisation works in place, and would hide its negative
    half."""
    net = network(spying(layers=("backbone.layer1.*.IN",)), backbone=dict(BACKBONE, variant="b"))
    net.loss(X, batch())
    (output,) = net.further_losses[0].views["image"].layers.values()
    assert (output < 0).float().mean() > 0.2
    torch.testing.assert_close(
        output.mean((2, 3)), torch.zeros(output.shape[:2]), atol=1e-4, rtol=0
    )


def test_a_view_asked_for_without_gradients_still_has_them_for_the_next_loss() -> None:
    def teacher(views: dict) -> dict[str, Tensor]:
        with torch.no_grad():
            views["color"].logits  # noqa: B018
        return {}

    def student(views: dict) -> dict[str, Tensor]:
        return dict(loss=views["color"].logits.mean())

    losses = network(spying(loss=teacher), spying(loss=student)).loss(X, batch(color=COLOR))
    assert losses["further_1.loss"].requires_grad


def test_a_view_that_images_do_not_have_is_refused_with_those_that_they_have() -> None:
    net = network(spying(loss=lambda views: dict(loss=views["colour"].logits.mean())))
    with pytest.raises(UserError, match="'colour'; did you mean color"):
        net.loss(X, batch(color=COLOR))
    assert "weak" not in net.further_losses[0].views


def test_a_layer_that_is_not_there_is_refused_when_the_network_is_built() -> None:
    for name in ["backbone.layer9.IN", "decode_head.conv_seg"]:
        with case(name=name):
            message = f"further_0: no module of the backbone or neck is called '{name}'"
            with pytest.raises(ValueError, match=message):
                network(spying(layers=(name,)))


def test_parameters_and_buffers_of_losses_are_in_the_state() -> None:
    net = network(dict(type=nn.BatchNorm2d, num_features=3))
    found = {key for key in net.state_dict() if key.startswith("further_losses.0.")}
    assert {"further_losses.0.weight", "further_losses.0.running_mean"} <= found


def test_a_loss_is_built_by_the_name_of_its_class() -> None:
    cfg = config(further_losses=[dict(type=f"{__name__}.Spy", layers=("backbone.layer1",))])
    (loss,) = Segmentor(**cfg).further_losses
    assert (type(loss).__name__, loss.layers) == ("Spy", ("backbone.layer1",))


def test_recording_leaves_no_hooks_behind() -> None:
    net = network(spying(layers=("backbone.layer1",)))
    net.loss(X, batch())
    assert not net.backbone.layer1._forward_hooks
