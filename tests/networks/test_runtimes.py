"""Networks in files that were made elsewhere: ``FILE.onnx``, ``FILE.xml``, ``FILE.pt2``."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.export import Dim

from ibnseg.networks.facts import Facts
from ibnseg.networks.runtimes import FileNetwork, build, configure
from ibnseg.networks.sessions import open_session
from ibnseg.support.errors import UserError

CLASSES = ["road", "sky", "car"]
WEIGHTS = torch.tensor([[1.0, 2.0, -3.0], [0.5, -1.0, 1.0], [-2.0, 0.25, 0.125]])
FACTS = dict(
    title="Colours",
    classes=CLASSES,
    channels="RGB",
    range=255,
    mean=[0, 0, 0],
    std=[1, 1, 1],
    trained_on="elsewhere",
)


class Colours(nn.Module):
    """Logits of a pixel, or of a block of 2x2, that are linear in its colour."""

    def __init__(self, gives: str = "logits", stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, stride=stride, bias=False)
        self.conv.weight.data = WEIGHTS[..., None, None].clone()
        self.gives = gives

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        logits = self.conv(x.float())
        forms = {
            "logits": logits,
            "classes": logits.argmax(1),
            "classes with a channel": logits.argmax(1, keepdim=True).to(torch.int32),
            "features and logits": (logits[:, :2], logits),
            "logits twice": (logits, 2 * logits),
            "features": logits[:, :2],
        }
        return forms[self.gives]


def save_torch(path: Path, module: nn.Module, dtype=torch.float32, size=None, batch=None) -> Path:
    shape = (batch or 2, 3, *(size or (6, 8)))
    dynamic = {} if batch else {0: Dim.DYNAMIC}
    dynamic |= {} if size else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = (torch.zeros(shape).to(dtype),)
    program = torch.export.export(module.eval(), example, dynamic_shapes=(dynamic,))
    torch.export.save(program, path)
    return path


def save_onnx(path: Path, module: nn.Module, dtype=torch.float32, size=None, batch=None) -> Path:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from ibnseg.networks.formats import as_onnx

    file = save_torch(path.with_suffix(".pt2"), module, dtype, size, batch)
    model = as_onnx(torch.export.load(file))
    path.write_bytes(model.SerializeToString())
    file.unlink()
    return path


def save_openvino(path: Path, module: nn.Module, *args, **kwargs) -> Path:
    openvino = pytest.importorskip("openvino")
    file = save_onnx(path.with_suffix(".onnx"), module, *args, **kwargs)
    openvino.save_model(openvino.convert_model(file), path, compress_to_fp16=False)
    file.unlink()
    return path


SAVE = [
    pytest.param((".pt2", save_torch), id="torch"),
    pytest.param((".onnx", save_onnx), id="onnx", marks=pytest.mark.extras),
    pytest.param((".xml", save_openvino), id="openvino", marks=pytest.mark.extras),
]
Save = tuple[str, Callable]


def opened(file: Path, **facts: object) -> FileNetwork:
    file.with_suffix(".json").write_text(json.dumps(FACTS | facts))
    found = Facts.of(configure(str(file))["model"]["facts"])
    return build(str(file), found)


IMAGES = torch.randint(0, 256, (3, 3, 5, 7), generator=torch.Generator().manual_seed(0)).float()
LOGITS = torch.einsum("kc,nchw->nkhw", WEIGHTS, IMAGES)


@pytest.mark.parametrize("save", SAVE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16])
def test_logits_and_classes_are_those_of_the_network(
    save: Save, dtype: torch.dtype, tmp_path: Path
) -> None:
    suffix, write = save
    file = write(tmp_path / f"colours{suffix}", Colours(), dtype)
    found = opened(file)(IMAGES)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, LOGITS, rtol=1e-5)


@pytest.mark.parametrize("save", SAVE)
@pytest.mark.parametrize("gives", ["classes", "classes with a channel"])
def test_a_network_that_gives_classes_is_recognised(save: Save, gives: str, tmp_path: Path) -> None:
    suffix, write = save
    file = write(tmp_path / f"colours{suffix}", Colours(gives))
    found = opened(file)(IMAGES)
    assert configure(str(file))["model"]["facts"]["gives"] == "classes"
    assert found.dtype == torch.int64
    assert torch.equal(found, LOGITS.argmax(1))


@pytest.mark.parametrize("save", SAVE)
def test_the_first_output_that_fits_is_taken(save: Save, tmp_path: Path) -> None:
    suffix, write = save
    network = opened(write(tmp_path / f"x{suffix}", Colours("features and logits")))
    np.testing.assert_allclose(network(IMAGES), LOGITS, rtol=1e-5)


def test_it_warns_if_several_outputs_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    network = opened(save_torch(tmp_path / "x.pt2", Colours("logits twice")))
    logger.removeHandler(caplog.handler)
    np.testing.assert_allclose(network(IMAGES), LOGITS, rtol=1e-5)
    assert "several outputs could be the logits" in caplog.text


@pytest.mark.parametrize("save", SAVE)
def test_a_fixed_size_is_a_fact_and_a_fixed_batch_is_filled(save: Save, tmp_path: Path) -> None:
    suffix, write = save
    file = write(tmp_path / f"x{suffix}", Colours(), size=(5, 7), batch=2)
    network = opened(file)
    cfg = configure(str(file))
    assert cfg["model"]["facts"]["size"] == [5, 7]
    assert (cfg["name"], cfg["model_title"]) == ("x", "Colours")
    np.testing.assert_allclose(network(IMAGES), LOGITS, rtol=1e-5)
    with pytest.raises(UserError, match=r"cannot run on images of 8x6 .* size or stride in .*json"):
        network(torch.zeros(2, 3, 6, 8))


@pytest.mark.parametrize("save", SAVE)
def test_the_hash_is_that_of_all_files(save: Save, tmp_path: Path) -> None:
    suffix, write = save
    file = write(tmp_path / f"x{suffix}", Colours())
    opened(file)
    first = configure(str(file))["foreign"]["sha256"]
    assert configure(str(file))["foreign"]["sha256"] == first
    changed = Colours()
    changed.conv.weight.data *= 2
    write(file, changed)
    assert configure(str(file))["foreign"]["sha256"] != first


@pytest.mark.extras
def test_weights_beside_an_onnx_file_are_hashed_whatever_they_are_called(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    file = save_onnx(tmp_path / "x.onnx", Colours())
    opened(file)
    beside = dict(save_as_external_data=True, location="weights.bin", size_threshold=0)
    onnx.save(onnx.load(file), file, **beside)
    (tmp_path / "unrelated.txt").write_text("a")
    first = configure(str(file))["foreign"]["sha256"]
    (tmp_path / "unrelated.txt").write_text("b")
    assert configure(str(file))["foreign"]["sha256"] == first
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert configure(str(file))["foreign"]["sha256"] != first


@pytest.mark.extras
def test_the_runtime_of_an_onnx_file_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    file = save_onnx(tmp_path / "x.onnx", Colours())
    opened(file)
    facts = Facts.of(configure(str(file))["model"]["facts"])
    np.testing.assert_allclose(build(str(file), facts, runtime="openvino")(IMAGES), LOGITS, 1e-5)
    with pytest.raises(UserError, match="unknown runtime in model.runtime 'opnvino'; did you mean"):
        build(str(file), facts, runtime="opnvino")
    with pytest.raises(UserError, match="runtime is torch, which does not take .onnx files"):
        build(str(file), facts, runtime="torch")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"OpenVINO cannot be imported .*'ibnseg\[export\]'"):
        build(str(file), facts, runtime="openvino")


# ---- what is refused ---------------------------------------------------------------------------


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


REFUSED = [
    (ChannelsLast(), [(1, 6, 8, 3)], r"float32 \(1, 6, 8, 3\) has the channels last, expected"),
    (nn.Identity(), [(1, 3)], r"float32 \(1, 3\) is not one of images, expected \(N, 3, H, W\)"),
    (nn.Conv2d(1, 3, 1), [(1, 1, 6, 8)], r"\(1, 1, 6, 8\) is not one of images"),
    (TwoInputs(), [(1, 3, 6, 8)] * 2, r"has the inputs .*, .*, expected one, of images"),
]


@pytest.mark.parametrize(("module", "shapes", "said"), REFUSED)
def test_inputs_that_are_not_images_are_refused(
    module: nn.Module, shapes: list[tuple], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.pt2"
    torch.export.save(torch.export.export(module, tuple(map(torch.zeros, shapes))), file)
    with pytest.raises(UserError, match=said):
        opened(file)


def test_outputs_that_are_neither_logits_nor_classes_are_refused(tmp_path: Path) -> None:
    file = save_torch(tmp_path / "x.pt2", Colours("features"))
    with pytest.raises(UserError, match=r"has the outputs .* \(\?, 2, \?, \?\), expected logits"):
        opened(file)
    with pytest.raises(UserError, match=r"expected classes \(N, h, w\) of whole numbers"):
        opened(file, gives="classes")


def test_pixels_are_not_normalised_for_a_network_that_takes_whole_numbers(tmp_path: Path) -> None:
    file = save_torch(tmp_path / "x.pt2", Colours(), torch.uint8)
    with pytest.raises(UserError, match="takes pixels as they are; expected range 255"):
        opened(file, mean=[1, 2, 3])


def test_facts_that_nobody_states_are_asked_for(tmp_path: Path) -> None:
    file = save_torch(tmp_path / "x.pt2", Colours())
    with pytest.raises(UserError, match=r"classes, .* not known; write .*x.json"):
        configure(str(file))


@pytest.mark.parametrize(
    "suffix",
    [
        ".pt2",
        pytest.param(".onnx", marks=pytest.mark.extras),
        pytest.param(".xml", marks=pytest.mark.extras),
    ],
)
def test_damaged_files_and_other_formats_are_one_line(suffix: str, tmp_path: Path) -> None:
    write = {".pt2": save_torch, ".onnx": save_onnx, ".xml": save_openvino}[suffix]
    file = write(tmp_path / f"x{suffix}", Colours())
    whole = file.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.\w+: ") as error:
            configure(str(file))
        assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(UserError, match="no such file"):
        configure(str(file))


@pytest.mark.extras
def test_an_openvino_file_without_its_weights_is_one_line(tmp_path: Path) -> None:
    file = save_openvino(tmp_path / "x.xml", Colours())
    file.with_suffix(".bin").unlink()
    with pytest.raises(UserError, match="OpenVINO cannot open it"):
        configure(str(file))


class Code:
    """Runs code if it is unpickled."""

    def __reduce__(self) -> tuple:
        return exec, ("raise SystemExit('it ran')",)


def test_code_in_a_torch_export_file_is_not_run(tmp_path: Path) -> None:
    """A weight, or a constant, is replaced by an object that runs code when it is unpickled."""
    import io
    import pickle

    from torch.export.pt2_archive import constants

    file = save_torch(tmp_path / "x.pt2", Colours())
    (tmp_path / "y.pt2").write_bytes(file.read_bytes())
    with zipfile.ZipFile(tmp_path / "y.pt2", "a") as archive:
        name = f"x/{constants.CONSTANTS_DIR}{constants.OPAQUE_OBJ_FILENAME_PREFIX}0"
        archive.writestr(name, pickle.dumps(Code()))
    with pytest.raises(UserError, match="holds Python objects, which are not loaded"):
        open_session(tmp_path / "y.pt2")
    content = io.BytesIO()
    torch.save(Code(), content)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "z.pt2", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith("weights_config.json"):
                text = text.replace(b'"use_pickle": false', b'"use_pickle": true')
                assert b'"use_pickle": true' in text
            if constants.WEIGHTS_DIR in name and not name.endswith(".json"):
                text = content.getvalue()
            new.writestr(name, text)
    with pytest.raises(UserError, match="torch cannot open it"):
        open_session(tmp_path / "z.pt2")
