"""A warning of domains whose labels are void."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine.config import Config

from ibnseg.engine.expand import expand
from ibnseg.engine.training import build_unshown
from ibnseg.engine.void import MANY, VoidLabels

VOID, LABELLED = torch.full((1, 2, 2), 255), torch.tensor([[[255, 255], [255, 3]]])


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


def crops(label: torch.Tensor, count: int) -> list[SimpleNamespace]:
    sample = SimpleNamespace(img_path="a.png", gt_sem_seg=SimpleNamespace(data=label))
    return [sample] * count


def test_a_domain_whose_crops_are_void_in_a_row_is_named_once() -> None:
    logger, found = Logger(), VoidLabels(["streets"], None)
    found.note(crops(LABELLED, 1) + crops(VOID, MANY))
    found.look(logger, last=False)
    found.note(crops(VOID, MANY - 1))
    found.look(logger, last=False)
    assert logger.lines == []
    for _ in range(2):
        found.note(crops(VOID, 1))
        found.look(logger, last=False)
    assert len(logger.lines) == 1
    assert logger.lines[0].startswith(f"streets: none of the last {MANY} training crops has a lab")


def test_at_the_end_a_domain_without_any_label_is_named_however_short_the_training() -> None:
    for label, expected in ((VOID, 1), (LABELLED, 0)):
        logger, found = Logger(), VoidLabels(["streets"], None)
        found.note(crops(label, 1))
        found.look(logger, last=False)
        found.note(crops(VOID, 2))
        found.look(logger, last=True)
        assert len(logger.lines) == expected


def test_each_of_several_domains_is_counted_by_itself(in_data, tiny_config) -> None:
    cfg = Config.fromfile(tiny_config("gta5", ["gta5"]))
    cfg.train_domain = ["gta5", "camvid"]
    dataset = build_unshown(expand(cfg).train_dataloader.dataset)
    logger, found = Logger(), VoidLabels(["gta5", "camvid"], dataset)
    for i, label in ((0, LABELLED), (len(dataset) - 1, VOID)):
        (sample,) = crops(label, 1)
        sample.img_path = dataset.get_data_info(i)["img_path"]
        found.note([sample] * MANY)
    found.look(logger, last=False)
    assert [line.split(":")[0] for line in logger.lines] == ["camvid"]
