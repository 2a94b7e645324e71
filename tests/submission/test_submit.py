"""A trained network makes an archive that passes its check; resuming, and refused input."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ibnseg.cli import main
from ibnseg.datasets.transforms import read_image
from ibnseg.engine.launch import stop_processes
from ibnseg.engine.run import train
from ibnseg.networks.network import load, predict_image
from ibnseg.streets.write import write_streets
from ibnseg.submission import get_target
from ibnseg.submission import submit as module
from ibnseg.submission.submit import check, submit
from ibnseg.support.errors import UserError
from ibnseg.support.files import config_folder
from tests.conftest import set_orientation
from tests.support.team import in_processes

DOMAINS = {  # of each target, and how their streets lie on disk
    "bdd100k-drivable": ("streets_virtual_drivable", "drivable"),
    "wad2018-drivable": ("streets_virtual_drivable_2018", "drivable-2018"),
    "bdd100k-sem-seg": ("streets_virtual_sem_seg", "sem-seg"),
    "cityscapes": ("streets_real", "cityscapes"),
}
DRIVABLE = dict(to="bdd100k-drivable", domain="streets_virtual_drivable")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Generated streets for each target, 64x64: 8 to train, 3 of val, 4 to submit."""
    out = tmp_path_factory.mktemp("streets")
    roots = {}
    for domain, layout in DOMAINS.values():
        appearance = domain.split("_")[1]
        (folder,) = write_streets(out, {appearance: (8, 3, 4)}, layout=layout, size=(64, 64))
        roots[domain] = str(folder)
    return roots


@pytest.fixture(scope="module")
def run(roots, tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt the drivable area, tested on streets of both releases."""
    more = """
model["decode_head"]["num_classes"] = 3
iterations = 40
crop_size = (64, 64)
checkpoint_interval = 40
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4)
"""
    domains = ["streets_virtual_drivable", "streets_virtual_drivable_2018"]
    folder = tmp_path_factory.mktemp("run")
    results = train(tiny_config(domains[0], domains, more), work_dir=folder, roots=roots)
    one, other = results["tests"]
    assert one["classes"] == ["direct", "alternative", "background"]
    assert one["eval_classes"] == ["direct", "alternative"]
    assert one["iou"]["background"] > 0.5
    assert one["drivable"]["direct_alternative"] == pytest.approx(one["mIoU"])
    assert one["confusion"] == other["confusion"]  # the same streets in both releases
    return folder


def source(name: str, run: Path, trained: tuple) -> Path:
    """The run whose network a target takes."""
    return run if get_target(name).drivable_release else trained[1]


def test_an_archive_holds_the_predictions_of_the_network_in_the_ids_of_the_target(
    target, run, trained, roots, tmp_path, capsys
) -> None:
    """The archive holds what the network sees, in the target's ids; its check alone agrees; a
    second command does not write over it."""
    network, domain = source(target.name, run, trained), DOMAINS[target.name][0]
    out, own = tmp_path / "submission.zip", dict(domain=domain, roots=roots)
    summary = submit(network, None, target.name, out, **own)
    assert summary.members == 4
    assert not out.with_name("submission.zip.parts").exists()
    printed = capsys.readouterr().out
    assert f"{out}: 4 label maps (" in printed
    assert "4/4" in printed
    assert check(out, target.name, **own) == summary
    assert f"{out}: 4 label maps (" in capsys.readouterr().out
    images = module.split_images(target, Config(), domain, "test", roots)
    loaded = load(network)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == sorted(target.member(key) for key in images)
        for key, path in images.items():
            with archive.open(target.member(key)) as file:
                ids = np.asarray(Image.open(file))
            expected = predict_image(loaded, read_image(path))
            np.testing.assert_array_equal(ids, np.vectorize(target.ids.get)(expected))
    with pytest.raises(UserError, match=r"submission.zip: is there already; remove it"):
        submit(network, None, target.name, out, **own)


def test_an_archive_of_one_class_is_accepted_with_a_warning(
    target, run, trained, roots, tmp_path, monkeypatch, capsys
) -> None:
    """All of one class, or all but half of one map; written, and checked alone."""
    network, domain = source(target.name, run, trained), DOMAINS[target.name][0]
    own = dict(domain=domain, roots=roots)
    for only in (0, len(target.class_set.classes) - 1):
        for odd in (0, 1):
            predicted = np.full((64, 64), only, np.uint8)
            maps = iter([*[predicted] * 3, predicted.copy()])
            if odd:
                predicted[:, 32:] = 1
            monkeypatch.setattr(module, "predict_image", lambda *args, maps=maps, **_: next(maps))
            out = tmp_path / f"{only}-{odd}.zip"
            name = target.class_set.classes[only]
            submit(network, None, target.name, out, **own)
            printed = capsys.readouterr().out
            check(out, target.name, **own)
            for text in (printed, capsys.readouterr().out):
                warned = f"warning: every pixel of every map is {name}, " in text.replace("\n", " ")
                assert warned != bool(odd), (only, odd)
                assert ("warning" in text) != bool(odd), (only, odd)


def test_a_copy_that_lacks_a_member_fails_its_check(run, roots, tmp_path) -> None:
    out, own = tmp_path / "a.zip", dict(**DRIVABLE, roots=roots)
    submit(run, None, out=out, **own)
    with zipfile.ZipFile(out) as archive:
        first, *others = archive.namelist()
        members = {name: archive.read(name) for name in others}
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=f"broken.zip: {first}: is missing"):
        check(tmp_path / "broken.zip", **own)


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


def test_an_interrupted_submission_continues_where_it_stopped(
    run, roots, tmp_path, seen, capsys
) -> None:
    out, own = tmp_path / "a.zip", dict(**DRIVABLE, roots=roots)
    with pytest.raises(KeyboardInterrupt):
        submit(run, None, out=out, **own)
    assert not out.exists()
    left = tmp_path / ".a-abcd1234.tmp.zip"  # of a process that was killed while it wrote
    left.touch()
    submit(run, None, out=out, **own)
    assert not left.exists()
    names = [f"02000000-{i:08d}" for i in range(4)]
    assert seen == [*names[:3], *names[2:]]
    assert "(2 of them there already)" in capsys.readouterr().out
    submit(run, None, out=tmp_path / "whole.zip", **own)
    assert (tmp_path / "whole.zip").read_bytes() == out.read_bytes()


def test_two_processes_make_the_archive_that_one_makes(run, roots, tmp_path, monkeypatch) -> None:
    own, log, predict = dict(**DRIVABLE, roots=roots), tmp_path / "log", module.predict_image

    def record(network, image, path, **kwargs):
        with log.open("a") as file:
            file.write(f"{path.stem}\n")
        return predict(network, image, path, **kwargs)

    def work() -> None:
        submit(run, None, out=tmp_path / "two.zip", **own)
        stop_processes()

    submit(run, None, out=tmp_path / "one.zip", **own)
    monkeypatch.setattr(module, "predict_image", record)
    main, other = in_processes(2, work, tmp_path / "said")
    assert "4 label maps" in main
    assert other == ""
    assert sorted(log.read_text().split()) == [f"02000000-{i:08d}" for i in range(4)]
    assert (tmp_path / "two.zip").read_bytes() == (tmp_path / "one.zip").read_bytes()


def test_an_archive_that_another_process_has_written_meanwhile_is_kept(
    run, roots, tmp_path, monkeypatch
) -> None:
    """What a killed process left of the archive goes with the next that is written."""
    out, own = tmp_path / "a.zip", dict(**DRIVABLE, roots=roots)
    find, left = module.find_source, tmp_path / ".a-a1b2c3d4.tmp.zip"
    left.touch()

    def found(*args):
        out.write_text("whole")
        return find(*args)

    monkeypatch.setattr(module, "find_source", found)
    with pytest.raises(UserError, match=r"a\.zip: is there already"):
        submit(run, None, out=out, **own)
    assert out.read_text() == "whole"
    monkeypatch.undo()
    out.unlink()
    submit(run, None, out=out, **own)
    assert not left.exists()


def changed(roots: dict[str, str], tmp_path: Path) -> tuple[Path, dict]:
    """A copy of the drivable streets, to be broken, and the arguments to take it."""
    copy = tmp_path / "streets"
    shutil.copytree(roots["streets_virtual_drivable"], copy)
    return copy, dict(**DRIVABLE, roots={"streets_virtual_drivable": str(copy)})


def test_predictions_of_another_network_or_target_are_not_mixed_in(
    run, roots, tmp_path, seen
) -> None:
    """Predictions of other settings, and of images that are gone, are not mixed in."""
    out = tmp_path / "a.zip"
    data, own = changed(roots, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        submit(run, None, out=out, **own)
    with pytest.raises(UserError, match=r"holds predictions with tta_scales .*; g"):
        submit(run, None, out=out, tta=True, **own)
    other = tmp_path / "other.pth"
    weights = torch.load(run / "latest.pth", weights_only=False)
    torch.save(weights | {"note": "other"}, other)
    with pytest.raises(UserError, match="holds predictions with checkpoint_sha256 .*; give"):
        submit(run, other, out=out, **own)
    with pytest.raises(UserError, match="holds predictions with target .*; give"):
        submit(run, None, out=out, **own | dict(to="wad2018-drivable"))
    (data / "images/100k/test/02000000-00000001.jpg").unlink()
    with pytest.raises(UserError, match=r"prediction of 02000000-00000001.png, whose image is not"):
        submit(run, None, out=out, **own)
    assert not out.exists()


def test_augmented_predictions_are_the_mean_over_scales_and_flips(run, roots, tmp_path) -> None:
    """A flipped image gives a flipped prediction, which it need not without augmentation."""
    network, name = load(run), "02000000-00000000"
    images = Path(roots["streets_virtual_drivable"]) / "images/100k/test"
    image = read_image(images / f"{name}.jpg")
    scales = (1.0, 1.5)
    one = predict_image(network, image, scales=scales)
    other = predict_image(network, np.ascontiguousarray(image[:, ::-1]), scales=scales)
    assert (one == other[:, ::-1]).mean() > 0.999
    out = tmp_path / "a.zip"
    submit(run, None, out=out, roots=roots, tta=True, options=["tta_scales=(1.0,1.5)"], **DRIVABLE)
    with zipfile.ZipFile(out) as archive, archive.open(f"{name}.png") as file:
        np.testing.assert_array_equal(np.asarray(Image.open(file)), one)


def test_a_network_whose_classes_the_target_does_not_take_is_refused(
    run, trained, roots, tmp_path
) -> None:
    own = dict(out=tmp_path / "a.zip", roots=roots)
    with pytest.raises(UserError, match=r"latest.pth: a network of the 19 classes of cityscapes; "):
        submit(trained[1], None, **own, **DRIVABLE)
    with pytest.raises(UserError, match=r"of the 3 classes of drivable; Cityscapes takes the 19 "):
        submit(run, None, to="cityscapes", domain="streets_real", **own)
    assert not list(tmp_path.iterdir())


def test_a_broken_or_missing_test_image_is_named_and_nothing_is_written(
    run, roots, tmp_path
) -> None:
    data, own = changed(roots, tmp_path)
    path = data / "images/100k/test/02000000-00000002.jpg"
    for content in (path.read_bytes()[:-300], b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="02000000-00000002.jpg: truncated or "):
            submit(run, None, out=tmp_path / "a.zip", **own)
    shutil.rmtree(path.parent)
    with pytest.raises(UserError, match="no images of split 'test'; expected images/100k"):
        submit(run, None, out=tmp_path / "b.zip", **own)
    assert not list(tmp_path.glob("*.zip"))


def test_a_missing_image_is_named_where_its_label_is_there(run, roots, tmp_path) -> None:
    data, own = changed(roots, tmp_path)
    (data / "images/100k/val/01000000-00000001.jpg").unlink()
    with pytest.raises(UserError, match=r"01000000-00000001: no image in split 'val', which has"):
        submit(run, None, out=tmp_path / "a.zip", split="val", **own)


def test_a_folder_with_labels_of_both_releases_is_read_by_the_release_of_its_domain(
    roots, tmp_path
) -> None:
    """For ``test`` the labels do not matter; for ``val`` the domain names the release."""
    data, _ = changed(roots, tmp_path)
    other = Path(roots["streets_virtual_drivable_2018"])
    shutil.copytree(other / "drivable_maps", data / "drivable_maps")
    target, name = get_target("wad2018-drivable"), "streets_virtual_drivable"
    cfg = Config.fromfile(config_folder() / f"_base_/domains/{name}.py")
    assert len(module.split_images(target, cfg, name, "test", {name: str(data)})) == 4
    with pytest.raises(UserError, match="has labels of several releases"):
        module.split_images(target, cfg, name, "val", {name: str(data)})
    folder = tmp_path / "_base_/domains"
    folder.mkdir(parents=True)
    base = config_folder() / f"_base_/domains/{name}.py"
    own = f'_base_ = "{base}"\ndomain = dict(name="mine", dataset=dict(release="2018"))\n'
    (folder / "mine.py").write_text(own)
    (tmp_path / "config.py").write_text("")
    cfg = Config.fromfile(tmp_path / "config.py")
    assert len(module.split_images(target, cfg, "mine", "val", {name: str(data)})) == 3


def test_an_official_split_with_another_number_or_size_of_images_is_refused(
    run, roots, tmp_path, monkeypatch
) -> None:
    own = dict(
        to="bdd100k-drivable",
        out=tmp_path / "a.zip",
        roots={"bdd100k": roots["streets_virtual_drivable"]},
    )
    with pytest.raises(UserError, match=r"4 images of split 'test', BDD100K drivable area has 2"):
        submit(run, None, **own)
    monkeypatch.setitem(get_target("bdd100k-drivable").counts, "test", 4)
    with pytest.raises(UserError, match=r".jpg: is of 64x64, all images of .* of 1280x720"):
        submit(run, None, **own)


def test_an_unknown_target_suffix_domain_or_split_is_refused(run, roots, tmp_path) -> None:
    for kwargs, message in (
        (dict(to="bdd100k"), "unknown target 'bdd100k'; did you mean bdd100k-"),
        (dict(out=tmp_path / "a.tar"), "a.tar: an archive is called .zip"),
        (dict(domain="gta5"), r"domain 'gta5' lies on disk as ibnseg.GTA5, .* as ibnseg.BDD100KDr"),
        (dict(split="train"), "split 'train': expected one of val, test"),
    ):
        given = dict(**DRIVABLE, out=tmp_path / "a.zip", roots=roots) | kwargs
        with pytest.raises(UserError, match=message):
            submit(run, None, **given)


def test_the_command_writes_an_archive_and_checks_it(
    run, roots, tmp_path, monkeypatch, capsys
) -> None:
    """Written, then checked alone; a broken copy is refused with the member's name."""
    monkeypatch.chdir(tmp_path)
    domain = "streets_virtual_drivable_2018"
    own = ["--to", "wad2018-drivable", "--domain", domain]
    own += ["--data-root", f"{domain}={roots[domain]}"]
    assert main(["submit", str(run), *own]) == 0
    assert Path("submission.zip").is_file()
    assert main(["submit", "--check", "submission.zip", *own]) == 0
    capsys.readouterr()
    with zipfile.ZipFile("submission.zip", "a") as archive:
        archive.writestr("extra.png", b"")
    assert main(["submit", "--check", "submission.zip", *own]) == 1
    assert "submission.zip: extra.png: is of no image" in capsys.readouterr().err
    assert main(["submit", "--to", "cityscapes"]) == 1
    assert "expected a run or config, or --check FILE" in capsys.readouterr().err


def test_a_check_finds_domains_beside_a_config(run, roots, tmp_path) -> None:
    """A domain of one's own, which is not the package's."""
    out = tmp_path / "a.zip"
    submit(run, None, out=out, roots=roots, **DRIVABLE)
    folder = tmp_path / "_base_/domains"
    folder.mkdir(parents=True)
    base = config_folder() / "_base_/domains/bdd100k_drivable.py"
    (folder / "mine.py").write_text(
        base.read_text() + 'domain.update(name="mine", data_root="mine")\n'
    )
    shutil.copy(run / "config.py", tmp_path / "config.py")
    own = dict(domain="mine", roots={"mine": roots["streets_virtual_drivable"]})
    assert check(out, "bdd100k-drivable", tmp_path / "config.py", **own).members == 4
    with pytest.raises(UserError, match="unknown domain 'mine'"):
        check(out, "bdd100k-drivable", **own)


def test_an_archive_has_the_pixels_as_they_are_stored(run, roots, tmp_path) -> None:
    data = shutil.copytree(roots["streets_virtual_drivable"], tmp_path / "data")
    path = sorted((data / "images/100k/test").iterdir())[0]
    set_orientation(path, 6)
    with Image.open(path) as image:
        size = image.size
    stored = {**roots, "streets_virtual_drivable": str(data)}
    submit(run, None, out=tmp_path / "a.zip", roots=stored, **DRIVABLE)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open(f"{path.stem}.png") as file:
        assert Image.open(file).size == size


def test_label_maps_of_another_program_are_packed(run, roots, tmp_path, capsys) -> None:
    """The maps that a network wrote make the network's archive, whatever their ids."""
    own = dict(domain="streets_real", roots=roots)
    images = module.split_images(get_target("cityscapes"), Config(), "streets_real", "test", roots)
    (tmp_path / "maps").mkdir()
    maps = [tmp_path / "maps" / f"{path.stem}.png" for path in images.values()]
    for i, path in enumerate(maps):
        Image.fromarray(np.full((64, 64), i, np.uint8)).save(path)
    source = f"predictions:{tmp_path / 'maps'}"
    out = tmp_path / "submission.zip"
    summary = submit(source, None, "cityscapes", out, **own)
    assert summary.pixels == dict.fromkeys((7, 8, 11, 12), 64 * 64)  # the ids of classes 0 to 3
    assert check(out, "cityscapes", **own) == summary
    for wrong, message in (
        (np.full((64, 64), 255, np.uint8), "4096 of its 4096 pixels have no class"),
        (np.zeros((64, 32), np.uint8), "64x32|32x64"),
    ):
        Image.fromarray(wrong).save(maps[0])
        with pytest.raises(UserError, match=message):
            submit(source, None, "cityscapes", tmp_path / "again.zip", **own)
        assert not (tmp_path / "again.zip").exists()
        shutil.rmtree(tmp_path / "again.zip.parts", ignore_errors=True)
    maps[1].unlink()
    with pytest.raises(UserError, match="images without a label map: 1 of 4"):
        submit(source, None, "cityscapes", tmp_path / "again.zip", **own)
    with pytest.raises(UserError, match="are predictions already; leave out --tta"):
        submit(source, None, "cityscapes", tmp_path / "again.zip", tta=True, **own)
