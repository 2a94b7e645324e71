"""Tables made from results that are written out by hand."""

import csv
import io

import pytest

from ibnseg.report import tables

WHOLE = dict(name="native", version=1, inference="whole")
SLIDE = dict(name="native-slide512x512-384x384", version=1, inference="slide 512x512/384x384")
PAPER = dict(name="paper", version=1, inference="whole")
CLASSES = ["road", "traffic sign", "sky"]
TITLES = {"gta5": "GTA5", "cityscapes": "Cityscapes"}


def case(domain: str, miou: float | None, **kwargs) -> dict:
    facts = dict(
        domain=domain,
        split="val",
        protocol=WHOLE,
        classes=CLASSES,
        eval_classes=CLASSES,
        images=500,
        skipped=[],
        mIoU=miou,
        pixel_accuracy=0.9,
        iou={"road": 0.95, "traffic sign": 0.25, "sky": 0.5},
    )
    return facts | kwargs


def content(*tests: dict) -> dict:
    run = dict(title="IBN-Net50-a", train_domain="gta5", seed=0, iteration=80000)
    return dict(schema=1, run=run, tests=list(tests))


# --- drops ---


def test_drop_is_home_minus_the_test():
    values = tables.drops(content(case("gta5", 0.75), case("cityscapes", 0.25), case("idd", 0.875)))
    assert values == [None, 0.5, -0.125]


def test_drop_does_not_depend_on_the_order():
    assert tables.drops(content(case("cityscapes", 0.25), case("gta5", 0.75))) == [0.5, None]


def test_no_drop_without_a_test_at_home():
    assert tables.drops(content(case("cityscapes", 0.25))) == [None]


@pytest.mark.parametrize(
    "change",
    [dict(protocol=PAPER), dict(protocol=SLIDE)],
    ids=["protocol", "inference"],
)
def test_no_drop_between_what_cannot_be_compared(change):
    values = tables.drops(content(case("gta5", 0.75), case("cityscapes", 0.25, **change)))
    assert values == [None, None]


def test_drop_over_the_classes_that_the_test_averages():
    """(0.95 + 0.5) / 2 at home for road and sky, minus 0.25."""
    abroad = case("camvid", 0.25, eval_classes=["road", "sky"])
    assert tables.drops(content(case("gta5", 0.75), abroad)) == [None, pytest.approx(0.475)]


def test_drop_of_each_protocol_by_its_own_home():
    values = tables.drops(
        content(
            case("gta5", 0.75),
            case("gta5", 0.5, protocol=PAPER),
            case("cityscapes", 0.25),
            case("cityscapes", 0.25, protocol=PAPER),
        )
    )
    assert values == [None, None, 0.5, 0.25]


def test_no_drop_where_either_is_undefined():
    assert tables.drops(content(case("gta5", 0.75), case("cityscapes", None))) == [None, None]
    assert tables.drops(content(case("gta5", None), case("cityscapes", 0.5))) == [None, None]


def test_no_drop_where_several_splits_of_home_are_tested():
    """Whatever their order: which of them it should count from is not known."""
    homes = [case("gta5", 0.75), case("gta5", 0.5, split="test")]
    for tests in (homes, homes[::-1]):
        assert tables.drops(content(*tests, case("cityscapes", 0.25))) == [None] * 3
    other = case("gta5", 0.5, split="test", protocol=PAPER)
    assert tables.drops(content(homes[0], other, case("cityscapes", 0.25)))[2] == 0.5


def test_no_tests_no_drops():
    assert tables.drops(content()) == []


# --- Markdown ---

NOTE = (
    "mIoU, pixel accuracy, drop and IoU in percent; the drop is the mIoU of the training domain, "
    "over the classes that the row averages, minus that of the row."
)
IN_PARENTHESES = "In parentheses: not one of the classes that the mIoU of the domain averages."


def test_markdown_whole():
    at_home = case(
        "gta5", 0.75, skipped=["20803.png", "20804.png"], images=6347, pixel_accuracy=0.98765
    )
    abroad = case(
        "cityscapes",
        0.25449,
        iou={"road": 1.0, "traffic sign": 0.0, "sky": None},
    )
    expected = f"""\
| train | test       | model       | mIoU | pixel acc. | drop |  protocol |           images |
| ----- | ---------- | ----------- | ---: | ---------: | ---: | --------: | ---------------: |
| GTA5  | GTA5       | IBN-Net50-a | 75.0 |       98.8 |    - | native v1 | 6347 (2 skipped) |
| GTA5  | Cityscapes | IBN-Net50-a | 25.4 |       90.0 | 49.6 | native v1 |              500 |

{NOTE}

| IoU          | GTA5 | Cityscapes |
| ------------ | ---: | ---------: |
| road         | 95.0 |      100.0 |
| traffic sign | 25.0 |        0.0 |
| sky          | 50.0 |          - |
"""
    assert tables.markdown(content(at_home, abroad), TITLES) == expected


def test_markdown_shows_classes_that_are_not_averaged_in_parentheses():
    abroad = case("camvid", 0.625, eval_classes=["road", "sky"])
    expected = f"""\
| train | test   | model       | mIoU | pixel acc. | drop |  protocol | images |
| ----- | ------ | ----------- | ---: | ---------: | ---: | --------: | -----: |
| GTA5  | GTA5   | IBN-Net50-a | 75.0 |       90.0 |    - | native v1 |    500 |
| GTA5  | camvid | IBN-Net50-a | 62.5 |       90.0 | 10.0 | native v1 |    500 |

{NOTE}

| IoU          | GTA5 | camvid |
| ------------ | ---: | -----: |
| road         | 95.0 |   95.0 |
| traffic sign | 25.0 | (25.0) |
| sky          | 50.0 |   50.0 |

{IN_PARENTHESES}
"""
    assert tables.markdown(content(case("gta5", 0.75), abroad), TITLES) == expected


def test_markdown_names_the_protocol_of_each_column_where_there_are_several():
    text = tables.markdown(content(case("gta5", 0.75), case("gta5", 0.5, protocol=SLIDE)), TITLES)
    assert "| IoU          | GTA5, native | GTA5, native-slide512x512-384x384 |" in text
    assert [line.split("|")[7].strip() for line in text.splitlines()[2:4]] == [
        "native v1",
        "native-slide512x512-384x384 v1",
    ]


def test_markdown_leaves_out_classes_that_no_test_has():
    text = tables.markdown(
        content(case("gta5", 0.5, iou={"road": 0.5, "traffic sign": None, "sky": None})), TITLES
    )
    assert "| road |" in text
    assert "traffic sign" not in text


def test_markdown_of_an_undefined_test():
    undefined = case("gta5", None, pixel_accuracy=None, iou=dict.fromkeys(CLASSES), images=0)
    lines = tables.markdown(content(undefined), TITLES).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "GTA5", "GTA5", "IBN-Net50-a", "-", "-", "-", "native v1", "0"
    ]  # fmt: skip


def test_note_on_parentheses_only_where_there_are_some():
    text = tables.markdown(content(case("gta5", 0.75)), {"gta5": "GTA5 (rendered)"})
    assert IN_PARENTHESES not in text


def test_markdown_ends_with_the_further_means_where_there_are_any():
    home = case("gta5", 0.75, category_mIoU=0.875)
    abroad = case("cityscapes", 0.5, category_mIoU=0.75, mean_iIoU=0.25, category_mean_iIoU=None)
    assert tables.markdown(content(home, abroad), TITLES).endswith("""

| mean         | GTA5 | Cityscapes |
| ------------ | ---: | ---------: |
| category IoU | 87.5 |       75.0 |
| iIoU         |    - |       25.0 |
""")


WAYS = dict(with_background=0.875, direct_alternative=0.75, background_dropped=None)


def test_markdown_shows_the_drivable_area_by_each_way_that_is_defined():
    home = case("gta5", 0.75, category_mIoU=0.875)
    abroad = case("bdd", 0.75, drivable=WAYS)
    other = case("kitti", 0.5, drivable=dict(WAYS, background_dropped=0.96875))
    assert tables.markdown(content(home, abroad, other), TITLES).endswith("""

| mean         | GTA5 | bdd | kitti |
| ------------ | ---: | --: | ----: |
| category IoU | 87.5 |   - |     - |

| drivable area                                   | GTA5 |  bdd | kitti |
| ----------------------------------------------- | ---: | ---: | ----: |
| direct, alternative and background              |    - | 87.5 |  87.5 |
| direct and alternative (headline)               |    - | 75.0 |  75.0 |
| direct and alternative, true background ignored |    - |    - |  96.9 |
""")
    assert "drivable" not in tables.markdown(content(home), TITLES)


# --- CSV ---


def test_csv_parses_back_unrounded():
    third, tenth = 1 / 3, 0.1 + 0.2
    at_home = case("gta5", third, skipped=["a", "b"], pixel_accuracy=tenth)
    abroad = case(
        "cityscapes",
        0.25,
        protocol=WHOLE,
        iou={"road": third, "traffic sign": None, "sky": 0.0},
    )
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(content(at_home, abroad)))))
    assert rows[0] == {
        "train": "gta5",
        "test": "gta5",
        "split": "val",
        "model": "IBN-Net50-a",
        "seed": "0",
        "iteration": "80000",
        "protocol": "native",
        "version": "1",
        "images": "500",
        "skipped": "2",
        "mIoU": repr(third),
        "pixel_accuracy": repr(tenth),
        "drop": "",
        "road": "0.95",
        "traffic sign": "0.25",
        "sky": "0.5",
    }
    assert float(rows[1]["drop"]) == third - 0.25
    assert float(rows[1]["road"]) == third
    assert (rows[1]["traffic sign"], rows[1]["sky"]) == ("", "0.0")
    assert len(rows) == 2


def test_csv_quotes_titles_with_commas():
    results = content(case("gta5", 0.5))
    results["run"]["title"] = 'FCN, "wide"'
    (row,) = csv.DictReader(io.StringIO(tables.as_csv(results)))
    assert row["model"] == 'FCN, "wide"'
    assert row["sky"] == "0.5"


def test_csv_has_the_classes_of_all_tests():
    other = case("bdd", 0.5, classes=["lane"], eval_classes=["lane"], iou={"lane": 0.5})
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(content(case("gta5", 0.5), other)))))
    assert [row["lane"] for row in rows] == ["", "0.5"]
    assert [row["road"] for row in rows] == ["0.95", ""]


def test_csv_has_the_drivable_area_where_a_test_is_of_it():
    tests = [case("gta5", 0.5), case("bdd", 0.5, drivable=WAYS)]
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(content(*tests)))))
    keys = [
        "drivable_with_background",
        "drivable_direct_alternative",
        "drivable_background_dropped",
    ]
    assert [[row[key] for key in keys] for row in rows] == [["", "", ""], ["0.875", "0.75", ""]]
    assert [row["sky"] for row in rows] == ["0.5", "0.5"]
    (row,) = csv.DictReader(io.StringIO(tables.as_csv(content(tests[0]))))
    assert not any(key.startswith("drivable") for key in row)
