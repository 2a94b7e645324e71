"""The table of published checkpoints, and how one of it is read by its name."""

import hashlib

import pytest
import torch
import torchvision

from ibnseg.models import zoo as module
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.names import NAMES
from ibnseg.models.zoo import AUTHORS, PUBLISHED, Checkpoint, hash_in
from ibnseg.support.errors import UserError
from tests.models.cases import case

THEIRS = {"resnext50": "resnext50_32x4d"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of downloads; there is no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_rows_of_the_authors_are_those_that_they_published(published):
    own = {name: (row.url, row.parameters) for name, row in PUBLISHED.items() if "_ibn_" in name}
    assert own == {
        name: (network["url"], network["parameters"])
        for name, network in published.items()
        if network["url"]
    }
    assert set(own) <= set(NAMES)


def test_rows_of_torchvision_are_those_of_torchvision_itself():
    for name in [name for name in PUBLISHED if "_ibn_" not in name]:
        with case(name=name):
            weights = torchvision.models.get_model_weights(THEIRS.get(name, name)).IMAGENET1K_V1
            row, accuracy = PUBLISHED[name], weights.meta["_metrics"]["ImageNet-1K"]
            assert (row.url, row.parameters) == (weights.url, weights.meta["num_params"])
            assert row.top1 == pytest.approx(100 - accuracy["acc@1"])
            assert row.top5 == pytest.approx(100 - accuracy["acc@5"])


def test_every_row_has_the_hash_of_its_file_name():
    assert PUBLISHED["resnet50_ibn_a"].hash == "d9d0bb7b"
    assert PUBLISHED["resnext50"].hash == "7cdf4587"
    assert all(len(row.hash) == 8 for row in PUBLISHED.values())
    assert (
        hash_in("/a-deadbeef/net.pth") == hash_in("fcn-d8.pth") == hash_in("net-9ca61e8.pth") == ""
    )


def test_a_hash_is_found_in_a_file_name():
    for name, found in [
        ("net-d9d0bb7b.pth", "d9d0bb7b"),
        ("fcn_20200604_192608-efe53f0d.pth", "efe53f0d"),
        ("a-b-0123456a.tar.gz", "0123456a"),
        ("net-" + "a1" * 32 + ".pth", "a1" * 32),
        ("net-20180908.pth", ""),  # a date
        ("net-00040000.pth", ""),  # a count
        ("net-D9D0BB7B.pth", ""),
        ("net_d9d0bb7b.pth", ""),
        ("net-d9d0bb7b", ""),
        ("", ""),
    ]:
        with case(name=name, found=found):
            assert hash_in(name) == found
            assert hash_in(f"https://host/x-12345678.d/{name}") == found


def test_a_date_in_the_name_of_ones_own_file_is_no_hash(tmp_path):
    torch.save({"conv1.weight": torch.arange(3.0)}, tmp_path / "mine-20240131.pth")
    assert read_checkpoint(tmp_path / "mine-20240131.pth").keys() == {"conv1.weight"}


def test_a_name_is_read_from_the_folder_of_downloads(hub, monkeypatch):
    torch.save({"conv1.weight": torch.arange(3.0)}, hub / "x.pth")
    digest = hashlib.sha256((hub / "x.pth").read_bytes()).hexdigest()[:8]
    (hub / "x.pth").rename(hub / f"net-{digest}.pth")
    row = Checkpoint(f"{AUTHORS}net-{digest}.pth", 3, None, None)
    monkeypatch.setitem(module.PUBLISHED, "net", row)
    content = read_checkpoint("ibnseg://net")
    assert torch.equal(content["conv1.weight"], torch.arange(3.0))


@pytest.mark.parametrize("where", ["hub", "path"])
def test_a_file_whose_content_is_not_that_of_its_name_is_refused(hub, tmp_path, where):
    """A whole checkpoint of other weights under the name of a published one."""
    name = "resnet50_ibn_a-d9d0bb7b.pth"
    path = (hub if where == "hub" else tmp_path) / name
    torch.save({"conv1.weight": torch.arange(3.0)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    with pytest.raises(UserError) as error:
        read_checkpoint("ibnseg://resnet50_ibn_a" if where == "hub" else path)
    said = f"{path}: SHA-256 begins with {digest}, expected d9d0bb7b, as its name says"
    assert said in str(error.value)


def test_unknown_published_weights_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="unknown published weights 'resnet50_ibn_c'; did you mean"):
        read_checkpoint("ibnseg://resnet50_ibn_c")
