"""Errors on ImageNet: ranks, the one pass that can be interrupted, and the whole path."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch import nn

from ibnseg import cli
from ibnseg.analysis.imagenet import ranks as ranking
from ibnseg.analysis.imagenet.images import Crops, list_images
from ibnseg.analysis.imagenet.measure import measure_imagenet
from ibnseg.analysis.imagenet.ranks import (
    NOT_YET,
    error,
    rank_images,
    rank_of_truth,
    ranks_by_look,
)
from ibnseg.analysis.imagenet.report import PAPERS_STYLE, sheet
from ibnseg.appearance import PAPER
from ibnseg.models.classifier import Classifier
from ibnseg.models.names import build_backbone
from ibnseg.models.zoo import (
    PAPER_APPEARANCES,
    PAPER_PLAIN,
    PUBLISHED,
    paper_errors,
)
from ibnseg.report.markdown import table
from ibnseg.report.terminal import sheet_text
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb

# ---- ranks and errors --------------------------------------------------------------------------


def ranks(logits: list[list[float]], truth: list[int]) -> list[int]:
    found = rank_of_truth(torch.tensor(logits), torch.tensor(truth))
    assert found.dtype == torch.int16
    return found.tolist()


def test_ranks_by_hand() -> None:
    logits = [0.5, 2.0, -1.0, 1.0]
    assert ranks([logits] * 4, [0, 1, 2, 3]) == [2, 0, 3, 1]


def test_the_true_class_is_behind_its_equals() -> None:
    assert ranks([[1.0, 1.0, 0.0]] * 3, [0, 1, 2]) == [1, 1, 2]
    assert ranks([[0.0] * 6], [0]) == [5]


def test_what_is_no_number_is_never_flattering() -> None:
    nan = float("nan")
    assert ranks([[nan, 1.0, 2.0], [nan, 3.0, 2.0], [nan] * 3], [0, 1, 2]) == [2, 1, 2]


@given(arrays(np.float32, (4, 7), elements=st.integers(-3, 3)), st.integers(0, 6))
def test_ranks_are_those_of_a_sort(logits: np.ndarray, truth: int) -> None:
    """Sorted by falling logit and, among equals, the true class last."""
    expected = [
        sorted(range(7), key=lambda k: (-row[k], k == truth)).index(truth) for row in logits
    ]
    assert ranks(logits.tolist(), [truth] * 4) == expected


def test_errors_by_hand() -> None:
    found = np.array([0, 0, 1, 4, 5, 700, 0, 3], np.int16)
    assert error(found, 1) == 62.5
    assert error(found, 5) == 25.0


class MeanColour(nn.Module):
    """Three logits, the means of the normalised channels; counts the images it is shown."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.still = nn.Parameter(torch.zeros(1))
        self.shown, self.stop_after = 0, stop_after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32
        if self.stop_after is not None and self.shown >= self.stop_after:
            raise KeyboardInterrupt
        self.shown += len(x)
        return x.mean((2, 3))


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


# ---- images ------------------------------------------------------------------------------------

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_colours(folder: Path, count: int = 3) -> Path:
    """Plain images of three colours, ``count`` each. Their classes in MeanColour's order are red,
    green, blue; those of the folders, sorted, are the reverse: only green is right."""
    for name, colour in COLOURS.items():
        for i in range(count):
            save_rgb(folder / name / f"{i}.png", np.full((40, 50 + i, 3), colour, np.uint8))
    return folder


def test_classes_are_the_sorted_folders(tmp_path: Path) -> None:
    listing = list_images(write_colours(tmp_path / "val", 2))
    assert listing.classes == ["blue", "green", "red"]
    assert listing.paths == [f"{name}/{i}.png" for name in COLOURS for i in (0, 1)]
    assert listing.truth.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_styled_folder_has_the_classes_of_the_other(tmp_path: Path) -> None:
    listing = list_images(write_colours(tmp_path / "val"))
    save_rgb(tmp_path / "styled" / "red" / "x.png", np.zeros((9, 9, 3), np.uint8))
    styled = list_images(tmp_path / "styled", listing)
    assert styled.paths == ["red/x.png"]
    assert styled.truth.tolist() == [2]
    (tmp_path / "styled" / "pink").mkdir()
    with pytest.raises(UserError, match="styled: sub-folder 'pink' is none of .*val; expected the"):
        list_images(tmp_path / "styled", listing)


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder; expected one with a sub-folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no sub-folders; expected one for each class"):
        list_images(tmp_path)
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"no images \(.jpg, .*\) in its sub-folders"):
        list_images(tmp_path)


def test_crops_are_the_centre_of_the_resized_image(tmp_path: Path) -> None:
    """Of an image of twice the size, its columns numbered: 512x1024 becomes 256x512, of which the
    columns from 144 and the rows from 16 on are shown."""
    columns = np.arange(1024) // 8 * 2  # steps of 8 pixels, so that resizing leaves most of them
    picture = np.empty((512, 1024, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = columns[None], columns[:512, None], 7
    save_rgb(tmp_path / "only" / "a.png", picture)
    index, crop = Crops(list_images(tmp_path))[0]
    assert index == 0
    assert crop.dtype == np.uint8
    assert crop.shape == (224, 224, 3)
    resized = columns.reshape(512, 2)[:, 0]
    np.testing.assert_allclose(crop[100, :, 0], resized[144 : 144 + 224], atol=1)
    np.testing.assert_allclose(crop[:, 100, 1], resized[16 : 16 + 224], atol=1)
    assert (crop[..., 2] == 7).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_other_modes_are_shown_in_rgb(tmp_path: Path, mode: str) -> None:
    (tmp_path / "only").mkdir()
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (30, 20), (102, 102, 102)).convert(mode).save(
        tmp_path / "only" / f"a.{suffix}"
    )
    _, crop = Crops(list_images(tmp_path))[0]
    assert crop.shape == (224, 224, 3)
    assert abs(crop.astype(int) - 102).max() <= 3


@pytest.mark.parametrize("left", [0, 60, 0.7])
def test_a_broken_image_is_named(tmp_path: Path, left: float) -> None:
    path = write_colours(tmp_path / "val") / "green" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    save_rgb(path, noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    file = tmp_path / "ranks.npz"
    with pytest.raises(UserError, match=r"green/1.png: truncated or not an image \(.*\); unpack"):
        rank_images(MeanColour(), list_images(tmp_path / "val"), PAPER, file, {}, batch=2)
    with np.load(file) as kept:  # what was done before it
        assert (kept["ranks"] != NOT_YET).all(axis=0).tolist() == [True] * 4 + [False] * 5


# ---- interruptions -----------------------------------------------------------------------------


def run(network: nn.Module, listing, file: Path, weights: str = "x", looks=PAPER) -> np.ndarray:
    return rank_images(network, listing, looks, file, {"checkpoint_sha256": weights}, batch=2)


def test_an_interrupted_pass_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
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
def test_what_is_of_something_else_is_shown_again(tmp_path: Path, change: str, capsys) -> None:
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


# ---- the paper's numbers and the table ---------------------------------------------------------


def test_the_papers_numbers_agree_with_each_other() -> None:
    """The errors on the images as they are stand in two tables."""
    for name, errors in PAPER_APPEARANCES.items():
        assert list(errors) == [*PAPER, PAPERS_STYLE]
        plain = PAPER_PLAIN.get(name)
        assert errors["origin"] == (plain or (PUBLISHED[name].top1, PUBLISHED[name].top5))
        assert min(errors.values()) == errors["origin"]
    of_b = PAPER_APPEARANCES["resnet50_ibn_b"]
    assert of_b["std x1.5"] == of_b["origin"]


def in_docs(heading: str) -> str:
    text = (Path(__file__).parents[2] / "docs" / "imagenet.md").read_text()
    return text.partition(f"<!-- {heading} -->\n")[2].partition("\n<!-- end")[0]


def pair(errors: tuple[float, float]) -> str:
    return " / ".join(f"{x:.2f}" for x in errors)


def test_the_papers_first_table_in_the_docs() -> None:
    rows = []
    for look in PAPER_APPEARANCES["resnet50"]:
        cells = [look if look == PAPERS_STYLE else f"`{look}`"]
        for errors in PAPER_APPEARANCES.values():
            drop = [a - b for a, b in zip(errors[look], errors["origin"], strict=True)]
            cells.append(pair(errors[look]) + (f" ({pair(drop)})" if look != "origin" else ""))
        rows.append(cells)
    head = ("appearance", *(f"`{name}`" for name in PAPER_APPEARANCES))
    assert in_docs("table 1") == table(head, rows, 1)


def test_the_papers_second_table_in_the_docs() -> None:
    rows = [
        (f"`{name}`", pair(plain), pair(paper_errors(f"{name}_ibn_a")["origin"]))
        for name, plain in PAPER_PLAIN.items()
    ]
    assert in_docs("table 2") == table(("network", "plain", "IBN-a"), rows, 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet101", {"origin": (22.48, 6.23)}),  # the paper's, not torchvision's
        ("resnet101_ibn_a", {"origin": (21.39, 5.59)}),
        ("resnet101_ibn_b", {}),
        ("densenet161", {}),  # torchvision's alone
        ("resnet50_ibn_c", {}),
    ],
)
def test_what_the_paper_says_of_a_network(name: str, expected: dict) -> None:
    assert paper_errors(name) == expected


def result(model: str, errors: dict, checkpoint: str | None = None) -> dict:
    return dict(
        model=model,
        checkpoint=checkpoint or f"ibnseg://{model}",
        folder="val",
        styled="monet",
        errors={look: dict(images=200, top1=a, top5=b) for look, (a, b) in errors.items()},
    )


def test_the_table() -> None:
    here = {"origin": (24.0, 7.0), "R+50": (23.996, 9.26), "styled": (60.0, 30.5)}
    text = sheet_text(sheet(result("resnet50", here)))
    rows = [" ".join(line.split()) for line in text.splitlines()[4:7]]
    assert rows == [
        "origin 24.00 / 7.00 24.27 / 7.08",
        "R+50 24.00 / 9.26 0.00 / 2.26 27.53 / 8.78 3.26 / 1.70",
        "styled 60.00 / 30.50 36.00 / 23.50 54.51 / 29.32 30.24 / 22.24",
    ]
    assert "here on 200 images" in text
    assert "Styled: 200 images of monet; the paper's are in Monet's style." in text
    assert "torchvision's, not the paper's; published with 23.87 / 7.14." in text
    assert "torchvision" not in sheet_text(sheet(result("resnet50", here, "own.pth")))


def test_the_table_of_networks_that_the_paper_tells_less_of() -> None:
    here = {"origin": (24.0, 7.0), "R+50": (30.0, 9.0)}
    assert sheet(result("resnet101_ibn_a", here)).head[1:] == ("top-1 / top-5", "drop", "paper's")
    none = sheet(result("resnet50_ibn_c", here))
    assert none.head[1:] == ("top-1 / top-5", "drop")
    assert "The paper has no numbers of this network." in none.notes


# ---- the whole path ----------------------------------------------------------------------------

TEXTURES = {"leaning": 45, "lying": 90, "standing": 0}
"""Kinds of stripes, and by how many degrees they are turned."""
MODEL = "resnet18_ibn_b"


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(256, 256, 3) uint8: stripes of a kind, in random colours and widths, with noise."""
    dark, light = rng.integers(20, 100, 3), rng.integers(150, 230, 3)
    angle, wave = np.radians(TEXTURES[kind]), rng.integers(16, 24)
    y, x = np.mgrid[:256, :256]
    across = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + rng.uniform(0, 6))
    image = np.where((across > 0)[..., None], light, dark) + rng.normal(0, 6, (256, 256, 3))
    return image.clip(0, 255).astype(np.uint8)


def train(steps: int, batch: int = 12, crop: int = 48) -> dict[str, torch.Tensor]:
    """The network's weights after some steps on small crops, in the published layout."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = Classifier(build_backbone(MODEL), len(TEXTURES)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # so that few steps are enough for its statistics
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pictures = [[draw(kind, rng) for _ in range(8)] for kind in TEXTURES]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        truth = torch.from_numpy(rng.integers(0, len(TEXTURES), batch))
        x, y = rng.integers(0, 256 - crop, 2)
        crops = [pictures[k][rng.integers(8)][y : y + crop, x : x + crop] for k in truth]
        images = torch.from_numpy(np.stack(crops)).float().permute(0, 3, 1, 2)
        loss = nn.functional.cross_entropy(network((images - 115) / 57), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = network.state_dict()
    return {key.removeprefix("backbone."): value for key, value in state.items()}


def test_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Trained for seconds on textures, the network knows new ones, whatever their contrast."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for kind in TEXTURES:
        for i in range(3):
            save_rgb(Path("val", kind, f"{i}.png"), draw(kind, rng))
    save_rgb(Path("styled", "leaning", "0.png"), 255 - draw("leaning", rng))
    torch.save(train(14), "own.pth")
    line = f"imagenet {MODEL} val --checkpoint own.pth --styled styled --workers 2 --batch 5"
    assert cli.main(line.split()) == 0
    told = capsys.readouterr().out
    out = Path("work_dirs", "imagenet", MODEL)
    found = json.loads((out / "imagenet.json").read_text())
    errors = found["errors"]
    print(told, errors)
    assert list(errors) == [*PAPER, "styled"]
    assert errors["origin"]["images"] == 9
    assert errors["origin"]["top1"] <= 25  # chance: 67
    assert errors["origin"]["top5"] == 0  # there are three classes
    assert errors["std x1.5"] == errors["origin"]
    assert errors["styled"]["images"] == 1
    assert found["model"] == MODEL
    assert found["checkpoint"] == "own.pth"
    assert len(found["checkpoint_sha256"]) == 64
    with np.load(out / "ranks.npz") as kept:
        assert kept["ranks"].dtype == np.int16
        assert kept["appearances"].tolist() == list(PAPER)
        assert kept["paths"][0] == "leaning/0.png"
        for look, of_images in zip(PAPER, kept["ranks"], strict=True):
            assert errors[look]["top1"] == 100 * (of_images > 0).mean()
    assert "work_dirs/imagenet/resnet18_ibn_b/imagenet.json" in told
    monkeypatch.setattr(Classifier, "forward", None)  # nothing is shown again
    assert cli.main(line.split()) == 0
    again = capsys.readouterr().out
    assert "9 of 9 images are there already" in again
    assert json.loads((out / "imagenet.json").read_text()) == found
    assert cli.main(line.replace("val ", "styled ").replace("--styled styled", "").split()) == 1
    assert capsys.readouterr().err == (
        "ibnseg: error: styled: has 1 sub-folders, own.pth has 3 classes; expected one sub-folder "
        "for each class\n"
    )


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown network 'resnet50_ibna'; did you mean"):
        measure_imagenet("resnet50_ibna", tmp_path)
    with pytest.raises(UserError, match="resnet50_ibn_c: no weights of it are published; give"):
        measure_imagenet("resnet50_ibn_c", tmp_path)
