"""Reading foreign checkpoints: all of the weights, or one clear error and nothing changed."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import socket
import threading
from copy import deepcopy
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import PretrainedInit
from torch import nn

from ibnseg.models import IBNResNet
from ibnseg.models import checkpoints as weights
from ibnseg.models.checkpoints import load_exactly, locate, read_checkpoint, state_dict_of
from ibnseg.models.pretrained import load_backbone
from ibnseg.support.errors import UserError
from tests.models.cases import case

NARROW = dict(base_channels=8, stem_channels=8)


def net() -> nn.Module:
    """A small module with every kind of entry: weights, statistics, a counter."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))


def other_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the same shapes, all different from the module's."""
    return {k: torch.full_like(v, 7 + i) for i, (k, v) in enumerate(module.state_dict().items())}


def checkpoint_of(shapes: dict[str, list[int]], tracked: bool = True) -> dict[str, torch.Tensor]:
    """Each entry filled with its own number, stored as one value, so that files are small."""
    return {
        key: torch.tensor(i if key.endswith("num_batches_tracked") else i / 7).expand(shape)
        for i, (key, shape) in enumerate(shapes.items(), 1)
        if tracked or not key.endswith("num_batches_tracked")
    }


def unchanged(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    after = module.state_dict()
    return list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in after)


def saved(path: Path, content, **kwargs) -> str:
    torch.save(content, path, **kwargs)
    return str(path)


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


def test_only_weights_below_the_prefix_are_taken():
    for prefix in ["backbone", "backbone."]:
        with case(prefix=prefix):
            keys = ["backbone.a", "module.backbone.backbone.b", "backbone2.c", "head.backbone.d"]
            content = {key: torch.tensor(i) for i, key in enumerate(keys)}
            assert {k: v.item() for k, v in state_dict_of(content, "x.pth", prefix).items()} == {
                "a": 0,
                "backbone.b": 1,
            }


# ---- exact loading -----------------------------------------------------------------------------


def test_loading_exactly_fills_every_entry():
    module = net()
    values = other_weights(module)
    load_exactly(module, values, "source")
    assert unchanged(module, values)


def test_spare_weights_are_left_out_and_missing_counters_are_zero():
    module = net()
    values = other_weights(module)
    del values["1.num_batches_tracked"]
    load_exactly(module, {**values, "fc.weight": torch.zeros(2)}, "source", spare=["fc."])
    assert unchanged(module, {**values, "1.num_batches_tracked": torch.tensor(0)})


def test_weights_that_do_not_fit_are_refused_and_nothing_is_changed():
    for change, message in [
        (lambda w: w.clear(), "5 missing: 0.weight, 1.weight, 1.bias, 1.running_mean and 1 more"),
        (lambda w: w.pop("1.running_var"), "1 missing: 1.running_var"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 left over: extra"),
        (
            lambda w: w.update({"1.bias": torch.zeros(5)}),
            "1 of another shape: 1.bias (5,) for (4,)",
        ),
        (
            lambda w: w.update({"0.weight": torch.zeros(4, 3)}),
            "1 of another shape: 0.weight (4, 3) for (4, 3, 1, 1)",
        ),
        (
            lambda w: w.update({"1.weights": w.pop("1.weight")}),
            "1 missing: 1.weight; 1 left over: 1.weights",
        ),
        (lambda w: w.update({"fcx": torch.zeros(1)}), "1 left over: fcx"),
    ]:
        with case(message=message):
            module = net()
            before = deepcopy(module.state_dict())
            values = other_weights(module)
            change(values)
            with pytest.raises(UserError) as error:
                load_exactly(module, values, "there.pth", spare=["fc."])
            assert str(error.value).startswith("there.pth: ")
            assert str(error.value).endswith(f": {message}")
            assert unchanged(module, before)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_lack_or_surplus_is_refused(data):
    module = net()
    before = deepcopy(module.state_dict())
    values = other_weights(module)
    needed = [key for key in values if not key.endswith("num_batches_tracked")]
    dropped = data.draw(st.sets(st.sampled_from(needed)))
    names = st.text("abc.", min_size=1, max_size=5)
    added = data.draw(st.sets(names, min_size=0 if dropped else 1, max_size=3))
    values = {key: value for key, value in values.items() if key not in dropped}
    values |= {key: torch.zeros(2) for key in added}
    with pytest.raises(UserError) as error:
        load_exactly(module, values, "source")
    assert all(key in str(error.value) for key in (*added, *dropped) if len(dropped) <= 4)
    assert unchanged(module, before)


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


def test_refused_file_leaves_the_backbone_as_it_was(tmp_path):
    (tmp_path / "cut.pth").write_bytes(payload(True)[:-50])
    cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "cut.pth"))
    backbone = IBNResNet(18, "a", init_cfg=cfg, **NARROW)
    before = deepcopy(backbone.state_dict())
    with pytest.raises(UserError):
        backbone.init_weights()
    assert unchanged(backbone, before)


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
    assert "init_cfg" in str(error.value)


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


@pytest.mark.parametrize("kind", ["Pretrained", PretrainedInit], ids=["name", "class"])
def test_pretrained_in_a_list_of_initialisers_is_exact_too(tmp_path, published, kind):
    """A pretrained checkpoint in a list is loaded exactly too, or refused."""
    whole = {k: torch.full(s, 0.5) for k, s in published["resnet18_ibn_a"]["state_dict"].items()}
    pretrained = dict(type=kind, checkpoint=str(saved(tmp_path / "whole.pth", whole)))
    others = dict(type="Constant", val=1, layer="Conv2d")
    backbone = IBNResNet(18, variant="a", init_cfg=[others, pretrained])
    backbone.init_weights()
    assert all((value == 0.5).all() for value in backbone.parameters())
    del whole["layer1.0.bn1.IN.weight"]
    pretrained["checkpoint"] = str(saved(tmp_path / "part.pth", whole))
    with pytest.raises(UserError, match=r"1 missing: layer1.0.bn1.IN.weight"):
        IBNResNet(18, variant="a", init_cfg=[others, pretrained]).init_weights()


class Masked(nn.Module):
    """A layer beside a mask that is not finite by design, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("mean", torch.zeros(2))


def test_weights_that_are_not_finite_are_refused_and_nothing_changes() -> None:
    for name in ("linear.weight", "mean"):
        module, state = Masked(), Masked().state_dict()
        before = deepcopy(module.state_dict())
        state[name] = state[name].clone()
        state[name].view(-1)[0] = float("nan")
        with pytest.raises(UserError, match=f"x.pth: NaN or infinity in {name}, "):
            load_exactly(module, state, "x.pth")
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key])


def test_a_mask_and_weights_that_are_not_used_may_be_infinite() -> None:
    module, state = Masked(), Masked().state_dict()
    load_exactly(module, state | {"aux.x": torch.tensor(float("nan"))}, "x.pth", spare=["aux."])
    assert torch.equal(module.linear.weight, state["linear.weight"])
    with pytest.raises(UserError, match="NaN or infinity in mask, "):
        load_exactly(module, state | {"mask": torch.full((2,), float("-inf"))}, "x.pth")
