"""`ibnseg predict` of a video: decoding and encoding beside the network."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.folder import BOUND, PEER, beside_peer_and_bound, predictor, small_network, street
from benchmarks.measure import Row, alternately
from ibnseg.datasets.labels import CITYSCAPES
from ibnseg.networks import video
from ibnseg.networks.drawing import blend, drawn, legend
from ibnseg.networks.network import predict_images
from ibnseg.networks.outputs import Prediction, chosen_outputs
from ibnseg.networks.predictor import Todo
from ibnseg.support.progress import bar

FRAMES, WIDTH, HEIGHT = 8, 960, 540


def measure(threads: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        clip, number, network = Path(folder, "clip.mp4"), itertools.count(), small_network()
        with video.writing(clip, 10) as write:
            for i in range(FRAMES):
                write(street(i, WIDTH, HEIGHT))
        frames, ours = list(video.read_frames(clip)), predictor(network)

        def todo() -> Todo:
            out = Path(folder, str(next(number)))
            return Todo(clip, (out / "labels", out / "overlay.mp4"))

        def overlapped() -> None:
            with bar(hidden=True) as progress:
                ours.predict_video(todo(), progress)

        def alone() -> None:
            for frame in frames:
                predict_images(network, [frame])

        ways = {
            "ibnseg": overlapped,
            PEER: lambda: one_after_the_other(network, todo()),
            BOUND: alone,
        }
        times = alternately(ways, seconds=8, warm_up=1)
    work = f"predict of a video, {FRAMES} frames of {WIDTH}x{HEIGHT}"
    return beside_peer_and_bound(work, times, threads)


def one_after_the_other(network: nn.Module, todo: Todo) -> None:
    """Decodes, predicts, writes and encodes each frame before the next."""
    (train_ids,), (labels, overlay) = chosen_outputs([], CITYSCAPES), todo.targets
    names = legend(drawn(CITYSCAPES), WIDTH, CITYSCAPES)
    with video.writing(overlay, 10) as write:
        for i, frame in enumerate(video.read_frames(todo.path)):
            (found,) = predict_images(network, [frame], todo.path)
            train_ids.write(labels / f"{i:06d}.png", Prediction(found, None), CITYSCAPES)
            write(np.concatenate([blend(frame[..., ::-1], found), names]))
