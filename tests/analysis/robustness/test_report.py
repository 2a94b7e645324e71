"""The table, the differences and the plots, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ibnseg.analysis import style
from ibnseg.analysis.robustness import plot as drawing
from ibnseg.analysis.robustness import report
from ibnseg.analysis.robustness.corruptions import corruptions
from ibnseg.appearance import generator
from tests.conftest import scene


def made_up(model: str, seed: int, scores: dict[tuple, float | None], **more) -> list[dict]:
    """Records of a network with these mIoU by appearance and severity."""
    origin = scores["origin", None]
    return [
        dict(
            run=model, model=model, title=model.upper(), train_domain="gta5", seed=seed,
            domain="city", appearance=name, severity=severity, parameter=None, images=4,
            mIoU=value, drop=None if value is None or name == "origin" else origin - value,
        ) | more
        for (name, severity), value in scores.items()
    ]  # fmt: skip


def scores(origin: float, red: float, *blur: float | None) -> dict[tuple, float | None]:
    graded = {("blur", i + 1): value for i, value in enumerate(blur)}
    return {("origin", None): origin, ("R+50", None): red, **graded}


RESULT = dict(
    domains={"city": "City"},
    protocol=dict(name="native"),
    records=[
        *made_up("a", 0, scores(0.5, 0.4, 0.45, 0.35)),
        *made_up("a", 1, scores(0.6, 0.6, 0.55, 0.25)),
        *made_up("b", 0, scores(0.3, 0.31, 0.3, None)),
    ],
)


def test_the_table_shows_means_and_drops_over_seeds() -> None:
    (sheet,) = report.robustness_sheets(RESULT, {})
    assert sheet.head == ("appearance", "network", "mIoU", "drop", "1", "2")
    rows = [row for part in sheet.parts for (row,) in part]
    assert rows == [
        ("origin", "A", "55.0 ± 7.1", "", "", ""),
        ("", "B", "30.0", "", "", ""),
        ("R+50", "A", "50.0 ± 14.1", "5.0 ± 7.1", "", ""),
        ("", "B", "31.0", "-1.0", "", ""),
        ("blur", "A", "40.0 ± 0.0", "15.0 ± 7.1", "50.0", "30.0"),
        ("", "B", "-", "-", "30.0", "-"),
    ]
    assert sheet.notes[0].startswith("4 images.")
    assert "standard deviation" in sheet.notes[-1]


def test_paired_differences_by_hand() -> None:
    """Over the seeds that both have: of b - a at blur -20 and -24, so -22 +- 12.7 * 2; and the
    drops 20 - 10 and 20 - 18."""
    records = [
        *made_up("a", 0, scores(0.5, 0.5, 0.5, 0.3)),
        *made_up("a", 1, scores(0.6, 0.5, 0.5, 0.34)),
        *made_up("a", 2, scores(0.9, 0.1, 0.9, 0.9)),
        *made_up("b", 1, scores(0.38, 0.3, 0.3, 0.06)),
        *made_up("b", 0, scores(0.4, 0.4, 0.3, 0.1)),
        *made_up("c", 0, scores(0.4, 0.4, 0.3, 0.1)),
    ]
    _, sheet = report.robustness_sheets(dict(RESULT, records=records), {})
    assert sheet.title == "Paired differences in points on City, protocol native"
    names = "B minus A"
    assert [row for part in sheet.parts for (row,) in part] == [
        ("origin", names, "-16.0 ± 8.5", "[-92.2, +60.2]", "", ""),
        ("R+50", names, "-15.0 ± 7.1", "[-78.5, +48.5]", "-1.0 ± 1.4", "[-13.7, +11.7]"),
        ("blur", names, "-22.0 ± 2.8", "[-47.4, +3.4]", "+6.0 ± 5.7", "[-44.8, +56.8]"),
    ]
    assert sheet.notes[0].startswith("Means over seeds 0, 1;")


def test_the_plot_shows_the_numbers() -> None:
    figure = drawing.plot_robustness(RESULT, {})
    blur, others = figure.axes
    assert (blur.get_title(loc="left"), others.get_title(loc="left")) == ("blur", "others")
    first, second = blur.lines
    np.testing.assert_allclose(first.get_xydata(), [(0, 55), (1, 50), (2, 30)])
    np.testing.assert_allclose(second.get_xydata(), [(0, 30), (1, 30), (2, np.nan)])
    (band,) = blur.collections
    edges = band.get_paths()[0].get_extents()
    np.testing.assert_allclose(edges.ymax, 55 + 50**0.5)
    assert [text.get_text() for text in others.get_xticklabels()] == ["origin", "R+50"]
    heights = [c.lines[0].get_ydata()[0] for c in others.containers]
    np.testing.assert_allclose(heights, [55, 50, 30, 31])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]
    assert blur.get_ylim()[0] == 0


def test_the_plot_of_origin_alone_and_of_many_networks(tmp_path: Path) -> None:
    many = [r for i in range(10) for r in made_up(f"n{i}", 0, scores(0.5, 0.4, 0.1 * i / 2))]
    for records in (made_up("a", 0, {("origin", None): 0.5}), many):
        figure = drawing.plot_robustness(dict(RESULT, records=records), {})
        style.save(figure, tmp_path / "x")
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 10


def test_the_contact_sheet_shows_each_picture() -> None:
    image = scene(0)[0]
    shown = corruptions(["RGB+50", "R+50", "blur", "temperature"], [1, 5])
    pictures = [(each, each.change(image, generator(0, ""))) for each in shown]
    figure = drawing.corruption_sheet(pictures)
    captions = [ax.get_title(loc="left") for ax in figure.axes]
    assert captions == [
        "origin", "RGB+50", "R+50",
        "origin", "temperature 1: black body 5500 K", "temperature 5: black body 2500 K",
        "origin", "blur 1: sigma 0.7 pixels", "blur 5: sigma 4.5 pixels",
    ]  # fmt: skip
    drawn = figure.axes[1].images[0].get_array()
    assert drawn.dtype == np.uint8
    assert abs(float(drawn.mean()) - np.minimum(image + 50.0, 255).mean()) < 2
