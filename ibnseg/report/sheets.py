"""A report as sheets: measured values, paired differences and published numbers, with notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ibnseg.evaluation.metrics import PERCENT
from ibnseg.evaluation.protocols import UNKNOWN, WHOLE
from ibnseg.report.gather import Report
from ibnseg.report.matrix import Block, Cell, Column, Matrix, Row
from ibnseg.report.published import PublishedRow
from ibnseg.report.sheet import NOTHING, Best, Lines, Sheet, shown
from ibnseg.report.statistics import RESAMPLES, Interval


def report_sheets(report: Report, best: str = "Bold") -> list[Sheet]:
    """Makes the sheets of a report: those of its matrices, then other published numbers.

    Args:
        report: what is to be shown.
        best: the first word of the note that explains :class:`~ibnseg.report.sheet.Best`, such as
            ``Bold``.
    """
    found = []
    for matrix, published in zip(report.matrices, report.beside, strict=True):
        found.append(_measured(report, matrix, published, best))
        if any(_is_measured(row) for block in matrix.blocks for row in block.differences):
            found.append(_differences(report, matrix))
    for protocol, rows in report.apart.items():
        for train in dict.fromkeys(row.train for row in rows):
            same = [row for row in rows if row.train == train]
            found.append(_published(report, protocol, same))
    return found


def protocol_title(protocol: dict) -> str:
    """Describes a protocol by its name, version and inference."""
    inference = protocol["inference"]
    plain = {WHOLE: "whole images", UNKNOWN: "inference unknown"}
    how = plain.get(inference) or inference.replace("slide", "windows")
    return f"protocol {protocol['name']} v{protocol['version']}, {how}"


# --- measured ---


def _measured(
    report: Report, matrix: Matrix, published: Sequence[PublishedRow], best: str
) -> Sheet:
    label, unit = report.metric.title, report.metric.unit
    better = "" if report.metric.higher_is_better else " (lower is better)"
    parts = [
        tuple(_row(row, report.title(*block.trains), label, unit) for row in block.rows)
        for block in matrix.blocks
    ]
    references = _References()
    beside = [
        (
            (
                *_who(report, row, references),
                "published",
                *(row.values.get(column.domain, NOTHING) for column in matrix.columns),
                "",
            ),
        )
        for row in published
    ]
    return Sheet(
        f"{label} in {unit}{better}, {protocol_title(matrix.protocol)}",
        ("trained on", "network", "", *_heads(report, matrix.columns), "mean of unseen"),
        3,
        (*parts, tuple(beside)) if beside else tuple(parts),
        (*_notes(report, matrix, best), *references.lines()),
    )


def _heads(report: Report, columns: Sequence[Column]) -> list[str]:
    names = [column.domain for column in columns]
    return [
        report.title(column.domain)
        + (f" ({column.split})" if names.count(column.domain) > 1 else "")
        for column in columns
    ]


def _row(row: Row, train: str, label: str, unit: str, sign: str = "") -> Lines:
    cells = (*row.cells, row.unseen)
    known = [cell for cell in cells if cell is not None]
    label += " ± sd" if any(cell.deviation is not None for cell in known) else ""
    lines = [(label, [_value(cell, row, unit, sign) for cell in cells])]
    lines.append(("95 % interval", [_range(cell and cell.interval, unit, sign) for cell in cells]))
    if any(cell.grouped for cell in known):
        beside = [cell.by_image if cell and cell.grouped else None for cell in cells]
        lines.append(("by image", [_range(interval, unit, sign) for interval in beside]))
    if any(cell.drop is not None for cell in known):
        drops = [shown(cell.drop, unit) if cell and cell.drop is not None else "" for cell in cells]
        lines.append(("drop", drops))
    if not any(cell.interval for cell in known):
        del lines[1]
    names = [(train, row.title), ("", _seeds(row.seeds))]
    names += [("", "")] * (len(lines) - 2)
    if len(lines) == 1:
        names = [(train, f"{row.title}, {_seeds(row.seeds)}")]
    return tuple((*name, what, *texts) for name, (what, texts) in zip(names, lines, strict=True))


def _seeds(seeds: Iterable[int | None]) -> str:
    known = [str(seed) for seed in seeds if seed is not None]
    return (
        f"{'seed' if len(known) == 1 else 'seeds'} {', '.join(known)}" if known else "seed unknown"
    )


def _value(cell: Cell | None, row: Row, unit: str, sign: str) -> str:
    if cell is None:
        return NOTHING
    text = shown(cell.value, unit, sign)
    if cell.deviation is not None:
        text += f" ± {shown(cell.deviation, unit)}"
    if len(cell.seeds) < len(row.seeds):
        text += f" (n={len(cell.seeds)})"
    return Best(text) if cell.best else text


def _range(interval: Interval | None, unit: str, sign: str) -> str:
    if interval is None:
        return ""
    return f"[{shown(interval.low, unit, sign)}, {shown(interval.high, unit, sign)}]"


def _notes(report: Report, matrix: Matrix, best: str) -> list[str]:
    rows = [row for block in matrix.blocks for row in block.rows]
    cells = [cell for row in rows for cell in (*row.cells, row.unseen)]
    known = [cell for cell in cells if cell is not None]
    notes = []
    if any(len(row.seeds) > 1 for row in rows):
        notes.append("± sd: mean and standard deviation over the seeds.")
    if any(cell.by_image for cell in known):
        notes.append(_what_intervals_are(known))
    if any(cell.drop is not None for cell in known):
        over = ", over the same classes" if report.metric.over_classes else ""
        several = any(len(block.trains) > 1 for block in matrix.blocks)
        home = "the training domain (the mean over several)" if several else "the training domain"
        notes.append(f"Drop: the value in {home}{over}, minus this one.")
    if any(row.unseen for row in rows):
        notes.append("Mean of unseen: over all domains shown but those of training.")
    if any(cell.best for cell in known):
        single = any(cell.best and len(cell.seeds) == 1 for cell in known)
        notes.append(
            f"{best}: better than every other network of its block that was tested there, by the "
            f"95 % interval of the paired difference{' of these trainings' if single else ''}."
        )
    if None in cells:
        notes.append("A dash is a test that is missing or undefined.")
    counts = ", ".join(
        f"{head} {_images(column)}"
        for head, column in zip(_heads(report, matrix.columns), matrix.columns, strict=True)
    )
    notes.append(f"Images: {counts}.")
    for text, domains in matrix.remarks:
        where = f" ({', '.join(map(report.title, domains))})" if domains else ""
        notes.append(f"{text}{where}.")
    return notes


def _what_intervals_are(cells: Sequence[Cell]) -> str:
    several = any(len(cell.seeds) > 1 for cell in cells)
    single = any(len(cell.seeds) == 1 for cell in cells)
    reach = "for other images and other seeds" if several else "for other images of the domain"
    text = f"95 % intervals: {reach}, from {RESAMPLES} bootstrap resamples"
    if any(cell.by_group for cell in cells):
        text += (
            " of groups of images (cities, sequences) where there are two or more, else of images"
        )
    else:
        text += " of images"
    text += ", and Student's t; cut where the score ends."
    if single:
        text += " With a single seed, an interval says nothing about other trainings."
    return text


def _images(column: Column) -> str:
    images = " or ".join(map(str, column.images))
    return images if column.groups is None else f"{images} in {_plural(column.groups, 'group')}"


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


# --- differences ---


def _differences(report: Report, matrix: Matrix) -> Sheet:
    blocks = [
        replace(block, differences=tuple(filter(_is_measured, block.differences)))
        for block in matrix.blocks
        if any(map(_is_measured, block.differences))
    ]
    rows = [row for block in blocks for row in block.differences]
    heads = _heads(report, matrix.columns)
    kept = [i for i in range(len(heads)) if any(row.cells[i] is not None for row in rows)]

    def part(block: Block) -> tuple[Lines, ...]:
        train, first = report.title(*block.trains), block.rows[0].title
        named = [
            replace(
                row,
                title=f"{row.title} minus {first}",
                cells=tuple(row.cells[i] for i in kept),
            )
            for row in block.differences
        ]
        return tuple(_row(row, train, "difference", report.metric.unit, "+") for row in named)

    unit = "points" if report.metric.unit == PERCENT else report.metric.unit
    return Sheet(
        f"Paired differences of {report.metric.title} in {unit}, {protocol_title(matrix.protocol)}",
        ("trained on", "networks", "", *(heads[i] for i in kept), "mean of unseen"),
        3,
        tuple(map(part, blocks)),
        (_what_differences_say(rows),),
    )


def _is_measured(row: Row) -> bool:
    return any(cell is not None for cell in row.cells)


def _what_differences_say(rows: Sequence[Row]) -> str:
    seeds = {len(cell.seeds) for row in rows for cell in row.cells if cell is not None}
    text = "Differences are those on the same images with the same seeds."
    if max(seeds) > 1:
        text += (
            " An interval that excludes 0 is evidence that the networks differ; by chance, one "
            "such interval in twenty misses the true difference."
        )
    if min(seeds) == 1:
        text += (
            " With a single seed, it says that these two trainings differ on such images, not that "
            "the networks do."
        )
    return text


# --- published ---


class _References:
    """The numbers that published rows refer to their sources and recipes by."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}

    def number(self, row: PublishedRow) -> int:
        """Returns the number of a row's source and recipe, a new one if they are new."""
        return self.numbers.setdefault((row.source, row.recipe), len(self.numbers) + 1)

    def lines(self) -> list[str]:
        """Makes a note for each number."""
        return [
            f"[{number}] {source}. Recipe: {recipe}."
            for (source, recipe), number in self.numbers.items()
        ]


def _who(report: Report, row: PublishedRow, references: _References) -> tuple[str, str]:
    backbone = "backbone unknown" if row.backbone == "unknown" else row.backbone
    return report.title(*row.train), f"{row.method}, {backbone} [{references.number(row)}]"


def _published(report: Report, protocol: str, rows: Sequence[PublishedRow]) -> Sheet:
    tests = list(dict.fromkeys(test for row in rows for test in row.values))
    references = _References()
    part = tuple(
        ((*_who(report, row, references), *(row.values.get(test, NOTHING) for test in tests)),)
        for row in rows
    )
    return Sheet(
        f"Published {report.metric.title} in percent, trained on "
        f"{report.title(*rows[0].train)}, test protocol {protocol}",
        ("trained on", "network", *map(report.title, tests)),
        2,
        (part,),
        tuple(references.lines()),
    )
