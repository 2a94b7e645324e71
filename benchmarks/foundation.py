"""DINOv2's recipes: what they train, store and need, counted, and their steps on a processor.

Run as ``python -m benchmarks foundation [RECIPE ...]``; it prints the table of docs/foundation.md,
and beside a small network how much memory a step takes of that which is counted. Counting needs
no memory and takes seconds; timing takes ten minutes, ``--count`` leaves it out.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.gpu_speed import Place, peak_of_gpu
from benchmarks.measure import Row, alternately, compare, peak_memory
from benchmarks.names import require_known
from benchmarks.step import Step
from benchmarks.table import line
from ibnseg.engine.precision import WRAPPERS
from ibnseg.engine.read import load_config
from ibnseg.models.build import build_network
from ibnseg.support.environment import GIB
from ibnseg.support.files import config_folder

BASE = "gta2city_r50"
"""What steps are compared with: the dilated FCN on ResNet50, output stride 8."""

IMAGES, SIDE = 4, 512
"""The batch of all recipes, of which memory and operations are counted."""

TIMED = (1, 256)
"""The batch that is timed on a processor: images and their side."""

CHECKS = ("gta2city_dinov2s_frozen", "gta2city_dinov2s_lora", "gta2city_dinov2s_full")
CHECKED = 4, (256, 256)
"""The recipes and the batch of which the counted memory is compared with the measured one."""

LOGITS = 4
"""How many tensors of the size of the upsampled logits, float32, the loss and its gradient hold."""


def _of_convolution_backward(grad, x, weight, *further, **_) -> int:
    """Counts twice the operations of the forward pass, or once if one of the gradients is not asked
    for; torch counts as if a grouped convolution had no groups."""
    (is_transposed, is_asked) = further[4], further[7]
    pixels = prod((x if is_transposed else grad)[2:])
    return 2 * prod(weight) * x[0] * pixels * sum(is_asked[:2])


FORMULAS = {
    torch.ops.aten.convolution_backward: _of_convolution_backward,
    # torch counts none in the attention that it takes on processors
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
"""How many operations some functions have, by the shapes of what they are given."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks foundation", description=__doc__.splitlines()[0]
    )
    found = sorted(path.stem for path in config_folder().glob("gta2city_dinov2*.py"))
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", default=found)
    parser.add_argument("--count", action="store_true", help="time nothing")
    args = parser.parse_args(arguments)
    require_known(parser, "recipe", args.recipes, found)
    init_default_scope("mmseg")
    torch.set_num_threads(1)
    for each in table(args.recipes, timed=not args.count):
        print(each, flush=True)
    print(check())
    return 0


class Cost(NamedTuple):
    """What a training step of a network needs."""

    trained: int
    """Number of weights."""
    checkpoint: int
    """Bytes of a checkpoint, of which the weights of the backbone's file are left out."""
    working: int
    """Bytes at the peak of a step beside weights and AdamW's averages: those of what autograd keeps
    of the forward pass and of :data:`LOGITS`, or those of the gradients if that is more."""
    memory: int
    """Bytes of weights, of their average if there is one, of AdamW's two, and :attr:`working`."""
    operations: int
    """Number of operations of convolutions, linear layers and attention, forward and backward, two
    for each multiplication with addition."""


def cost(
    cfg: Config,
    images: int = IMAGES,
    size: tuple[int, int] = (SIDE, SIDE),
    precision: str = "bfloat16",
) -> Cost:
    """Counts what a training step needs, with tensors that have shapes but no values.

    Not counted are other temporary tensors, the loss of queries at points, and what the driver and
    torch's allocator take beside the tensors.

    Args:
        cfg: the config of an experiment.
        images: number of crops in the batch.
        size: (height, width) of a crop.
        precision: the precision of the forward pass, ``"bfloat16"`` or ``"float32"``.
    """
    with torch.device("meta"):
        network = build_network(cfg.model)
    weights = list(network.parameters())
    trained = sum(p.numel() for p in weights if p.requires_grad)
    has_average = any(hook["type"] == "EMAHook" for hook in cfg.get("custom_hooks") or ())
    copies = 1 + has_average
    everything = sum(p.numel() for p in weights)
    names = getattr(network.backbone, "frozen_names", set)()
    of_file = sum(network.backbone.get_parameter(name).numel() for name in names)
    kept, operations = _pass(network, images, size, precision)
    logits = 4 * images * network.out_channels * size[0] * size[1]
    has_logits = cfg.model.decode_head.type != "ibnseg.QueryHead"
    working = max(kept + LOGITS * logits * has_logits, 4 * trained)
    return Cost(
        trained,
        4 * copies * (everything - of_file) + 8 * trained,
        working,
        4 * copies * everything + 8 * trained + working,
        operations,
    )


def _pass(
    network: nn.Module, images: int, size: tuple[int, int], precision: str
) -> tuple[int, int]:
    """Counts the bytes that autograd keeps, and the operations, of a step. Its loss is the cross
    entropy, or for a head with queries the sum of their masks and classes."""
    kept: dict[int, Tensor] = {}
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), counter:
        network = network.to_empty(device="cpu").train()
        parts = [*network.parameters(), *network.buffers()]
        own = {each.untyped_storage()._cdata for each in parts}
        x = torch.empty(images, 3, *size)
        labels = torch.zeros(images, *size, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                out = network.decode_head(network.extract_feat(x))
            if isinstance(out, tuple):
                loss = sum(each.masks.sum() + each.classes.sum() for each in out[1])
            else:
                loss = F.cross_entropy(F.interpolate(out.float(), size, mode="bilinear"), labels)
        bytes_kept = sum(storage.nbytes() for storage in kept.values())
        loss.backward()
    return bytes_kept, counter.get_total_flops()


def recipe_step(
    cfg: Config, device: torch.device, images: int, size: tuple[int, int], precision: str
) -> Step:
    """Makes a training step of an experiment, with random weights and its own optimiser."""
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.size = size
    torch.manual_seed(0)
    network = build_network(cfg.model).to(device)
    wrapper = dict(type=WRAPPERS[precision], optimizer=cfg.optimizer)
    wrapper |= cfg.get("optim_wrapper") or {}
    return Step(network, build_optim_wrapper(network, wrapper), images, size)


def table(recipes: Sequence[str], timed: bool = True) -> Iterator[str]:
    """Makes the lines of the table of docs/foundation.md, in Markdown."""
    head = ["recipe", "trained", "checkpoint", "memory", "operations"]
    head += ["step"] * timed
    yield line(head)
    yield line(["---"] * len(head))
    base = _step_to_time(BASE) if timed else None
    for name in (*recipes, BASE):
        own = cost(load_config(name))
        cells = [
            f"`{name}`",
            f"{own.trained / 1e6:.2f} M" if own.trained > 1e5 else f"{own.trained / 1e3:.1f} k",
            f"{own.checkpoint / 1e6:.0f} MB",
            f"{own.memory / GIB:.1f} GiB",
            f"{own.operations / 1e12:.1f} T",
        ]
        if base is not None:
            cells.append("1" if name == BASE else f"{_ratio(name, base):.2f}")
        yield line(cells)


def _step_to_time(name: str) -> Step:
    images, side = TIMED
    return recipe_step(load_config(name), torch.device("cpu"), images, (side, side), "float32")


def _ratio(name: str, base: Step) -> float:
    """The time of a recipe's step over that of the base's."""
    times = alternately({name: _step_to_time(name), BASE: base}, seconds=0, warm_up=1)
    gc.collect()
    return compare(name, times, BASE, ours=name).ratio


def check() -> str:
    """Says, of some recipes, how the memory that a step takes in a process of its own compares with
    what is counted of it. It is a first step, in which AdamW's averages come last."""
    lines = []
    images, size = CHECKED
    for name in CHECKS:
        own = cost(load_config(name), images, size, "float32")
        counted = max(own.working, 12 * own.trained)
        measured = 2**20 * peak_memory(partial(_step_after_smaller, name), 1)
        lines.append(
            f"{name}, {images} crops of {size[1]}x{size[0]}, float32, a processor: "
            f"{counted / 2**20:.0f} MiB counted beside the weights, {measured / 2**20:.0f} measured"
        )
    return "\n".join(lines)


def _step_after_smaller(name: str) -> Callable[[], object]:
    """Makes a step after a smaller one, for which libraries take the memory that they keep."""
    init_default_scope("mmseg")
    recipe_step(load_config(name), torch.device("cpu"), 1, (32, 32), "float32")()
    gc.collect()
    return recipe_step(load_config(name), torch.device("cpu"), *CHECKED, "float32")


def vit(place: Place, seconds: float) -> Iterator[Row]:
    """Steps of ViT-B with LoRA, 4 crops of 512x512."""
    name = "streets_dinov2_lora" if place.quick else "gta2city_dinov2b_lora"
    images, side = (2, 64) if place.quick else (IMAGES, SIDE)
    ways = {
        precision: recipe_step(load_config(name), place.device, images, (side, side), precision)
        for precision in ("bfloat16", "float32")
    }
    times = place.timed(ways, seconds / 2)
    work = f"{name}, {images} crops of {side}x{side}"
    yield compare(f"training step, {work}, bfloat16", times, "float32", ours="bfloat16")
    for precision, way in ways.items() if place.device.type == "cuda" else ():
        counted = cost(load_config(name), images, (side, side), precision).memory / GIB
        memory = {"measured": [peak_of_gpu(way)], "counted": [counted]}
        what = f"peak memory, {work}, {precision}"
        yield compare(what, memory, "counted", ours="measured", unit="GiB")
