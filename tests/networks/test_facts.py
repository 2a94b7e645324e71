"""What has to be known of a network that was not trained here."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibnseg.networks.facts import Found, facts_of
from ibnseg.support.errors import UserError

IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
OF_255 = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
NONE = dict(mean=[0, 0, 0], std=[1, 1, 1])
REST = dict(title="x", classes=["road", "sky"], channels="RGB", trained_on="gta5")


def found(**says: object) -> Found:
    return Found("x", "0", Path("x.json"), {**REST, **says})


@pytest.mark.parametrize(
    ("white", "normalisation"),
    [
        (1, IMAGENET),
        (255, OF_255),
        (1, NONE),
        (255, NONE),
        (1, dict(mean=[0.5] * 3, std=[0.5] * 3)),
        (255, dict(mean=[127.5] * 3, std=[127.5] * 3)),
        (255, dict(mean=[0, 0, 0], std=[255, 255, 255])),
    ],
)
def test_mean_and_std_of_the_stated_range_are_taken(white: int, normalisation: dict) -> None:
    facts = facts_of("x", found(range=white, **normalisation))
    assert (facts.mean, facts.std) == tuple(map(tuple, normalisation.values()))


@pytest.mark.parametrize(
    ("white", "normalisation"),
    [
        (255, IMAGENET),
        (1, OF_255),
        (255, dict(mean=[0.5] * 3, std=[127.5] * 3)),
        (255, dict(mean=[127.5] * 3, std=[0.5] * 3)),
        (1, dict(mean=[0, 0, 0], std=[255, 255, 255])),
    ],
)
def test_mean_and_std_of_the_other_range_are_refused(white: int, normalisation: dict) -> None:
    with pytest.raises(UserError, match=rf"^x: .* not those of pixels from 0 to {white}; state"):
        facts_of("x", found(range=white, **normalisation))
