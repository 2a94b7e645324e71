"""The plot: its lines are the numbers, its axes fit them."""

from pathlib import Path

import numpy as np
from PIL import Image

from ibnseg.analysis.divergence.plot import draw, write_plot


def layers(*names: str, values: list[float], constant: int | None = None) -> list[dict]:
    return [
        dict(
            layer=name,
            divergence=value,
            interval=(value / 2, value * 2),
            constant=((7,) if i == constant else (), ()),
        )
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    ]


def test_the_lines_of_the_plot_are_the_divergences() -> None:
    names = ("stem", "layer1.0", "layer1.1", "layer2.0")
    one, two = layers(*names, values=[1, 2, 3, 4]), layers(*names, values=[2, 2, 1, 5], constant=2)
    (axes,) = draw("A | B", {"one": one, "two": two}).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["one"].get_ydata()) == [1, 2, 3, 4]
    assert list(lines["two"].get_ydata()) == [2, 2, 1, 5]
    (hollow,) = (line for line in axes.get_lines() if line.get_markerfacecolor() == "white")
    assert (list(hollow.get_xdata()), list(hollow.get_ydata())) == ([2], [1])
    edges = axes.collections[0].get_paths()[0].vertices
    assert {tuple(edge) for edge in edges} >= {(0, 0.5), (3, 2), (3, 8), (0, 2)}
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["stem", "0", "1", "0"]
    assert [text.get_text() for text in axes.texts] == ["", "layer1", "layer2"]
    assert axes.get_title(loc="left") == "A | B"


def test_a_wide_band_does_not_flatten_the_lines() -> None:
    for values, scale in (([1, 2], "linear"), ([1, 31], "log")):
        wide = [each | dict(interval=(0, 1e4)) for each in layers("a", "b", values=values)]
        (axes,) = draw("A | B", {"one": wide}).axes
        assert axes.get_yscale() == scale
        assert max(values) < axes.get_ylim()[1] <= 2 * max(values)


def test_a_layer_without_interval_has_no_band() -> None:
    one = [dict(layer="a", divergence=1.0, interval=None, constant=((), ()))]
    (axes,) = draw("A | B", {"one": one}).axes
    assert not axes.collections
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a"]


def test_wide_ranges_are_logarithmic() -> None:
    (axes,) = draw("A | B", {"one": layers("a", "b", values=[1, 31])}).axes
    assert axes.get_yscale() == "log"
    (axes,) = draw("A | B", {"one": layers("a", "b", values=[0, 31])}).axes
    assert axes.get_yscale() == "linear"


def test_networks_of_other_layers_share_their_depth() -> None:
    both = {"one": layers("a", "b", "c", values=[1, 2, 3]), "two": layers("a", "d", values=[1, 2])}
    (axes,) = draw("A | B", both).axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[0, 0.5, 1], [0, 1]]
    assert "depth" in axes.get_xlabel()


def test_the_plot_is_written_as_the_same_files_again(tmp_path: Path) -> None:
    """Both files exist, are not empty, and are the same when written again."""
    lines = {"one": layers("stem", "layer1.0", values=[1, 2])}
    write_plot(tmp_path / "plot", "A | B", lines)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.keys() == {"plot.png", "plot.svg"}
    assert len(np.unique(np.array(Image.open(tmp_path / "plot.png")))) > 50
    assert b"A | B" in first["plot.svg"]
    write_plot(tmp_path / "plot", "A | B", lines)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
