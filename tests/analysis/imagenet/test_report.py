"""The paper's numbers, and the table beside them."""

from __future__ import annotations

from pathlib import Path

from ibnseg.analysis.imagenet.report import PAPERS_STYLE, sheet
from ibnseg.appearance import PAPER
from ibnseg.models.zoo import (
    PAPER_APPEARANCES,
    PAPER_PLAIN,
    PUBLISHED,
    paper_errors,
)
from ibnseg.report.markdown import table
from ibnseg.report.terminal import sheet_text


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
    text = (Path(__file__).parents[3] / "docs" / "imagenet.md").read_text()
    return text.partition(f"<!-- {heading} -->\n")[2].partition("\n<!-- end")[0]


def pair(errors: tuple[float, float]) -> str:
    return " / ".join(f"{x:.2f}" for x in errors)


def test_the_docs_show_the_papers_tables() -> None:
    rows = []
    for look in PAPER_APPEARANCES["resnet50"]:
        cells = [look if look == PAPERS_STYLE else f"`{look}`"]
        for errors in PAPER_APPEARANCES.values():
            drop = [a - b for a, b in zip(errors[look], errors["origin"], strict=True)]
            cells.append(pair(errors[look]) + (f" ({pair(drop)})" if look != "origin" else ""))
        rows.append(cells)
    head = ("appearance", *(f"`{name}`" for name in PAPER_APPEARANCES))
    assert in_docs("table 1") == table(head, rows, 1)
    rows = [
        (f"`{name}`", pair(plain), pair(paper_errors(f"{name}_ibn_a")["origin"]))
        for name, plain in PAPER_PLAIN.items()
    ]
    assert in_docs("table 2") == table(("network", "plain", "IBN-a"), rows, 1)


def test_the_papers_errors_of_a_network_if_it_has_them() -> None:
    for name, expected in (
        ("resnet101", {"origin": (22.48, 6.23)}),  # the paper's, not torchvision's
        ("resnet101_ibn_a", {"origin": (21.39, 5.59)}),
        ("resnet101_ibn_b", {}),
        ("densenet161", {}),  # torchvision's alone
        ("resnet50_ibn_c", {}),
    ):
        assert paper_errors(name) == expected, name


def result(model: str, errors: dict, checkpoint: str | None = None) -> dict:
    return dict(
        model=model,
        checkpoint=checkpoint or f"ibnseg://{model}",
        folder="val",
        styled="monet",
        errors={look: dict(images=200, top1=a, top5=b) for look, (a, b) in errors.items()},
    )


def test_the_table_shows_errors_beside_the_papers() -> None:
    here = {"origin": (24.0, 7.0), "R+50": (23.996, 9.26), "styled": (60.0, 30.5)}
    text = sheet_text(sheet(result("resnet50", here)))
    rows = [" ".join(line.split()) for line in text.splitlines()[4:7]]
    assert rows == [
        "origin 24.00 / 7.00 24.27 / 7.08",
        "R+50 24.00 / 9.26 0.00 / 2.26 27.53 / 8.78 3.26 / 1.70",
        "styled 60.00 / 30.50 36.00 / 23.50 54.51 / 29.32 30.24 / 22.24",
    ]
    assert "200 images of monet" in text
    assert "torchvision's, not the paper's; published with 23.87 / 7.14" in text
    assert "torchvision" not in sheet_text(sheet(result("resnet50", here, "own.pth")))


def test_columns_that_the_paper_has_no_numbers_for_are_left_out() -> None:
    here = {"origin": (24.0, 7.0), "R+50": (30.0, 9.0)}
    assert sheet(result("resnet101_ibn_a", here)).head[1:] == ("top-1 / top-5", "drop", "paper's")
    none = sheet(result("resnet50_ibn_c", here))
    assert none.head[1:] == ("top-1 / top-5", "drop")
    assert "The paper has no numbers of this network." in none.notes
