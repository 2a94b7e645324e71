"""Tabulates a classifier's ImageNet errors beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ibnseg.models.zoo import PUBLISHED, SCHEME, paper_errors
from ibnseg.report.sheet import Sheet

STYLED = "styled"
"""The name of the appearance of stylised images, which lie in a folder of their own."""
PAPERS_STYLE = "Monet"
"""The style of the stylised images in the paper's table 1."""


def sheet(result: Mapping) -> Sheet:
    """Returns a table of errors and drops in percent, beside the paper's.

    Args:
        result: from :func:`ibnseg.analysis.imagenet.measure.measure_imagenet`.
    """
    model, errors = result["model"], result["errors"]
    here = {look: (of["top1"], of["top5"]) for look, of in errors.items()}
    papers = dict(paper_errors(model))
    if PAPERS_STYLE in papers:
        papers[STYLED] = papers.pop(PAPERS_STYLE)
    count = errors["origin"]["images"]
    notes = ["Drop: how much higher the error is than that of origin."]
    if papers:
        notes.append(f"Paper: on ImageNet's 50000 validation images; here on {count} images.")
    else:
        notes.append("The paper has no numbers of this network.")
    if STYLED in errors:
        style = f"; the paper's are in {PAPERS_STYLE}'s style" if STYLED in papers else ""
        notes.append(f"Styled: {errors[STYLED]['images']} images of {result['styled']}{style}.")
    published = PUBLISHED.get(model)
    if published and "_ibn_" not in model and papers and result["checkpoint"].startswith(SCHEME):
        notes.append(
            "The weights are torchvision's, not the paper's; published with "
            f"{published.top1:.2f} / {published.top5:.2f}."
        )
    head = ("appearance", "top-1 / top-5", "drop", "paper's", "drop")
    columns = len(head) if len(papers) > 1 else len(head) - 1 if papers else len(head) - 2
    rows = [(look, *_cells(here, look), *_cells(papers, look))[:columns] for look in errors]
    return Sheet(
        title=f"{model} ({result['checkpoint']}) on {result['folder']}: errors in percent",
        head=head[:columns],
        left=1,
        parts=(tuple((row,) for row in rows),),
        notes=tuple(notes),
    )


def _cells(errors: Mapping[str, Sequence[float]], look: str) -> tuple[str, str]:
    """Returns the error and the drop of an appearance as texts; empty if there are none."""
    if look not in errors:
        return "", ""
    drop = [x - y for x, y in zip(errors[look], errors["origin"], strict=True)]
    return _pair(errors[look]), "" if look == "origin" else _pair(drop)


def _pair(values: Sequence[float]) -> str:
    return " / ".join(f"{round(value, 2) + 0.0:5.2f}" for value in values)
