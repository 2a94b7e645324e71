"""Networks of the user's own code: where they are found, what is known of them, and errors."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import ibnseg
from ibnseg.analysis.divergence.features import find_layers
from ibnseg.networks.facts import Facts
from ibnseg.networks.python import build, configure
from ibnseg.support.errors import UserError

FACTS = dict(
    classes=["road", "car"],
    channels="RGB",
    range=255,
    mean=[0, 0, 0],
    std=[1, 1, 1],
    trained_on="gta5",
)
MODULE = f"""
import torch

facts = {FACTS}

def build():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 2, 1)

build.facts = facts
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that writes a module to the working folder; what is imported is forgotten
    afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}

    def write(text: str, name: str = "ownnet.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    yield write
    for name in {*sys.modules} - before:
        if name.split(".")[0] == "ownnet":
            del sys.modules[name]


def error_of(source: str) -> str:
    with pytest.raises(UserError) as caught:
        configure(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_function_in_the_working_folder_gives_the_network(here) -> None:
    here(MODULE)
    cfg = configure("ownnet:build")
    assert (cfg["name"], cfg["model_title"]) == ("ownnet_build", "ownnet_build")
    assert cfg["foreign"]["kind"] == "Python"
    facts = Facts.of(cfg["model"]["facts"])
    assert (facts.classes, facts.trained_on) == (("road", "car"), "gta5")
    network = build("ownnet:build", facts)
    assert isinstance(network, torch.nn.Conv2d)
    assert build("ownnet:build", facts) is network  # as its weights may be random


def test_facts_of_what_is_returned_precede_those_of_the_function_and_a_file_both(here) -> None:
    here(
        MODULE
        + """
class Callable:
    facts = {**facts, "title": "Returned"}
    def __call__(self, images):
        return images.argmax(1)

def other():
    return Callable()

other.facts = {**facts, "title": "Function"}
"""
    )
    assert configure("ownnet:other")["model_title"] == "Returned"
    Path("ownnet.json").write_text(json.dumps(dict(title="File", range=1)))
    cfg = configure("ownnet:other")
    assert (cfg["model_title"], cfg["model"]["facts"]["range"]) == ("File", 1)
    assert cfg["model"]["facts"]["classes"] == ["road", "car"]


def test_a_missing_fact_is_asked_for_with_the_file_to_write(here) -> None:
    here("def build():\n    return lambda images: images.argmax(1)")
    said = error_of("ownnet:build")
    assert "classes, channels, range, mean, std, trained_on not known" in said
    assert str(Path("ownnet.json").resolve()) in said


def test_the_hash_is_of_the_files_and_the_weights(here) -> None:
    hashes = set()
    for text in (MODULE, MODULE + "# more", MODULE.replace("seed(0)", "seed(1)")):
        here(text)
        sys.modules.pop("ownnet", None)
        sys.path_importer_cache.clear()
        hashes.add(configure("ownnet:build")["foreign"]["sha256"])
    assert len(hashes) == 3
    here(MODULE, "ownnet/nets.py")
    here("", "ownnet/__init__.py")
    Path("ownnet.py").unlink()
    for text in ("a = 1", "a = 2"):
        here(text, "ownnet/part.py")
        for name in ("ownnet", "ownnet.nets"):
            sys.modules.pop(name, None)
        hashes.add(configure("ownnet.nets:build")["foreign"]["sha256"])
    assert len(hashes) == 5


def test_equal_weights_have_equal_hashes(here) -> None:
    here(MODULE)
    first = configure("ownnet:build")["foreign"]["sha256"]
    del sys.modules["ownnet"]
    assert configure("ownnet:build")["foreign"]["sha256"] == first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import torch\nx = = 1", "ownnet.py:2: SyntaxError"),
        ("\n\nraise ValueError('no\\nsuch thing')", "ownnet.py:3: ValueError: no"),
        ("import nothing_of_that_name", "ownnet.py:1: ModuleNotFoundError: No module named"),
        ("raise SystemExit(2)", "ownnet.py:1: SystemExit: 2"),
        ("def build():\n    return 1 / 0", "ownnet.py:2: ZeroDivisionError"),
        ("import torch\ndef build():\n    return torch.zeros(-1)", "ownnet.py:3: RuntimeError"),
        ("def build(depth):\n    pass", "ownnet:build: TypeError: build() missing 1"),
        ("def build():\n    return 3", "returns int, expected a torch module"),
        ("def bild():\n    return 3", "unknown function 'build'; did you mean bild?"),
        ("build = 3", "is int, expected a function"),
    ],
)
def test_errors_of_the_users_code_are_a_line_with_its_place(here, text: str, said: str) -> None:
    here(text)
    assert said in error_of("ownnet:build")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("3", "facts is 3"),
        ("{'mean': object()}", "not JSON serializable"),
        ("{'a': 1}", "fact 'a'"),
    ],
)
def test_facts_that_are_none_are_refused(here, facts: str, said: str) -> None:
    here(f"def build():\n    return lambda x: x\nbuild.facts = {facts}")
    assert said in error_of("ownnet:build")


def test_a_module_that_is_nowhere_is_refused(here, tmp_path: Path) -> None:
    assert f"no module ownnet in {tmp_path}" in error_of("ownnet:build")
    here("")
    assert "no module ownnet.part in" in error_of("ownnet.part:build")
    assert "is not a file of Python" in error_of("sys:exit")


def test_a_file_in_the_place_of_a_module_is_refused_with_the_module(here) -> None:
    here(MODULE)
    assert error_of("ownnet.py:build").endswith("; leave out .py: ownnet:build")


def test_a_network_in_the_place_of_its_function_is_refused(here) -> None:
    here("import torch\nnetwork = torch.nn.Conv2d(3, 2, 1)")
    assert error_of("ownnet:network") == (
        "ownnet:network: is Conv2d, expected a function that returns the network"
    )


def test_a_partial_function_gives_the_network(here) -> None:
    here(f"{MODULE}\nimport functools\nsmall = functools.partial(build)\nsmall.facts = facts")
    assert configure("ownnet:small")["name"] == "ownnet_small"


def test_a_module_that_another_one_hides_is_refused(here) -> None:
    here(MODULE, "json.py")
    assert "Python has loaded another module json" in error_of("json:build")


def test_a_network_may_be_a_function_over_arrays(here) -> None:
    here(
        f"""
        import numpy as np
        def build():
            return lambda images: np.asarray(images).argmax(1)
        build.facts = {FACTS}
        """
    )
    facts = Facts.of(configure("ownnet:build")["model"]["facts"])
    found = build("ownnet:build", facts)(torch.eye(3)[None, :, None])
    np.testing.assert_array_equal(found, [[[0, 1, 2]]])


IMAGE = np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("gives", "output", "said"),
    [
        ("logits", "torch.zeros(1, 3, 6, 8)", "gave 3 channels, but its facts name 2 classes"),
        ("logits", "torch.zeros(2, 2, 6, 8)", "gave an array of shape (2, 2, 6, 8)"),
        ("logits", "torch.zeros(1, 6, 8)", "expected (N, 2, h, w) of floating point"),
        ("logits", "torch.zeros(1, 2, 6, 8).long()", "and type torch.int64, expected (N, 2"),
        ("logits", "torch.full((1, 2, 6, 8), torch.nan)", "not finite"),
        ("logits", "{'out': images}", "gave a dict, expected"),
        ("classes", "images[:, 0]", "and type torch.float32, expected (N, h, w) of whole numbers"),
        ("classes", "np.full((1, 6, 8), 2)", "gave class 2, but its facts name 2 classes"),
        ("classes", "np.full((1, 6, 8), -1)", "gave class -1"),
        ("classes", "images[:, :, 9]", "images of 8x6: {here}/ownnet.py:4: IndexError"),
    ],
)
def test_a_network_that_gives_something_else_is_refused(
    here, tmp_path: Path, gives: str, output: str, said: str
) -> None:
    here(
        f"""
        import numpy as np, torch
        def network(images):
            return {output}
        def build():
            return network
        build.facts = {dict(FACTS, gives=gives)}
        """
    )
    network = ibnseg.load("ownnet:build")
    with pytest.raises(UserError) as caught:
        ibnseg.predict(network, IMAGE)
    assert said.format(here=tmp_path) in str(caught.value)
    assert str(caught.value).startswith("ownnet:build")


def test_too_little_memory_is_no_error_of_the_users_code(here) -> None:
    here(
        f"""
        import torch
        def build():
            return lambda images: torch.empty(2**60)
        build.facts = {FACTS}
        """
    )
    with pytest.raises(UserError, match="too little memory"):
        ibnseg.predict(ibnseg.load("ownnet:build"), IMAGE)


def test_layers_of_a_network_of_torch_are_named(here) -> None:
    here(
        MODULE.replace("torch.nn.Conv2d(3, 2, 1)", "torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))")
    )
    network = ibnseg.load("ownnet:build")
    with pytest.raises(UserError, match=r"--layers, e.g. network\.0$"):
        find_layers(network)
    assert [layer.module for layer in find_layers(network, ["network.?"])] == ["network.0"]
