"""Reports as CSV in long form and as JSON: fractions, or in the metric's unit, not rounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal

from ibnseg.report.cells import harmless_record
from ibnseg.report.gather import Report
from ibnseg.report.matrix import Block, Cell, Column, Matrix, Row
from ibnseg.report.published import PublishedRow
from ibnseg.report.records import PROTOCOL
from ibnseg.report.statistics import Interval
from ibnseg.support.terminal import CONTROLS

COLUMNS = (
    "kind",  # cell, unseen (the mean over unseen domains), or published
    "protocol",
    "version",
    "inference",
    "train",
    "network",
    "minus",  # of a paired difference, the network that is subtracted
    "config",
    "model",
    "test",
    "split",
    "metric",
    "value",
    "sd",
    "n",
    "seeds",
    "group_low",
    "group_high",
    "image_low",
    "image_high",
    "grouped",  # 1 if images are alike in groups: do not rely on the interval by image
    "drop",
    "best",
    "images",
    "groups",
    "printed",  # a published value, in percent as its source has it
    "backbone",
    "recipe",
    "source",
)
AVERAGED = "averaged"
"""The column of the classes that are averaged, where they are fewer than the domain averages."""


# --- JSON ---


def as_json(report: Report) -> str:
    """Writes matrices with columns, blocks, rows, cells and differences, then published rows."""
    content = dict(
        metric=report.metric.name,
        titles=dict(report.titles),
        title=report.metric.title,
        unit=report.metric.unit,
        matrices=[
            {**_matrix(matrix), "published": [_printed(row) for row in beside]}
            for matrix, beside in zip(report.matrices, report.beside, strict=True)
        ],
        published=[_printed(row) for rows in report.apart.values() for row in rows],
    )
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _matrix(matrix: Matrix) -> dict:
    return dict(
        protocol={key: matrix.protocol[key] for key in PROTOCOL},
        columns=[
            dict(domain=c.domain, split=c.split, images=list(c.images), groups=c.groups)
            | ({} if c.averaged is None else dict(averaged=list(c.averaged)))
            for c in matrix.columns
        ],
        blocks=[
            dict(
                train=block.train,
                trains=list(block.trains),
                rows=[_row(row) for row in block.rows],
                differences=[
                    {**_row(row), "minus": block.rows[0].title} for row in block.differences
                ],
            )
            for block in matrix.blocks
        ],
        remarks=[remark._asdict() for remark in matrix.remarks],
    )


def _row(row: Row) -> dict:
    return dict(
        network=row.title,
        config=row.config,
        model=row.model,
        seeds=list(row.seeds),
        cells=[cell and _cell(cell) for cell in row.cells],
        unseen=row.unseen and _cell(row.unseen),
    )


def _cell(cell: Cell) -> dict:
    return dict(
        value=cell.value,
        sd=cell.deviation,
        seeds=list(cell.seeds),
        by_group=cell.by_group and list(cell.by_group),
        by_image=cell.by_image and list(cell.by_image),
        grouped=cell.grouped,
        drop=cell.drop,
        best=cell.best,
    )


def _printed(row: PublishedRow) -> dict:
    values = {
        test: dict(value=float(Decimal(value) / 100), printed=value)
        for test, value in row.values.items()
    }
    return {**row._asdict(), "train": list(row.train), "values": values}


# --- CSV ---


def as_csv(report: Report) -> str:
    """Writes a line for each cell and each mean over unseen domains, for the paired difference of
    each, and for each published number.

    If a column of a matrix averages fewer classes than its domain, the last column names them.
    """
    text = io.StringIO()
    is_over_fewer = any(c.averaged for matrix in report.matrices for c in matrix.columns)
    columns = (*COLUMNS, AVERAGED) if is_over_fewer else COLUMNS
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(harmless_record, _records(report)))
    return text.getvalue().rstrip("\n")


def _records(report: Report) -> Iterator[dict]:
    for matrix, beside in zip(report.matrices, report.beside, strict=True):
        values = [matrix.protocol[key] for key in PROTOCOL]
        protocol = dict(zip(("protocol", "version", "inference"), values, strict=True))
        shared = {**protocol, "metric": report.metric.name}
        for block in matrix.blocks:
            for record in _block_records(matrix, block):
                yield shared | record
        yield from (record for row in beside for record in _published_records(report, row))
    for rows in report.apart.values():
        yield from (record for row in rows for record in _published_records(report, row))


def _block_records(matrix: Matrix, block: Block) -> Iterator[dict]:
    rows = [(row, None) for row in block.rows]
    rows += [(row, block.rows[0].title) for row in block.differences]
    for row, minus in rows:
        facts = dict(
            train=block.train, network=row.title, minus=minus, config=row.config, model=row.model
        )
        for column, cell in zip((*matrix.columns, None), (*row.cells, row.unseen), strict=True):
            if cell is not None:
                yield facts | _place(column) | _numbers(cell)


def _place(column: Column | None) -> dict:
    if column is None:
        return dict(kind="unseen")
    return dict(
        kind="cell",
        test=column.domain,
        split=column.split,
        images=" ".join(map(str, column.images)),
        groups=column.groups,
        **({} if column.averaged is None else {AVERAGED: ";".join(column.averaged)}),
    )


def _numbers(cell: Cell) -> dict:
    def ends(name: str, interval: Interval | None) -> dict:
        return (
            {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}
        )

    return dict(
        value=cell.value,
        sd=cell.deviation,
        n=len(cell.seeds),
        seeds=" ".join(map(str, cell.seeds)),
        **ends("group", cell.by_group),
        **ends("image", cell.by_image),
        grouped=int(cell.grouped),
        drop=cell.drop,
        best=int(cell.best),
    )


def _published_records(report: Report, row: PublishedRow) -> Iterator[dict]:
    for test, printed in row.values.items():
        yield dict(
            kind="published",
            protocol=row.protocol,
            train="+".join(row.train),
            network=row.method,
            test=test,
            metric=report.metric.name,
            value=Decimal(printed) / 100,
            printed=printed,
            backbone=row.backbone,
            recipe=row.recipe,
            source=row.source,
        )
