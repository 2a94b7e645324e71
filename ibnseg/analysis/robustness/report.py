"""Writes what has been measured of robustness: tables, files and plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from ibnseg.analysis.robustness.corruptions import Corruption
from ibnseg.analysis.robustness.plot import corruption_sheet, plot_robustness
from ibnseg.analysis.robustness.records import by_seed, called, network_of_record, values_over_seeds
from ibnseg.analysis.style import STYLE, save
from ibnseg.appearance import CONDITIONS
from ibnseg.report.cells import harmless_record
from ibnseg.report.markdown import sheet_markdown
from ibnseg.report.records import Network
from ibnseg.report.sheet import NOTHING, Sheet
from ibnseg.report.statistics import CONFIDENCE, Interval, interval_of_seeds
from ibnseg.report.terminal import sheet_text
from ibnseg.support.files import written_whole
from ibnseg.support.terminal import say

COLUMNS = (
    "run", "model", "train_domain", "seed", "domain", "appearance", "severity", "parameter",
    "parameter_is", "images", "mIoU", "drop",
)  # fmt: skip
"""The columns of the CSV; fractions are not rounded."""


def write_robustness(
    out: Path,
    result: Mapping,
    titles: Mapping[str, str],
    pictures: Sequence[tuple[Corruption, np.ndarray]],
) -> None:
    """Writes the results, the tables and the plots, and prints the tables.

    Args:
        out: the folder.
        result: from :func:`ibnseg.analysis.robustness.measure.measure_robustness`.
        titles: titles of domains, by their names.
        pictures: corruptions, and an image in each: (H, W, 3) RGB on the scale of 0 to 255.
    """
    shown = robustness_sheets(result, titles)
    texts = {
        "robustness.json": json.dumps(result, indent=1) + "\n",
        "robustness.csv": robustness_csv(result["records"]),
        "robustness.md": "\n\n".join(map(sheet_markdown, shown)) + "\n",
    }
    for name, text in texts.items():
        with written_whole(out / name) as temporary:
            temporary.write_text(text)
    with matplotlib.rc_context(STYLE):
        figure = plot_robustness(result, titles)
        sheet = corruption_sheet(pictures)
    save(figure, out / "robustness")
    save(sheet, out / "conditions", ["png"])
    print("\n" + "\n\n".join(map(sheet_text, shown)))
    say(f"\nResults: {', '.join(str(out / name) for name in texts)}")
    say(f"Plot: {out}/robustness.png, .svg; what was shown: {out / 'conditions.png'}")


def robustness_csv(records: Sequence[Mapping]) -> str:
    """Returns a CSV with a line for each network, seed, domain, appearance and severity; fractions
    are not rounded."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        condition = CONDITIONS.get(record["appearance"])
        own = {**record, "parameter_is": condition.parameter if condition else None}
        writer.writerow(harmless_record(own))
    return file.getvalue()


def robustness_sheets(result: Mapping, titles: Mapping[str, str]) -> list[Sheet]:
    """Returns for each domain a table of the appearances, and one of the networks' paired
    differences if they have two seeds in common.

    Args:
        result, titles: as for :func:`write_robustness`.
    """
    names = called(result["records"], titles)
    found = []
    for domain, title in result["domains"].items():
        here = [record for record in result["records"] if record["domain"] == domain]
        where = f"on {title}, protocol {result['protocol']['name']}"
        found.append(_measured(here, names, where))
        differences = _differences(here, names, where)
        if differences.parts:
            found.append(differences)
    return found


def _measured(records: Sequence[Mapping], names: Mapping[Network, str], where: str) -> Sheet:
    """Tabulates each network in each appearance: mIoU, drop, mIoU at each severity."""
    several = len({r["seed"] for r in records}) > 1
    severities = sorted({r["severity"] for r in records} - {None})
    means = {key: values_over_seeds(records, key, by_severity=False) for key in ("mIoU", "drop")}
    single = values_over_seeds(records, "mIoU")
    domain, networks = records[0]["domain"], list(dict.fromkeys(map(network_of_record, records)))
    parts = []
    for appearance in dict.fromkeys(record["appearance"] for record in records):
        rows = []
        for i, network in enumerate(networks):
            place = (domain, network, appearance)
            at = [single.get((*place, severity)) for severity in severities]
            rows.append(
                (
                    (
                        "" if i else appearance,
                        names[network],
                        _mean(means["mIoU"][place]),
                        "" if appearance == "origin" else _mean(means["drop"][place]),
                        *("" if x is None else _mean(x, spread=False) for x in at),
                    ),
                )
            )
        parts.append(tuple(rows))
    notes = [
        f"{max(r['images'] for r in records)} images. Drop: the mIoU of origin minus this one."
    ]
    if severities:
        notes.append(
            "mIoU and drop of a condition are means over its severities; the columns after them "
            "have the mIoU at each severity."
        )
    if several:
        notes.append("± : mean and standard deviation over the seeds.")
    return Sheet(
        title=f"mIoU in percent {where}",
        head=("appearance", "network", "mIoU", "drop", *map(str, severities)),
        left=2,
        parts=tuple(parts) if len(networks) > 1 else (tuple(sum(parts, ())),),
        notes=tuple(notes),
    )


def _differences(records: Sequence[Mapping], names: Mapping[Network, str], where: str) -> Sheet:
    """Tabulates each network minus the first in each appearance, over the seeds that both have."""
    values = {key: by_seed(records, key, by_severity=False) for key in ("mIoU", "drop")}
    domain, (first, *others) = records[0]["domain"], dict.fromkeys(map(network_of_record, records))
    parts, seen = [], set()
    for appearance in dict.fromkeys(record["appearance"] for record in records):
        rows = []
        for network in others:
            cells = []
            for found in values.values():
                one, other = (found[domain, each, appearance] for each in (network, first))
                seeds = [seed for seed in one if seed in other]
                paired = np.array([one[seed] - other[seed] for seed in seeds])
                cells += [_mean(paired, sign="+"), _range(interval_of_seeds(paired))]
            if len(seeds) < 2:
                continue
            seen |= {*seeds}
            cells[2:] = ("", "") if appearance == "origin" else cells[2:]
            title = f"{names[network]} minus {names[first]}"
            rows.append((("" if rows else appearance, title, *cells),))
        if rows:
            parts.append(tuple(rows))
    interval = f"{100 * CONFIDENCE:g} % interval"
    return Sheet(
        title=f"Paired differences in points {where}",
        head=("appearance", "networks", "mIoU", interval, "drop", interval),
        left=2,
        parts=tuple(parts) if len(others) > 1 else (tuple(sum(parts, ())),) if parts else (),
        notes=(
            f"Means over seeds {', '.join(map(str, sorted(seen)))}; ± : standard deviation. "
            "If the difference of drops is negative, the network loses less.",
            "Intervals are for other trainings, by Student's t over the seeds; the images are the "
            "same.",
        ),
    )


def _range(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return "[{}]".format(", ".join(f"{round(x, 1) + 0.0:+.1f}" for x in interval))


def _mean(values: np.ndarray, spread: bool = True, sign: str = "") -> str:
    if len(values) == 0 or np.isnan(values).any():
        return NOTHING
    text = f"{round(values.mean(), 1) + 0.0:{sign}.1f}"
    return f"{text} ± {values.std(ddof=1):.1f}" if spread and len(values) > 1 else text
