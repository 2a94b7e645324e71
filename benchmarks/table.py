"""The table of all measurements, and its place in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Row
from ibnseg.support.files import in_turn, written_whole

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: python -m benchmarks -->", "<!-- end -->"
COLUMNS = ("work", "threads", "ibnseg", "beside", "takes", "ratio (quartiles)", "goal", "met")


def table(rows: Mapping[int, Iterable[Row]]) -> str:
    """Returns the table in Markdown.

    Args:
        rows: by the number of threads that they were measured with.
    """
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    notes: list[str] = []
    for threads, measured in rows.items():
        for row in measured:
            mark = ""
            if row.note:
                if row.note not in notes:
                    notes.append(row.note)
                mark = f" [{notes.index(row.note) + 1}]"
            low, high = (_ratio(each) for each in row.spread)
            lines.append(
                (
                    row.work + mark,
                    str(threads),
                    _number(row.ours, row.unit),
                    row.peer,
                    _number(row.theirs, row.unit),
                    f"{_ratio(row.ratio)} ({low} to {high})",
                    "" if row.most is None else f"at most {_ratio(row.most)}",
                    "" if row.most is None else ("yes" if row.is_met else "no"),
                )
            )
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return text + "".join(f"\n[{i}] {note}\n" for i, note in enumerate(notes, 1))


def _number(value: float, unit: str) -> str:
    return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def write(rows: Mapping[int, Sequence[Row]], machine: str) -> None:
    """Puts the table, and the machine that it was measured on, between its markers in the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    with in_turn(PAGE), written_whole(PAGE) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{machine}\n\n{table(rows)}\n{END}{after}")
