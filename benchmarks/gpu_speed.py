"""How fast networks, loaders and the layer are on a device, for ``python -m benchmarks gpu``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks.measure import Row, alternately, compare
from benchmarks.step import Step, sgd
from ibnseg.datasets.domain import Domains
from ibnseg.engine.automatic import resolved
from ibnseg.engine.compiled import compiled, why_not
from ibnseg.engine.expand import expand
from ibnseg.engine.precision import WRAPPERS, autocast
from ibnseg.engine.read import load_config
from ibnseg.engine.runner import Runner
from ibnseg.models import IBN
from ibnseg.models.build import build_network
from ibnseg.registry import MODELS
from ibnseg.runs.kinds import AUTO
from ibnseg.streets.write import write_streets
from ibnseg.support.environment import GIB
from ibnseg.support.files import config_folder


@dataclass(frozen=True)
class Place:
    """Where and how large everything is measured."""

    device: torch.device
    quick: bool
    folder: Path
    """For data and runs, which are removed in the end."""

    def wait(self) -> None:
        """Waits until the device has done what it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, ways: Mapping[str, Callable], seconds: float) -> dict[str, list[float]]:
        """Times ways alternately, each to its end on the device."""

        def ended(way: Callable) -> Callable:
            return lambda: (way(), self.wait())

        return alternately({name: ended(way) for name, way in ways.items()}, seconds, warm_up=3)


class CheckError(Exception):
    """A check does not hold."""


class AuthorsIBN(nn.Module):
    """The layer as its authors wrote it: halves that are split, made contiguous, normalised and
    concatenated (XingangPan/IBN-Net)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split([self.half, x.shape[1] - self.half], dim=1)
        return torch.cat((self.IN(first.contiguous()), self.BN(second.contiguous())), dim=1)


def layer(place: Place, seconds: float) -> Iterator[Row]:
    """The layer beside batch normalisation and the authors' form, training and inference."""
    shape = (2, 8, 16, 16) if place.quick else (16, 64, 179, 179)
    size = "x".join(map(str, shape))
    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device=place.device, dtype=dtype).to(memory_format=layout)
            words = f"{str(dtype)[6:]}, {'NHWC' if layout == torch.channels_last else 'NCHW'}"
            forms = {"ibnseg": IBN, "BN": nn.BatchNorm2d, "the authors' form": AuthorsIBN}
            forms = {name: form(shape[1]).to(place.device) for name, form in forms.items()}
            for what, passes in (("forward and backward", _both), ("inference", _inference)):
                for form in forms.values():
                    form.train(passes is _both)
                ways = {name: partial(passes, form, x) for name, form in forms.items()}
                times = place.timed(ways, seconds / 8)
                for peer in ("BN", "the authors' form"):
                    yield compare(f"IBN layer, {what}, {size}, {words}", times, peer)


def _both(form: nn.Module, x: Tensor) -> None:
    y = form(x.detach().requires_grad_())
    y.backward(y.detach())


@torch.inference_mode()
def _inference(form: nn.Module, x: Tensor) -> None:
    form(x)


FCN = ("fcn_r50-d8", "fcn_ibn50a-d8", "fcn_ibn50b-d8")
DEEPLAB = ("deeplabv3plus_r50-d16", "deeplabv3plus_ibn50a-d16", "deeplabv3plus_ibn50b-d16")


def fcn(place: Place, seconds: float) -> Iterator[Row]:
    """Steps of the paper's FCN, output stride 8, 16 crops of 713x713."""
    return _steps(place, seconds, FCN, 713)


def deeplab(place: Place, seconds: float) -> Iterator[Row]:
    """Steps of DeepLabV3+, output stride 16, 16 crops of 768x768."""
    return _steps(place, seconds, DEEPLAB, 768)


def _steps(place: Place, seconds: float, names: Sequence[str], side: int) -> Iterator[Row]:
    images, side = (2, 64) if place.quick else (16, side)
    chosen = fastest()
    while True:
        try:
            yield from _steps_of(place, seconds, names, images, side, chosen)
            return
        except torch.OutOfMemoryError:
            if images == 1:
                raise
            images //= 2
        torch.cuda.empty_cache()
        print(f"{names[0]}: too little memory, {images} crops are taken at a time")


def _steps_of(
    place: Place, seconds: float, names: Sequence[str], images: int, side: int, chosen: Mapping
) -> Iterator[Row]:
    work = f"training step, {images} crops of {side}x{side}, "
    note = ", ".join(f"{name} {value}" for name, value in chosen.items())
    ways = {name: step_of(place, name, images, side, **chosen) for name in names}
    float32 = f"{names[0]} in float32"
    ways[float32] = step_of(place, names[0], images, side)
    ways["mmseg"] = step_of(place, names[0], images, side, mmseg=True)
    times = place.timed(ways, seconds * 0.6)
    yield compare(work + names[0], times, "mmseg", ours=names[0], note=note)
    yield compare(work + float32, times, "mmseg", ours=float32)
    for name in names[1:]:
        yield compare(work + name, times, names[0], ours=name, note=note)
    if place.device.type == "cuda":
        memory = {name: [peak_of_gpu(way)] for name, way in ways.items()}
        for name in names:
            yield compare(f"peak memory, {work}{name}", memory, "mmseg", ours=name, unit="GiB")


def compiling(place: Place, seconds: float) -> Iterator[Row]:
    """Steps of the paper's FCN that is compiled, which takes minutes, beside those that are not."""
    reason = why_not()
    if reason is not None:
        raise CheckError(f"compile=True is refused: {reason}")
    images, side = (2, 64) if place.quick else (8, 713)
    chosen = fastest()
    begin = perf_counter()
    with compiled((first := step_of(place, FCN[0], images, side, **chosen)).network):
        first()
        place.wait()
        took = perf_counter() - begin
        ways = {"compiled": first, "not": step_of(place, FCN[0], images, side, **chosen)}
        times = place.timed(ways, seconds * 0.2)
    work = f"training step, {images} crops of {side}x{side}, {FCN[0]} compiled in {took:.0f} s"
    yield compare(work, times, "not", ours="compiled")


def fastest() -> dict[str, object]:
    """Returns the precision and memory layout that ``auto`` comes to on this machine."""
    found = resolved(dict(precision=AUTO, channels_last=AUTO))
    return {name: found[name] for name in ("precision", "channels_last")}


def step_of(
    place: Place,
    name: str,
    images: int,
    side: int,
    precision: str = "float32",
    channels_last: bool = False,
    mmseg: bool = False,
) -> Step:
    """Makes a step of a network of ``configs/_base_/models``; with ``mmseg``, of mmseg's segmentor
    and backbone with the same head."""
    model = model_of(name, place.quick)
    model.data_preprocessor.size = (side, side)
    if mmseg:
        model.type, model.backbone.type = "EncoderDecoder", "ResNet"
    torch.manual_seed(0)
    network = MODELS.build(model) if mmseg else build_network(model)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(place.device).to(memory_format=layout)
    wrapper = sgd(network, WRAPPERS[precision])
    return Step(network, wrapper, images, (side, side), torch.int64 if mmseg else torch.uint8)


def model_of(name: str, quick: bool) -> Config:
    """Reads a network of ``configs/_base_/models`` without weights; if quick, a narrow one."""
    model = Config.fromfile(config_folder() / f"_base_/models/{name}.py").model
    model.backbone.init_cfg = None
    if quick:
        model.backbone.update(base_channels=8, stem_channels=8)
        for key in ("decode_head", "auxiliary_head"):
            if key in model:
                head = model[key]
                head.update(in_channels=head.in_channels // 8, channels=8)
                if "low_level" in head:
                    head.update(low_level_in=32, low_level=8)
    return model


def peak_of_gpu(way: Callable) -> float:
    """Returns the peak memory of a GPU in GiB during one call."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    way()
    return torch.cuda.max_memory_allocated() / GIB


TINY = {
    "crop_size": (32, 32),
    "batch": 2,
    "iterations": 2,
    "workers": 0,
    "console": "bar",
    "test_domains": ["streets_virtual"],
    "optimizer._delete_": True,  # AdamW would make rounding as large as the rate
    "optimizer.type": "SGD",
    "optimizer.lr": 0.01,
    "optimizer.momentum": 0.9,
}


def config_of(place: Place, size: tuple[int, int], **changes: object) -> Config:
    """Expands a training of the streets' narrow network on drawn streets of a size."""
    data = place.folder / "x".join(map(str, size))
    write_streets(data, {"virtual": (4, 1)}, size=size)
    cfg = load_config("streets_ibn18a", TINY | changes)
    cfg.domains = dict(
        streets_virtual={
            **Domains()["streets_virtual"].as_dict(),
            "data_root": str(data / "streets_virtual"),
        }
    )
    cfg = expand(cfg)
    cfg.work_dir = str(place.folder / "run" / cfg.name)
    return cfg


def loaders(place: Place, seconds: float) -> str:
    """Training samples a second of all loader processes."""
    size, side = ((128, 64), 33) if place.quick else ((2048, 1024), 713)
    workers = 0 if place.quick else min(16, os.cpu_count() or 1)
    cfg = config_of(place, size, crop_size=(side, side), batch=4, workers=workers)
    batches = iter(Runner.from_cfg(cfg).build_dataloader(cfg.train_dataloader))
    first = next(batches)["inputs"][0]
    if place.device.type == "cuda" and not first.is_pinned():
        raise CheckError("images of the loader are not in pinned memory")
    begin, samples = perf_counter(), 0
    while not samples or perf_counter() - begin < seconds / 2:
        samples += len(next(batches)["inputs"])
    rate = samples / (perf_counter() - begin)
    width, height = size
    return f"{rate:.0f} of {side}x{side} out of PNGs of {width}x{height}, {workers} processes"


def testing(place: Place, seconds: float) -> Iterator[Row]:
    """Test images a second on the device, 2048x1024, with what counting needs."""
    height, width = (64, 128) if place.quick else (1024, 2048)
    image = torch.randint(0, 256, (3, height, width)).byte()
    networks = {name: build_network(model_of(name, place.quick)) for name in FCN}
    model = model_of(FCN[0], place.quick)
    model.type, model.backbone.type = "EncoderDecoder", "ResNet"
    networks["mmseg"] = MODELS.build(model)
    for network in networks.values():
        network.to(place.device).eval()

    @torch.inference_mode()
    def test(network: nn.Module, precision: str) -> None:
        sample = SegDataSample(metainfo=dict(ori_shape=(height, width), img_shape=(height, width)))
        with autocast(precision):
            network.test_step(dict(inputs=[image], data_samples=[sample]))

    chosen = fastest()["precision"]
    ways = {name: lambda n=n: test(n, "float32") for name, n in networks.items()}
    ways[f"{FCN[0]} in {chosen}"] = lambda: test(networks[FCN[0]], chosen)
    times = place.timed(ways, seconds * 0.7)
    for name in ways:
        if name != "mmseg":
            yield compare(
                f"test of an image of {width}x{height}, {name}", times, "mmseg", ours=name
            )
