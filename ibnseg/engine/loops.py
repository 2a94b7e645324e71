"""Loops of mmengine's Runner: training that resumes exactly, validation, tests on many domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import get_rank, is_main_process
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ibnseg.engine.background import BackgroundEvaluator
from ibnseg.engine.compiled import compiled
from ibnseg.engine.features import require_stored_backbone
from ibnseg.engine.logged import forget_old, norms_logged_late
from ibnseg.engine.non_finite import FirstNonFinite, bare, wrappers_of
from ibnseg.engine.overlap import warn_of_trained_images
from ibnseg.engine.parts import LoggedMeans, SharedDivisors
from ibnseg.engine.precision import autocast
from ibnseg.engine.shared_loading import shared_loader, what_is_loaded
from ibnseg.engine.values import layers_fit, pools_whole_images
from ibnseg.engine.void import VoidLabels
from ibnseg.models.augmented import Augmented
from ibnseg.models.inference import upsamples_twice
from ibnseg.models.one_pass import separately
from ibnseg.registry import LOOPS
from ibnseg.runs.recipe import train_domains
from ibnseg.support.memory import enough_memory, enough_memory_for_image


@LOOPS.register_module()
class TrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations; an iteration is one step of the optimiser.

    Each iteration seeds torch with the run's seed, its number and the process's rank, so what is
    random in the network depends on nothing that came before, and a resumed run goes on as if not
    interrupted.

    A step is one of its whole batch, over all processes and parts: means over pixels have one
    divisor (:class:`~ibnseg.engine.parts.SharedDivisors`), and the log has the means over all.

    With ``compile`` in the config, the network runs compiled while it trains.

    Nothing in a step waits for the device, except a head that matches on the host
    (``ibnseg.QueryHead``): losses, norms and divisors stay there until the log is written. It is
    looked every ``log_interval`` iterations, before each checkpoint and at the end whether all
    losses and gradients were finite.

    Args:
        accumulate: parts that a process's batch is cut into, forward and backward one after
            another. Batch normalisation sees one part at a time.

    Raises:
        UserError: if the training diverges, memory is too little, or a layer gets too few values.
    """

    def __init__(
        self, runner, dataloader: DataLoader | dict, accumulate: int = 1, **kwargs
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self.accumulate = accumulate

    def run(self) -> nn.Module:
        runner, parts = self.runner, self.accumulate
        runner.optim_wrapper.initialize_count_status(
            runner.model, self.iter * parts, self.max_iters * parts
        )
        require_stored_backbone(bare(runner.model), runner.cfg)
        device = next(runner.model.parameters()).device
        self._first_non_finite = FirstNonFinite(device)
        self._void = VoidLabels(train_domains(runner.cfg), self.dataloader.dataset)
        self._means = LoggedMeans(device)
        self._divisors = SharedDivisors(runner.model, parts, device)
        self._least = 2 if pools_whole_images(runner.model) else 1
        if is_main_process():
            tests, loops = runner.test_loop.tests, runner.test_loop.loops
            tested = {name: loop.dataloader.dataset for name, loop in loops.items()}
            warn_of_trained_images(self.dataloader.dataset, tests, tested, runner.logger)
        name = runner.cfg.get("model_title") or runner.experiment_name
        with ExitStack() as stack:
            self._bar = stack.enter_context(runner.bar())
            stack.enter_context(self._first_non_finite.watching(runner.optim_wrapper))
            stack.enter_context(norms_logged_late(wrappers_of(runner.optim_wrapper)))
            if runner.cfg.get("compile"):
                stack.enter_context(compiled(bare(runner.model)))
            self._task = self._bar.add_task(
                f"Training {name}", total=self.max_iters, completed=self.iter
            )
            stack.callback(self._divisors.remove)
            return super().run()

    def run_iter(self, data_batch: Mapping[str, Sequence]) -> None:
        runner = self.runner
        seed = np.random.SeedSequence([runner.seed, self._iter, get_rank()])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        self._first_non_finite.step = self._iter + 1
        self._void.note(data_batch["data_samples"])
        with self._enough_memory(data_batch), layers_fit():
            outputs = self._means.mean(list(self._outputs(data_batch)))
        self._first_non_finite.note_losses(outputs)
        self._look()
        runner.call_hook(
            "after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1
        self._bar.advance(self._task)

    def _outputs(self, data_batch: Mapping[str, Sequence]) -> Iterator[dict[str, Tensor]]:
        """What the network gives to the log for each part, after its forward and backward pass."""
        parts = [
            {key: values[i :: self.accumulate] for key, values in data_batch.items()}
            for i in range(self.accumulate)
        ]
        self._divisors.begin_step(
            [[sample.gt_sem_seg.data for sample in part["data_samples"]] for part in parts]
        )
        for i, part in enumerate(parts):
            self._divisors.begin_part(i)
            yield self.runner.model.train_step(part, optim_wrapper=self.runner.optim_wrapper)

    def _look(self) -> None:
        """Looks, from time to time, at what was noted on the way."""
        done, last = self._iter + 1, self._iter + 1 == self.max_iters
        if last or done % self.runner.cfg.log_interval == 0 or done % self.val_interval == 0:
            self._first_non_finite.require_none(self.runner.cfg)
            self._void.look(self.runner.logger, last)
            forget_old(self.runner.message_hub, self.runner.cfg.log_interval)

    def _enough_memory(self, data_batch: Mapping[str, Sequence]) -> AbstractContextManager[None]:
        images, parts = len(data_batch["inputs"]), self.accumulate
        height, width = self.runner.cfg.crop_size
        larger = [
            n
            for n in range(parts + 1, images + 1)
            if images % n == 0 and images // n >= self._least
        ]
        advice = "lower crop_size or batch"
        if larger:
            advice += f", or raise accumulate, e.g. --cfg-options accumulate={larger[0]}"
        return enough_memory(
            f"a training step: {images} crops of {width}x{height}, {-(-images // parts)} at a time",
            advice,
        )


@LOOPS.register_module()
class ValidationLoop(ValLoop):
    """mmengine's validation loop, which reports too little memory in one line."""

    def run_iter(self, idx: int, data_batch: Mapping[str, Sequence]) -> None:
        with separately(), _enough_memory_to_predict(data_batch, self.runner.model):
            super().run_iter(idx, data_batch)


def _enough_memory_to_predict(
    data_batch: Mapping[str, Sequence], network: nn.Module
) -> AbstractContextManager[None]:
    samples = _shown(data_batch)
    meta = samples[0].metainfo
    if len(samples) > 1 and isinstance(data_batch["data_samples"][0], SegDataSample):
        height, width = meta["img_shape"][:2]
        what = f"a test of {len(samples)} images of {width}x{height} at a time"
        return enough_memory(what, "lower test_batch (--batch)")
    test_cfg = getattr(network, "module", network).test_cfg
    windows = test_cfg.get("mode") == "slide"
    return enough_memory_for_image(meta["img_path"], meta["ori_shape"], windows=windows)


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
            test["name"]: TestLoop(
                runner, dataloader[test["name"]], BackgroundEvaluator(evaluator[test["name"]])
            )
            for test in tests
        }
        self._loaded = {name: what_is_loaded(loader) for name, loader in dataloader.items()}
        self.test, self.upsampled_twice = tests[0], False
        self.dataloader = self.loops[self.test["name"]].dataloader

    def run(self) -> dict[str, float]:
        """Runs all tests, each an epoch to the hooks, and returns all metrics in one dict.

        Tests of the same files take turns with each batch, so that it is loaded once; they begin
        and end together, in their order. If the network has ``prepare(datasets)``, that is called
        first, with the dataset of each test by the test's name.
        """
        runner = self.runner
        runner.call_hook("before_test")
        runner.model.eval()
        prepare = getattr(bare(runner.model), "prepare", None)
        if prepare is not None:
            prepare({name: loop.dataloader.dataset for name, loop in self.loops.items()})
        sharing: dict[str, list[dict]] = {}
        for test in self.tests:
            sharing.setdefault(self._loaded[test["name"]], []).append(test)
        metrics = {}
        for tests in sharing.values():
            self._clear_logged()
            for test in tests:
                loop = self._turn_to(test)
                runner.logger.info(
                    f"Testing on {test['domain']} {test['split']}, "
                    f"{len(loop.dataloader.dataset)} images, protocol {test['protocol']['name']}"
                )
                runner.call_hook("before_test_epoch")
            twice = self._predict(tests)
            for test in tests:
                loop = self._turn_to(test)
                self.upsampled_twice = test["name"] in twice
                of_test = loop.evaluator.evaluate(len(loop.dataloader.dataset))
                runner.call_hook("after_test_epoch", metrics=of_test)
                self._clear_logged(of_test)
                metrics |= of_test
        runner.call_hook("after_test")
        return metrics

    def _turn_to(self, test: dict) -> TestLoop:
        """Says to hooks that a test is under way."""
        self.test, loop = test, self.loops[test["name"]]
        self.dataloader = loop.dataloader
        return loop

    def _clear_logged(self, names: Iterable[str] | None = None) -> None:
        """Forgets logged values, or those of some names, which log lines of further tests would
        repeat."""
        logged = self.runner.message_hub.log_scalars
        keys = [key for key in logged if key.startswith("test/")]
        for key in keys if names is None else [f"test/{name}" for name in names]:
            logged.pop(key, None)

    def _predict(self, tests: Sequence[dict]) -> set[str]:
        """Predicts all images of some tests of the same files, and counts their pixels; returns the
        names of tests whose logits were resized twice."""
        loaders = [self.loops[test["name"]].dataloader for test in tests]
        loader = loaders[0] if len(loaders) == 1 else shared_loader(loaders)
        twice: set[str] = set()
        with self.runner.bar() as bar:
            batches = bar.track(loader, description=f"Testing on {tests[0]['domain']}")
            for i, loaded in enumerate(batches):
                for test, batch in zip(
                    tests, [loaded] if len(loaders) == 1 else loaded, strict=True
                ):
                    loop = self._turn_to(test)
                    with separately(), self._shown_as(test) as segmentor:
                        for part in _by_size(batch):
                            with _enough_memory_to_predict(part, segmentor):
                                loop.run_iter(i, part)
                        if upsamples_twice(segmentor) and _is_rescaled(batch):
                            twice.add(test["name"])
        return twice

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
