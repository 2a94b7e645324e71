"""The table of test protocols, and what each does to sizes, worked out by hand."""

import dataclasses

import numpy as np
import pytest

from ibnseg.datasets.labels import CLASSES
from ibnseg.engine.testing import view_steps
from ibnseg.evaluation import PROTOCOLS, Slide, get_protocol
from ibnseg.evaluation.protocols import full_name, protocols_table
from ibnseg.registry import TRANSFORMS
from ibnseg.support.errors import UserError

SLIDE = Slide((512, 512), (341, 341))


def test_the_table():
    facts = {
        name: (protocol.name, protocol.version, protocol.inference, dict(protocol.class_maps))
        for name, protocol in PROTOCOLS.items()
    }
    openseg = {"MapillaryVistas": "openseg"}
    assert facts == {
        "native": ("native", 1, None, {}),
        "paper": ("paper", 1, None, {}),
        "robustnet": ("robustnet", 1, "whole", {"GTA5": "by_color"}),
        "rein": ("rein", 1, SLIDE, openseg),
        "soma": ("soma", 1, SLIDE, openseg),
        "short1024": ("short1024", 1, "whole", {}),
    }
    assert all(protocol.source for protocol in PROTOCOLS.values())
    over_all = {name for name, p in PROTOCOLS.items() if p.eval_classes == CLASSES}
    assert over_all == {"robustnet", "rein", "soma"}
    assert all(p.eval_classes is None for n, p in PROTOCOLS.items() if n not in over_all)


@pytest.mark.parametrize(
    ("protocol", "dataset", "stored", "label", "image"),
    [
        ("native", "GTA5", (1914, 1052), (1914, 1052), (1914, 1052)),
        ("paper", "GTA5", (1914, 1052), (1914, 1052), (1024, 563)),
        ("paper", "Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        ("robustnet", "Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        ("robustnet", "GTA5", (1914, 1052), (1914, 1052), (1914, 1052)),
        # 1920x1080 to 2730.67 -> 2730 x 1536, and its middle
        ("robustnet", "MapillaryVistas", (1920, 1080), (1536, 1536), (1536, 1536)),
        ("robustnet", "MapillaryVistas", (1080, 1920), (1536, 1536), (1536, 1536)),
        ("rein", "Cityscapes", (2048, 1024), (2048, 1024), (1024, 512)),
        # min(1280 / 1914, 720 / 1052) = 0.66876: 1052 becomes 703.53
        ("rein", "GTA5", (1914, 1052), (1914, 1052), (1280, 704)),
        ("rein", "BDD100K", (1280, 720), (1280, 720), (1280, 720)),
        # half, rounded down; then min(1024 / 2000, 512 / 1500) = 0.34133: 2000 becomes 682.67
        ("rein", "MapillaryVistas", (4001, 3001), (2000, 1500), (683, 512)),
        ("rein", "MapillaryVistas", (3001, 4001), (1500, 2000), (512, 683)),
        ("rein", "CamVid", (480, 360), (480, 360), (480, 360)),
        ("soma", "Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        ("soma", "GTA5", (1914, 1052), (1914, 1052), (1280, 704)),
        # min(2048 / 2000, 1024 / 1500) = 0.68267: 2000 becomes 1365.33
        ("soma", "MapillaryVistas", (4001, 3001), (2000, 1500), (1365, 1024)),
        ("short1024", "Cityscapes", (2048, 1024), (2048, 1024), (2048, 1024)),
        # 1280 * 1024 / 720 = 1820.44
        ("short1024", "BDD100K", (1280, 720), (1820, 1024), (1820, 1024)),
        ("short1024", "MapillaryVistas", (720, 1280), (1024, 1820), (1024, 1820)),
    ],
)
def test_sizes(protocol, dataset, stored, label, image):
    """(width, height) of what is compared, and of what the network sees."""
    width, height = stored
    results = dict(
        img=np.zeros((height, width, 3), np.uint8),
        gt_seg_map=np.zeros((height, width), np.uint8),
        img_shape=(height, width),
        ori_shape=(height, width),
    )
    for step in view_steps(get_protocol(protocol).view(dataset)):
        results = TRANSFORMS.build(step)(results)
    assert results["gt_seg_map"].shape == results["ori_shape"] == label[::-1]
    assert results["img"].shape[:2] == results["img_shape"] == image[::-1]
    assert results["img"].dtype == results["gt_seg_map"].dtype == np.uint8


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_found_by_name(name):
    assert get_protocol(name) is PROTOCOLS[name]


def test_the_papers_size_keeps_the_proportions_of_gta5():
    rule, (width, height) = get_protocol("paper").view("GTA5").image
    assert rule == "exact"
    assert height == round(width * 1052 / 1914)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("natve", "did you mean native?"),
        ("papers", "did you mean paper?"),
        ("xyz", "known: native, paper, rein, robustnet, short1024, soma"),
    ],
)
def test_unknown_name_suggests(name, hint):
    with pytest.raises(UserError) as error:
        get_protocol(name)
    assert str(error.value) == f"unknown protocol '{name}'; {hint}"


def test_a_protocol_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["native"].version = 2


@pytest.mark.parametrize(
    ("protocol", "slide", "scales", "name"),
    [
        ("native", None, (), "native"),
        ("native", Slide((713, 713), (476, 400)), (), "native-slide713x713-476x400"),
        ("rein", SLIDE, (), "rein"),  # its own windows need not be said
        ("native", None, (1,), "native-tta1-flip"),
        ("rein", SLIDE, (0.5, 1.0, 1.75), "rein-tta0.5-1-1.75-flip"),
    ],
)
def test_names_say_what_was_changed(protocol, slide, scales, name):
    assert full_name(get_protocol(protocol), slide, scales) == name


def test_the_table_in_words():
    rows = {line.split("|")[1].strip(): line for line in protocols_table().splitlines()[2:]}
    assert list(rows) == [f"`{name}` v1" for name in PROTOCOLS]
    assert (
        "image (bicubic) and label height 1536, then both centre crop 1536x1536"
        in (rows["`robustnet` v1"])
    )
    assert "slide 512x512, stride 341x341" in rows["`rein` v1"]
    assert "image (bicubic) and label half, then image within 1024x512" in rows["`rein` v1"]
    assert "others: image (bilinear) and label short edge 1024" in rows["`short1024` v1"]
