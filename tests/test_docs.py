"""The documentation says what the code does: keys, examples, the tables."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from ibnseg import cli
from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, SEVERITIES
from ibnseg.datasets.domain import Domain
from ibnseg.datasets.labels import CLASSES, GTA5_IDS
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.registry import MODELS
from ibnseg.report.markdown import table
from ibnseg.support.files import config_folder
from tests.conftest import save_ids, save_rgb, scene, to_ids, write_cityscapes

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def blocks(path: Path) -> list[tuple[str, str]]:
    """The fenced code blocks of a Markdown file: language and content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    """The command lines in a file's ``sh`` blocks, each as words."""
    text = "".join(block for language, block in blocks(path) if language == "sh")
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]


@pytest.fixture
def workplace(in_data: Path) -> Path:
    """A working folder with the package's configs, and ``data`` to add to."""
    shutil.copytree(config_folder(), in_data / "configs")
    return in_data


def test_the_docs_list_every_key_of_a_domain() -> None:
    text = (DOCS / "configs.md").read_text().partition("## Domains")[2]
    block = text[text.index("    domain = dict(") : text.index("    )\n")]
    assert tuple(re.findall(r"^        (\w+)=", block, re.MULTILINE)) == tuple(
        field.name for field in fields(Domain)
    )


def test_each_change_in_the_docs_does_the_same_as_lines_and_as_options(workplace: Path) -> None:
    """The annotated config expands, and each pair of lines and options gives the same run."""
    init_default_scope("mmseg")
    found = blocks(DOCS / "configs.md")
    own = found[0][1]
    path = workplace / own.splitlines()[0].removeprefix("# ")
    path.write_text(own)
    plain = expand(load_config(path)).to_dict()
    pairs = list(zip(found[2::2], found[3::2], strict=True))
    assert len(pairs) >= 8
    for (language, lines), (_, command) in pairs:
        assert language == "python"
        path.write_text(own)
        args = cli.build_parser().parse_args(shlex.split(command)[1:])
        by_options = expand(load_config(args.config, args.cfg_options)).to_dict()
        path.write_text(own + lines)
        try:
            by_lines = expand(load_config(path)).to_dict()
        finally:
            path.write_text(own)
        assert by_options == by_lines, command
        assert by_options != plain, command
        with torch.device("meta"):
            MODELS.build(by_options["model"])


def tiny_options(config: str) -> list[str]:
    """Options that make two steps of a tiny network of a config."""
    wide = load_config(config).model.backbone.depth >= 50
    return [
        "epochs=None",
        "iterations=2",
        "batch=2",
        "workers=0",
        "crop_size=(33,33)",
        "model.backbone.init_cfg=None",
        "model.backbone.base_channels=8",
        "model.backbone.stem_channels=8",
        f"model.decode_head.in_channels={256 if wide else 64}",
        "model.decode_head.channels=16",
    ]


def write_own_data(data: Path) -> None:
    """The data that docs/domains.md speaks of, in miniature."""
    for i in (1, 2, 3, 4, 5, 6, 8):
        image, train_ids = scene(i)
        save_rgb(data / "alps" / "images" / f"{i:05d}.png", image)
        save_ids(data / "alps" / "labels" / f"{i:05d}.png", to_ids(train_ids, GTA5_IDS))
    write_cityscapes(data / "coast")
    ids = np.full(256, 255, np.uint8)
    for i, name in enumerate(("road", "building", "sky", "car")):
        ids[CLASSES.index(name)] = i
    for split in ("train", "val"):
        names = [f"{split}{i}" for i in range(3)]
        for i, name in enumerate(names):
            image, train_ids = scene(100 + i)
            save_rgb(data / "drives" / "photos" / f"{name}.jpg", image)
            save_ids(data / "drives" / "labels" / f"{name}.png", ids[train_ids])
        (data / "drives" / f"{split}.txt").write_text("\n".join(names))


@pytest.mark.slow
def test_the_domains_in_the_docs_can_be_trained_and_tested(
    workplace: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The files of docs/domains.md, written as they are there, do what its commands say."""
    shutil.copytree(data, workplace / "data")
    monkeypatch.delenv("IBNSEG_DATA")
    write_own_data(workplace / "data")
    for language, block in blocks(DOCS / "domains.md"):
        name, _, content = block.partition("\n")
        if language != "sh":
            assert name.startswith("# "), "the first line of a file's block is its path"
            path = workplace / name.removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
    lines = commands(DOCS / "domains.md")
    assert len(lines) >= 5
    for words in lines:
        assert words.pop(0) == "ibnseg"
        if words[0] == "train":
            given = words.index("--cfg-options") if "--cfg-options" in words else len(words)
            words[given : given + 1] = ["--cfg-options", *tiny_options(words[1])]
        assert cli.main(words) == 0, capsys.readouterr().err
    tables = re.sub(" +", " ", capsys.readouterr().out)
    for row in ("Cityscapes | Alps", "Alps | GTA5", "GTA5 | Coast", "Drives | Cityscapes"):
        assert f"| {row} |" in tables


def test_the_prediction_commands_in_the_docs_write_the_files_that_they_name(
    workplace: Path,
    trained: tuple[Path, Path, dict],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The commands of docs/predicting.md write what it says, and its example runs."""
    config, run, _ = trained
    shutil.copy(config, workplace / "configs" / "mine.py")
    (workplace / "work_dirs").mkdir()
    (workplace / "work_dirs" / "mine").symlink_to(run)
    for name in ("0001.png", "place/0002.jpg"):
        save_rgb(workplace / "photos" / name, scene(5)[0])
    lines = commands(DOCS / "predicting.md")
    assert len(lines) >= 4
    for words in lines:
        assert words.pop(0) == "ibnseg"
        assert cli.main(words) == 0, capsys.readouterr().err
        out = Path(cli.build_parser().parse_args(words).out)
        for file in ("labels/0001.png", "labels/place/0002.png", "overlays/place/0002.jpg"):
            assert (out / file).is_file()
        assert (out / "predictions.json").is_file()
        assert capsys.readouterr().out.splitlines()[-1].startswith("2 predictions: ")
    assert cli.main(lines[0]) == 0
    assert "2 predictions (2 of them there already)" in capsys.readouterr().out
    (example,) = [text for language, text in blocks(DOCS / "predicting.md") if language == "python"]
    found = {}
    exec(example, found)
    printed = capsys.readouterr().out
    assert {line.split(":")[0] for line in printed.splitlines()} <= set(CLASSES)
    np.testing.assert_array_equal(found["train_ids"], Image.open("predictions/labels/0001.png"))
    assert found["picture"].shape == (*found["train_ids"].shape, 3)
    assert found["unsure"].shape == found["train_ids"].shape
    for source in re.findall(r"# or (load\(.*?\))", example):
        again = eval(source, found)
        np.testing.assert_array_equal(
            found["predict"](again, "photos/0001.png"), found["train_ids"]
        )


def test_the_drivable_example_prints_what_stands_below_it(capsys: pytest.CaptureFixture) -> None:
    """The example of docs/drivable.md prints what stands below it."""
    text = (DOCS / "drivable.md").read_text().partition("### Drivable everywhere")[2]
    example, printed = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:2]
    exec(example, {})
    assert capsys.readouterr().out == printed
    assert printed.split()[-1] == "100.0"


def test_the_robustness_page_has_the_conditions_of_the_code(capsys: pytest.CaptureFixture) -> None:
    """The table of docs/robustness.md is the code's, its commands can be given, its example prints
    what stands below it."""
    path = DOCS / "robustness.md"
    text = path.read_text()
    rows = [
        (f"`{name}`", condition.parameter, *(f"{value:g}" for value in condition.severities))
        for name, condition in CONDITIONS.items()
    ]
    expected = table(("name", "parameter", *map(str, SEVERITIES)), rows, 2)
    found = text.partition("<!-- conditions -->\n")[2].partition("\n<!-- end of conditions -->")[0]
    assert found == expected
    lines = [words for words in commands(path) if words[0] == "ibnseg"]
    assert len(lines) >= 3
    for words in lines:
        args = cli.build_parser().parse_args(words[1:])
        assert set(args.conditions or ()) <= {*CONDITIONS, *PAPER, *LOOKS}
    example, printed = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[-2:]
    exec(example, {})
    assert capsys.readouterr().out == printed


def test_the_code_on_the_page_about_methods_is_part_of_the_examples() -> None:
    """Each block begins with its file's path and is a part of that file, as tests run it."""
    found = [
        block for language, block in blocks(DOCS / "write_a_method.md") if language == "python"
    ]
    assert len(found) >= 6
    for block in found:
        name, _, code = block.partition("\n")
        assert code in (ROOT / name.removeprefix("# ")).read_text(), f"not in {name}"


def test_links_in_the_docs_lead_to_existing_files_and_headings() -> None:
    """Links between the documents lead to files and headings that are there."""
    for path in [*ROOT.glob("*.md"), ROOT / "data" / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            if target.startswith("http"):
                continue
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            assert file.exists(), f"{path.name}: {target}"
            if file.suffix != ".md":
                continue
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert not anchor or anchor in anchors, f"{path.name}: {target}"


def test_tables_made_from_code_are_fresh() -> None:
    tables = runpy.run_path(str(ROOT / "tools" / "tables.py"))
    for name, (file, _) in tables["TABLES"].items():
        text = (ROOT / file).read_text()
        assert f"<!-- {name}: {tables['COMMAND']} -->" in text
        assert tables["insert"](name, text) == text, f"{file}: stale; run {tables['COMMAND']}"
