"""A whole report in Markdown, and what changes it."""

import pytest

from ibnseg.report.gather import gather
from ibnseg.report.markdown import as_markdown, escaped
from ibnseg.report.tables import run_markdown
from tests.conftest import save_run
from tests.report.conftest import road
from tests.report.test_tables import case, content

# On Cityscapes the accuracies are 0.35, 0.45 and 0.45, 0.55: sd 0.07, mean 0.4 and 0.5. The groups'
# means differ by 0.2: variance 0.01 by group; 0.05 * 0.05 over seeds / 2 = 0.0025.


def test_a_report_of_two_networks_has_cells_notes_and_differences(report):
    text = as_markdown(report())
    matrix, differences = text.split("\n\n**Paired")
    lines = matrix.splitlines()
    assert lines[0] == "**pixel accuracy in percent, protocol native v1, whole images**"
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "trained on", "network", "", "GTA5", "Cityscapes", "mean of unseen"
    ]  # fmt: skip
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:12]]
    first, second = cells[:4], cells[4:]
    assert first[0][:5] == ["GTA5", "A_plain", "pixel accuracy ± sd", "90.0 ± 0.0", "40.0 ± 7.1"]
    assert first[1][:3] == ["", "seeds 0, 1", "95 % interval"]
    assert first[1][3] == "[90.0, 90.0]"
    assert [row[2] for row in first] == [
        "pixel accuracy ± sd", "95 % interval", "by image", "drop"
    ]  # fmt: skip
    assert first[2][3] == ""
    assert first[3][3:] == ["", "50.0", ""]
    assert second[0][3:] == ["90.0 ± 0.0", "**50.0 ± 7.1**", "**50.0 ± 7.1**"]
    assert second[3][4] == "40.0"
    assert "- Images: GTA5 3, Cityscapes 4 in 2 groups." in lines
    for explained in ("± sd", "Drop", "Mean of unseen", "Bold"):
        assert f"\n- {explained}: " in matrix
    assert "1000 bootstrap resamples of groups" in matrix
    assert "B_ibn minus A_plain | difference ± sd |" in differences
    assert "+10.0 ± 0.0" in differences
    assert "[+10.0, +10.0]" in differences


def test_a_report_of_one_seed_has_no_deviation_and_no_differences(tmp_path):
    run = save_run(tmp_path, {"gta5": road(9, 8), "cityscapes": road(2, 4)}, title="Net")
    text = as_markdown(gather([run], "road"))
    assert "**IoU of road in percent" in text
    assert " 85.0 |" in text
    assert "| seed 0 " in text
    assert "±" not in text
    assert "single seed" in text
    assert "Paired" not in text
    assert "Bold" not in text
    assert "groups" not in text


def test_a_cell_of_fewer_seeds_gives_their_number(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": road(9, 8), "cityscapes": road(2, 4)}, seed=0)
    b = save_run(tmp_path / "b", {"gta5": road(9, 8)}, seed=1)
    text = as_markdown(gather([a, b], "road"))
    assert "85.0 ± 0.0 |" in text
    assert "30.0 (n=1) |" in text


def test_a_report_of_one_image_has_no_interval(tmp_path):
    run = save_run(tmp_path, {"gta5": road(9)}, title="Net")
    lines = as_markdown(gather([run], "road")).splitlines()
    assert lines[4].split("|")[2].strip() == "Net, seed 0"
    assert "interval" not in "".join(lines)


def test_a_missing_test_is_a_dash_that_is_explained(tmp_path):
    a = save_run(tmp_path / "a", {"gta5": road(9, 8), "cityscapes": road(2, 4)}, name="a")
    b = save_run(tmp_path / "b", {"gta5": road(9, 8)}, name="b")
    text = as_markdown(gather([a, b], "road"))
    (line,) = [line for line in text.splitlines() if "| B " in line and "minus" not in line]
    assert [cell.strip() for cell in line.strip("|").split("|")][3:] == ["85.0", "-", "-"]
    assert "\n- A dash is " in text


def test_published_rows_stand_below_the_measured_ones_or_in_tables_of_their_own(runs, published):
    text = as_markdown(gather(runs, published=True))
    (line,) = [line for line in text.splitlines() if "| Base, R50 [1]" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "GTA5", "Base, R50 [1]", "published", "70.0", "28.95", ""
    ]  # fmt: skip
    assert "- [1] Paper, table 3. Recipe: 40k." in text
    apart = text.split("**Published mIoU in percent, trained on GTA5, test protocol unknown**")[1]
    assert "A_B & C, R50 [1] |      30.10 |" in apart
    assert "- [1] Issue #2. Recipe: unknown." in apart
    assert "25.14" not in text


def test_published_numbers_alone_have_a_table_for_each_protocol_and_training_set(published):
    text = as_markdown(gather([], published=True))
    titles = [line for line in text.splitlines() if line.startswith("**Published")]
    assert titles == [
        f"**Published mIoU in percent, trained on {train}, test protocol {name}**"
        for train, name in (("GTA5", "native"), ("GTA5", "unknown"), ("GTA5 + SYNTHIA", "rein"))
    ]
    assert "| GTA5 + SYNTHIA |" in text


def test_marks_of_markdown_are_escaped(tmp_path):
    run = save_run(tmp_path, {"gta5": road(9)}, title="a|b *c* <d>")
    assert "a\\|b \\*c\\* \\<d>" in as_markdown(gather([run], "road"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("<img src=x onerror=y>", r"\<img src=x onerror=y>"),
        ("a\n\n# b", "a # b"),
        ("# a", r"\# a"),
        ("> a", r"\> a"),
        ("- a", r"\- a"),
        ("-1.5", "-1.5"),
        ("[x](http://y)", r"[x\](http://y)"),
        ("![x][y]", r"![x\][y]"),
        ("[90.0, 91.5]", "[90.0, 91.5]"),
        ("~~a~~", r"\~\~a\~\~"),
        ("~5", "~5"),
        ("&lt;b&#62; & c", r"\&lt;b\&#62; & c"),
        ("$x$", r"\$x\$"),
        ("*a* _b_ c_d", r"\*a\* \_b\_ c_d"),
        ("a\x1b[2J", r"a\\x1b[2J"),
    ],
)
def test_nothing_in_a_name_is_markdown(text, shown):
    assert escaped(text) == shown


def test_titles_cannot_break_a_table(tmp_path):
    run = save_run(tmp_path, {"gta5": road(9, 8)}, title="A|<b>`x`\n| B")
    lines = as_markdown(gather([run], "road")).splitlines()
    (row,) = [line for line in lines if "A\\|" in line]
    assert r"| A\|\<b>\`x\` \| B |" in row


def test_titles_cannot_break_the_table_of_a_run():
    results = content(case("x|y", 0.5))
    results["run"]["title"] = "<b>\x1b[2J"
    text = run_markdown(results)
    assert r"| x\|y | \<b>\\x1b[2J |" in " ".join(text.split())
    assert "\x1b" not in text
