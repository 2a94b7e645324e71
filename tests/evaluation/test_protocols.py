"""The table of test protocols."""

import dataclasses

import pytest

from ibnseg.errors import UserError
from ibnseg.evaluation import PROTOCOLS, get_protocol


def test_the_table():
    facts = {
        name: (protocol.name, protocol.version, dict(protocol.input_sizes))
        for name, protocol in PROTOCOLS.items()
    }
    assert facts == {
        "native": ("native", 1, {}),
        "paper": ("paper", 1, {"GTA5": (1024, 563)}),  # section 4.2
    }
    assert all(protocol.source for protocol in PROTOCOLS.values())


@pytest.mark.parametrize("name", ["native", "paper"])
def test_found_by_name(name):
    assert get_protocol(name) is PROTOCOLS[name]


def test_the_papers_size_keeps_the_proportions_of_gta5():
    width, height = get_protocol("paper").input_sizes["GTA5"]
    assert height == round(width * 1052 / 1914)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("natve", "did you mean native?"),
        ("papers", "did you mean paper?"),
        ("xyz", "known: native, paper"),
    ],
)
def test_unknown_name_suggests(name, hint):
    with pytest.raises(UserError) as error:
        get_protocol(name)
    assert str(error.value) == f"unknown protocol '{name}'; {hint}"


def test_a_protocol_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["native"].version = 2
