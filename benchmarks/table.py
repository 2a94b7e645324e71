"""The table of all measurements, and its place in docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Row
from ibnseg.support.files import written_whole

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: python -m benchmarks -->", "<!-- end -->"


def table(rows: Mapping[int, Sequence[Row]]) -> str:
    """Returns the table in Markdown: a line for each comparison.

    Args:
        rows: by the number of threads that they were measured with.
    """
    by_work: dict[tuple[str, str], dict[int, Row]] = {}
    for threads, measured in rows.items():
        for row in measured:
            by_work.setdefault((row.work, row.peer), {})[threads] = row
    notes = list(dict.fromkeys(row.note for each in rows.values() for row in each if row.note))
    head = ["work", "beside", "goal"]
    for threads in rows:
        head += [_threads(threads), "beside", "ratio (quartiles)"]
    lines = [head, ["---"] * len(head)]
    for (work, peer), measured in by_work.items():
        one = next(iter(measured.values()))
        cells = [work, peer, "" if one.most is None else f"<= {_ratio(one.most)}"]
        for threads in rows:
            cells += _cells(measured.get(threads), notes)
        lines.append(cells)
    text = "".join(f"{line(cells)}\n" for cells in lines)
    return text + "".join(f"\n[{i}] {note}\n" for i, note in enumerate(notes, 1))


def line(cells: Sequence[str]) -> str:
    """Returns a line of a table in Markdown, without its end."""
    return f"| {' | '.join(cells)} |"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _cells(row: Row | None, notes: Sequence[str]) -> list[str]:
    """Ours, theirs and the ratio, which is bold if the goal is missed; and the note's number."""
    if row is None:
        return [""] * 3
    low, high = (_ratio(each) for each in row.spread)
    ratio = _ratio(row.ratio) if row.is_met else f"**{_ratio(row.ratio)}**"
    mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
    return [
        _number(row.ours, row.unit),
        _number(row.theirs, row.unit),
        f"{ratio} ({low} to {high}){mark}",
    ]


def _number(value: float, unit: str) -> str:
    return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def write(rows: Mapping[int, Sequence[Row]], machine: str) -> None:
    """Puts the table, and the machine that it was measured on, between its markers in the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    with written_whole(PAGE) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{machine}\n\n{table(rows)}\n{END}{after}")
