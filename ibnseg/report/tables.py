"""The tables of one run: every test with its metrics, its drop and the IoU of every class."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from ibnseg.evaluation.metrics import METRICS, PERCENT
from ibnseg.evaluation.other import domain_classes, has_other, share_of_other
from ibnseg.evaluation.results import UNKNOWN, selected_on, trained_in
from ibnseg.report.cells import harmless_row
from ibnseg.report.gaps import drop
from ibnseg.report.markdown import escaped, table
from ibnseg.report.sheet import NOTHING, listed, percent, shown

COLUMNS = ("train", "test", "model", "mIoU", "pixel acc.", "drop", "protocol", "images")
FIRST = ("mIoU", "pixel_accuracy")
"""The metrics of the first table."""


def drops(results: Mapping) -> list[float | None]:
    """Computes the :func:`~ibnseg.report.gaps.drop` in mIoU of each test, as a fraction."""
    tests, trains = results["tests"], trained_in(results["run"])
    return [drop(test, tests, trains) for test in tests]


def run_markdown(results: Mapping) -> str:
    """Writes results as Markdown tables, with fractions in percent.

    The first has a row for each test, the second one for each class, with its IoU, and the third
    one for each further metric that a test has.

    Args:
        results: a results file's content.
    """
    run, tests = results["run"], results["tests"]
    names = (*trained_in(run), *(test["domain"] for test in tests))
    title = {name: escaped(results["domains"].get(name, {}).get("title", name)) for name in names}
    rows = [
        (
            " + ".join(title[name] for name in trained_in(run)),
            title[test["domain"]] + " *" * (test["domain"] in selected_on(run)),
            escaped(run["title"]),
            *(percent(test["metrics"].get(name)) for name in FIRST),
            percent(lost),
            escaped("{name} v{version}".format(**test["protocol"])),
            _images(test),
        )
        for test, lost in zip(tests, drops(results), strict=True)
    ]
    several = len({test["protocol"]["name"] for test in tests}) > 1
    names = [
        title[test["domain"]] + (f", {escaped(test['protocol']['name'])}" if several else "")
        for test in tests
    ]
    class_rows = [
        (escaped(name), *(_class_iou(test, name) for test in tests))
        for name in _classes(tests)
        if any(test["iou"].get(name) is not None for test in tests)
    ]
    parts = [
        table(COLUMNS, rows, left=3),
        "mIoU, pixel accuracy, drop and IoU in percent; the drop is the mIoU of the training "
        "domain, over the classes that the row averages, minus that of the row.",
        *_selection(run, tests, results["domains"]),
        table(("IoU", *names), class_rows, left=1),
    ]
    if any(cell.startswith("(") for row in class_rows for cell in row[1:]):
        parts.append("In parentheses: not one of the classes that the mIoU of the domain averages.")
    parts += [*_averaged_over(tests, names), *_predicted_as_other(tests, names)]
    further = [
        _metric_row(name, tests, results["metrics"])
        for name in _further(tests)
        if any(test["metrics"].get(name) is not None for test in tests)
    ]
    if further:
        parts.append(table(("metric", *names), further, left=1))
    return "\n\n".join(parts) + "\n"


def run_csv(results: Mapping) -> str:
    """Writes results as CSV, with a row for each test and fractions as measured.

    Each class has a column with its IoU, and each further metric one of its own.

    Args:
        results: a results file's content.
    """
    run, tests = results["run"], results["tests"]
    classes, further = _classes(tests), _further(tests)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("train", "test", "split", "model", "seed", "iteration", "protocol", "version")
    counts = ("images", "skipped")
    head = [*facts, *counts, *FIRST, "drop", *classes, *further]
    writer.writerow(harmless_row(head))
    for test, lost in zip(tests, drops(results), strict=True):
        writer.writerow(
            harmless_row(
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
                    *(test["metrics"].get(name) for name in FIRST),
                    lost,
                    *(test["iou"].get(name) for name in classes),
                    *(test["metrics"].get(name) for name in further),
                ]
            )
        )
    return text.getvalue()


def _classes(tests: Sequence[Mapping]) -> list[str]:
    """Names of the classes that the tested domains have."""
    return list(dict.fromkeys(name for test in tests for name in domain_classes(test)))


def _selection(run: Mapping, tests: Sequence[Mapping], domains: Mapping) -> list[str]:
    """On whose labels the checkpoint was selected, if it was."""
    selected = selected_on(run)
    if UNKNOWN in selected:
        return ["The checkpoint's name says best: it may have been selected on a tested domain."]
    found = []
    if not {*selected}.isdisjoint(test["domain"] for test in tests):
        found.append("With a star: the checkpoint was selected on this domain's labels.")
    elif selected:
        titles = [escaped(domains.get(name, {}).get("title", name)) for name in selected]
        found.append(f"The checkpoint was selected on the labels of {listed(titles)}.")
    return found


def _averaged_over(tests: Sequence[Mapping], names: Sequence[str]) -> list[str]:
    """A sentence for each set of classes that the network lacks, of columns with these names."""
    lacking: dict[str, list[str]] = {}
    for test, name in zip(tests, names, strict=True):
        if without := test.get("without"):
            averaged = len(test["eval_classes"])
            text = (
                f"averaged over {averaged} of the domain's {averaged + len(without)} classes, "
                f"because the network does not have {escaped(listed(without))}."
            )
            lacking.setdefault(text, []).append(name)
    if len(lacking) == 1 and [*lacking.values()] == [list(names)]:
        return [text[0].upper() + text[1:] for text in lacking]
    return [f"{'; '.join(where)}: {text}" for text, where in lacking.items()]


def _predicted_as_other(tests: Sequence[Mapping], names: Sequence[str]) -> list[str]:
    """What share of the pixels is predicted as a class that the domain lacks, if there are any."""
    shares = [
        f"{name} {percent(share_of_other(test))} %"
        for test, name in zip(tests, names, strict=True)
        if has_other(test)
    ]
    text = "Predicted as a class that the domain does not have, and so wrong: {} of the pixels."
    return [text.format(", ".join(shares))] if shares else []


def _further(tests: Sequence[Mapping]) -> list[str]:
    """Names of the metrics beside the first ones, in the order of the table of metrics."""
    known = {name for test in tests for name in test["metrics"]} - set(FIRST)
    own = dict.fromkeys(name for test in tests for name in test["metrics"])
    return [name for name in dict.fromkeys([*METRICS, *own]) if name in known]


def _metric_row(name: str, tests: Sequence[Mapping], facts: Mapping) -> tuple[str, ...]:
    if name in METRICS:
        title, unit = METRICS[name].title, METRICS[name].unit
    else:
        recorded = facts.get(name) or dict(title=name, unit=PERCENT)
        title, unit = recorded["title"], recorded["unit"]
    return escaped(title), *(shown(test["metrics"].get(name), unit) for test in tests)


def _class_iou(test: Mapping, name: str) -> str:
    text = percent(test["iou"].get(name))
    return text if name in test["eval_classes"] or text == NOTHING else f"({text})"


def _images(test: Mapping) -> str:
    skipped = f" ({len(test['skipped'])} skipped)" if test["skipped"] else ""
    return f"{test['images']}{skipped}"
