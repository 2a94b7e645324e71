"""The table of published numbers, against the literal numbers of their sources."""

import re
from pathlib import Path

import pytest

from ibnseg.report.published import Published, read_published

ROWS = read_published()
ROOT = Path(__file__).parents[2]
PROTOCOLS = {"native", "paper", "robustnet", "rein", "soma", "short1024", "unknown"}


def values(method: str, backbone: str, train: str, metric: str = "mIoU", source: str = "") -> list:
    """(test, value, protocol) of the rows of that method, in order."""
    wanted = (method, backbone, tuple(train.split("+")), metric)
    return [
        (row.test, row.value, row.protocol)
        for row in ROWS
        if (row.method, row.backbone, row.train, row.metric) == wanted and source in row.source
    ]


def test_the_papers_table_6_as_far_as_its_text_is_known():
    rows = [row for row in ROWS if row.source == "Pan et al., ECCV 2018, table 6"]
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


def test_what_is_only_remembered_of_the_paper_is_left_out():
    """Its numbers after training on GTA5: on GTA5, and on Cityscapes."""
    remembered = {"22.2", "53.5", "26.0", "60.9", "29.6", "66.8"}
    remembered |= {"61.0", "91.5", "64.8", "92.5", "64.2", "92.4"}
    assert not [row for row in ROWS if row.train == ("gta5",) and row.value in remembered]
    assert not [row for row in ROWS if "IBN-Net-" in row.method and "gta5" in row.train]


@pytest.mark.parametrize(
    ("method", "source_only", "adapted"),
    [
        ("FCNs in the Wild", "21.1", "27.1"),
        ("Curriculum Domain Adaptation", "22.3", "28.9"),
        ("Curriculum Domain Adaptation (TPAMI)", "22.3", "31.4"),
        ("AdaptSegNet", "36.6", "42.4"),
    ],
)
def test_domain_adaptation_from_gta5_to_cityscapes(method, source_only, adapted):
    found = {row.method: row for row in ROWS if row.method.startswith(f"{method}, ")}
    assert {name: row.value for name, row in found.items()} == {
        f"{method}, source only": source_only,
        f"{method}, adapted": adapted,
    }
    for name, row in found.items():
        assert (row.train, row.test, row.metric) == (("gta5",), "cityscapes", "mIoU")
        assert ("unlabelled Cityscapes" in row.recipe) == name.endswith("adapted")
        assert "https://" in row.source


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            values("IBN-Net (RobustNet)", "ResNet-50", "gta5"),
            "cityscapes 33.85 robustnet bdd100k 32.30 robustnet mapillary 37.75 robustnet "
            "synthia 27.90 unknown",
        ),
        (
            values("Baseline (RobustNet)", "ResNet-101", "gta5"),
            "cityscapes 30.06 robustnet bdd100k 24.85 robustnet mapillary 31.50 robustnet "
            "synthia 28.78 robustnet gta5 74.71 robustnet",
        ),
        (
            values("WildNet", "ResNet-50", "gta5", source="SPC paper"),
            "cityscapes 44.62 robustnet bdd100k 38.42 robustnet mapillary 46.09 robustnet "
            "cityscapes 40.10 unknown bdd100k 34.82 unknown mapillary 39.38 unknown",
        ),
        (
            values("BlindNet", "ResNet-50", "gta5"),
            "cityscapes 45.72 native bdd100k 41.32 native mapillary 47.08 unknown",
        ),
        (
            values("FAMix", "CLIP ResNet-50", "gta5", source="scale"),
            "cityscapes 48.51 robustnet mapillary 52.39 robustnet "
            "cityscapes 48.02 unknown mapillary 54.00 unknown "
            "cityscapes 50.80 unknown mapillary 56.04 unknown",
        ),
        (
            values("FSDR", "ResNet-101", "gta5"),
            "cityscapes 44.8 unknown bdd100k 41.2 unknown mapillary 43.4 unknown "
            "cityscapes 44.86 unknown bdd100k 36.40 unknown mapillary 38.53 unknown",
        ),
        (
            values("MRFP", "MobileNetV2", "gta5"),
            "cityscapes 32.92 unknown bdd100k 33.03 unknown mapillary 30.95 unknown "
            "synthia 25.62 unknown foggy_cityscapes 32.97 unknown",
        ),
        (
            values("IBN-Net", "ResNet-50", "gta5+synthia"),
            "cityscapes 35.55 unknown bdd100k 32.18 unknown mapillary 38.09 unknown "
            "gta5 69.72 unknown synthia 66.90 unknown",
        ),
        (
            values("SPC", "ResNet-50", "gta5+synthia+idd"),
            "cityscapes 57.91 unknown bdd100k 53.26 unknown mapillary 61.61 unknown",
        ),
        (
            values("FADA", "unknown", "cityscapes"),
            "acdc_night 57.4 unknown acdc_fog 80.2 unknown acdc_rain 75.0 unknown "
            "acdc_snow 73.5 unknown bdd100k 65.12 unknown mapillary 75.86 unknown "
            "gta5 63.78 unknown",
        ),
        (
            values("ISW (re-run by MRFP)", "ResNet-50", "gta5"),
            "foggy_cityscapes 36.30 unknown rainy_cityscapes_25mm 23.7 unknown "
            "rainy_cityscapes_50mm 17.93 unknown rainy_cityscapes_75mm 13.53 unknown "
            "rainy_cityscapes_100mm 10.39 unknown",
        ),
        (
            values("HRDA", "unknown", "gta5"),
            "cityscapes 57.41 unknown bdd100k 49.11 unknown mapillary 61.16 unknown",
        ),
        (
            values("Rein", "DINOv2-L", "gta5"),
            "cityscapes 66.4 rein bdd100k 60.4 rein mapillary 66.1 rein "
            "cityscapes 66.7 rein bdd100k 60.0 rein "
            "cityscapes 69.20 unknown bdd100k 60.65 unknown mapillary 70.16 unknown",
        ),
    ],
)
def test_numbers_of_the_sources(found, expected):
    assert " ".join(" ".join(row) for row in found) == expected


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


def test_no_number_is_there_twice():
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


def test_the_file_has_the_columns_of_the_tuple():
    with (ROOT / "ibnseg/report/published.csv").open() as file:
        assert file.readline() == ",".join(Published._fields) + "\n"
