"""Whether a GPU learns what a processor does, for ``python -m benchmarks gpu``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu_speed import CheckError, Place, config_of, step_of
from ibnseg.engine.run import train
from ibnseg.engine.runner import Runner

FAR = 1e-3
"""By how much of its length the gradient of a step may differ between devices."""


def same_step(place: Place, seconds: float) -> str:
    """A training step in float32 is that of the processor."""
    found = []
    with _exact_float32():
        for device in (torch.device("cpu"), place.device):
            there = Place(device, True, place.folder)
            # a deeper network, untrained, amplifies rounding
            step = step_of(there, "fcn_ibn18a-d8", images=2, side=65)
            gradients: list[Tensor] = []
            step.wrapper.optimizer.register_step_pre_hook(
                lambda optimizer, *_, gradients=gradients: gradients.extend(
                    p.grad.flatten().cpu() for p in optimizer.param_groups[0]["params"]
                )
            )
            for module in step.network.modules():
                if isinstance(module, nn.Dropout2d):
                    module.p = 0.0  # each device draws its own
            loss = step()["loss"].item()
            found.append((loss, torch.cat(gradients).double()))
    (loss, gradient), (other_loss, other) = found
    far = float((other - gradient).norm() / gradient.norm())
    words = (
        f"loss {other_loss:.6f} beside {loss:.6f}, the gradient differs by {far:.1e} of its length"
    )
    if abs(other_loss - loss) > 1e-4 * abs(loss) or not far <= FAR:
        raise CheckError(words)
    return words


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Without TF32, which rounds what GPUs multiply."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def no_waits(place: Place, seconds: float) -> str:
    """Steps between two lines of the log never wait for the device."""
    cfg = config_of(place, (128, 64), iterations=5, log_interval=100, name="waits")
    runner = Runner.from_cfg(cfg)
    loop = runner.train_loop
    plain = loop.run_iter

    def watched(batch: object) -> None:
        inner = 1 < loop.iter < loop.max_iters - 1 and place.device.type == "cuda"
        torch.cuda.set_sync_debug_mode("error") if inner else None
        try:
            plain(batch)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            raise CheckError(f"a step waits for the device: {error}") from error
        finally:
            torch.cuda.set_sync_debug_mode("default") if inner else None

    loop.run_iter = watched
    runner.train()
    return "5 steps" + ("" if place.device.type == "cuda" else ", not watched on a processor")


def resumes(place: Place, seconds: float) -> str:
    """A run that is interrupted and resumed ends as one that is not."""
    config = _written(place, iterations=4, checkpoint_interval=2, deterministic=True)
    whole, parts = (place.folder / "resumed" / name for name in ("whole", "parts"))
    for folder in (whole, parts):
        train(config, work_dir=folder, show=False)
    (parts / "latest.pth").unlink()
    (parts / "latest.pth").symlink_to("checkpoints/iter_2.pth")
    (parts / "results.json").unlink()
    train(config, work_dir=parts, show=False, resume=True)
    return _near(whole, parts, 1e-5)


def two_processes(place: Place, seconds: float) -> str:
    """Two processes learn what one does."""
    if place.device.type == "cuda" and torch.cuda.device_count() < 2:
        return "not checked, because there is one card"
    if place.quick:
        return "not checked, because tests/engine/test_launch.py does so on processors"
    config = _written(place, iterations=3, batch=4, deterministic=True)
    folders = {count: place.folder / f"processes{count}" for count in (1, 2)}
    for count, folder in folders.items():
        command = ["-m", "torch.distributed.run", f"--nproc_per_node={count}", "--standalone"]
        command += ["-m", "ibnseg.cli", "train", str(config), "--work-dir", str(folder)]
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=seconds
        )
        if done.returncode:
            raise CheckError(f"{count} processes ended with an error: {done.stderr[-300:]}")
    return _near(*folders.values(), 1e-3)


def _near(one: Path, other: Path, most: float) -> str:
    """Compares the weights of two runs."""
    saved = (torch.load(each / "latest.pth", "cpu", weights_only=True) for each in (one, other))
    first, second = (
        torch.cat([x.double().flatten() for x in each["state_dict"].values()]) for each in saved
    )
    far = float((second - first).norm() / first.norm())
    words = f"weights differ by {far:.1e} of their length"
    if not far <= most:
        raise CheckError(words)
    return words


def _written(place: Place, **changes: object) -> Path:
    """Writes a training on drawn streets into a file, so that processes can read it."""
    cfg = config_of(place, (128, 64), **{"model.decode_head.dropout_ratio": 0.0, **changes})
    path = place.folder / "config.py"
    cfg.dump(path)
    return path
