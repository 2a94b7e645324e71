"""Tables made from results: train domain, test domain, mIoU, pixel accuracy, the drop, and every
class."""

from __future__ import annotations

import csv
import io

from ibnseg.evaluation import drivable
from ibnseg.report.gaps import drop

COLUMNS = ("train", "test", "model", "mIoU", "pixel acc.", "drop", "protocol", "images")
FURTHER = {
    "category_mIoU": "category IoU",
    "mean_iIoU": "iIoU",
    "category_mean_iIoU": "category iIoU",
}
"""Means that a test may have besides, by their keys in results, and what tables call them."""
DRIVABLE = {metric: way.title for metric, way in drivable.METRICS.items()}
"""The same of the drivable area."""


def drops(results: dict) -> list[float | None]:
    """The :func:`~ibnseg.report.gaps.drop` of each test, of mIoU."""
    tests, train_domain = results["tests"], results["run"]["train_domain"]
    return [drop(test, tests, train_domain) for test in tests]


def markdown(results: dict, titles: dict[str, str]) -> str:
    """The results as Markdown tables, in percent: a row a test, then IoU a class, then the
    further means of Cityscapes' benchmark and those of the drivable area, if any.

    Args:
        results: a results file's content.
        titles: names of domains to what the tables call them; the name itself if missing.
    """
    run, tests = results["run"], results["tests"]
    rows = [
        (
            titles.get(run["train_domain"], run["train_domain"]),
            titles.get(test["domain"], test["domain"]),
            run["title"],
            _percent(test["mIoU"]),
            _percent(test["pixel_accuracy"]),
            _percent(lost),
            "{name} v{version}".format(**test["protocol"]),
            _count(test),
        )
        for test, lost in zip(tests, drops(results), strict=True)
    ]
    several = len({test["protocol"]["name"] for test in tests}) > 1
    names = [
        titles.get(test["domain"], test["domain"])
        + (f", {test['protocol']['name']}" if several else "")
        for test in tests
    ]
    classes = list(dict.fromkeys(name for test in tests for name in test["classes"]))
    class_rows = [
        (name, *(_class_iou(test, name) for test in tests))
        for name in classes
        if any(test["iou"].get(name) is not None for test in tests)
    ]
    parts = [
        table(COLUMNS, rows, left=3),
        "mIoU, pixel accuracy, drop and IoU in percent; the drop is the mIoU of the training "
        "domain, over the classes that the row averages, minus that of the row.",
        table(("IoU", *names), class_rows, left=1),
    ]
    if any(cell.startswith("(") for row in class_rows for cell in row[1:]):
        parts.append("In parentheses: not one of the classes that the mIoU of the domain averages.")
    for head, titled, value in (
        ("mean", FURTHER, dict.get),
        ("drivable area", DRIVABLE, drivable.recorded),
    ):
        means = [
            (title, *(_percent(value(test, key)) for test in tests))
            for key, title in titled.items()
            if any(value(test, key) is not None for test in tests)
        ]
        if means:
            parts.append(table((head, *names), means, left=1))
    return "\n\n".join(parts) + "\n"


def as_csv(results: dict) -> str:
    """The results as CSV: a row a test, fractions as measured, one column a class; then the
    drivable area by each way of counting, if any test is of it."""
    run, tests = results["run"], results["tests"]
    classes = list(dict.fromkeys(name for test in tests for name in test["classes"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = [
        "train",
        "test",
        "split",
        "model",
        "seed",
        "iteration",
        "protocol",
        "version",
        "images",
    ]
    ways = [key for key in DRIVABLE if any("drivable" in test for test in tests)]
    writer.writerow([*facts, "skipped", "mIoU", "pixel_accuracy", "drop", *classes, *ways])
    for test, lost in zip(tests, drops(results), strict=True):
        writer.writerow(
            [
                run["train_domain"],
                test["domain"],
                test["split"],
                run["title"],
                run["seed"],
                run["iteration"],
                test["protocol"]["name"],
                test["protocol"]["version"],
                test["images"],
                len(test["skipped"]),
                test["mIoU"],
                test["pixel_accuracy"],
                lost,
                *(test["iou"].get(name) for name in classes),
                *(drivable.recorded(test, key) for key in ways),
            ]
        )
    return text.getvalue()


def _class_iou(test: dict, name: str) -> str:
    text = _percent(test["iou"].get(name))
    return text if name in test["eval_classes"] or text == "-" else f"({text})"


def _count(test: dict) -> str:
    return f"{test['images']}" + (f" ({len(test['skipped'])} skipped)" if test["skipped"] else "")


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> str:
    """A Markdown table with aligned columns; all but the first ``left`` are set to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        aligned = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *(line(row) for row in rows)])
