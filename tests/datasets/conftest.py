"""What adapters log."""

from __future__ import annotations

import logging

import pytest
from mmengine.logging import MMLogger


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
