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
    """A record of results as read by tables; ``further`` metrics may be given."""
    facts = dict(
        domain=domain,
        split="val",
        protocol=WHOLE,
        classes=CLASSES,
        eval_classes=CLASSES,
        images=500,
        skipped=[],
        pixel_accuracy=0.9,
        iou={"road": 0.95, "traffic sign": 0.25, "sky": 0.5},
    )
    facts |= kwargs
    further = facts.pop("further", {})
    return facts | dict(
        metrics=dict(mIoU=miou, pixel_accuracy=facts.pop("pixel_accuracy"), **further)
    )


def content(*tests: dict) -> dict:
    run = dict(title="IBN-Net50-a", train_domain="gta5", seed=0, iteration=80000)
    domains = {name: dict(title=title, group="image") for name, title in TITLES.items()}
    return dict(schema=2, run=run, tests=list(tests), domains=domains, metrics={})


# --- drops ---


def test_the_drop_is_the_score_in_the_training_domain_minus_that_of_the_test():
    values = tables.drops(content(case("gta5", 0.75), case("cityscapes", 0.25), case("idd", 0.875)))
    assert values == [None, 0.5, -0.125]


def test_drop_does_not_depend_on_the_order():
    assert tables.drops(content(case("cityscapes", 0.25), case("gta5", 0.75))) == [0.5, None]


def test_no_drop_without_a_test_in_the_training_domain():
    assert tables.drops(content()) == []
    assert tables.drops(content(case("cityscapes", 0.25))) == [None]


def test_no_drop_between_other_protocols_or_ways_of_inference():
    for protocol in (PAPER, SLIDE):
        tests = case("gta5", 0.75), case("cityscapes", 0.25, protocol=protocol)
        assert tables.drops(content(*tests)) == [None, None], protocol


HOME = [[3, 1, 0], [1, 3, 0], [0, 2, 2]]
"""IoU of road 3/5, traffic sign 3/7, sky 2/4."""


def test_drop_over_the_classes_that_the_test_averages():
    """(3/5 + 2/4) / 2 for road and sky in the training domain, minus 0.25."""
    home = case("gta5", 0.75, confusion=HOME)
    abroad = case("camvid", 0.25, eval_classes=["road", "sky"])
    assert tables.drops(content(home, abroad)) == [None, pytest.approx(0.3)]


def test_drop_from_several_training_domains_is_from_their_mean():
    results = content(case("gta5", 0.75), case("synthia", 0.25), case("cityscapes", 0.125))
    results["run"] |= dict(train_domain="gta5+synthia", train_domains=["gta5", "synthia"])
    assert tables.drops(results) == [None, None, 0.375]
    results["tests"][1]["split"] = "test"
    results["tests"].append(case("synthia", 0.5))
    assert tables.drops(results)[2] is None  # which split of synthia is meant is not known
    del results["tests"][1::2]
    assert tables.drops(results) == [None, None]  # synthia was not tested


def test_several_training_domains_are_joined_by_a_plus():
    results = content(case("cityscapes", 0.5))
    results["run"] |= dict(train_domain="gta5+synthia", train_domains=["gta5", "synthia"])
    line = tables.run_markdown(results).splitlines()[2]
    assert line.split("|")[1].strip() == "GTA5 + synthia"
    (row,) = csv.DictReader(io.StringIO(tables.run_csv(results)))
    assert row["train"] == "gta5+synthia"


def test_the_drop_of_each_protocol_is_from_the_training_domain_under_that_protocol():
    values = tables.drops(
        content(
            case("gta5", 0.75),
            case("gta5", 0.5, protocol=PAPER),
            case("cityscapes", 0.25),
            case("cityscapes", 0.25, protocol=PAPER),
        )
    )
    assert values == [None, None, 0.5, 0.25]


def test_no_drop_if_either_score_is_undefined():
    assert tables.drops(content(case("gta5", 0.75), case("cityscapes", None))) == [None, None]
    assert tables.drops(content(case("gta5", None), case("cityscapes", 0.5))) == [None, None]


def test_no_drop_if_several_splits_of_the_training_domain_are_tested():
    """It is not known from which of the splits the drop should be computed."""
    homes = [case("gta5", 0.75), case("gta5", 0.5, split="test")]
    for tests in (homes, homes[::-1]):
        assert tables.drops(content(*tests, case("cityscapes", 0.25))) == [None] * 3
    other = case("gta5", 0.5, split="test", protocol=PAPER)
    assert tables.drops(content(homes[0], other, case("cityscapes", 0.25)))[2] == 0.5


# --- Markdown ---

NOTE = (
    "mIoU, pixel accuracy, drop and IoU in percent; the drop is the mIoU of the training domain, "
    "over the classes that the row averages, minus that of the row."
)
IN_PARENTHESES = "In parentheses: not one of the classes that the mIoU of the domain averages."


def test_markdown_of_a_run_tested_in_its_own_and_another_domain():
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
    assert tables.run_markdown(content(at_home, abroad)) == expected


def test_markdown_shows_classes_that_are_not_averaged_in_parentheses():
    abroad = case("camvid", 0.5, eval_classes=["road", "sky"])
    expected = f"""\
| train | test   | model       | mIoU | pixel acc. | drop |  protocol | images |
| ----- | ------ | ----------- | ---: | ---------: | ---: | --------: | -----: |
| GTA5  | GTA5   | IBN-Net50-a | 75.0 |       90.0 |    - | native v1 |    500 |
| GTA5  | camvid | IBN-Net50-a | 50.0 |       90.0 |  5.0 | native v1 |    500 |

{NOTE}

| IoU          | GTA5 | camvid |
| ------------ | ---: | -----: |
| road         | 95.0 |   95.0 |
| traffic sign | 25.0 | (25.0) |
| sky          | 50.0 |   50.0 |

{IN_PARENTHESES}
"""
    home = case("gta5", 0.75, confusion=HOME)
    assert tables.run_markdown(content(home, abroad)) == expected


def test_markdown_names_the_protocol_of_each_column_where_there_are_several():
    text = tables.run_markdown(content(case("gta5", 0.75), case("gta5", 0.5, protocol=SLIDE)))
    assert "| IoU          | GTA5, native | GTA5, native-slide512x512-384x384 |" in text
    assert [line.split("|")[7].strip() for line in text.splitlines()[2:4]] == [
        "native v1",
        "native-slide512x512-384x384 v1",
    ]


def test_markdown_leaves_out_classes_that_no_test_has():
    text = tables.run_markdown(
        content(case("gta5", 0.5, iou={"road": 0.5, "traffic sign": None, "sky": None}))
    )
    assert "| road |" in text
    assert "traffic sign" not in text


def test_markdown_shows_a_dash_for_scores_that_are_undefined():
    undefined = case("gta5", None, pixel_accuracy=None, iou=dict.fromkeys(CLASSES), images=0)
    lines = tables.run_markdown(content(undefined)).splitlines()
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "GTA5", "GTA5", "IBN-Net50-a", "-", "-", "-", "native v1", "0"
    ]  # fmt: skip


def test_markdown_ends_with_the_further_metrics_that_are_defined():
    home = case("gta5", 0.75, further=dict(f_score=0.875, boundary_iou=None, of_one=2.5))
    abroad = case("cityscapes", 0.5, further=dict(mean_iIoU=0.25, f_score=0.5))
    results = content(home, abroad)
    results["metrics"] = dict(of_one=dict(title="one's own", unit="pixels"))
    assert tables.run_markdown(results).endswith("""

| metric    | GTA5 | Cityscapes |
| --------- | ---: | ---------: |
| F-score   | 87.5 |       50.0 |
| iIoU      |    - |       25.0 |
| one's own |  2.5 |          - |
""")


LACKING = dict(eval_classes=["road", "sky"], without=["traffic sign"])


def notes(*tests: dict) -> list[str]:
    """The lines below the table of classes."""
    text = tables.run_markdown(content(*tests))
    assert text.endswith("\n")
    return [part.strip() for part in text.split("\n\n")[3:]]


def test_markdown_says_which_classes_the_network_lacks_and_how_many_are_averaged():
    text = (
        "veraged over 2 of the domain's 3 classes, because the network does not have traffic sign."
    )
    undefined = dict(iou={"road": 0.5, "traffic sign": None, "sky": 0.5})
    both = [case(name, 0.5, **LACKING, **undefined) for name in ("gta5", "cityscapes")]
    assert notes(*both) == [f"A{text}"]
    more = dict(eval_classes=["sky"], without=["road", "traffic sign"])
    assert notes(both[0], case("cityscapes", 0.5, **more, **undefined), both[1]) == [
        IN_PARENTHESES,
        f"GTA5; Cityscapes: a{text}",
        "Cityscapes: averaged over 1 of the domain's 3 classes, because the network does not have "
        "road and traffic sign.",
    ]
    assert notes(both[0], case("cityscapes", 0.5)) == [f"GTA5: a{text}"]


def test_markdown_has_the_share_of_pixels_that_are_another_class_and_no_row_of_it():
    other = dict(
        classes=[*CLASSES, "other"],
        confusion=[[5, 0, 0, 1], [0, 0, 0, 0], [0, 0, 2, 2], [0, 0, 0, 0]],
        iou={"road": 5 / 6, "traffic sign": None, "sky": 0.5, "other": 0.0},
    )
    tests = case("gta5", 0.5), case("cityscapes", 0.5, **other)
    assert notes(*tests) == [
        "Predicted as a class that the domain does not have, and so wrong: Cityscapes 30.0 % of "
        "the pixels."
    ]
    assert "other" not in tables.run_markdown(content(*tests))
    header, *_ = tables.run_csv(content(*tests)).splitlines()
    assert header.split(",")[-3:] == CLASSES


def test_markdown_marks_the_domain_whose_labels_chose_the_checkpoint():
    results = content(case("gta5", 0.5), case("cityscapes", 0.5))
    plain = tables.run_markdown(results)
    for selected, starred, said in (
        (None, (), ""),
        ("gta5", ("GTA5",), "With a star: the checkpoint was selected on this domain's labels."),
        (
            "cityscapes+gta5",
            ("GTA5", "Cityscapes"),
            "With a star: the checkpoint was selected on this domain's labels.",
        ),
        ("acdc", (), "The checkpoint was selected on the labels of acdc."),
        ("a_b_+c", (), r"The checkpoint was selected on the labels of a_b\_ and c."),
        (
            "unknown",
            (),
            "The checkpoint's name says best: it may have been selected on a tested domain.",
        ),
    ):
        results["run"]["selected_on"] = selected
        text = tables.run_markdown(results)
        cells = [line.split("|")[2].strip() for line in text.splitlines()[2:4]]
        assert cells == [name + " *" * (name in starred) for name in ("GTA5", "Cityscapes")]
        notes = text.split("\n\n")[2:-1] if said else []
        assert notes == ([said] if said else []), selected
        assert (text == plain) == (selected is None)


def test_a_class_of_the_domain_that_is_called_other_has_its_row():
    classes = ["road", "other"]
    own = dict(classes=classes, eval_classes=classes, iou=dict(road=0.5, other=0.25))
    text = tables.run_markdown(content(case("gta5", 0.375, **own)))
    assert "| other | 25.0 |" in text
    assert "does not have" not in text


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
    rows = list(csv.DictReader(io.StringIO(tables.run_csv(content(at_home, abroad)))))
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
    (row,) = csv.DictReader(io.StringIO(tables.run_csv(results)))
    assert row["model"] == 'FCN, "wide"'
    assert row["sky"] == "0.5"


def test_csv_has_a_column_for_each_class_and_further_metric_of_any_test():
    other = dict(classes=["lane"], eval_classes=["lane"], iou={"lane": 0.5})
    tests = [case("gta5", 0.5), case("bdd", 0.5, further=dict(of_one=2.5, f_score=None), **other)]
    rows = list(csv.DictReader(io.StringIO(tables.run_csv(content(*tests)))))
    assert list(rows[0])[-4:] == ["sky", "lane", "f_score", "of_one"]
    assert [[row["lane"], row["road"]] for row in rows] == [["", "0.95"], ["0.5", ""]]
    assert [[row["f_score"], row["of_one"]] for row in rows] == [["", ""], ["", "2.5"]]
