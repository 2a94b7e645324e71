"""From a trained network to an archive that passes its check, resumed, and what is refused."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.cli import main
from ibnseg.datasets.transforms import read_image
from ibnseg.engine.config import load_config
from ibnseg.engine.network import load, predict_image
from ibnseg.engine.run import train
from ibnseg.errors import UserError
from ibnseg.files import config_folder
from ibnseg.submission import get_target
from ibnseg.submission import submit as module
from ibnseg.submission.submit import check, submit
from tests.conftest import save_rgb, scene
from tests.submission.conftest import FRAMES, HEXES, write_drivable

COUNTS = {"train": 8, "val": 3, "test": 4}

DOMAINS = {  # rehearsals: the official layouts with a few small images
    "few_drivable": ("bdd100k_drivable", "few"),
    "few_sem_seg": ("bdd100k", "few"),
    "few_cityscapes": ("cityscapes", "few_cityscapes"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of configs with rehearsal domains, and of their data."""
    root = tmp_path_factory.mktemp("rehearsal")
    write_drivable(root / "data/few", COUNTS)
    for i, name in enumerate(HEXES):
        save_rgb(root / "data/few/images/10k/test" / f"{name}.jpg", scene(i)[0])
    for i, frame in enumerate(FRAMES):
        city = root / "data/few_cityscapes/leftImg8bit/test" / frame.split("_")[0]
        save_rgb(city / f"{frame}_leftImg8bit.png", scene(i)[0])
    for name, (base, data) in DOMAINS.items():
        path = root / "_base_/domains" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (config_folder() / "_base_/domains" / f"{base}.py").read_text()
        path.write_text(text + f"domain.update(name={name!r}, data_root={data!r})\n")
    return root


@pytest.fixture(scope="module")
def roots(folder: Path) -> dict[str, str]:
    return {name: str(folder / "data" / name) for name in ("few", "few_cityscapes")}


@pytest.fixture(scope="module")
def run(folder: Path, roots: dict[str, str], tiny_config) -> Path:
    """A network that has learnt the drivable area of the miniature."""
    more = """
model["decode_head"]["num_classes"] = 3
iterations = 40
crop_size = (48, 64)
checkpoint_interval = 40
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4)
"""
    config = folder / "drivable.py"
    config.write_text(tiny_config("few_drivable", ["few_drivable"], more).read_text())
    results = train(config, work_dir=folder / "run", roots={"few": roots["few"]}, show=False)
    (test,) = results["tests"]
    assert test["classes"] == ["direct", "alternative", "background"]
    assert test["eval_classes"] == ["direct", "alternative"]
    assert test["iou"]["background"] > 0.5
    assert set(test["iou"]) == {"direct", "alternative", "background"}
    return folder / "run"


@pytest.fixture
def street_run(trained, folder: Path, tmp_path: Path) -> Path:
    """The network of 19 classes, beside the rehearsal domains."""
    shutil.copytree(folder / "_base_", tmp_path / "_base_")
    shutil.copytree(trained[1], tmp_path / "run")
    return tmp_path / "run"


def config_beside(domains: Path, run: Path) -> Path:
    """A run's config in the folder whose domains it is to find."""
    path = domains / f"{run.name}_of_{run.parent.name}.py"
    path.write_text((run / "config.py").read_text())
    return path


def args(name: str, run: Path, street_run: Path, folder: Path) -> tuple:
    """Source, checkpoint and domain with which a target is rehearsed."""
    domain = {"bdd100k-sem-seg": "few_sem_seg", "cityscapes": "few_cityscapes"}.get(
        name, "few_drivable"
    )
    own = run if domain == "few_drivable" else street_run
    return config_beside(folder, own), own / "latest.pth", domain


def test_from_a_run_to_an_archive(target, run, street_run, folder, roots, tmp_path, capsys) -> None:
    """The archive holds what the network sees, in the target's ids; its check alone agrees; a
    second command does not write over it."""
    source, checkpoint, domain = args(target.name, run, street_run, folder)
    out = tmp_path / "submission.zip"
    summary = submit(source, checkpoint, target.name, out, domain=domain, roots=roots)
    expected = 4 if domain == "few_drivable" else 3
    assert summary.members == expected
    assert not out.with_name("submission.zip.parts").exists()
    printed = capsys.readouterr().out
    assert f"{out}: {expected} label maps (" in printed
    assert f"{expected}/{expected}" in printed
    images = module.split_images(target, load_config(source), domain, "test", roots)
    network = load(source, checkpoint)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == sorted(target.member(key) for key in images)
        for key, path in images.items():
            with archive.open(target.member(key)) as file:
                ids = np.asarray(Image.open(file))
            train_ids = predict_image(network, np.asarray(Image.open(path))[..., ::-1])
            agree = ids == np.vectorize(target.ids.get)(train_ids)
            assert agree.mean() > 0.99  # JPEG: Pillow and OpenCV differ by a grey level
    with pytest.raises(UserError, match=r"submission.zip: is there already; remove it"):
        submit(source, checkpoint, target.name, out, domain=domain, roots=roots)


@pytest.fixture
def seen(monkeypatch) -> list[str]:
    """Names of the images that are predicted from now on."""
    names, predict = [], module.predict_image

    def record(network, image, path, **kwargs):
        names.append(path.stem)
        if len(names) == 3:
            raise KeyboardInterrupt
        return predict(network, image, path, **kwargs)

    monkeypatch.setattr(module, "predict_image", record)
    return names


def test_an_interrupted_command_goes_on(run, folder, roots, tmp_path, seen, capsys) -> None:
    out, source = tmp_path / "a.zip", config_beside(folder, run)
    command = (source, run / "latest.pth", "bdd100k-drivable", out)
    own = dict(domain="few_drivable", roots=roots)
    with pytest.raises(KeyboardInterrupt):
        submit(*command, **own)
    assert not out.exists()
    submit(*command, **own)
    names = [f"00000002-{i:08x}" for i in range(4)]
    assert seen == [*names[:3], *names[2:]]
    assert "4 label maps" in (printed := capsys.readouterr().out)
    assert "(2 of them there already), checked" in printed
    submit(*command[:3], tmp_path / "whole.zip", **own)
    assert (tmp_path / "whole.zip").read_bytes() == out.read_bytes()


def test_what_was_begun_is_of_one_network_and_one_split(run, folder, roots, tmp_path, seen) -> None:
    """Neither another way of predicting nor an image that is gone is mixed in."""
    out, source = tmp_path / "a.zip", config_beside(folder, run)
    command = (source, run / "latest.pth", "bdd100k-drivable", out)
    with pytest.raises(KeyboardInterrupt):
        submit(*command, domain="few_drivable", roots=roots)
    with pytest.raises(UserError, match=r"a.zip.parts: holds predictions of another checkpoint"):
        submit(*command, domain="few_drivable", roots=roots, tta=True)
    less = tmp_path / "less"
    shutil.copytree(roots["few"], less, copy_function=shutil.copy2)
    (less / "images/100k/test/00000002-00000001.jpg").unlink()
    with pytest.raises(UserError, match=r"parts: 00000002-00000001.png was to be predicted, and"):
        submit(*command, domain="few_drivable", roots={"few": str(less)})
    assert not out.exists()


def test_augmentation_is_the_mean_of_scales_and_flips(run, folder, roots, tmp_path) -> None:
    """A flipped image gives a flipped prediction, which it need not without augmentation."""
    network = load(run)
    path = Path(roots["few"]) / "images/100k/test/00000002-00000000.jpg"
    image = read_image(path)
    scales = (1.0, 1.5)
    one = predict_image(network, image, scales=scales)
    other = predict_image(network, np.ascontiguousarray(image[:, ::-1]), scales=scales)
    assert (one == other[:, ::-1]).mean() > 0.999
    out, source = tmp_path / "a.zip", config_beside(folder, run)
    submit(
        source, run / "latest.pth", "bdd100k-drivable", out, domain="few_drivable", roots=roots,
        tta=True, options=["tta_scales=(1.0,1.5)"],
    )  # fmt: skip
    with zipfile.ZipFile(out) as archive, archive.open("00000002-00000000.png") as file:
        np.testing.assert_array_equal(np.asarray(Image.open(file)), one)


def test_a_network_of_other_classes(run, street_run, folder, roots, tmp_path) -> None:
    out = tmp_path / "a.zip"
    with pytest.raises(UserError, match=r"latest.pth: a network of the 19 classes of cityscapes; "):
        submit(
            config_beside(folder, street_run), street_run / "latest.pth", "wad2018-drivable", out,
            domain="few_drivable", roots=roots,
        )  # fmt: skip
    with pytest.raises(UserError, match=r"of the 3 classes of drivable; Cityscapes takes the 19 "):
        submit(
            config_beside(folder, run), run / "latest.pth", "cityscapes", out,
            domain="few_cityscapes", roots=roots,
        )  # fmt: skip
    assert not list(tmp_path.glob("a.zip*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cut", "00000002-00000002.jpg: truncated or not an image"),
        ("text", "00000002-00000002.jpg: truncated or not an image"),
        ("none", "no images of split 'test'; expected images/100k"),
    ],
)
def test_a_broken_test_split(run, folder, roots, tmp_path, change, message) -> None:
    data, out = tmp_path / "few", tmp_path / "a.zip"
    shutil.copytree(roots["few"], data)
    path = data / "images/100k/test/00000002-00000002.jpg"
    if change == "none":
        shutil.rmtree(path.parent)
    else:
        path.write_bytes(path.read_bytes()[:-300] if change == "cut" else b"text")
    with pytest.raises(UserError, match=message):
        submit(
            config_beside(folder, run), run / "latest.pth", "bdd100k-drivable", out,
            domain="few_drivable", roots={"few": str(data)},
        )  # fmt: skip
    assert not out.exists()


def test_a_missing_image_is_named_where_its_label_is_there(run, folder, roots, tmp_path) -> None:
    data = tmp_path / "few"
    shutil.copytree(roots["few"], data)
    (data / "images/100k/val/00000001-00000001.jpg").unlink()
    with pytest.raises(UserError, match=r"few: 00000001-00000001: no image in split 'val', which"):
        submit(
            config_beside(folder, run), run / "latest.pth", "bdd100k-drivable",
            tmp_path / "a.zip", domain="few_drivable", split="val", roots={"few": str(data)},
        )  # fmt: skip


def test_the_official_split_has_its_number_and_size(run, roots, tmp_path, monkeypatch) -> None:
    official = {"bdd100k": roots["few"]}
    out = tmp_path / "a.zip"
    with pytest.raises(UserError, match=r"few: 4 images of split 'test', BDD100K drivable"):
        submit(run, None, "bdd100k-drivable", out, roots=official)
    monkeypatch.setitem(get_target("bdd100k-drivable").counts, "test", 4)
    with pytest.raises(UserError, match=r".jpg: is of 64x48, all images of .* of 1280x720"):
        submit(run, None, "bdd100k-drivable", out, roots=official)


def test_wrong_names(run, roots, tmp_path) -> None:
    for kwargs, message in (
        (dict(to="bdd100k"), "unknown target 'bdd100k'; did you mean bdd100k-"),
        (dict(out=tmp_path / "a.tar"), "a.tar: an archive is called .zip"),
        (dict(domain="gta5"), r"domain 'gta5' lies on disk as ibnseg.GTA5, .* as ibnseg.BDD100KDr"),
        (dict(split="train"), "split 'train': expected one of val, test"),
    ):
        given = dict(to="bdd100k-drivable", out=tmp_path / "a.zip", roots=roots) | kwargs
        with pytest.raises(UserError, match=message):
            submit(run, None, **given)


def test_the_command(run, folder, roots, tmp_path, monkeypatch, capsys) -> None:
    """Written, then checked alone; a broken copy is refused with the member's name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "_base_", tmp_path / "_base_")
    data = f"few={roots['few']}"
    source = config_beside(tmp_path, run)
    own = ["--to", "wad2018-drivable", "--domain", "few_drivable", "--data-root", data]
    assert main(["submit", str(source), str(run / "latest.pth"), *own]) == 0
    assert Path("submission.zip").is_file()
    capsys.readouterr()
    with zipfile.ZipFile("submission.zip", "a") as archive:
        archive.writestr("extra.png", b"")
    assert main(["submit", str(source), "--check", "submission.zip", *own]) == 1
    assert "submission.zip: extra.png: is of no image" in capsys.readouterr().err
    assert main(["submit", "--to", "cityscapes"]) == 1
    assert "expected a run or config, or --check FILE" in capsys.readouterr().err


def test_check_alone(run, folder, roots, tmp_path, capsys) -> None:
    out, source = tmp_path / "a.zip", config_beside(folder, run)
    own = dict(domain="few_drivable", roots=roots)
    submit(source, run / "latest.pth", "bdd100k-drivable", out, **own)
    capsys.readouterr()
    assert check(out, "bdd100k-drivable", source, **own).members == 4
    assert f"{out}: 4 label maps (" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"a.zip: 00000002-.*: has the ids of another release"):
        check(out, "wad2018-drivable", source, **own)
    with pytest.raises(UserError, match="unknown domain 'few_drivable'"):
        check(out, "bdd100k-drivable", **own)
