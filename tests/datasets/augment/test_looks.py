"""Appearances by name as augmentation: labels, seeds, channels, and what a config may say."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, generator, look_of_images
from ibnseg.datasets.augment import looks as appearance
from ibnseg.datasets.augment.looks import Appearance, LookOf, look_of_files, look_of_folder
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.conftest import save_ids, save_rgb, scene, set_orientation, shown_twice

IMAGE, LABEL = scene(5)
BGR = IMAGE[..., ::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three dim images, one in a sub-folder."""
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        save_rgb(tmp_path / "look" / name, scene(20 + i)[0] // 2)
    return tmp_path / "look"


def shown(transform, seed: int = 0) -> np.ndarray:
    np.random.seed(seed)
    return transform(dict(img=BGR.copy()))["img"]


def test_labels_and_the_input_are_untouched_and_the_state_decides() -> None:
    for name in (*CONDITIONS, *PAPER):
        shown = shown_twice(Appearance([name]), BGR, LABEL)
        assert shown.shape == BGR.shape, name
        assert shown.dtype == (np.float32 if name in PAPER else np.uint8), name


def test_appearances_take_red_from_the_last_channel() -> None:
    found = shown(Appearance(["R+50"])) - BGR.astype(np.float32)
    np.testing.assert_array_equal(found, np.broadcast_to((0.0, 0, 50), BGR.shape))
    assert shown(Appearance(["RGB+50"])).max() > 255
    expected = CONDITIONS["temperature"].at(IMAGE, 3, generator(0, ""))[..., ::-1]
    np.testing.assert_array_equal(shown(Appearance(["temperature"], severity=(3, 3))), expected)


def test_severities_are_uniform_between_their_bounds() -> None:
    severities = CONDITIONS["brightness"].severities
    plane = np.full((1, 1, 3), 100, np.uint8)
    transform = Appearance(["brightness"], severity=(2, 4))
    np.random.seed(0)
    found = [int(transform(dict(img=plane))["img"][0, 0, 0]) for _ in range(600)]
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == [round(100 * x) for x in severities[1:4]]
    assert np.abs(counts - 200).max() < 4 * (600 * 2 / 9) ** 0.5


def test_names_are_drawn_alike_and_noise_differs_from_draw_to_draw() -> None:
    transform = Appearance(["noise", "saturation"], severity=(5, 5))
    grey = np.full((8, 8, 3), 100, np.uint8)
    np.random.seed(0)
    found = [transform(dict(img=grey))["img"] for _ in range(400)]
    noisy = [x for x in found if (x != 100).any()]
    assert abs(len(noisy) - 200) < 4 * 10
    assert len({x.tobytes() for x in noisy}) == len(noisy)


def test_an_appearance_is_shown_with_its_probability(folder: Path) -> None:
    for transform in (Appearance(["gamma"], prob=0.3), LookOf(str(folder), ["moments"], prob=0.3)):
        np.random.seed(0)
        changed = sum((transform(dict(img=BGR))["img"] != BGR).any() for _ in range(400))
        assert abs(changed - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5


def test_images_take_the_look_of_a_folder(folder: Path) -> None:
    for name in LOOKS:
        look = look_of_images([scene(20 + i)[0] // 2 for i in range(3)])
        found = shown(LookOf(str(folder), [name]))
        np.testing.assert_array_equal(found, LOOKS[name](IMAGE, look)[..., ::-1], err_msg=name)
        assert found.dtype == np.uint8, name


def test_a_folder_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = look_of_folder(str(folder))
    (folder / "a.png").unlink()
    assert look_of_folder(str(folder)) is look


def test_from_many_images_some_are_taken_at_even_distances(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(appearance, "MOST", 2)
    look = look_of_files(sorted(folder.rglob("*.png")))
    expected = look_of_images([scene(20)[0] // 2, scene(22)[0] // 2])
    np.testing.assert_array_equal(look.mean, expected.mean)


def test_label_images_are_refused_as_a_look(folder: Path) -> None:
    save_ids(folder / "label.png", LABEL)
    with pytest.raises(UserError, match=r"label\.png: has mode L, expected colours"):
        LookOf(str(folder))


def test_a_look_is_that_of_every_image_and_of_nothing_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_rgb(tmp_path / "far/b.BMP", scene(22)[0] // 2)
    save_rgb(tmp_path / "own/a.png", scene(20)[0] // 2)
    (tmp_path / "own/far").symlink_to(tmp_path / "far")
    (tmp_path / "far/own").symlink_to(tmp_path / "own")
    for name in ("._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png", "notes.txt"):
        (tmp_path / "own" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "own" / name).write_text("no image")
    expected = look_of_images([scene(20)[0] // 2, scene(22)[0] // 2])
    np.testing.assert_array_equal(LookOf("~/own").look.mean, expected.mean)


def test_an_empty_folder_and_a_broken_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images \(.png, .jpg, .* to take"):
        LookOf(str(tmp_path))
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"x\.png: truncated or not an image"):
        LookOf(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(names=["blurr"]), UserError, "unknown appearance 'blurr'; did you mean blur"),
        (dict(names=[]), ValueError, "names is .*, expected a list"),
        (dict(names="blur"), ValueError, "names is 'blur', expected a list"),
        (dict(names=["blur"], severity=(0, 3)), ValueError, r"severity is \(0, 3\), expected"),
        (dict(names=["blur"], severity=(4, 3)), ValueError, r"severity is \(4, 3\), expected"),
        (dict(names=["blur"], prob=1.5), ValueError, "Appearance: prob is 1.5, expected 0 to 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Appearance(**arguments)


def test_an_unknown_look_is_refused_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(UserError, match="unknown look 'fuorier'; did you mean fourier"):
        LookOf(str(folder), ["fuorier"])


def test_a_config_names_the_appearances_of_its_training_images(
    in_data: Path, tiny_config, folder: Path
) -> None:
    """The samples of the training set have these appearances."""
    more = f"""
augment = [
    dict(type="ibnseg.LookOf", folder={str(folder)!r}, names=["moments"]),
    dict(type="ibnseg.Appearance", names=["blur", "noise", "std x1.5"], severity=[1, 3], prob=0.5),
]
"""
    config = tiny_config("gta5", ["gta5"], more)
    cfg = expand(load_config(config))
    samples = {}
    for name, pipeline in {
        "with": cfg.train_dataloader.dataset.pipeline,
        "without": [p for p in cfg.train_dataloader.dataset.pipeline if p not in cfg.augment],
    }.items():
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, "pipeline": list(pipeline)})
        np.random.seed(0)
        random.seed(0)
        samples[name] = dataset[0]
    assert samples["with"]["inputs"].float().mean() < samples["without"]["inputs"].float().mean()
    labels = [sample["data_samples"].gt_sem_seg.data for sample in samples.values()]
    torch.testing.assert_close(*labels)


def test_wrong_values_in_a_config_name_its_key(in_data: Path, tiny_config) -> None:
    more = 'augment = [dict(type="ibnseg.Appearance", names=[])]'
    with pytest.raises(UserError, match="augment: cannot be built from the config .names is"):
        expand(load_config(tiny_config("gta5", ["gta5"], more)))


PAPERS, CONDITION = dict(names=["std x1.5", "blur"]), dict(names=["blur"])


@pytest.mark.parametrize(
    ("augment", "wrong"),
    [
        ([CONDITION, CONDITION, PAPERS], None),
        ([PAPERS, dict(names=["R+50", "RGB+50"])], None),
        ([PAPERS, PAPERS], "1.: Appearance"),
        ([CONDITION, PAPERS, CONDITION], "2.: Appearance"),
        ([PAPERS, dict(type="ibnseg.GaussianBlur", sigma=(0.1, 1.0))], "1.: GaussianBlur"),
    ],
)
def test_appearances_that_give_floats_come_last(
    in_data: Path, tiny_config, augment: list[dict], wrong: str | None
):
    augment = [dict(type="ibnseg.Appearance") | each for each in augment]
    config = load_config(tiny_config("gta5", ["gta5"], f"augment = {augment}"))
    if wrong is None:
        assert len(expand(config).augment) == len(augment)
        return
    with pytest.raises(UserError, match=rf"augment\[{wrong} comes after the paper's appearances"):
        expand(config)


def test_a_folder_s_images_are_turned_upright_for_its_look_and_a_domain_s_are_not(
    folder: Path, log
) -> None:
    set_orientation(folder / "a.png", 6)
    set_orientation(folder / "sub/c.png", 3)
    scenes = [scene(20 + i)[0] // 2 for i in range(3)]
    upright = [np.rot90(scenes[0], -1), scenes[1], np.rot90(scenes[2], 2)]
    for look, images in (
        (look_of_folder(str(folder)), upright),
        (look_of_files(sorted(folder.rglob("*.png"))), scenes),
    ):
        expected = look_of_images(map(np.ascontiguousarray, images))
        np.testing.assert_allclose(look.amplitude, expected.amplitude)
    (said,) = [record.getMessage() for record in log.records]
    assert said.startswith(
        f"{folder}: 2 of 3 images were turned upright, as their EXIF orientation"
    )
