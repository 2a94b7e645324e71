"""Which domain's labels chose a checkpoint, as far as its file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from ibnseg.engine.selection import selection_of

CITYSCAPES = dict(type="CityscapesDataset", data_root="data/cityscapes/")
REST = dict(pipeline=[dict(type="LoadImageFromFile")], data_prefix=dict(img_path="leftImg8bit/val"))


def validated_on(dataset: object) -> dict:
    """What mmengine writes into a checkpoint of a training that is validated on a dataset."""
    loader = dict(batch_size=1, dataset=dataset, sampler=dict(type="DefaultSampler"))
    text = Config(dict(val_dataloader=loader, train_cfg=dict(max_iters=5))).pretty_text
    return dict(cfg=text, iter=5)


BEST = Path("work_dirs/best_mIoU_iter_40000.pth")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (CITYSCAPES | REST, "cityscapes"),
        (dict(type="CityscapesDataset", data_root="/srv/BDD100K", **REST), "bdd100k"),
        (dict(type="mmseg.BDD100KDataset", data_root="", **REST), "bdd100k"),
        (dict(type="CityscapesDataset", **REST), "cityscapes"),
        (dict(type="RepeatDataset", times=2, dataset=CITYSCAPES), "cityscapes"),
        (
            dict(
                type="ConcatDataset", datasets=[CITYSCAPES, dict(data_root="data/acdc"), CITYSCAPES]
            ),
            "cityscapes+acdc",
        ),
        ([CITYSCAPES, dict(data_root="x/mapillary/")], "cityscapes+mapillary"),
        (dict(REST), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_checkpoint_of_mmengine_names_what_it_was_validated_on(dataset, name) -> None:
    assert selection_of(BEST, validated_on(dataset)) == name


def test_a_file_that_is_not_named_the_best_was_not_selected() -> None:
    meta = validated_on(CITYSCAPES)
    for name, selected in (
        ("iter_40000.pth", None),
        ("latest.pth", None),
        ("best.pth", "cityscapes"),
        ("Model_BEST.pth", "cityscapes"),
    ):
        assert selection_of(Path("best") / name, meta) == selected, name


def test_what_cannot_be_read_as_data_is_unknown_and_nothing_is_executed(tmp_path: Path) -> None:
    file = tmp_path / "executed"
    code = f"val_dataloader = dict(dataset=dict(data_root=open({str(file)!r}, 'w').name))\n"
    for meta in (
        {},
        dict(cfg=None),
        dict(cfg=3),
        dict(cfg=code),
        dict(cfg="no config ("),
        dict(cfg="val_dataloader = 5"),
        dict(cfg="val_dataloader = dict(dataset=[5, dict(datasets=3)])"),
        dict(cfg="(" * 10_000),
    ):
        assert selection_of(BEST, meta) == "unknown", meta
    assert not file.exists()


def test_a_checkpoint_of_save_best_was_selected_in_its_training_domain() -> None:
    meta = dict(train_domain="gta5")
    text = "save_best = {}\nval_dataloader = None\n"
    assert selection_of(Path("best.pth"), meta | dict(cfg=text.format(True))) == "gta5"
    assert selection_of(Path("best.pth"), meta | dict(cfg=text.format(False))) == "unknown"
    assert selection_of(Path("iter_5.pth"), meta | dict(cfg=text.format(True))) is None
