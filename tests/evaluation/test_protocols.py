"""The table of test protocols, and what each does to sizes, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.testing import view_steps
from ibnseg.evaluation import PROTOCOLS, Slide, get_protocol
from ibnseg.evaluation.protocols import find_protocols, full_name, protocols_table
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError

SLIDE = Slide((512, 512), (341, 341))
OF_MODEL = ("native", "paper", "synthia16", "synthia13")
"""The protocols whose inference is the model's."""


def test_every_protocol_names_its_source_and_the_papers_average_all_classes():
    assert all(protocol.source for protocol in PROTOCOLS.values())
    over_all = {name for name, p in PROTOCOLS.items() if p.eval_classes == CLASSES}
    assert over_all == {"robustnet", "rein", "soma"}
    subsets = {name: p.eval_classes for name, p in PROTOCOLS.items() if name not in over_all}
    assert {n: own for n, own in subsets.items() if own} == {
        "synthia16": tuple(name for name in CLASSES if name not in ("terrain", "truck", "train")),
        "synthia13": tuple(CLASSES[i] for i in (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)),
    }


def test_protocols_slide_and_map_labels_as_their_papers_do():
    maps = {name: dict(p.class_maps) for name, p in PROTOCOLS.items() if p.class_maps}
    openseg = {"MapillaryVistas": "openseg", "MapillaryVistas2": "openseg"}
    assert maps == {"robustnet": {"GTA5": "by_color"}, "rein": openseg, "soma": openseg}
    for name, protocol in PROTOCOLS.items():
        own = {**dict.fromkeys(("rein", "soma"), SLIDE), **dict.fromkeys(OF_MODEL)}.get(
            name, "whole"
        )
        assert protocol.inference == own, name


SIZES = {
    "native": (("GTA5", (1914, 1052), (1914, 1052), (1914, 1052)),),
    "paper": (
        ("GTA5", (1914, 1052), (1914, 1052), (1024, 563)),
        ("Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
    ),
    "robustnet": (
        ("Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        ("GTA5", (1914, 1052), (1914, 1052), (1914, 1052)),
        # 1920x1080 to 2730.67 -> 2730 x 1536, and its middle
        ("MapillaryVistas", (1920, 1080), (1536, 1536), (1536, 1536)),
        ("MapillaryVistas", (1080, 1920), (1536, 1536), (1536, 1536)),
    ),
    "rein": (
        ("Cityscapes", (2048, 1024), (2048, 1024), (1024, 512)),
        # min(1280 / 1914, 720 / 1052) = 0.66876: 1052 becomes 703.53
        ("GTA5", (1914, 1052), (1914, 1052), (1280, 704)),
        ("BDD100K", (1280, 720), (1280, 720), (1280, 720)),
        # half, rounded down; then min(1024 / 2000, 512 / 1500) = 0.34133: 2000 becomes 682.67
        ("MapillaryVistas", (4001, 3001), (2000, 1500), (683, 512)),
        ("MapillaryVistas", (3001, 4001), (1500, 2000), (512, 683)),
        ("CamVid", (480, 360), (480, 360), (480, 360)),
    ),
    "soma": (
        ("Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        ("GTA5", (1914, 1052), (1914, 1052), (1280, 704)),
        # min(2048 / 2000, 1024 / 1500) = 0.68267: 2000 becomes 1365.33
        ("MapillaryVistas", (4001, 3001), (2000, 1500), (1365, 1024)),
    ),
    "short1024": (
        ("Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        # 1280 * 1024 / 720 = 1820.44
        ("BDD100K", (1280, 720), (1820, 1024), (1820, 1024)),
        ("MapillaryVistas", (720, 1280), (1024, 1820), (1024, 1820)),
    ),
}
"""By protocol: a dataset, and (width, height) as stored, of what is compared, and of what the
network sees."""


@pytest.mark.parametrize("protocol", SIZES)
def test_a_protocol_gives_labels_and_images_these_sizes(protocol):
    for dataset, (width, height), label, image in SIZES[protocol]:
        results = dict(
            img=np.zeros((height, width, 3), np.uint8),
            gt_seg_map=np.zeros((height, width), np.uint8),
            img_shape=(height, width),
            ori_shape=(height, width),
        )
        for step in view_steps(get_protocol(protocol).view(dataset)):
            results = TRANSFORMS.build(step)(results)
        of = (dataset, width, height)
        assert results["gt_seg_map"].shape == results["ori_shape"] == label[::-1], of
        assert results["img"].shape[:2] == results["img_shape"] == image[::-1], of
        assert results["img"].dtype == results["gt_seg_map"].dtype == np.uint8, of


def test_the_papers_size_keeps_the_proportions_of_gta5():
    rule, (width, height) = get_protocol("paper").view("GTA5").image
    assert rule == "exact"
    assert height == round(width * 1052 / 1914)


def test_an_unknown_protocol_is_refused_with_the_nearest_names():
    for name, hint in (("natve", "native"), ("papers", "paper"), ("xyz", "known: native, paper")):
        with pytest.raises(UserError, match=f"unknown protocol '{name}'; .*{hint}"):
            get_protocol(name)


def test_protocols_are_found_by_their_names_and_all_stands_for_every_one():
    for names, found in (
        (["rein", "native", "rein"], ["rein", "native"]),
        (["all"], [*PROTOCOLS]),
        (["soma", "all"], ["soma", *(name for name in PROTOCOLS if name != "soma")]),
        ([], []),
    ):
        assert [protocol.name for protocol in find_protocols(names)] == found
    with pytest.raises(UserError, match="unknown protocol 'al'; did you mean all"):
        find_protocols(["native", "al"])


def test_a_protocol_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["native"].version = 2


def test_the_name_of_a_changed_protocol_says_what_was_changed():
    for protocol, slide, scales, name in (
        ("native", None, (), "native"),
        ("native", Slide((713, 713), (476, 400)), (), "native-slide713x713-476x400"),
        ("rein", SLIDE, (), "rein"),  # its own windows need not be said
        ("native", None, (1,), "native-tta1-flip"),
        ("rein", SLIDE, (0.5, 1.0, 1.75), "rein-tta0.5-1-1.75-flip"),
    ):
        assert full_name(get_protocol(protocol), slide, scales) == name


def test_the_printed_table_has_a_row_for_each_protocol_with_its_windows():
    rows = {line.split("|")[1].strip(): line for line in protocols_table().splitlines()[2:]}
    assert list(rows) == [f"`{name}` v{p.version}" for name, p in PROTOCOLS.items()]
    assert "512x512, stride 341x341" in rows["`rein` v1"]
    assert "(bicubic) and label half, then image within 1024x512" in rows["`rein` v1"]
    assert "(bicubic)" in rows["`robustnet` v1"]
    assert "others: image (bilinear)" in rows["`short1024` v1"]
