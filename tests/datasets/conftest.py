"""What adapters log."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger

from ibnseg.datasets.base import DrivingDataset


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture):
    """Records of mmengine's current logger, which does not propagate."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    """The warnings among them."""
    return [r.getMessage() for r in log.records if r.levelno == logging.WARNING]


PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]


def labels_of(dataset: DrivingDataset) -> dict[str, np.ndarray]:
    """The train ids of each image by its path below the root, as the pipeline reads them."""
    assert dataset.pipeline.transforms, "the dataset is built without PIPELINE"
    return {
        Path(sample["img_path"]).relative_to(dataset.data_root).as_posix(): sample["gt_seg_map"]
        for sample in dataset
    }
