"""Counting beside the network: in order, one batch at a time, errors included."""

from __future__ import annotations

import threading

import pytest
from mmengine.evaluator import BaseMetric

from ibnseg.engine.background import BackgroundEvaluator


class Names(BaseMetric):
    """Notes what it is given, once it is let."""

    default_prefix = "test"

    def __init__(self) -> None:
        super().__init__(collect_device="gpu")
        self.let = threading.Event()
        self.let.set()

    def process(self, data_batch: object, data_samples: list[dict]) -> None:
        assert self.let.wait(20)
        for sample in data_samples:
            if sample["img_path"] == "bad.png":
                raise ValueError("bad.png: no class")
            self.results.append(sample["img_path"])

    def compute_metrics(self, results: list) -> dict:
        return {"names": "".join(results)}


def batch(*names: str) -> list[dict]:
    return [dict(img_path=name) for name in names]


def test_batches_are_counted_in_their_order_and_none_is_lost() -> None:
    evaluator = BackgroundEvaluator(Names())
    for at in range(0, 60, 2):
        evaluator.process(batch(f"{at},", f"{at + 1},"))
    assert evaluator.evaluate(60) == {"test/names": "".join(f"{i}," for i in range(60))}
    evaluator.process(batch("a"))  # a second test with the same evaluator
    assert evaluator.evaluate(1) == {"test/names": "a"}
    assert not [each for each in threading.enumerate() if each.name.startswith("counting")]


def test_the_network_goes_on_while_a_batch_is_counted() -> None:
    metric = Names()
    evaluator = BackgroundEvaluator(metric)
    metric.let.clear()
    evaluator.process(batch("a"))  # comes back, although nothing is counted yet
    assert metric.results == []
    metric.let.set()
    assert evaluator.evaluate(1) == {"test/names": "a"}


def test_an_error_in_counting_is_raised_at_the_next_batch_or_at_the_end() -> None:
    for further in (True, False):
        evaluator = BackgroundEvaluator(Names())
        evaluator.process(batch("bad.png"))
        with pytest.raises(ValueError, match=r"bad\.png: no class"):
            evaluator.process(batch("a")) if further else evaluator.evaluate(1)
