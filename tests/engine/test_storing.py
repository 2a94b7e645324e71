"""``ibnseg prepare --features``: heads are trained from a frozen backbone's stored features."""

from __future__ import annotations

import json
import os
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ibnseg.cli import main
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.features import packed, unpacked
from ibnseg.datasets.sampler import StreamSampler
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.engine.run import train
from ibnseg.models import IBNResNet
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.models.cases import case

NARROW = dict(base_channels=8, stem_channels=8)
FROZEN = """
model["backbone"] |= dict(
    frozen_stages=4, init_cfg=dict(type="Pretrained", checkpoint="{weights}")
)
model["decode_head"] |= dict(dropout_ratio=0)
crop_size = (64, 64)
iterations = 4
augment = []
test_domains = ["camvid"]
"""
"""What makes a network of ``TINY`` one with a frozen backbone, whose head alone is trained."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    backbone = IBNResNet(18, "a", **NARROW)
    backbone.init_weights()
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(backbone.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def config(tiny_config, weights: Path) -> Path:
    more = FROZEN.format(weights=weights.as_posix()) + "feature_draws = 2\n"
    return tiny_config("camvid", ["camvid"], more, name="frozen")


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    """A copy of the small CamVid, which may be changed."""
    return Path(shutil.copytree(data / "camvid", tmp_path / "camvid"))


def prepare(config: Path, out: Path, root: Path, *options: str) -> int:
    given = ["--cfg-options", *options] if options else []
    where = ["--out", str(out), "--data-root", f"camvid={root}"]
    return main(["prepare", "--features", str(config), *where, *given])


@pytest.fixture
def out(config: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stored features, which the environment names."""
    out = tmp_path / "features"
    assert prepare(config, out, root) == 0
    monkeypatch.setenv("IBNSEG_FEATURES", str(out))
    return out


def error_of(capsys: pytest.CaptureFixture, *args: object) -> str:
    assert prepare(*args) == 1
    return capsys.readouterr().err.strip()


def losses(folder: Path) -> list[float]:
    log = min(folder.glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def head_of(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "latest.pth", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("decode_head")}


def run(config: Path, root: Path, folder: Path, *options: str) -> dict:
    return train(config, options=options, roots={"camvid": str(root)}, work_dir=folder, show=False)


def test_training_from_stored_features_is_training_through_the_frozen_backbone(
    config, out, root, tmp_path, monkeypatch
) -> None:
    """Exactly, if the features are rounded there, too; otherwise up to bfloat16's rounding."""
    stored = run(config, root, tmp_path / "stored")
    run(config, root, tmp_path / "plain", "feature_draws=0")
    exact = IBNResNet.forward

    def rounding(self: IBNResNet, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(each.bfloat16().float() for each in exact(self, x))

    with monkeypatch.context() as patched:
        patched.setattr(IBNResNet, "forward", rounding)
        run(config, root, tmp_path / "rounded", "feature_draws=0")
    rounded = head_of(tmp_path / "rounded")
    for name, value in head_of(tmp_path / "stored").items():
        torch.testing.assert_close(value, rounded[name], rtol=0, atol=1e-6, msg=name)
    one, other = losses(tmp_path / "stored"), losses(tmp_path / "rounded")
    np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(one, losses(tmp_path / "plain"), rtol=1e-4)
    assert one != losses(tmp_path / "plain")  # which are not rounded
    assert stored["tests"][0]["images"] == 3  # tested on images
    assert stored["run"]["recipe"]["values"]["feature_draws"] == 2


def test_an_interrupted_training_from_stored_features_goes_on(config, out, root, tmp_path) -> None:
    run(config, root, tmp_path / "whole")
    short = tmp_path / "short"
    shutil.copytree(tmp_path / "whole", short)
    (short / "latest.pth").unlink()
    (short / "latest.pth").symlink_to("checkpoints/iter_2.pth")
    train(config, roots={"camvid": str(root)}, work_dir=short, show=False, resume=True)
    whole = head_of(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in head_of(short).items())


def samples(config: Path, root: Path, **changes: object) -> Dataset:
    cfg = load_config(config, changes)
    return DATASETS.build(expand(cfg, {"camvid": str(root)}).train_dataloader.dataset)


def test_each_pass_over_the_images_gets_the_next_crops_and_then_the_first_again(
    config, out, root
) -> None:
    stored, images = samples(config, root), samples(config, root, feature_draws=0)
    count = len(images)
    stream = list(islice(StreamSampler(images, seed=0).stream(), 3 * count))
    for item in stream[: 2 * count]:
        label = stored[item]["data_samples"].gt_sem_seg.data
        # smaller crops are padded to the right and below with what is ignored
        own = images[item]["data_samples"].gt_sem_seg.data
        assert label.shape == (1, 64, 64)
        assert torch.equal(label[:, : own.shape[1], : own.shape[2]], own)
    of_first = {item.index: stored[item] for item in stream[:count]}
    for item in stream[2 * count :]:
        again, first = stored[item]["inputs"], of_first[item.index]["inputs"]
        assert all(torch.equal(again.get(name), first.get(name)) for name in dict(first.items()))


@pytest.fixture
def of_two(tiny_config, weights, root, tmp_path, monkeypatch) -> Path:
    """A config with two training domains, whose features are stored."""
    more = FROZEN.format(weights=weights.as_posix()) + "feature_draws = 2\n"
    config = tiny_config("camvid", ["camvid"], more + "train_domain = ['camvid', 'again']\n")
    again = Domains()["camvid"].as_dict() | dict(name="again", train_resize=(80, 60))
    folder = config.parent / "_base_" / "domains"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "again.py").write_text(f"domain = {again!r}\n")
    assert prepare(config, tmp_path / "out", root) == 0
    monkeypatch.setenv("IBNSEG_FEATURES", str(tmp_path / "out"))
    return config


def test_domains_in_another_order_have_other_crops_and_are_refused(of_two, root) -> None:
    with pytest.raises(UserError, match="training images of the domains before this one 9, not 0"):
        samples(of_two, root, train_domain=["again", "camvid"])


def test_domains_that_share_their_images_have_crops_of_their_own(of_two, root) -> None:
    config = of_two
    stored, images = samples(config, root), samples(config, root, feature_draws=0)
    for item in islice(StreamSampler(images, seed=0).stream(), 2 * len(images)):
        label, own = (each[item]["data_samples"].gt_sem_seg.data for each in (stored, images))
        assert torch.equal(label[:, : own.shape[1], : own.shape[2]], own), item


def test_maps_are_rounded_to_bfloat16_and_keep_their_shapes() -> None:
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 1, 2, 2) * 1e30]
    numbers = packed(maps)
    assert (numbers.shape, numbers.dtype) == ((2, 64), np.uint16)
    for i in range(2):
        found = unpacked(numbers[i], [each.shape[1:] for each in maps])
        assert all(torch.equal(f, each[i].bfloat16()) for f, each in zip(found, maps, strict=True))


def test_the_same_command_again_stores_only_what_is_missing(config, out, root, capsys) -> None:
    folder = out / "camvid"
    next(folder.glob("*.maps.npy")).unlink()
    assert prepare(config, out, root) == 0
    assert "9 images and labels, 1 of them stored now" in capsys.readouterr().out
    assert main(["prepare", "camvid", "--clean", "--out", str(out)]) == 0
    assert not folder.exists()


def test_crops_that_are_drawn_otherwise_are_refused(config, out, root, capsys) -> None:
    for option, words in {
        "scale=(1.0,1.0)": "scale",
        "crop_size=(32,32)": "crop_size",
        "feature_draws=3": "feature_draws",
        "model.backbone.variant=b": "backbone.variant",
        "model.data_preprocessor.bgr_to_rgb=False": "data_preprocessor.bgr_to_rgb",
    }.items():
        key, _, value = option.partition("=")
        with case(option=option):
            change = {key: value if value.isalpha() and value != "False" else eval(value)}
            with pytest.raises(UserError, match=rf"holds stored features with {words} .*, not "):
                samples(config, root, **change)


def test_features_stored_before_there_was_a_key_are_those_of_its_default(config, out, root) -> None:
    record = out / "camvid" / "features.json"
    content = json.loads(record.read_text())
    assert content.pop("one_class_at_most") == 1
    record.write_text(json.dumps(content))
    assert len(samples(config, root)) == 9
    with pytest.raises(UserError, match="holds stored features with one_class_at_most 1.0, not"):
        samples(config, root, one_class_at_most=0.5)


def test_another_backbone_than_the_stored_one_is_refused(config, out, root, tmp_path) -> None:
    torch.manual_seed(2)
    other = IBNResNet(18, "a", **NARROW)
    other.init_weights()
    torch.save(other.state_dict(), tmp_path / "other.pth")
    option = f"model.backbone.init_cfg.checkpoint={tmp_path / 'other.pth'}"
    with pytest.raises(UserError, match="features of a backbone with other weights.* again"):
        run(config, root, tmp_path / "run", option)


def test_a_backbone_that_is_trained_or_random_has_no_features_to_store(
    config, root, tmp_path, capsys, monkeypatch
) -> None:
    out = tmp_path / "none"
    said = error_of(capsys, config, out, root, "model.backbone.frozen_stages=3")
    assert "the backbone is trained (layer4.0.conv1.weight and" in said
    said = error_of(capsys, config, out, root, "model.backbone.init_cfg=None")
    assert "model.backbone has random weights" in said
    said = error_of(capsys, config, out, root, "feature_draws=0")
    assert "feature_draws is 0" in said
    said = error_of(capsys, config, out, root, "model.type=EncoderDecoder")
    assert "EncoderDecoder cannot do" in said
    monkeypatch.setattr(IBNResNet, "forward", lambda self, x: (x * (1 + self.training),))
    said = error_of(capsys, config, out, root)
    assert "IBNResNet computes others in training than in testing" in said
    assert not out.exists()


def test_settings_that_stored_features_cannot_follow_are_refused(config, out, root) -> None:
    for name, value in {
        "class_uniform": 0.5,
        "augment": [dict(type="ibnseg.FurtherView", name="plain")],
        "model.further_losses": [dict(type="ibnseg.Any")],
    }.items():
        with case(name=name), pytest.raises(UserError, match=f"{name} is .* and feature_draws 2"):
            samples(config, root, **{name: value})


def test_a_training_without_its_store_says_how_to_make_it(
    config, root, tmp_path, monkeypatch
) -> None:
    with pytest.raises(UserError, match="no IBNSEG_FEATURES set; make them with `ibnseg prepare"):
        samples(config, root)
    monkeypatch.setenv("IBNSEG_FEATURES", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="IBNSEG_FEATURES is .*nowhere, and there is no such"):
        samples(config, root)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="nothing is prepared there; give .*--features CONFIG"):
        samples(config, root)


def test_images_that_have_changed_since_are_refused(config, out, root) -> None:
    os.utime(root / "train" / "0006R0_000000.png")
    with pytest.raises(UserError, match=r"1 of 9 images .* have changed .*--features CONFIG"):
        samples(config, root)


def test_features_and_decoded_domains_are_not_stored_in_one_folder(
    config, out, root, tmp_path, capsys
) -> None:
    there, where = tmp_path / "decoded", ["--data-root", f"camvid={root}"]
    assert main(["prepare", "camvid", "--out", str(there), *where]) == 0
    before = [sorted((folder / "camvid").iterdir()) for folder in (out, there)]
    assert "holds prepared images, not stored features" in error_of(capsys, config, there, root)
    assert main(["prepare", "camvid", "--out", str(out), *where]) == 1
    assert "holds stored features, not prepared images" in capsys.readouterr().err
    assert [sorted((folder / "camvid").iterdir()) for folder in (out, there)] == before


def test_features_are_computed_on_the_device_that_is_named(
    config, root, tmp_path, capsys, monkeypatch
) -> None:
    where = ["--out", str(tmp_path / "out"), "--data-root", f"camvid={root}"]
    command = ["prepare", "--features", str(config), *where, "--device"]
    assert main([*command, "tpu"]) == 1
    assert "device 'tpu': expected cpu, cuda" in capsys.readouterr().err
    monkeypatch.setattr("mmengine.device.utils.DEVICE", "meta")  # where nothing can be computed
    assert main([*command, "cpu"]) == 0


def test_features_and_decoded_domains_are_not_mixed_up_on_the_command_line(capsys) -> None:
    for arguments in (
        ["camvid", "--features", "c.py"],
        ["--features", "c.py", "--clean"],
        [],
        ["camvid", "--cfg-options", "batch=2"],
        ["camvid", "--device", "cpu"],
    ):
        with case(arguments=arguments):
            assert main(["prepare", "--out", "x", *arguments]) == 1
            assert "--features CONFIG" in capsys.readouterr().err
