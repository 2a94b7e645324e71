"""The table of published numbers: complete, without duplicates, and as the paper's text says."""

import re
from pathlib import Path

from ibnseg.report.published import Published, read_published

ROWS = read_published()
ROOT = Path(__file__).parents[2]
PROTOCOLS = {"native", "paper", "robustnet", "rein", "soma", "short1024", "unknown"}


def test_the_papers_table_6_is_given_as_far_as_its_text_is_known():
    rows = [row for row in ROWS if row.source.startswith("Pan et al., ECCV 2018, table 6,")]
    assert {row.train for row in rows} == {("cityscapes",)}
    assert {row.protocol for row in rows} == {"unknown"}
    assert [(row.method, row.test, row.metric, row.value) for row in rows] == [
        ("Baseline (IBN-Net paper)", "cityscapes", "mIoU", "64.5"),
        ("Baseline (IBN-Net paper)", "gta5", "mIoU", "29.4"),
        ("Baseline (IBN-Net paper)", "cityscapes", "pixel_accuracy", "93.4"),
        ("Baseline (IBN-Net paper)", "gta5", "pixel_accuracy", "71.9"),
        ("IBN-Net-a", "cityscapes", "mIoU", "69.1"),
        ("IBN-Net-a", "gta5", "mIoU", "32.5"),
        ("IBN-Net-a", "cityscapes", "pixel_accuracy", "94.4"),
        ("IBN-Net-a", "gta5", "pixel_accuracy", "71.4"),
        ("IBN-Net-b", "cityscapes", "mIoU", "67.0"),
        ("IBN-Net-b", "gta5", "mIoU", "37.9"),
        ("IBN-Net-b", "cityscapes", "pixel_accuracy", "94.3"),
        ("IBN-Net-b", "gta5", "pixel_accuracy", "78.8"),
    ]


def test_numbers_of_the_paper_without_a_source_are_left_out():
    """Its numbers after training on GTA5: on GTA5, and on Cityscapes."""
    remembered = {"22.2", "53.5", "26.0", "60.9", "29.6", "66.8"}
    remembered |= {"61.0", "91.5", "64.8", "92.5", "64.2", "92.4"}
    assert not [row for row in ROWS if row.train == ("gta5",) and row.value in remembered]
    assert not [row for row in ROWS if "IBN-Net-" in row.method and "gta5" in row.train]


def test_every_row_is_complete_and_well_formed():
    assert len(ROWS) > 300
    for row in ROWS:
        assert all(row), row
        assert all(text == text.strip() for text in (*row[:2], *row[3:])), row
        assert all(re.fullmatch(r"[a-z0-9_]+", domain) for domain in (*row.train, row.test)), row
        assert row.metric in {"mIoU", "pixel_accuracy"}, row
        assert re.fullmatch(r"\d{1,3}\.\d{1,2}", row.value), row
        assert 0 <= float(row.value) <= 100, row
        assert row.protocol in PROTOCOLS, row


def test_every_source_has_an_address():
    for row in ROWS:
        addresses = re.findall(r"https://[\w./?=%-]+", row.source)
        assert addresses, row
        assert not any(address.endswith(".") for address in addresses), row


def test_numbers_of_fsdr_are_those_of_the_thread_that_they_were_read_in():
    """Reported for a model chosen on each test domain; and one released model, re-tested."""
    found: dict[str, list[str]] = {}
    for row in ROWS:
        if row.method == "FSDR":
            assert "https://github.com/jxhuang0508/FSDR/issues/2; " in row.source
            found.setdefault(row.recipe, []).append(f"{row.test} {row.value}")
    assert found == {
        "FCN; model chosen on the test domain's validation set": [
            "bdd100k 41.2",
            "mapillary 43.4",
        ],
        "DeepLabV2; one released model": [
            "cityscapes 44.75",
            "bdd100k 39.37",
            "mapillary 40.66",
        ],
        "FCN; one released model": ["cityscapes 44.86", "bdd100k 36.40", "mapillary 38.53"],
    }


def test_numbers_that_a_later_paper_quotes_name_it():
    """GTR, AdvStyle, SHADE and BlindNet from table 2 of the SBGen paper, and its own."""
    quoted = [row for row in ROWS if "openreview.net/forum?id=13BJ5FYG8E" in row.source]
    values = [(row.method, row.test, row.value) for row in quoted if row.method == "GTR"]
    assert values == [
        ("GTR", "cityscapes", "37.53"),
        ("GTR", "bdd100k", "33.75"),
        ("GTR", "mapillary", "34.52"),
    ]
    assert {row.method for row in quoted} == {"GTR", "AdvStyle", "SHADE", "BlindNet", "SBGen"}
    assert len(quoted) == 18


def test_no_published_number_is_given_twice():
    keys = [row._replace(value="") for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_a_protocol_is_named_only_for_those_whose_tests_are_known():
    known: dict[str, set[str]] = {}
    for row in ROWS:
        known.setdefault(row.protocol, set()).add(row.method)
    del known["unknown"]
    assert known == {
        "native": {"BlindNet"},
        "rein": {"Rein"},
        "robustnet": {
            "Baseline (RobustNet)",
            "IBN-Net (RobustNet)",
            "ISW",
            "SHADE",
            "Baseline (WildNet)",
            "WildNet",
            "Baseline (PinMem)",
            "MLDG (re-run by PinMem)",
            "PinMem",
            "FAMix",
        },
    }


def test_train_domains_are_split_at_the_plus():
    assert {row.train for row in ROWS} == {
        ("gta5",),
        ("cityscapes",),
        ("gta5", "synthia"),
        ("gta5", "synthia", "idd"),
    }


def test_the_published_file_has_a_column_for_each_field():
    with (ROOT / "ibnseg/report/published.csv").open() as file:
        assert file.readline() == ",".join(Published._fields) + "\n"
