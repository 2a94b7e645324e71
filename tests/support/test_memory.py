"""Too little memory is reported in one line, wherever it runs out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ibnseg import cli, load, predict
from ibnseg.engine.run import train
from ibnseg.evaluation.evaluator import Confusion
from ibnseg.models.segmentor import Segmentor
from ibnseg.networks.testing import test as run_test
from ibnseg.support.errors import UserError
from ibnseg.support.memory import enough_memory
from tests.conftest import GTA5_VAL, save_rgb, scene

ERRORS = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((4,), np.dtype("u1")),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to"),
]


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that asks torch for more than there can be."""
    monkeypatch.setattr(
        Segmentor, "extract_feat", lambda self, inputs: torch.empty(2**50, dtype=torch.uint8)
    )


def test_every_error_of_too_little_memory_says_for_what_and_what_to_do() -> None:
    match = "^too little memory for x; do y$"
    for error in ERRORS:
        with pytest.raises(UserError, match=match) as raised, enough_memory("x", "do y"):
            raise error
        assert raised.value.__cause__ is error


def test_errors_of_another_cause_stay_as_they_are() -> None:
    for error in (RuntimeError("shape mismatch"), ValueError("x"), UserError("x")):
        with pytest.raises(type(error)) as raised, enough_memory("x", "do y"):
            raise error
        assert raised.value is error


SLIDE = (
    "; take a smaller image, or sliding windows: --cfg-options model.test_cfg.mode=slide "
    "model.test_cfg.crop_size=512,512 model.test_cfg.stride=384,384"
)


def test_too_little_memory_for_predicting_names_the_image(
    trained, too_large, tmp_path: Path
) -> None:
    network = load(trained[1])
    image, _ = scene(0)
    with pytest.raises(UserError) as told:
        predict(network, image)
    assert str(told.value) == f"too little memory for the image (64x48){SLIDE}"
    save_rgb(tmp_path / "a.png", image)
    with pytest.raises(UserError) as told:
        predict(network, tmp_path / "a.png")
    assert str(told.value) == f"too little memory for {tmp_path / 'a.png'} (64x48){SLIDE}"


def test_too_little_memory_for_sliding_windows_does_not_advise_to_slide(trained, too_large) -> None:
    network = load(trained[1])
    network.test_cfg.update(mode="slide", crop_size=(32, 32), stride=(32, 32))
    with pytest.raises(UserError) as told:
        predict(network, scene(0)[0])
    assert str(told.value) == (
        "too little memory for the image (64x48 in windows); take a smaller image, or smaller "
        "windows: --cfg-options model.test_cfg.crop_size=256,256 model.test_cfg.stride=192,192"
    )


def test_the_advised_sliding_windows_work(trained) -> None:
    options = SLIDE.split("--cfg-options ")[1].split()
    network = load(trained[1], options=options)
    assert (network.test_cfg.crop_size, network.test_cfg.stride) == ([512, 512], [384, 384])
    assert predict(network, scene(0)[0]).shape == (48, 64)


def test_too_little_memory_for_testing_names_the_image(
    trained, too_large, data: Path, tmp_path: Path
) -> None:
    config, run, _ = trained
    roots = {"gta5": str(data / "gta5")}
    with pytest.raises(UserError, match=r"too little memory for .*00022.png \(64x48\); take"):
        run_test(config, run / "latest.pth", roots=roots, domains=["gta5"], work_dir=tmp_path)


def test_too_little_memory_for_counting_names_the_image(
    trained, data: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels are counted beside the network, those of the last batch after it."""
    config, run, _ = trained
    names = [f"{frame:05d}.png" for frame in GTA5_VAL]

    def fail_at(name: str):
        def process(self, data_batch: dict, data_samples: list[dict]) -> None:
            if data_samples[0]["img_path"].endswith(name):
                raise MemoryError

        return process

    for name in (names[0], names[-1]):
        monkeypatch.setattr(Confusion, "process", fail_at(name))
        given = ["test", str(config), str(run / "latest.pth"), "--domains", "gta5"]
        given += ["--data-root", f"gta5={data / 'gta5'}", "--work-dir", str(tmp_path / name)]
        assert cli.main(given) == 1
        err = capsys.readouterr().err
        assert err.splitlines()[-1].startswith("ibnseg: error: too little memory for counting the")
        assert f"{name}; lower test_batch (--batch) or workers" in err


def test_too_little_memory_for_training_advises_to_accumulate(
    tiny_config, in_data: Path, too_large
) -> None:
    config = tiny_config("gta5", ["gta5"], "accumulate = 2", name="too_large")
    with pytest.raises(UserError) as told:
        train(config)
    assert str(told.value) == (
        "too little memory for a training step: 4 crops of 32x32, 2 at a time; lower crop_size or "
        "batch, or raise accumulate, e.g. --cfg-options accumulate=4"
    )


def test_no_accumulation_is_advised_if_crops_are_trained_one_at_a_time(
    tiny_config, in_data: Path, too_large
) -> None:
    """If crops are already trained one by one, accumulation is not suggested."""
    config = tiny_config("gta5", ["gta5"], "accumulate = 4", name="too_large")
    with pytest.raises(UserError, match="1 at a time; lower crop_size or batch$"):
        train(config)


def test_too_little_memory_for_validating_names_the_image(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import write_gta5

    write_gta5(tmp_path / "gta5", (1, 2, 3, 4, 11, 12, 22, 23))
    more = "save_best = True\nselection_split = 'test'\niterations = 2"
    config = tiny_config("gta5", ["gta5"], more, name="validating")

    def fail(self, inputs, data_samples) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Segmentor, "predict", fail)
    with pytest.raises(UserError, match=r"too little memory for .*00011.png \(64x48\); take"):
        train(config, work_dir=tmp_path / "run", roots={"gta5": str(tmp_path / "gta5")})
