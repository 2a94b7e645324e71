"""The rank of the true class: by hand, and in a pass that can be interrupted."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from ibnseg.analysis.imagenet import ranks as ranking
from ibnseg.analysis.imagenet.images import list_images
from ibnseg.analysis.imagenet.ranks import (
    NOT_YET,
    error,
    rank_images,
    rank_of_truth,
    ranks_by_look,
)
from ibnseg.appearance import PAPER
from tests.analysis.imagenet.helpers import MeanColour, write_colours
from tests.conftest import save_rgb


def ranks(logits: list[list[float]], truth: list[int]) -> list[int]:
    found = rank_of_truth(torch.tensor(logits), torch.tensor(truth))
    assert found.dtype == torch.int16
    return found.tolist()


def test_ranks_by_hand_put_the_true_class_behind_its_equals() -> None:
    assert ranks([[0.5, 2.0, -1.0, 1.0]] * 4, [0, 1, 2, 3]) == [2, 0, 3, 1]
    assert ranks([[1.0, 1.0, 0.0]] * 3, [0, 1, 2]) == [1, 1, 2]
    assert ranks([[0.0] * 6], [0]) == [5]


def test_logits_that_are_not_numbers_never_improve_the_rank() -> None:
    nan = float("nan")
    assert ranks([[nan, 1.0, 2.0], [nan, 3.0, 2.0], [nan] * 3], [0, 1, 2]) == [2, 1, 2]


@given(arrays(np.float32, (4, 7), elements=st.integers(-3, 3)), st.integers(0, 6))
def test_ranks_equal_those_of_a_sort(logits: np.ndarray, truth: int) -> None:
    """Sorted by falling logit and, among equals, the true class last."""
    expected = [
        sorted(range(7), key=lambda k: (-row[k], k == truth)).index(truth) for row in logits
    ]
    assert ranks(logits.tolist(), [truth] * 4) == expected


def test_an_error_is_the_share_of_ranks_from_k_on() -> None:
    found = np.array([0, 0, 1, 4, 5, 700, 0, 3], np.int16)
    assert error(found, 1) == 62.5
    assert error(found, 5) == 25.0


def test_appearances_come_before_the_normalisation() -> None:
    """A blue image, 10 brighter than its red: R+50 turns it, in units of each channel's spread."""
    images = torch.tensor([123, 116, 130], dtype=torch.uint8).expand(1, 8, 8, 3)
    seen = []
    network = MeanColour()
    network.register_forward_hook(lambda module, args, out: seen.append(out[0]))
    found = ranks_by_look(network, images, torch.tensor([2]), PAPER)
    assert found.dtype == np.int16
    assert found.tolist() == [[0], [0], [1], [0]]
    origin = (torch.tensor([123.0, 116.0, 130.0]) - torch.tensor([123.675, 116.28, 103.53])) / (
        torch.tensor([58.395, 57.12, 57.375])
    )
    torch.testing.assert_close(seen[0], origin)
    torch.testing.assert_close(seen[2], origin + torch.tensor([50 / 58.395, 0, 0]))
    torch.testing.assert_close(seen[3], 1.5 * origin)


# ---- interruptions -----------------------------------------------------------------------------


def run(network: nn.Module, listing, file: Path, weights: str = "x", looks=PAPER) -> np.ndarray:
    return rank_images(network, listing, looks, file, {"checkpoint_sha256": weights}, batch=2)


def test_an_interrupted_measurement_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    listing = list_images(write_colours(tmp_path / "val"))
    file, whole = tmp_path / "out" / "ranks.npz", MeanColour()
    expected = run(whole, listing, tmp_path / "whole.npz")
    assert expected.shape == (4, 9)
    assert expected[0].tolist() == [2] * 3 + [0] * 3 + [1] * 3
    assert whole.shown == 9 * 4
    # in the third batch's second appearance: two batches are done
    first = MeanColour(stop_after=2 * 2 * 4 + 2)
    with pytest.raises(KeyboardInterrupt):
        run(first, listing, file)
    second = MeanColour()
    np.testing.assert_array_equal(run(second, listing, file), expected)
    assert second.shown == (9 - 4) * 4
    assert "4 of 9 images are there already" in capsys.readouterr().out
    third = MeanColour()
    np.testing.assert_array_equal(run(third, listing, file), expected)
    assert third.shown == 0


def test_ranks_are_written_as_time_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "SAVE_EVERY", 0.0)
    written = []
    monkeypatch.setattr(
        ranking.Ledger,
        "write",
        lambda ledger, ranks, **more: written.append((ranks[0] >= 0).sum()),
    )
    run(MeanColour(), list_images(write_colours(tmp_path / "val")), tmp_path / "ranks.npz")
    assert written == [2, 4, 6, 8, 9, 9]


@pytest.mark.parametrize(
    "change", ["weights", "image", "more", "appearances", "cut", "bits", "none"]
)
def test_ranks_of_something_else_are_measured_again(tmp_path: Path, change: str, capsys) -> None:
    file, folder = tmp_path / "ranks.npz", write_colours(tmp_path / "val")
    run(MeanColour(), list_images(folder), file)
    weights, looks = "x", PAPER
    if change == "weights":
        weights = "y"
    elif change == "image":
        save_rgb(folder / "red" / "0.png", np.zeros((9, 9, 3), np.uint8))
    elif change == "more":
        save_rgb(folder / "red" / "new.png", np.zeros((9, 9, 3), np.uint8))
    elif change == "appearances":
        looks = dict(list(PAPER.items())[:3])
    elif change == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif change == "bits":  # the first byte of what is compressed, behind the member's header
        content = bytearray(file.read_bytes())
        with ZipFile(file) as stored:
            begin = stored.getinfo("ranks.npy").header_offset
        name, extra = np.frombuffer(content[begin + 26 : begin + 30], "<u2").tolist()
        content[begin + 30 + name + extra] = 0xFF
        file.write_bytes(content)
    listing, network = list_images(folder), MeanColour()
    found = run(network, listing, file, weights, looks)
    shown = {"none": 0, "image": 1, "more": 1}.get(change, 9)
    assert network.shown == shown * len(looks)
    assert ("starting anew" in capsys.readouterr().out) == (shown == 9)
    np.testing.assert_array_equal(
        found, run(MeanColour(), listing, tmp_path / "whole.npz", weights, looks)
    )
    assert found.shape == (len(looks), len(listing.paths))
    assert (found != NOT_YET).all()
