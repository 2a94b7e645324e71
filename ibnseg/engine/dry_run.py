"""Estimates what a training will take: data, memory, disk and time (``ibnseg train --dry-run``)."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.hooks import EMAHook
from torch import Tensor, nn
from torch.utils.data import Dataset

from ibnseg.datasets.joined import JoinedDomains
from ibnseg.datasets.sizes import stored_size
from ibnseg.engine.non_finite import bare
from ibnseg.engine.runner import Runner
from ibnseg.engine.values import layers_fit
from ibnseg.models.partial import frozen_names
from ibnseg.runs.recipe import train_domains
from ibnseg.support.environment import GIB, aligned, memory_of_machine
from ibnseg.support.memory import enough_memory

MIB = 2**20
AT_ONCE = 2
"""The number of crops that are tried on a CPU; all others are assumed to cost the same."""


def describe_training(cfg: Config, folder: Path) -> str:
    """Describes a training in aligned lines, after two steps on some of its images.

    The steps are discarded, and files are written only to a temporary folder and to caches.

    Args:
        cfg: an expanded config.
        folder: the run's folder, which need not exist.

    Raises:
        UserError: for data or a network that cannot be built, and for too little memory.
    """
    with tempfile.TemporaryDirectory() as temporary:
        cfg.work_dir, cfg.console = temporary, "bar"
        cfg.visualizer = dict(type="Visualizer")  # a tracker, such as W&B, would record a run
        runner = Runner.from_cfg(cfg)
        dataset = runner.train_loop.dataloader.dataset
        data = dict(_data(cfg, dataset, runner))
        cost = _Cost(runner, dataset)
    return aligned([data, cost.facts(folder)])


def _data(cfg: Config, dataset: Dataset, runner: Runner) -> Iterator[tuple[str, str]]:
    parts = dataset.datasets if isinstance(dataset, JoinedDomains) else [dataset]
    height, width = cfg.crop_size
    for name, part in zip(train_domains(cfg), parts, strict=True):
        yield f"train on {name}", f"{_images(part)}, crops of {width}x{height}"
    for test in runner.test_loop.tests:
        images = _images(runner.test_loop.loops[test["name"]].dataloader.dataset)
        yield f"test on {test['domain']}", f"{images}, protocol {test['protocol']['name']}"
    steps = cfg.train_cfg.max_iters
    passes = steps * cfg.batch / len(dataset)
    yield "length", f"{steps} steps of {cfg.batch} images, {passes:.1f} passes over the data"
    yield "precision", f"{cfg.precision}, channels_last {cfg.channels_last}, compile {cfg.compile}"


def _images(dataset: Dataset) -> str:
    width, height = stored_size(dataset.get_data_info(0)["img_path"])
    skipped = f" ({len(dataset.skipped)} are left out)" if dataset.skipped else ""
    return f"{len(dataset)} images{skipped}, the first of {width}x{height}"


class _Cost:
    """What a step costs, measured on some crops of the training data.

    Args:
        runner: the runner whose network and optimiser are tried.
        dataset: the training data.
    """

    def __init__(self, runner: Runner, dataset: Dataset) -> None:
        self.cfg, self.device = runner.cfg, get_device()
        self.crops = runner.cfg.train_dataloader.batch_size
        """The images of this process in a step."""
        part = self.crops // self.cfg.accumulate
        self.tried = part if self.device == "cuda" else min(AT_ONCE, part)
        begin = time.perf_counter()
        samples = [dataset[i % len(dataset)] for i in range(self.tried)]
        self.loading = (time.perf_counter() - begin) / self.tried
        wrapper = runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        wrapper.initialize_count_status(runner.model, 0, 2 * self.cfg.accumulate)
        runner.model.train()
        saved: dict[int, int] = {}
        size = "x".join(map(str, reversed(self.cfg.crop_size)))
        what = f"a step of {self.tried} crops of {size}"
        with enough_memory(what, "lower crop_size or batch"), layers_fit():
            for _ in range(2 * self.cfg.accumulate):  # the first one warms up
                begin = self._now()
                with _bytes_saved(saved):
                    runner.model.train_step(pseudo_collate(samples), optim_wrapper=wrapper)
                self.seconds = (self._now() - begin) / self.tried
        weights = runner.model.state_dict()
        state = _bytes(wrapper.optimizer.state_dict())
        copies = 1 + sum(isinstance(hook, EMAHook) for hook in runner.hooks)
        in_files = _bytes([weights[name] for name in frozen_names(bare(runner.model))])
        self.stored = (_bytes(weights) - in_files) * copies + state
        gradients = sum(p.numel() * p.element_size() for p in _trained(runner.model))
        fixed = _bytes(weights) * copies + state + gradients
        self.memory = (
            torch.cuda.max_memory_allocated()
            if self.device == "cuda"
            else fixed + sum(saved.values()) / self.tried * part
        )

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def facts(self, folder: Path) -> dict[str, str]:
        """Describes device, memory, checkpoints, step, loading and training, each in a line."""
        step = self.seconds * self.crops
        loading = self.loading * self.crops / max(self.cfg.workers, 1)
        waits = self.cfg.workers == 0
        whole = step + loading if waits else max(step, loading)
        kept = self.cfg.keep_checkpoints + bool(self.cfg.save_best)
        free = shutil.disk_usage(_existing(folder)).free
        return {
            "device": _device_words(self.device),
            "memory": f"about {self.memory / GIB:.2f} GiB"
            + (" (measured)" if self.device == "cuda" else " (estimated)"),
            "checkpoint": f"{self.stored / MIB:.0f} MiB each, {kept} kept; {free / GIB:.1f} GiB "
            f"are free at {folder}",
            "step": f"about {step:.2g} s" + (", before compiling" if self.cfg.compile else ""),
            "loading": f"about {loading:.2g} s a step with workers={self.cfg.workers}"
            + ("" if waits or loading <= step else ", slower than the step: raise workers"),
            "training": f"about {_duration(whole * self.cfg.train_cfg.max_iters)}, and the tests",
        }


@contextmanager
def _bytes_saved(found: dict[int, int]) -> Iterator[None]:
    """Collects the bytes of each storage that is kept for the backward pass, by its address."""
    found.clear()

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _bytes(state: object) -> int:
    """The bytes of all tensors in nested dicts and lists."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(_bytes, state.values()))
    return sum(map(_bytes, state)) if isinstance(state, (list, tuple)) else 0


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _device_words(device: str) -> str:
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
        return f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB"
    return f"{device}, {os.cpu_count()} cores, {memory_of_machine()}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
