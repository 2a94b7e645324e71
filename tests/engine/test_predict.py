"""Label maps and overlays for a folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets.labels import CLASSES, PALETTE
from ibnseg.engine.predict import predict, predict_image, write_label
from ibnseg.errors import UserError
from tests.conftest import save_rgb, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one in a subfolder, and a file that is none."""
    for i, name in enumerate(("a.png", "b.jpg", "night/a.png")):
        save_rgb(tmp_path / "photos" / name, scene(i)[0])
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_every_image_gets_a_label_map_and_an_overlay(trained, folder: Path, capsys) -> None:
    config, run, _ = trained
    out = folder.parent / "out"
    assert predict(config, run / "latest.pth", folder, out) == 3
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "labels/a.png",
        "labels/b.png",
        "labels/night/a.png",
        "overlays/a.jpg",
        "overlays/b.jpg",
        "overlays/night/a.jpg",
    ]
    label = Image.open(out / "labels/a.png")
    assert (label.mode, label.size) == ("P", (64, 48))
    train_ids = np.asarray(label)
    assert train_ids.max() < 19
    truth = scene(0)[1]
    assert (train_ids == truth)[truth != 255].mean() > 0.7  # the network has learnt such scenes
    assert np.asarray(Image.open(out / "overlays/a.jpg")).shape[1] == 64
    assert f"3 predictions: {out}/labels" in capsys.readouterr().out


def test_predictions_inside_of_the_folder_are_not_predicted_again(trained, folder: Path) -> None:
    config, run, _ = trained
    assert predict(config, run / "latest.pth", folder, folder / "out") == 3
    assert predict(config, run / "latest.pth", folder, folder / "out") == 3


def test_label_maps_have_the_classes_colours(tmp_path: Path) -> None:
    train_ids = np.arange(19, dtype=np.uint8).reshape(1, 19)
    write_label(tmp_path / "x.png", train_ids)
    image = Image.open(tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(image), train_ids)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[0], PALETTE)


def test_wrong_input(trained, folder: Path, tmp_path: Path) -> None:
    config, run, _ = trained
    out = tmp_path / "out"
    with pytest.raises(UserError, match="nowhere: no such folder"):
        predict(config, run / "latest.pth", tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no images"):
        predict(config, run / "latest.pth", tmp_path / "empty", out)
    (folder / "a.jpg").write_bytes((folder / "b.jpg").read_bytes())
    with pytest.raises(UserError, match="two images are called a"):
        predict(config, run / "latest.pth", folder, out)
    (folder / "a.jpg").write_bytes(b"\xff\xd8 cut")
    (folder / "a.png").unlink()
    with pytest.raises(UserError, match="a.jpg: truncated or not an image"):
        predict(config, run / "latest.pth", folder, out)
    assert not list(out.rglob("*.*"))
    with pytest.raises(UserError, match=r"model.decode_head.num_classes is 21"):
        predict(
            config, run / "latest.pth", folder, out, options=["model.decode_head.num_classes=21"]
        )


def test_an_image_of_any_size(trained) -> None:
    from mmengine.config import Config

    from ibnseg.engine.predict import load_network

    config, run, _ = trained
    network = load_network(Config.fromfile(config), run / "latest.pth")
    prediction = predict_image(network, scene(0)[0][:37, :51, ::-1])
    assert (prediction.shape, prediction.dtype) == ((37, 51), np.uint8)
    assert CLASSES[np.bincount(prediction[30:].ravel()).argmax()] in ("road", "car")
