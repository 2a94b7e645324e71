"""The training step with accumulation, and metrics by domain."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.expand import expand
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner
from ibnseg.models.segmentor import Segmentor
from ibnseg.support.errors import UserError

EXACT = """
model["backbone"].update(norm_eval=True)
model["decode_head"].update(norm_cfg=None, dropout_ratio=0)
train_domain = "cityscapes"
test_domains = ["cityscapes", "gta5"]
crop_size = (48, 64)
scale = aspect = (1, 1)
iterations = 2
"""

UNEVEN = (
    EXACT
    + """
scale = (0.4, 1.5)
weights = [0.5 + i / 4 for i in range(19)]
extra = ("weights",)
model["decode_head"]["loss_decode"] = dict(type='CrossEntropyLoss', {loss})
"""
)
"""Crops that differ in their classes and in how much of them is void."""


def run(config: Path, folder: Path, **changes) -> Runner:
    cfg = Config.fromfile(config)
    for key, value in changes.items():
        cfg[key] = value
    cfg = expand(cfg)
    cfg.work_dir = str(folder)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize(
    "loss", ["class_weight=weights, avg_non_ignore=False", "avg_non_ignore=True"]
)
def test_accumulated_parts_give_the_step_of_the_whole_batch(
    loss: str, in_data: Path, tiny_config, tmp_path: Path
) -> None:
    """Without batch statistics the weights are the same in the end, whatever each part holds."""
    config = tiny_config("gta5", [], UNEVEN.format(loss=loss))
    whole, parts = (
        run(config, tmp_path / str(k), accumulate=k, name=f"accumulate{k}") for k in (1, 2)
    )
    assert whole.iter == parts.iter == 2
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, parts.model.state_dict()[key], rtol=0, atol=2e-7)
    last = [r.param_schedulers[0]._last_value for r in (whole, parts)]
    assert last[0] == last[1]


def test_metrics_are_named_for_their_domain(in_data: Path, tiny_config, tmp_path: Path) -> None:
    runner = run(tiny_config("gta5", [], EXACT), tmp_path, name="metrics", iterations=1)
    seen = []

    class Seen(Hook):
        def after_test_epoch(self, runner: Runner, metrics: dict) -> None:
            seen.append(metrics)

    runner.register_hook(Seen())
    metrics = runner.test()
    assert len(seen) == 2
    assert metrics.keys() == seen[0].keys() | seen[1].keys()
    for of_test, domain in zip(seen, ("cityscapes", "gta5"), strict=True):
        names = {name.removeprefix(f"{domain}/") for name in of_test}
        assert {"mIoU", "pixel_accuracy", *(f"IoU/{c}" for c in CLASSES)} <= names
        assert all(name.startswith(f"{domain}/") for name in of_test)
        assert 0 <= metrics[f"{domain}/mIoU"] <= 1


def test_every_iteration_is_seeded_by_the_seed_and_its_number(
    in_data: Path, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch is seeded anew in each iteration, by seed and number."""
    states = []
    seed = torch.manual_seed

    def record(value: int):
        states.append(value)
        return seed(value)

    config = tiny_config("gta5", [], EXACT)
    for run_seed in (0, 0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "manual_seed", record)
            run(config, tmp_path / f"{len(states)}", seed=run_seed, name=f"seeds{len(states)}")
    per_run = len(states) // 3
    first, again, other = (states[i * per_run : (i + 1) * per_run][-2:] for i in range(3))
    assert first == again
    assert first[0] != first[1]
    assert not set(first) & set(other)


ASPP = """
model["decode_head"] = dict(
    _delete_=True, type="ASPPHead", in_channels=64, in_index=3, channels=8, dilations=(1, 2),
    num_classes=19, norm_cfg=dict(type="BN"),
    loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
)
"""
"""A head that pools whole images, with batch statistics."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch=1), "a batch normalisation gets one value a channel"),
        (dict(crop_size=(8, 8)), "an instance normalisation gets one value a channel"),
        (
            {"model.decode_head.dilations": (1,), "model.type": "EncoderDecoder"}
            | {"model.decode_head.in_channels": 32},
            "model: a layer does not fit what it is given (Given groups=1",
        ),
    ],
)
def test_layers_that_do_not_fit_are_an_error_of_one_line(
    options: dict, message: str, in_data: Path, tiny_config, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        train(tiny_config("gta5", ["gta5"], ASPP), options=options, work_dir=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_little_memory_does_not_lead_to_one_image_that_a_layer_pools(
    in_data: Path, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args, **kwargs) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Segmentor, "train_step", fails)
    raised = "or raise accumulate, e.g. --cfg-options accumulate=4"
    for more, batch, advice in (("", 4, raised), (ASPP, 4, "batch"), (ASPP, 8, raised)):
        config = tiny_config("gta5", ["gta5"], more)
        with pytest.raises(UserError) as error:
            train(
                config,
                options=[f"batch={batch}", "accumulate=2"],
                work_dir=tmp_path / f"{batch}{bool(more)}",
            )
        assert str(error.value).endswith(advice)
