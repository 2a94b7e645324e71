"""``python -m benchmarks``: its rows, ratios and table; the measurements themselves are not run."""

import re
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import formats, foundation
from benchmarks import table as page
from benchmarks.measure import Row, alternately, compare
from ibnseg.engine.read import load_config
from ibnseg.support.errors import UserError


def test_ways_are_timed_in_turn():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    times = alternately(ways, seconds=0, warm_up=1)
    assert calls == ["a", "b"] * 8
    assert [len(each) for each in times.values()] == [7, 7]


def test_a_ratio_is_the_median_of_the_rounds_not_of_the_times():
    times = {"ibnseg": [1.0, 2.0, 30.0], "mmseg": [2.0, 4.0, 10.0]}
    row = compare("work", times, "mmseg", most=0.5)
    assert (row.ours, row.theirs, row.ratio) == (2000, 4000, 0.5)
    assert row.is_met
    assert not compare("work", times, "mmseg", most=0.4).is_met


def test_the_table_replaces_the_one_in_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    page.PAGE.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    row = Row("work", 1.0, "mmseg", 20.0, 0.05, (0.04, 0.06), most=0.05, note="A note.")
    page.write({1: [row]}, "a machine")
    text = page.PAGE.read_text()
    line = "| work | mmseg | <= 0.050 | 1 ms | 20 ms | 0.050 (0.040 to 0.060) [1] |"
    assert line in text
    assert "[1] A note." in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text


def test_a_missed_goal_is_bold_and_thread_counts_stand_side_by_side():
    rows = [Row("work", 1.0, "mmseg", 2.0, ratio, (0.4, 0.6), most=0.5) for ratio in (0.5, 0.51)]
    head, _, line = page.table({1: rows[:1], 2: rows[1:]}).splitlines()
    assert head.count("thread") == 2
    assert "| 0.50 (0.40 to 0.60) | 1 ms | 2 ms | **0.51** (0.40 to 0.60) |" in line


def test_every_row_is_listed_with_what_it_measures(capsys):
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*command.ROWS, *command.ALONE]
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("one", formats.FORMATS, ids=lambda one: one.name)
def test_a_crop_of_a_format_for_prepared_data_has_the_image_s_bits(one, tmp_path):
    if not find_spec(one.package):
        pytest.skip(f"needs {one.package}")
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    one.write(tmp_path / "x", image)
    formats.require_same_bits(one, tmp_path / "x", image, np.s_[3:20, 7:41])
    with pytest.raises(UserError, match="a crop has other bits than the image"):
        formats.require_same_bits(one, tmp_path / "x", 255 - image, np.s_[3:20, 7:41])


def test_formats_whose_package_is_missing_are_named(monkeypatch, capsys):
    monkeypatch.setattr(formats, "find_spec", lambda name: name == "cv2" or None)
    monkeypatch.setattr(formats, "table", lambda there, folder, seconds: str(len(there)))
    assert formats.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3\n\nNot measured: PNG, level 1 (libspng); Blosc2, ")
    assert printed.endswith("For these, pip install imagecodecs blosc2 zarr\n")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["choices", "streets_ibn18b"], "streets_ibn18a"),
        (["foundation", "gta2city_dinov2s_linaer"], "gta2city_dinov2s_linear"),
        (["gpu", "--device", "cpu", "layers"], "layer"),
        (["bootstrab"], "bootstrap"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(words, nearest, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    assert stopped.value.code == 2
    assert re.search(rf"did you mean .*\b{nearest}\b", capsys.readouterr().err)


def test_a_step_of_a_frozen_vit_costs_what_its_layers_do():
    """Forward through the ViT, forward and to the weights through the head; 4 patches and a class
    token of width w."""
    own = foundation.cost(load_config("gta2city_dinov2s_linear"), 1, (32, 32), "float32")
    w, patches, tokens = 384, 4, 5
    of_layers = 2 * patches * 3 * 16**2 * w + 12 * 2 * tokens * 12 * w**2
    of_attention = 12 * 4 * tokens**2 * w
    assert own.operations == of_layers + of_attention + 2 * (2 * patches * w * 19)
    assert own.trained == 19 * (w + 1)
    blocks = 12 * (12 * w**2 + 15 * w)
    everything = blocks + 769 * w + 1025 * w + 3 * w + own.trained
    assert own.checkpoint == 4 * (everything - blocks) + 8 * own.trained
    logits = 4 * 19 * 32 * 32
    assert own.memory == 4 * everything + 8 * own.trained + own.working
    assert own.working >= 4 * logits + 4 * patches * w


def test_averaged_weights_are_counted_in_memory_and_checkpoint():
    cfg = load_config("gta2city_dinov2s_soma")
    averaged = foundation.cost(cfg, 1, (32, 32))
    cfg.custom_hooks = []
    plain = foundation.cost(cfg, 1, (32, 32))
    factors = 8 * (4 * 2 * 384 + 2 * 5 * 384) * 16  # fixed ones of the start, as many as trained
    assert averaged.memory - plain.memory == 4 * (21_992_832 + 961_747 + 2 * factors)
    of_file = 12 * (12 * 384**2 + 15 * 384) - 8 * 9 * 384  # the blocks, but for trained biases
    in_checkpoint = 21_992_832 + 961_747 + 2 * factors - of_file
    assert averaged.checkpoint - plain.checkpoint == 4 * in_checkpoint
