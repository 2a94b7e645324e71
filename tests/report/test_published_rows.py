"""Published numbers as rows."""

from ibnseg.report.published import as_rows, select
from tests.report.conftest import PUBLISHED


def test_published_numbers_are_selected_by_metric_protocol_and_domains():
    assert len(select(PUBLISHED, "mIoU")) == 5
    assert [n.value for n in select(PUBLISHED, "mIoU", ["unknown", "rein"])] == ["30.10", "35.5"]
    assert [n.value for n in select(PUBLISHED, "mIoU", tests={"gta5"})] == ["70.0"]
    alone = select(PUBLISHED, "mIoU", ["rein"], trains={"gta5"})
    assert alone == []
    assert len(select(PUBLISHED, "mIoU", ["rein"], trains={"gta5", "synthia", "x"})) == 1


def test_numbers_that_differ_only_in_test_and_value_share_a_row():
    first, *rest = as_rows(select(PUBLISHED, "mIoU"))
    assert first.method == "Base"
    assert first.source == "Paper, table 3"
    assert dict(first.values) == {"cityscapes": "28.95", "gta5": "70.0", "bdd100k": "25.14"}
    assert [row.method for row in rest] == ["A_B & C", "Two"]


def test_a_second_number_of_the_same_test_is_another_row():
    again = PUBLISHED[0]._replace(value="29.00")
    rows = as_rows([*PUBLISHED[:2], again])
    assert [dict(row.values) for row in rows] == [
        {"cityscapes": "28.95", "gta5": "70.0"},
        {"cityscapes": "29.00"},
    ]
