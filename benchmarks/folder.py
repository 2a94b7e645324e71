"""`ibnseg predict` of a folder: reading and writing beside the network; two processes."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.measure import Row, alternately, compare
from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.datasets.pictures import read_upright
from ibnseg.engine.launch import start_processes
from ibnseg.engine.read import load_config
from ibnseg.models.build import build_network
from ibnseg.networks.drawing import overlay
from ibnseg.networks.network import predict_images
from ibnseg.networks.outputs import Prediction, chosen_outputs
from ibnseg.networks.predictor import Outcome, Predictor, Todo, in_batches
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.render import APPEARANCES, render
from ibnseg.support.files import written_whole
from ibnseg.support.sharing import Team

IMAGES, WIDTH, HEIGHT = 8, 1024, 512
PEER, BOUND = "one after the other", "the network alone"


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        images = _draw(Path(folder, "photos"))
        workers = [_Worker(rank, images) for rank in range(2)] if threads == 2 else []
        todo = _todo(images, Path(folder, "ours"))
        shown = [read_upright(each.path)[0] for each in todo]
        network = small_network()

        def alone() -> None:
            for image in shown:
                predict_images(network, [image])

        ours = predictor(network)
        ways: dict[str, Callable[[], object]] = {
            "ibnseg": lambda: _predict(ours, todo),
            PEER: lambda: one_after_the_other(network, _todo(images, Path(folder, "peer"))),
            BOUND: alone,
        }
        if workers:
            ways["two"] = lambda: _all(workers)
        times = alternately(ways, seconds=8, warm_up=1)
        for worker in workers:
            worker.stop()
    work = f"predict of {IMAGES} images, {WIDTH}x{HEIGHT}"
    rows = beside_peer_and_bound(work, times, threads)
    if workers:
        times["one process of two threads"] = times["ibnseg"]
        name = f"{work}, by two processes of one thread"
        rows.append(compare(name, times, "one process of two threads", most=1.0, ours="two"))
    return rows


def beside_peer_and_bound(
    work: str, times: Mapping[str, Sequence[float]], threads: int
) -> list[Row]:
    """Makes the rows of work whose reading and writing the network's time hides so far as cores are
    free beside its threads."""
    spare = (os.cpu_count() or 1) > threads
    note = "" if spare else "no core is free to read and write beside the network"
    return [compare(work, times, PEER), compare(work, times, BOUND, note=note)]


def small_network() -> nn.Module:
    """Makes an IBN-Net18-a of an eighth of the width, with random weights; on one thread it
    takes as long as larger networks on a GPU."""
    torch.manual_seed(0)
    model = load_config("streets_ibn18a").model
    model.backbone.update(base_channels=8, stem_channels=8)
    model.decode_head.update(in_channels=64, channels=16)
    network = build_network(model).eval()
    network.class_set = CITYSCAPES
    return network


def predictor(network: nn.Module) -> Predictor:
    """Makes what ``ibnseg predict`` predicts with, of train ids and overlays."""
    return Predictor(network, chosen_outputs([], CITYSCAPES), 1, "float32", Outcome())


def street(seed: int, width: int, height: int) -> np.ndarray:
    """Draws a street, (height, width, 3) uint8, RGB."""
    drawn = render(rasterise(draw_layout(seed), 512, 256), next(iter(APPEARANCES)), seed)
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC)


def one_after_the_other(network: nn.Module, todo: Sequence[Todo]) -> None:
    """Reads, predicts and writes each image before the next."""
    (train_ids,) = chosen_outputs([], CITYSCAPES)
    for path, (label, shown) in todo:
        image, _ = read_upright(path)
        (found,) = predict_images(network, [image], path)
        train_ids.write(label, Prediction(found, None), CITYSCAPES)
        with written_whole(shown) as temporary:
            Image.fromarray(overlay(image[..., ::-1], found)).save(temporary, quality=90)


def _draw(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i:02d}.png" for i in range(IMAGES)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), street(i, WIDTH, HEIGHT)[..., ::-1])
    return paths


def _todo(images: Sequence[Path], out: Path) -> list[Todo]:
    out.mkdir(exist_ok=True)
    return [Todo(path, (out / path.name, out / f"{path.stem}.jpg")) for path in images]


def _predict(ours: Predictor, todo: Sequence[Todo]) -> None:
    ours.predict_images(in_batches(todo, 1), lambda: None)


# ---- two processes -----------------------------------------------------------------------------


class _Worker:
    """A process of one thread, which predicts its share whenever it is asked."""

    port = 0

    def __init__(self, rank: int, images: Sequence[Path]) -> None:
        if rank == 0:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                _Worker.port = probe.getsockname()[1]
        self.pipe, far = get_context("fork").Pipe()
        run = get_context("fork").Process(target=_work, args=(rank, _Worker.port, far, images))
        run.start()
        self.process = run

    def stop(self) -> None:
        self.pipe.send(False)
        self.process.join()


def _all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.send(True)
    for worker in workers:
        worker.pipe.recv()


def _work(rank: int, port: int, pipe: Connection, images: Sequence[Path]) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    start_processes()
    team, todo = Team(), _todo(images, images[0].parents[1] / "two")
    ours = predictor(small_network())
    while pipe.recv():
        ours.predict_images(team.share(list(in_batches(todo, 1))), lambda: None)
        pipe.send(True)
