"""``from ibnseg import load, predict``: a trained network in a few lines."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ibnseg
from ibnseg import load, predict
from ibnseg.datasets.transforms import read_image
from ibnseg.networks.network import predict_image
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene
from tests.support.refusals import refused


@pytest.fixture(scope="module")
def network(trained) -> torch.nn.Module:
    return load(trained[1])


def test_a_network_is_loaded_from_a_run_or_a_config_with_a_checkpoint(trained, network) -> None:
    """A run, another checkpoint of it, and a config with a checkpoint."""
    config, run, _ = trained
    assert not network.training
    checkpoints = {None: "latest.pth", run / "checkpoints/iter_50.pth": "checkpoints/iter_50.pth"}
    for checkpoint, file in checkpoints.items():
        expected = torch.load(run / file, weights_only=True)["state_dict"]
        for source in (run, str(config)):
            weights = load(source, checkpoint or run / file).state_dict()
            assert all(torch.equal(weights[key], value) for key, value in expected.items())
    last = torch.load(run / "latest.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(network.state_dict()[key], value) for key, value in last.items())
    size = ["model.test_cfg.crop_size=(32,32)", "model.test_cfg.stride=(16,16)"]
    assert load(run, options=["model.test_cfg.mode=slide", *size]).test_cfg.mode == "slide"
    with pytest.raises(UserError, match="unknown model.test_cfg.mode 'slid'; did you mean slide"):
        load(run, options=["model.test_cfg.mode=slid"])


def test_a_run_that_selects_its_best_gives_it(trained, tmp_path: Path) -> None:
    _, run, _ = trained
    text = (run / "config.py").read_text()
    assert "save_best=False" in text
    (tmp_path / "config.py").write_text(text.replace("save_best=False", "save_best=True"))
    shutil.copy(run / "checkpoints/iter_60.pth", tmp_path / "latest.pth")
    with pytest.raises(UserError, match="a run without best.pth"):
        load(tmp_path)
    shutil.copy(run / "checkpoints/iter_50.pth", tmp_path / "best.pth")
    expected = torch.load(run / "checkpoints/iter_50.pth", weights_only=True)["state_dict"]
    weights = load(tmp_path).state_dict()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_an_rgb_array_and_a_path_give_the_same_label_map(network, tmp_path: Path) -> None:
    """The same from both, at any size, and right for most pixels: colours are not swapped."""
    image, truth = scene(3)
    save_rgb(tmp_path / "a.png", image)
    before = image.copy()
    train_ids = predict(network, image)
    assert (train_ids.shape, train_ids.dtype) == (truth.shape, np.uint8)
    assert (train_ids == truth)[truth != 255].mean() > 0.6
    np.testing.assert_array_equal(predict(network, tmp_path / "a.png"), train_ids)
    np.testing.assert_array_equal(predict(network, str(tmp_path / "a.png")), train_ids)
    np.testing.assert_array_equal(predict_image(network, read_image(tmp_path / "a.png")), train_ids)
    np.testing.assert_array_equal(image, before)
    odd, part = predict(network, image[:37, :51]), truth[:37, :51]
    assert (odd == part)[part != 255].mean() > 0.6


@pytest.mark.parametrize("options", [[], ["model.test_cfg.mode=slide"]])
def test_probabilities_sum_to_1_and_agree_with_the_label_map(trained, options: list[str]) -> None:
    if options:
        options = [*options, "model.test_cfg.crop_size=32,32", "model.test_cfg.stride=16,16"]
    network = load(trained[1], options=options)
    image, _ = scene(4)
    train_ids, shares = predict(network, image, probabilities=True)
    np.testing.assert_array_equal(train_ids, predict(network, image))
    assert (shares.shape, shares.dtype) == ((19, *image.shape[:2]), np.float32)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=0), train_ids)
    assert network.test_cfg.get("logits", False) is False
    assert shares.max(axis=0).mean() > 0.3


def test_probabilities_agree_with_the_label_where_rounding_ties(network, monkeypatch) -> None:
    """Logits that differ by less than their softmax can hold."""
    tiny = torch.zeros(1, 19, 6, 8)
    tiny[:, 11] = 1e-9
    monkeypatch.setattr(network, "encode_decode", lambda *args: tiny)
    train_ids, shares = predict(network, scene(0)[0], probabilities=True)
    assert (train_ids == 11).all()
    assert (shares.argmax(axis=0) == 11).all()
    np.testing.assert_allclose(shares, 1 / 19, rtol=1e-5)


WRONG_IMAGES = (
    (np.zeros((1, 4, 5, 3), np.uint8), r"found an array of shape \(1, 4, 5, 3\), expected a path"),
    (np.zeros((3, 4, 5), np.uint8), r"found an array of shape \(3, 4, 5\)"),
    (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
    (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
    (np.full((4, 5, 3), 0.5), "found float64 with values from 0.5 to 0.5, .* a uint8 array"),
    (np.full((4, 5, 3), 300, np.int64), "found int64 with values from 300 to 300"),
    (np.ones((4, 5, 3), bool), "found bool with values from 1 to 1"),
    (np.full((4, 5, 3), "x"), "found <U1, expected"),
    ([[1]], "image 0: found a list"),
    ([np.zeros((32, 40, 3), np.uint8), None], "image 1: found a NoneType"),
    (torch.zeros(5, 4, 3), r"found a tensor of shape \(5, 4, 3\), .* tensor \(3, H, W\)"),
    (torch.full((3, 4, 5), 255.0), "found a tensor with values from 255 to 255"),
    (torch.full((3, 4, 5), float("nan")), "found a tensor with values from nan to nan"),
    (torch.zeros(3, 4, 5, dtype=torch.int64), "found int64 with values from 0 to 0"),
    (Image.new("I;16", (5, 4)), "found a PIL image of mode I;16"),
    (None, "image: found a NoneType"),
    (b"street.png", "image: found a bytes"),
    ({"a.png": 1}, "image: found a dict"),
)


def test_images_of_other_kinds_are_predicted_as_their_arrays(network, tmp_path) -> None:
    rgb = scene(3)[0]
    expected = predict(network, rgb)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    alpha = np.dstack([rgb, np.arange(rgb[..., 0].size, dtype=np.uint8).reshape(rgb.shape[:2])])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    for image in (
        Image.fromarray(rgb),
        Image.fromarray(alpha),
        alpha,
        tensor,
        tensor / 255,
        (tensor / 255).double().requires_grad_(),
        torch.from_numpy(alpha).permute(2, 0, 1),
        tmp_path / "alpha.png",
    ):
        np.testing.assert_array_equal(predict(network, image), expected)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    expected = predict(network, np.dstack([grey] * 3))
    for image in (grey, grey[..., None], Image.fromarray(grey), torch.from_numpy(grey.copy())):
        np.testing.assert_array_equal(predict(network, image), expected)


def test_several_images_are_predicted_in_order(network) -> None:
    images = [scene(1)[0], Image.fromarray(scene(2)[0][:, :40])]
    expected = [predict(network, image) for image in images]
    for several in (images, tuple(images)):
        found = predict(network, several)
        assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    asked = []
    lazy = predict(network, (asked.append(i) or image for i, image in enumerate(images)))
    assert asked == []
    np.testing.assert_array_equal(next(lazy), expected[0])
    assert asked == [0]
    ((train_ids, shares),) = predict(network, images[1:], probabilities=True)
    assert train_ids.shape == shares.shape[1:] == (48, 40)
    assert predict(network, []) == []


def test_an_image_that_leaves_one_pixel_is_refused(network) -> None:
    with pytest.raises(UserError, match="image: 5x4 pixels are too few for this network"):
        predict(network, np.zeros((4, 5, 3), np.uint8))


def test_the_home_folder_may_be_written_as_a_tilde(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run, _ = trained
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(run)
    save_rgb(tmp_path / "a.png", scene(0)[0])
    for network in (
        load("~/run"),
        load(config, Path("~/run/latest.pth")),
        load(run, "~/run/latest.pth"),
    ):
        np.testing.assert_array_equal(predict(network, "~/a.png"), predict(network, scene(0)[0]))


def test_an_image_of_another_shape_or_range_is_refused(network) -> None:
    for image, message in WRONG_IMAGES:
        with pytest.raises(UserError, match=message), refused(message):
            predict(network, image)


def test_an_image_file_that_cannot_be_read_is_named(network, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(UserError, match="cut.png: truncated or not an image"):
        predict(network, tmp_path / "cut.png")
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UserError, match=f"{path}: (no such file|is a folder)"):
            predict(network, path)


def test_a_network_that_cannot_be_loaded_is_refused_with_the_reason(
    trained, tmp_path: Path
) -> None:
    config, run, _ = trained
    with pytest.raises(UserError, match="is not a run folder"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"trained.py: a config needs a checkpoint"):
        load(config)
    with pytest.raises(UserError, match="did you mean gta2city_ibn50"):
        load("gta2city_ibn50", run / "latest.pth")
    shutil.copy(run / "config.py", tmp_path)
    with pytest.raises(UserError, match="a run without latest.pth; go on training it"):
        load(tmp_path)
    with pytest.raises(UserError, match="none.pth: no such checkpoint"):
        load(run, tmp_path / "none.pth")


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        ibnseg.fly  # noqa: B018
