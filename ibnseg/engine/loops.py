"""The loops: training steps that can be resumed exactly, and a test on many domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import get_rank
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from ibnseg.models.augmented import Augmented
from ibnseg.registry import LOOPS
from ibnseg.support.memory import enough_memory, enough_memory_for_image


@LOOPS.register_module()
class TrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations, where an iteration is one step of the optimiser.

    Each iteration seeds torch with the run's seed, its number and the process's rank, so what is
    random in the network depends on nothing that came before, and a resumed run goes on as if not
    interrupted.

    Args:
        accumulate: parts that a process's batch is cut into, forward and backward one after
            another. The gradient is the mean of the parts'; batch normalisation sees one part at a
            time.
    """

    def __init__(
        self, runner, dataloader: DataLoader | dict, accumulate: int = 1, **kwargs
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self.accumulate = accumulate

    def run(self) -> torch.nn.Module:
        optim_wrapper, parts = self.runner.optim_wrapper, self.accumulate
        optim_wrapper.initialize_count_status(
            self.runner.model, self.iter * parts, self.max_iters * parts
        )
        name = self.runner.cfg.get("model_title") or self.runner.experiment_name
        with self.runner.bar() as self._bar:
            self._task = self._bar.add_task(
                f"Training {name}", total=self.max_iters, completed=self.iter
            )
            return super().run()

    def run_iter(self, data_batch: Mapping[str, Sequence]) -> None:
        seed = np.random.SeedSequence([self.runner.seed, self._iter, get_rank()])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        with self._enough_memory(data_batch):
            outputs = [
                self.runner.model.train_step(
                    {key: values[i :: self.accumulate] for key, values in data_batch.items()},
                    optim_wrapper=self.runner.optim_wrapper,
                )
                for i in range(self.accumulate)
            ]
        mean = {key: sum(part[key] for part in outputs) / len(outputs) for key in outputs[0]}
        self.runner.call_hook(
            "after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=mean
        )
        self._iter += 1
        self._bar.advance(self._task)

    def _enough_memory(self, data_batch: Mapping[str, Sequence]) -> AbstractContextManager[None]:
        images, parts = len(data_batch["inputs"]), self.accumulate
        height, width = self.runner.cfg.crop_size
        larger = next((n for n in range(parts + 1, images + 1) if images % n == 0), None)
        advice = "lower crop_size or batch"
        if larger:
            advice += f", or raise accumulate, as --cfg-options accumulate={larger}"
        return enough_memory(
            f"a training step: {images} crops of {width}x{height}, {-(-images // parts)} at a time",
            advice,
        )


@LOOPS.register_module()
class ValidationLoop(ValLoop):
    """mmengine's validation loop, which tells of too little memory in a line."""

    def run_iter(self, idx: int, data_batch: Mapping[str, Sequence]) -> None:
        with _enough_memory_to_predict(data_batch):
            super().run_iter(idx, data_batch)


def _enough_memory_to_predict(data_batch: Mapping[str, Sequence]) -> AbstractContextManager[None]:
    sample = data_batch["data_samples"][0]
    meta = (sample[0] if isinstance(sample, (list, tuple)) else sample).metainfo
    return enough_memory_for_image(meta["img_path"], meta["ori_shape"])


@LOOPS.register_module()
class DomainTestLoop(BaseLoop):
    """Tests one network on several domains and protocols in one run.

    Args:
        runner: the runner.
        dataloader: of each test, by its name.
        evaluator: of each test, by its name; its prefix names the metrics: ``cityscapes/mIoU``.
        tests: the tests' facts, each with ``name``, ``domain``, ``split``, ``protocol``,
            ``inference`` (what it changes in the model's ``test_cfg``) and ``augmented``, whether
            its loader gives augmented images.

    Attributes:
        loops: mmengine's test loop of each test, by name.
        test: the one of ``tests`` that is under way, or was last.
        dataloader: its loader, which is what progress lines count.
    """

    def __init__(
        self,
        runner,
        dataloader: Mapping[str, dict],
        evaluator: Mapping[str, dict],
        tests: Sequence[dict],
    ) -> None:
        self._runner = runner
        self.tests = tests
        self.loops = {
            test["name"]: TestLoop(runner, dataloader[test["name"]], evaluator[test["name"]])
            for test in tests
        }
        self.test = tests[0]
        self.dataloader = self.loops[self.test["name"]].dataloader

    def run(self) -> dict[str, float]:
        """Runs all tests, each an epoch to the hooks, and returns all metrics in one dict."""
        runner = self.runner
        runner.call_hook("before_test")
        runner.model.eval()
        metrics = {}
        for test in self.tests:
            self.test, loop = test, self.loops[test["name"]]
            self.dataloader = loop.dataloader
            images = len(loop.dataloader.dataset)
            runner.logger.info(
                f"Testing on {test['domain']} {test['split']}, {images} images, "
                f"protocol {test['protocol']['name']}"
            )
            logged = runner.message_hub.log_scalars
            for key in [key for key in logged if key.startswith("test/")]:
                del logged[key]  # or the progress lines would repeat the last test's metrics
            runner.call_hook("before_test_epoch")
            with runner.bar() as bar, self._shown_as(test):
                batches = bar.track(loop.dataloader, description=f"Testing on {test['domain']}")
                for i, batch in enumerate(batches):
                    with _enough_memory_to_predict(batch):
                        loop.run_iter(i, batch)
            of_test = loop.evaluator.evaluate(images)
            runner.call_hook("after_test_epoch", metrics=of_test)
            metrics |= of_test
        runner.call_hook("after_test")
        return metrics

    @contextmanager
    def _shown_as(self, test: Mapping) -> Iterator[None]:
        """The network with the inference of a test: whole, slide, with or without augmentation."""
        network = self.runner.model
        segmentor = getattr(network, "module", network)
        own = segmentor.test_cfg
        segmentor.test_cfg = ConfigDict({**own, **test["inference"]})
        if test["augmented"]:
            self.runner.model = Augmented(segmentor)
        try:
            yield
        finally:
            self.runner.model, segmentor.test_cfg = network, own
