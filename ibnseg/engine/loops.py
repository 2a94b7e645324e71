"""Loops of mmengine's Runner: training that resumes exactly, validation, tests on many domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import get_rank
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import DataLoader

from ibnseg.engine.precision import autocast
from ibnseg.models.augmented import Augmented
from ibnseg.models.segmentor import upsamples_twice
from ibnseg.registry import LOOPS
from ibnseg.support.memory import enough_memory, enough_memory_for_image


@LOOPS.register_module()
class TrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations; an iteration is one step of the optimiser.

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

    def run(self) -> nn.Module:
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
        # a value that a part does not have, e.g. a further loss with nothing to find, counts as 0
        keys = dict.fromkeys(key for part in outputs for key in part)
        mean = {key: sum(part.get(key, 0) for part in outputs) / len(outputs) for key in keys}
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
            advice += f", or raise accumulate, e.g. --cfg-options accumulate={larger}"
        return enough_memory(
            f"a training step: {images} crops of {width}x{height}, {-(-images // parts)} at a time",
            advice,
        )


@LOOPS.register_module()
class ValidationLoop(ValLoop):
    """mmengine's validation loop, which reports too little memory in one line."""

    def run_iter(self, idx: int, data_batch: Mapping[str, Sequence]) -> None:
        with _enough_memory_to_predict(data_batch):
            super().run_iter(idx, data_batch)


def _enough_memory_to_predict(data_batch: Mapping[str, Sequence]) -> AbstractContextManager[None]:
    samples = _shown(data_batch)
    meta = samples[0].metainfo
    if len(samples) > 1 and isinstance(data_batch["data_samples"][0], SegDataSample):
        height, width = meta["img_shape"][:2]
        what = f"a test of {len(samples)} images of {width}x{height} at a time"
        return enough_memory(what, "lower test_batch (--batch)")
    return enough_memory_for_image(meta["img_path"], meta["ori_shape"])


def _by_size(data_batch: Mapping[str, Sequence]) -> Iterator[Mapping[str, Sequence]]:
    """Parts of a batch whose images have one size; an augmented image stays whole."""
    samples = data_batch["data_samples"]
    if not isinstance(samples[0], SegDataSample):
        yield data_batch
        return
    groups: dict[tuple, list[int]] = {}
    for i, image in enumerate(data_batch["inputs"]):
        groups.setdefault(tuple(image.shape), []).append(i)
    for places in groups.values():
        yield {key: [values[i] for i in places] for key, values in data_batch.items()}


def _is_rescaled(data_batch: Mapping[str, Sequence]) -> bool:
    """Whether the network sees an image at another size than that of its label."""
    metas = (sample.metainfo for sample in _shown(data_batch))
    return any(tuple(meta["img_shape"]) != tuple(meta["ori_shape"]) for meta in metas)


def _shown(data_batch: Mapping[str, Sequence]) -> list[SegDataSample]:
    """A batch's samples; in test-time augmentation those of every augmented image."""
    samples = data_batch["data_samples"]
    if isinstance(samples[0], SegDataSample):
        return list(samples)
    return [sample for augmented in samples for sample in augmented]


class _InPrecision:
    """A network whose ``test_step`` runs in a precision.

    A context around mmengine's loop would have no effect, because the loop sets its own.
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        self.network, self.precision = network, precision

    def test_step(self, data: dict) -> list[SegDataSample]:
        with autocast(self.precision):
            return self.network.test_step(data)


@LOOPS.register_module()
class DomainTestLoop(BaseLoop):
    """Tests one network on several domains and protocols in one run.

    Args:
        runner: the runner.
        dataloader: the loader of each test, by the test's name.
        evaluator: the evaluator of each test, by the test's name; its prefix names the metrics:
            ``cityscapes/mIoU``.
        tests: the tests' facts, each with ``name``, ``domain``, ``split``, ``protocol``,
            ``inference`` (what it changes in the model's ``test_cfg``), ``augmented`` (whether its
            loader gives augmented images) and ``precision``.

    Attributes:
        loops: mmengine's test loop of each test, by name.
        test: the one of ``tests`` that is under way, or was last.
        dataloader: the loader of that test, whose batches progress lines count.
        upsampled_twice: whether the logits of that test were resized to the image first, and from
            there to a label of another size.
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
        self.test, self.upsampled_twice = tests[0], False
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
            with runner.bar() as bar, self._shown_as(test) as segmentor:
                twice, self.upsampled_twice = upsamples_twice(segmentor), False
                batches = bar.track(loop.dataloader, description=f"Testing on {test['domain']}")
                for i, batch in enumerate(batches):
                    for part in _by_size(batch):
                        with _enough_memory_to_predict(part):
                            loop.run_iter(i, part)
                    self.upsampled_twice |= twice and _is_rescaled(batch)
            of_test = loop.evaluator.evaluate(images)
            runner.call_hook("after_test_epoch", metrics=of_test)
            metrics |= of_test
        runner.call_hook("after_test")
        return metrics

    @contextmanager
    def _shown_as(self, test: Mapping) -> Iterator[nn.Module]:
        """Gives the runner's network the inference of a test: whole or slide, with or without
        augmentation."""
        network = self.runner.model
        segmentor = getattr(network, "module", network)
        own = segmentor.test_cfg
        segmentor.test_cfg = ConfigDict({**own, **test["inference"]})
        if test["augmented"]:
            self.runner.model = Augmented(segmentor)
        if test["precision"] != "float32":
            self.runner.model = _InPrecision(self.runner.model, test["precision"])
        try:
            yield segmentor
        finally:
            self.runner.model, segmentor.test_cfg = network, own
