"""Counts the pixels of a batch while the network predicts the next one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from ibnseg.support.memory import enough_memory


class BackgroundEvaluator(Evaluator):
    """mmengine's evaluator, whose ``process`` returns at once; a thread counts batches in their
    order.

    At most one batch is being counted, which bounds what is kept in memory: the next ``process``
    waits for it. An error is raised there, or in ``finish``; too little memory is a UserError that
    names the batch that was counted.
    """

    _thread: ThreadPoolExecutor | None = None
    _counting: Future | None = None

    def process(
        self, data_samples: Sequence[BaseDataElement], data_batch: object | None = None
    ) -> None:
        self._wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="counting")
        self._counting = self._thread.submit(self._count, data_samples, data_batch)

    def _count(self, data_samples: Sequence[BaseDataElement], data_batch: object | None) -> None:
        first, *further = (sample.get("img_path") for sample in data_samples)
        more = f" and {len(further)} more" if further else ""
        with enough_memory(
            f"counting the pixels of {first}{more}",
            "lower test_batch (--batch) or workers, which hold images in memory",
        ):
            super().process(data_samples, data_batch)

    def finish(self) -> None:
        """Waits until all batches are counted, and ends the thread."""
        try:
            self._wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None

    def evaluate(self, size: int) -> dict:
        self.finish()
        return super().evaluate(size)

    def _wait(self) -> None:
        counting, self._counting = self._counting, None
        if counting is not None:
            counting.result()
