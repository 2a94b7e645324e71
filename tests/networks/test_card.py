"""The model card of a pushed network, as huggingface_hub reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from ibnseg import cli
from ibnseg.networks.hub import save_pretrained
from tests.networks.test_hub import Trained


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(trained[1], tmp_path_factory.mktemp("cards") / "tiny")


def test_the_metadata_have_the_results_with_their_protocols(trained: Trained, folder: Path) -> None:
    _, _, content = trained
    data = ModelCard.load(folder / "README.md").data
    assert data.library_name == "ibnseg"
    assert data.pipeline_tag == "image-segmentation"
    assert data.datasets == ["gta5"]
    assert data.metrics == ["mean_iou"]
    assert data.model_name == "tiny"
    found = [
        (e.dataset_type, e.dataset_name, e.dataset_split, e.metric_value, e.metric_args["name"])
        for e in data.eval_results
    ]
    expected = [
        (test["domain"], title, "val", test["mIoU"], "native")
        for test, title in zip(content["tests"], ("GTA5", "Cityscapes"), strict=True)
    ]
    assert found == expected
    assert data.eval_results[0].metric_name == "mIoU (protocol native v1, whole images)"
    assert {each.task_type for each in data.eval_results} == {"image-segmentation"}


def test_several_protocols_of_one_domain_are_told_apart(
    trained: Trained, tmp_path: Path, in_data: Path
) -> None:
    run = in_data / "run"
    words = ["push", str(trained[1]), "--out", "first"]
    assert cli.main(words) == 0
    assert cli.main(["pull", "first", "--out", str(run)]) == 0
    words = ["test", str(run), "--protocol", "paper", "--domains", "gta5"]
    assert cli.main(words) == 0
    data = ModelCard.load(save_pretrained(run, tmp_path / "out") / "README.md").data
    found = [(e.dataset_type, e.metric_args["name"], e.metric_value) for e in data.eval_results]
    tests = json.loads((run / "results.json").read_text())["tests"]
    assert sorted(found) == sorted((t["domain"], t["protocol"]["name"], t["mIoU"]) for t in tests)
    assert len({e.metric_name for e in data.eval_results if e.dataset_type == "gta5"}) == 2


@pytest.mark.parametrize(
    ("licence", "head", "text"),
    [
        (None, {}, "No licence was stated for these weights"),
        ("cc-by-nc-sa-4.0", {"license": "cc-by-nc-sa-4.0"}, "cc-by-nc-sa-4.0. The terms of the"),
        (
            "for research: ask us",
            {"license": "other", "license_name": "for research: ask us"},
            "for research: ask us. The terms of the training data (gta5) hold as well",
        ),
    ],
)
def test_the_licence_is_what_was_stated(
    licence: str | None, head: dict, text: str, trained: Trained, tmp_path: Path
) -> None:
    path = save_pretrained(trained[1], tmp_path / "tiny", licence=licence) / "README.md"
    found = ModelCard.load(path).data.to_dict()
    assert {key: value for key, value in found.items() if key.startswith("license")} == head
    assert text in path.read_text()


def test_the_text_has_the_table_of_the_run_and_how_it_is_loaded(
    trained: Trained, folder: Path
) -> None:
    text = ModelCard.load(folder / "README.md").text
    assert text.strip().startswith("# IBN-Net18-a, trained on GTA5\n")
    assert (trained[1] / "results.md").read_text().strip() in text
    assert 'network = from_pretrained("USER/tiny")' in text
    assert "- steps: 60 of 4 crops of 64x64\n" in text
    assert "seed 0" in text


def test_a_title_cannot_write_into_the_card(trained: Trained, tmp_path: Path) -> None:
    """Neither into its metadata nor as Markdown."""
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained[1], run, symlinks=True)
    title = "A\n---\nlicense: mit\n---\n# <b>x</b> [y](http://z)"
    with (run / "config.py").open("a") as file:
        file.write(f"model_title = {title!r}\n")
    (run / "results.json").unlink()
    card = ModelCard.load(save_pretrained(run, tmp_path / "out") / "README.md")
    assert "license" not in card.data.to_dict()
    first = card.text.strip().splitlines()[0]
    assert first.endswith(", trained on GTA5")
    assert "\\<b>" in first
    assert "](http" not in first.replace("\\](", "")
