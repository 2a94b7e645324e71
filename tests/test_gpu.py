"""``python -m benchmarks gpu`` on a processor; and what it checks, on a GPU if there is one."""

import pytest
import torch

from benchmarks import gpu, measure
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_without_a_gpu_it_says_so(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.slow
def test_its_sections_run_on_a_processor(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROUNDS", 1)
    sections = ["same_step", "layer", "fcn", "loaders", "testing"]
    assert gpu.main([*sections, "--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "every check holds" in out
    assert out.count("| mmseg |") == 6


def test_a_section_without_time_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 20.0)
    assert gpu.main(["fcn", "--device", "cpu", "--quick"]) == 0
    assert "fcn: left out, because 20 s are left" in capsys.readouterr().out


def test_a_check_that_does_not_hold_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        """Two is one."""
        raise gpu.CheckError("2 beside 1")

    monkeypatch.setitem(gpu.SECTIONS, "layer", (fails, 1))
    assert gpu.main(["layer", "--device", "cpu", "--quick"]) == 1
    assert "Two is one. NO: 2 beside 1" in capsys.readouterr().out


@on_gpu
@pytest.mark.parametrize("check", ["same_step", "no_waits", "resumes", "two_processes"])
def test_a_gpu_learns_what_a_processor_does(check: str) -> None:
    assert gpu.main([check]) == 0


@on_gpu
def test_a_gpu_counts_label_maps_as_a_processor_does() -> None:
    label, prediction = (torch.randint(0, 19, (2, 300, 500)) for _ in range(2))
    label[torch.rand(label.shape) < 0.1] = 255
    expected = confusion_matrix(label, prediction, 19)
    for dtype in (torch.uint8, torch.int64):
        counts = confusion_matrix(*(each.cuda().to(dtype) for each in (label, prediction)), 19)
        assert counts.is_cuda
        assert torch.equal(counts.cpu(), expected)
        assert mean_iou(counts) == mean_iou(expected)
    with pytest.raises(ValueError, match="label has values 18, which are none of 18 classes"):
        confusion_matrix(label.cuda(), prediction.cuda(), 18)
