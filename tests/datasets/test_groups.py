"""Images that are alike are grouped by their paths."""

import pytest

from ibnseg.datasets.groups import GROUPS


@pytest.mark.parametrize(
    ("kind", "names", "groups"),
    [
        (
            "city",
            [
                "leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png",
                "leftImg8bit/val/lindau/lindau_000001_000019_leftImg8bit.png",
                "leftImg8bit/val/frankfurt/frankfurt_000001_000294_leftImg8bit.png",
            ],
            ["frankfurt", "lindau", "frankfurt"],
        ),
        (
            "drive",
            [f"rgb_anon/fog/val/{each}/{each}_frame_0_rgb_anon.png" for each in ("GOPR1", "GP2")],
            ["GOPR1", "GP2"],
        ),
        (
            "sequence",
            ["train/0001TP_006690.jpg", "train/0006R0_f00930.jpg", "val/0001TP_1.png"],
            ["0001TP", "0006R0", "0001TP"],
        ),
        (
            "stretch",
            [f"images/{n:05d}.png" for n in (24, 22, 23, 27, 100, 43, 101)],
            ["00022", "00022", "00022", "00027", "00100", "00043", "00100"],
        ),
        ("stretch", ["images/00007.png"], ["00007"]),
        ("image", ["a/b.png", "a/c.png"], ["a/b.png", "a/c.png"]),
    ],
)
def test_images_are_grouped_by_their_paths(kind, names, groups):
    assert GROUPS[kind](names) == groups


def test_the_official_val_split_of_gta5_has_242_stretches():
    from ibnseg.datasets.gta5 import official_split

    names = [f"images/{n:05d}.png" for n in official_split()["val"]]
    assert len(set(GROUPS["stretch"](names))) == 242


def test_names_without_numbers_cannot_be_grouped_by_stretch():
    with pytest.raises(ValueError, match="frankfurt"):
        GROUPS["stretch"](["frankfurt_0.png"])
