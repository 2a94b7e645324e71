"""The training step with accumulation, and metrics by domain."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from ibnseg.datasets.labels import CLASSES
from ibnseg.engine import Runner, expand

EXACT = """
model["backbone"].update(norm_eval=True)
model["decode_head"].update(norm_cfg=None, dropout_ratio=0)
train_domain = "cityscapes"
test_domains = ["cityscapes", "gta5"]
crop_size = (48, 64)
scale = aspect = (1, 1)
iterations = 2
"""


def run(config: Path, folder: Path, **changes) -> Runner:
    cfg = Config.fromfile(config)
    for key, value in changes.items():
        cfg[key] = value
    cfg = expand(cfg)
    cfg.work_dir = str(folder)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_accumulated_parts_give_the_step_of_the_whole_batch(
    in_data: Path, tiny_config, tmp_path: Path
) -> None:
    """Equally many counted pixels a part, no batch statistics: the same weights in the end."""
    config = tiny_config("gta5", [], EXACT)
    whole, parts = (
        run(config, tmp_path / str(k), accumulate=k, name=f"accumulate{k}") for k in (1, 2)
    )
    assert whole.iter == parts.iter == 2
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, parts.model.state_dict()[key], rtol=1e-4, atol=1e-6)
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
