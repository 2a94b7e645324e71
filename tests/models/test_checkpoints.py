"""Checkpoints are read from files and addresses as data, or refused in one line."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import socket
import struct
import threading
import zipfile
from copy import deepcopy
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ibnseg.models import IBNResNet
from ibnseg.models import checkpoints as weights
from ibnseg.models.checkpoints import hub_folder, locate, read_checkpoint
from ibnseg.models.inert import BESIDE, Inert
from ibnseg.models.pretrained import load_backbone
from ibnseg.support.errors import UserError
from tests.models.cases import case
from tests.models.weights import net, other_weights, saved, unchanged

NARROW = dict(base_channels=8, stem_channels=8)


def checkpoint_of(shapes: dict[str, list[int]], tracked: bool = True) -> dict[str, torch.Tensor]:
    """Each entry filled with its own number, stored as one value, so that files are small."""
    return {
        key: torch.tensor(i if key.endswith("num_batches_tracked") else i / 7).expand(shape)
        for i, (key, shape) in enumerate(shapes.items(), 1)
        if tracked or not key.endswith("num_batches_tracked")
    }


# ---- checkpoints in the published layout -------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("variant", ["a", "b"])
def test_published_checkpoint_fills_the_backbone(published, tmp_path, variant, prefix, wrapped):
    values = checkpoint_of(published[f"resnet18_ibn_{variant}"]["state_dict"], tracked=not wrapped)
    content = {prefix + key: value for key, value in values.items()}
    content = dict(epoch=100, state_dict=content) if wrapped else content
    path = saved(tmp_path / "ibn.pth", content)

    backbone = IBNResNet(18, variant, init_cfg=dict(type="Pretrained", checkpoint=path))
    backbone.init_weights()

    assert backbone.is_init
    for key, value in backbone.state_dict().items():
        if key in values:
            assert torch.equal(value, values[key]), key
        else:
            assert wrapped
            assert key.endswith("num_batches_tracked")
            assert value == 0


def test_checkpoint_of_the_other_variant_is_refused(published, tmp_path):
    path = saved(tmp_path / "a.pth", checkpoint_of(published["resnet18_ibn_a"]["state_dict"]))
    backbone = IBNResNet(18, "b", init_cfg=dict(type="Pretrained", checkpoint=path))
    before = deepcopy(backbone.state_dict())
    with pytest.raises(UserError) as error:
        backbone.init_weights()
    assert "a.pth: does not fit IBNResNet: " in str(error.value)
    assert " missing: layer1.0.bn1.weight, " in str(error.value)
    assert " left over: bn1.running_mean, " in str(error.value)
    assert unchanged(backbone, before)


def test_weights_of_a_densenet_do_not_fit_a_resnet(published, tmp_path):
    shapes = published["densenet121_ibn_a"]["state_dict"]
    path = saved(tmp_path / "densenet.pth", checkpoint_of(shapes))
    backbone = IBNResNet(18, "a", **NARROW)
    before = deepcopy(backbone.state_dict())
    with pytest.raises(UserError, match="does not fit IBNResNet") as error:
        load_backbone(backbone, path)
    assert "conv1.weight" in str(error.value)
    assert "features.conv0.weight" in str(error.value)
    assert unchanged(backbone, before)


def test_a_backbone_below_a_prefix_is_loaded_if_the_prefix_is_given(tmp_path):
    backbone = IBNResNet(18, "a", **NARROW)
    values = other_weights(backbone)
    content = {f"module.backbone.{key}": value for key, value in values.items()}
    content["module.decode_head.conv_seg.bias"] = torch.zeros(19)
    path = saved(tmp_path / "segmentor.pth", dict(state_dict=content))
    cfg = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
    loaded = IBNResNet(18, "a", init_cfg=cfg, **NARROW)
    loaded.init_weights()
    assert unchanged(loaded, values)

    with pytest.raises(UserError, match=r"missing: conv1\.weight.* left over: backbone\.conv1"):
        load_backbone(backbone, path)


# ---- bad files ---------------------------------------------------------------------------------


def payload(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(4)}
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def test_a_whole_file_is_read_in_either_format(tmp_path):
    for zipped in [True, False]:
        with case(zipped=zipped):
            path = tmp_path / "whole.pth"
            path.write_bytes(payload(zipped))
            content = read_checkpoint(path)
            assert torch.equal(content["conv1.weight"], torch.arange(6.0).reshape(2, 3))
            assert torch.equal(content["bn1.bias"], torch.ones(4))


def test_a_truncated_file_is_refused_at_any_length(tmp_path):
    for zipped in [True, False]:
        with case(zipped=zipped):
            path = tmp_path / "cut.pth"
            content = payload(zipped)
            for length in range(0, len(content), 3):
                path.write_bytes(content[:length])
                with pytest.raises(UserError, match=f"^{re.escape(str(path))}: "):
                    read_checkpoint(path)


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    for content in [
        b"",
        b"\n",
        b"404: Not Found",
        b"<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
        bytes(1000),
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04",
    ]:
        with case(content=content):
            path = tmp_path / "notes.pth"
            path.write_bytes(content)
            with pytest.raises(UserError) as error:
                read_checkpoint(path)
            assert str(error.value).startswith(f"{path}: ")


def test_text_that_begins_like_a_pickle_is_refused(tmp_path):
    for content in [b"epoch,loss\n1,0.5\n", b"K", b"Jv+=", b"\x80"]:
        with case(content=content):
            path = tmp_path / "notes.pth"
            path.write_bytes(content)
            with pytest.raises(UserError):
                read_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path, monkeypatch):
    for where in ["nowhere.pth", ".", "no/such/folder.pth", ""]:
        with case(where=where):
            monkeypatch.chdir(tmp_path)
            with pytest.raises(UserError) as error:
                read_checkpoint(where)
            assert str(error.value).startswith(f"{where}: ")


def test_a_tilde_in_a_path_stands_for_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "here.pth", {"a": torch.ones(2)})
    assert torch.equal(read_checkpoint("~/here.pth")["a"], torch.ones(2))


def test_a_checkpoint_that_is_no_dict_is_refused(tmp_path):
    for content, kind in [([torch.ones(2)], "list"), (torch.ones(2), "Tensor"), (3, "int")]:
        with case(content=content, kind=kind):
            path = saved(tmp_path / "odd.pth", content)
            with pytest.raises(UserError) as error:
                read_checkpoint(path)
            assert str(error.value).startswith(f"{path}: holds a {kind}, ")


def test_a_dict_that_holds_no_weights_is_refused(tmp_path):
    for content in [
        {"state_dict": [torch.ones(2)]},
        {"state_dict": None},
        {1: torch.ones(2)},
        {"0.weight": 3.0, "1.weight": torch.ones(4)},
    ]:
        with case(content=content):
            path = saved(tmp_path / "odd.pth", content)
            with pytest.raises(UserError):
                load_backbone(net(), path)


class Malicious:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, form):
    folder, path = tmp_path / "made", tmp_path / "evil.pth"
    content = {"conv1.weight": torch.ones(2), "extra": Malicious(folder)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"evil\.pth: not a file of weights"):
        read_checkpoint(path)
    assert not folder.exists()
    if form != "pickle":  # the file is as dangerous as it is meant to be
        torch.load(path, weights_only=False)
        assert folder.is_dir()


@pytest.mark.parametrize("kind", ["Pretrained", "of a part"])
def test_modules_of_mmengine_run_no_code_of_a_checkpoint_either(tmp_path, kind):
    """mmengine would read it again with weights_only=False."""
    folder, path = tmp_path / "made", tmp_path / "evil.pth"
    torch.save({"state_dict": {}, "extra": Malicious(folder)}, path)
    cfg = dict(type="Pretrained", checkpoint=str(path))
    module = BaseModule(cfg | (dict(prefix="backbone.") if kind == "of a part" else {}))
    with pytest.raises(UserError, match="it holds posix.mkdir, which is not loaded"):
        module.init_weights()
    assert not folder.exists()


def test_refused_file_leaves_the_backbone_as_it_was(tmp_path):
    (tmp_path / "cut.pth").write_bytes(payload(True)[:-50])
    cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "cut.pth"))
    backbone = IBNResNet(18, "a", init_cfg=cfg, **NARROW)
    before = deepcopy(backbone.state_dict())
    with pytest.raises(UserError):
        backbone.init_weights()
    assert unchanged(backbone, before)


# ---- objects beside the weights ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_program_is_called_that(tmp_path):
    path = str(tmp_path / "x.pt")
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)
    with pytest.raises(UserError, match="a TorchScript program, expected weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["scalar", "getattr", "_reconstruct", "Namespace"])
def test_what_is_read_beside_weights_is_not_called(tmp_path, name):
    """Each call in the pickle is one of a stand-in, whatever its arguments."""
    full = next(each for each in BESIDE if each.endswith(name))
    module = full.rpartition(".")[0].replace("builtins", "__builtin__")
    text = lambda value: f"X\x01\x00\x00\x00{value}"  # noqa: E731
    called = f"c{module}\n{name}\n{text('a')}\x85R"
    code = f"\x80\x02}}{text('x')}{called}}}{text('b')}K\x01sbs."  # and given a state
    (tmp_path / "x.pth").write_bytes(pickled(code.encode("latin1")))
    found = read_checkpoint(tmp_path / "x.pth")["x"]
    assert type(found).__mro__[1] is Inert
    assert vars(found) == {}


def pickled(code: bytes) -> bytes:
    """A checkpoint in torch's zip format with another pickle."""
    old, new = io.BytesIO(payload(True)), io.BytesIO()
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for info in source.infolist():
            content = code if info.filename.endswith("data.pkl") else source.read(info)
            target.writestr(info.filename, content)
    return new.getvalue()


# ---- damage and size -----------------------------------------------------------------------------


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    whole, path = payload(True), tmp_path / "x.pth"
    path.write_bytes(whole)
    right = read_checkpoint(path)
    random = np.random.default_rng(0)
    refused = 0
    for place in random.integers(len(whole) * 8, size=200):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_checkpoint(path)
        except UserError:
            refused += 1
            continue
        assert found.keys() == right.keys()
        assert all(torch.equal(found[key], right[key]) for key in right), place
    assert refused > 50


def test_a_flipped_bit_in_the_weights_is_refused(tmp_path):
    whole, path = bytearray(payload(True)), tmp_path / "x.pth"
    whole[whole.index(struct.pack("<3f", 0, 1, 2)) + 7] ^= 1
    path.write_bytes(whole)
    assert torch.load(path)["conv1.weight"][0, 1] != 1  # torch does not look
    with pytest.raises(UserError, match="Bad CRC-32"):
        read_checkpoint(path)


def test_a_checkpoint_without_checksums_is_read(tmp_path):
    path = tmp_path / "x.pth"
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(payload(True))
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(path)["bn1.bias"], torch.ones(4))


def test_an_archive_that_unpacks_to_more_or_has_more_than_its_members_is_refused(tmp_path):
    path, whole = tmp_path / "x.pth", payload(True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**6))
    for content, message in (
        (packed.getvalue(), "its members are compressed"),
        (whole + b"more", "something follows the end"),
        (whole + whole, "something precedes the beginning"),
    ):
        with case(message=message):
            path.write_bytes(content)
            with pytest.raises(UserError, match=message):
                read_checkpoint(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    for path, kind in (("pipe.pth", "a named pipe"), ("zero.pth", "a device"), (".", "a folder")):
        with case(path=path), pytest.raises(UserError, match=f": is {kind}, expected a file"):
            read_checkpoint(tmp_path / path)


# ---- addresses ---------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty download folder, and no proxy between the test and its server."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


class Server:
    """Serves a folder on 127.0.0.1 and lists what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args) -> None:
                super().__init__(*args, directory=str(folder))

            def log_message(self, *args) -> None:
                asked.append(self.path)

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Server:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server(tmp_path, hub):
    (tmp_path / "www").mkdir()
    with Server(tmp_path / "www") as running:
        yield running


def test_an_address_is_downloaded_once(published, server, hub):
    values = checkpoint_of(published["resnet18_ibn_a"]["state_dict"])
    saved(server.folder / "ibn.pth", values)
    for _ in range(2):
        cfg = dict(type="Pretrained", checkpoint=f"{server.address}/ibn.pth")
        backbone = IBNResNet(18, "a", init_cfg=cfg)
        backbone.init_weights()
        assert all(torch.equal(v, values[k]) for k, v in backbone.state_dict().items())
    assert [path for path in server.asked if path == "/ibn.pth"] == ["/ibn.pth"]
    assert [path.name for path in hub.iterdir()] == ["ibn.pth"]


def test_a_damaged_download_is_named_by_its_file(hub):
    """The file to be removed is named, not the address that it once had."""
    hub.mkdir(parents=True)
    (hub / "net.pth").write_bytes(payload(True)[:-9])
    with pytest.raises(UserError, match=f"^{re.escape(str(hub / 'net.pth'))}: truncated"):
        read_checkpoint("https://example.org/net.pth?download=1")


def test_an_address_with_a_query_is_kept_under_its_file_name(server, hub):
    (server.folder / "net.pth").write_bytes(payload(True))
    address = f"{server.address}/net.pth?download=1"
    assert set(read_checkpoint(address)) == {"conv1.weight", "bn1.bias"}
    assert locate(address) == (address, hub / "net.pth")
    assert locate(address)[1].is_file()


@pytest.mark.parametrize("is_main", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_of_several_processes_the_main_one_downloads(server, monkeypatch, is_main, there):
    """It tells the others when it has, or cannot; they ask after that."""
    order = []
    monkeypatch.setattr(weights, "is_main_process", lambda: is_main)
    monkeypatch.setattr(weights, "barrier", lambda: order.append(f"barrier, {len(server.asked)}"))
    if there:
        (server.folder / "net.pth").write_bytes(payload(True))
        read_checkpoint(f"{server.address}/net.pth")
    else:
        with pytest.raises(UserError, match="cannot be downloaded"):
            read_checkpoint(f"{server.address}/net.pth")
    assert order == ["barrier, 0" if not is_main else f"barrier, {len(server.asked)}"]
    assert server.asked


def test_a_download_is_checked_against_the_hash_in_its_name(server, hub):
    content = payload(True)
    right = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for name in (right, "net-0000000a.pth"):
        (server.folder / name).write_bytes(content)
    assert set(read_checkpoint(f"{server.address}/{right}")) == {"conv1.weight", "bn1.bias"}
    with pytest.raises(UserError, match="invalid hash"):
        read_checkpoint(f"{server.address}/net-0000000a.pth")
    assert [path.name for path in hub.iterdir()] == [right]


def test_a_hyphen_that_begins_no_hash_is_part_of_the_name(server):
    for name in ["my-net.pth", "fcn_ibn18a-d8.pth"]:
        with case(name=name):
            (server.folder / name).write_bytes(payload(True))
            assert set(read_checkpoint(f"{server.address}/{name}")) == {"conv1.weight", "bn1.bias"}


def test_an_address_without_a_file_is_refused(server):
    with pytest.raises(UserError, match="cannot be downloaded") as error:
        read_checkpoint(f"{server.address}/none.pth")
    assert str(error.value).startswith(f"{server.address}/none.pth: ")
    assert f"put it into {hub_folder()}, or let init_cfg name" in str(error.value)


def test_an_address_without_a_server_is_refused(hub):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/none.pth"
    with pytest.raises(UserError, match="cannot be downloaded"):
        read_checkpoint(address)


def test_downloaded_code_is_not_run(tmp_path, server):
    torch.save({"extra": Malicious(tmp_path / "made")}, server.folder / "evil.pth")
    with pytest.raises(UserError, match="not a file of weights"):
        read_checkpoint(f"{server.address}/evil.pth")
    assert not (tmp_path / "made").exists()


def test_downloaded_page_is_no_checkpoint(server):
    (server.folder / "page.pth").write_text("<html>Sign in</html>")
    with pytest.raises(UserError, match="not a file of weights"):
        read_checkpoint(f"{server.address}/page.pth")


# ---- torchvision -------------------------------------------------------------------------------


def test_a_torchvision_name_is_downloaded_from_its_address(server, monkeypatch):
    (server.folder / "r18.pth").write_bytes(payload(False))
    urls = {"resnet18": f"{server.address}/r18.pth"}
    monkeypatch.setattr(weights, "get_torchvision_models", lambda: urls)
    content = read_checkpoint("torchvision://resnet18")
    assert torch.equal(content["conv1.weight"], torch.arange(6.0).reshape(2, 3))


def test_an_unknown_torchvision_name_is_refused_with_the_nearest(monkeypatch):
    urls = dict.fromkeys(("vgg16", "resnet50", "resnet18", "resnet101"), "http://127.0.0.1:9/")
    monkeypatch.setattr(weights, "get_torchvision_models", lambda: urls)
    for name, message in [
        ("resnet5", "'resnet5'; did you mean resnet50"),
        ("ResNet-50", "did you mean resnet50"),
        ("zzz", "'zzz'; known: resnet101, resnet18, resnet50, vgg16"),
        ("", "''; known: resnet101, resnet18, resnet50, vgg16"),
    ]:
        with case(name=name):
            with pytest.raises(UserError) as error:
                read_checkpoint(f"torchvision://{name}")
            assert message in str(error.value)


def test_the_torchvision_names_of_the_configs_exist():
    """The names that the configs use are in torchvision's own table."""
    urls = weights.get_torchvision_models()
    assert urls["resnet18"].startswith("https://download.pytorch.org/models/resnet18-")
    assert urls["resnet50"].startswith("https://download.pytorch.org/models/resnet50-")


def test_all_schemes_of_mmengine_are_read_as_data():
    loaders = CheckpointLoader._schemes
    assert {each.__module__ for each in loaders.values()} == {"ibnseg.models.loader"}


def test_names_of_mmengines_tables_are_addresses():
    address, path = locate("open-mmlab://resnet50_v1c")
    assert address.startswith("https://")
    assert path.name == "resnet50_v1c-2cccc1ad.pth"


@pytest.mark.parametrize("kind", ["Pretrained", PretrainedInit], ids=["name", "class"])
def test_pretrained_in_a_list_of_initialisers_is_exact_too(tmp_path, published, kind):
    """A pretrained checkpoint in a list is loaded exactly too, or refused."""
    shapes = published["resnet18_ibn_a"]["state_dict"]
    whole = {k: torch.full(s, 0.5) for k, s in shapes.items()}
    pretrained = dict(type=kind, checkpoint=str(saved(tmp_path / "whole.pth", whole)))
    others = dict(type="Constant", val=1, layer="Conv2d")
    backbone = IBNResNet(18, variant="a", init_cfg=[others, pretrained])
    backbone.init_weights()
    assert all((value == 0.5).all() for value in backbone.parameters())
    del whole["layer1.0.bn1.IN.weight"]
    pretrained["checkpoint"] = str(saved(tmp_path / "part.pth", whole))
    with pytest.raises(UserError, match=r"1 missing: layer1.0.bn1.IN.weight"):
        IBNResNet(18, variant="a", init_cfg=[others, pretrained]).init_weights()
