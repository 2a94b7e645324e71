"""mmengine's Runner with checkpoints that are whole and safe to read, and with CPU processes."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import mmengine.runner
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.visualization import Visualizer
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.models.build import build_network
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.models.fitting import load_exactly, require_finite, state_dict_of
from ibnseg.models.partial import completed, weights_for
from ibnseg.runs.run import CONFIG
from ibnseg.support.errors import UserError, building, unknown_name
from ibnseg.support.files import written_whole
from ibnseg.support.finite import non_finite
from ibnseg.support.progress import bar

PARAMWISE = (
    "custom_keys",
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "dwconv_decay_mult",
    "flat_decay_mult",
    "dcn_offset_lr_mult",
    "bypass_duplicate",
)
"""What mmengine's DefaultOptimWrapperConstructor reads of ``paramwise_cfg``."""

OWN_CALLS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
"""What mmengine warns of when it saves a checkpoint, and nobody else can change."""

_runs = itertools.count(1)
"""Numbers the runs of this process."""


class Runner(mmengine.runner.Runner):
    """Trains and tests as mmengine's Runner does, with these differences.

    - Checkpoints are written whole or not at all and read with ``weights_only=True``; those that do
      not fit the network are refused.
    - Every segmentor of mmseg can be trained and tested
      (:func:`~ibnseg.models.build.build_network`).
    - When the loader of some data is built, which is before the first step, the sizes of its images
      and labels are compared.
    - ``channels_last`` in the config sets the memory layout; ``compile`` compiles the network alone
      (:func:`~ibnseg.engine.compiled.compiled`).
    - With ``deterministic``, torch warns of what has no deterministic algorithm on GPUs, e.g. the
      loss over pixels, and the training goes on.
    - Several CPU processes work (gloo), each with batch statistics of its own, because torch's
      SyncBN is for GPUs.
    - The expanded config is ``config.py`` in the work dir.
    - Two runs never share a log; mmengine's do if they have one name and begin within a second.
    - The console shows single lines only, or with ``console='bar'`` a bar, warnings and errors; the
      log file has everything.
    """

    def __init__(self, *args, experiment_name: str | None = None, **kwargs) -> None:
        own = f"{experiment_name or 'run'}_{next(_runs)}"
        super().__init__(*args, experiment_name=own, **kwargs)

    def build_dataloader(self, dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        if isinstance(dataloader, Mapping):
            dataloader = {"pin_memory": get_device() == "cuda", **dataloader}
        built = super().build_dataloader(dataloader, *args, **kwargs)
        require_equal_sizes(built.dataset)
        return built

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Builds the logger, whose console leaves out what takes several lines, and both it and the
        file what mmengine says of functions of its own that it will remove."""
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(lambda record: not record.getMessage().startswith(OWN_CALLS))
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: "\n" not in record.getMessage())
                if self.cfg.get("console") == "bar":
                    handler.setLevel(logging.WARNING)
        return logger

    def set_randomness(
        self, seed: int, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seeds the generators, and asks for deterministic algorithms if they are wanted."""
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs this
            torch.use_deterministic_algorithms(True, warn_only=True)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        with building("model"):
            return super().build_model(build_network(model) if isinstance(model, dict) else model)

    def _init_model_weights(self) -> None:
        """Gives the network the weights to start from; a resumed run has them from its
        checkpoint."""
        if self._resume and self._load_from is not None:
            return
        try:
            with building("model"):
                super()._init_model_weights()
        except URLError as error:  # from mmengine's downloads; our backbones raise a UserError
            raise UserError(
                f"model: weights to start from cannot be downloaded ({error.reason}); set "
                "model.pretrained or init_cfg to the path of a file, or to None"
            ) from error

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        if isinstance(optim_wrapper, Mapping) and "constructor" not in optim_wrapper:
            self._check_paramwise(optim_wrapper.get("paramwise_cfg") or {})
        with building("optimizer"):
            return super().build_optim_wrapper(optim_wrapper)

    def _check_paramwise(self, groups: Mapping) -> None:
        """Refuses keys that mmengine would ignore in silence.

        Custom keys that match no parameter are only logged, because mmseg's configs name more than
        each network has.
        """
        for key in groups:
            if key not in PARAMWISE:
                raise unknown_name("key of optim_wrapper.paramwise_cfg", key, PARAMWISE)
        parameters = [name for name, _ in self.model.named_parameters()]
        for key in groups.get("custom_keys") or {}:
            if not any(key in name for name in parameters):
                self.logger.warning(f"paramwise_cfg.custom_keys: no parameter's name has '{key}'")

    def setup_env(self, env_cfg: dict) -> None:
        with building("env_cfg"):
            super().setup_env(env_cfg)

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        with building("visualizer"):
            return super().build_visualizer(visualizer)

    def build_param_scheduler(self, scheduler: object) -> object:
        with building("param_scheduler"):
            return super().build_param_scheduler(scheduler)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        with building("default_hooks"):
            super().register_default_hooks(hooks)

    def register_custom_hooks(self, hooks: list) -> None:
        with building("custom_hooks"):
            super().register_custom_hooks(hooks)

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Runs a step of all hooks.

        Some, such as ``EMAHook``, check their arguments only when the training begins. What they
        log may not fit on the disk; libraries do not say which file that is.
        """
        try:
            super().call_hook(fn_name, **kwargs)
        except TypeError as error:
            if fn_name != "before_run" or "unexpected keyword argument" not in str(error):
                raise
            raise UserError(f"custom_hooks: cannot be built from the config ({error})") from error
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise UserError(f"{self.log_dir}: cannot be written ({error.strerror})") from error

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.cfg.get("channels_last"):
            model = model.to(memory_format=torch.channels_last)
        if self.distributed and not any(each.requires_grad for each in model.parameters()):
            return model.to(get_device())  # nothing to keep alike: it is only tested
        if self.distributed:
            gpu = get_device() == "cuda"
            if not gpu:
                self.logger.info("No GPU: batch normalisation is not synchronised over processes.")
                self.cfg.sync_bn = None
                model = revert_sync_batchnorm(model)
            ours = dict(
                type="MMDistributedDataParallel",
                device_ids=[torch.cuda.current_device()] if gpu else None,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get("find_unused_parameters") or False,
            )
            model_wrapper_cfg = {**ours, **(model_wrapper_cfg or {})}
        with building("model_wrapper_cfg"):
            return super().wrap_model(model_wrapper_cfg, model)

    def _maybe_compile(self, target: str) -> None:
        """Does nothing: mmengine would compile the whole step; :class:`ibnseg.TrainLoop` compiles
        the network."""

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        with written_whole(Path(out_dir) / filename) as temporary:
            super().save_checkpoint(str(temporary.parent), temporary.name, *args, **kwargs)

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Loads the checkpoint that a training starts from or goes on with.

        Hooks may change it, as mmengine's ``EMAHook`` does.

        Returns:
            The checkpoint's content.
        """
        checkpoint = read_checkpoint(filename)
        checkpoint = {**checkpoint, "state_dict": state_dict_of(checkpoint, str(filename))}
        checkpoint = completed(self._network, checkpoint, str(filename))
        meta = checkpoint.get("meta") or {}
        # mmengine would execute the text of a config
        checkpoint["meta"] = {key: value for key, value in meta.items() if key != "config"}
        used = dict(optimizer=checkpoint.get("optimizer")) if self._resume else {}
        if any(isinstance(hook, EMAHook) for hook in self.hooks):
            used["ema_state_dict"] = checkpoint.get("ema_state_dict")
        require_finite(non_finite(used), str(filename))
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self._fill(checkpoint["state_dict"], filename)
        return checkpoint

    def load_weights(self, filename: str | Path) -> dict:
        """Loads the checkpoint that is to be tested.

        Its ``state_dict`` is taken as it is, as by every command that predicts: with ``EMAHook``
        these are the averaged weights.

        Returns:
            The checkpoint's content.
        """
        checkpoint = read_checkpoint(filename)
        self._fill(weights_for(self._network, checkpoint, str(filename)), filename)
        return checkpoint

    @property
    def _network(self) -> nn.Module:
        return getattr(self.model, "module", self.model)

    def _fill(self, weights: Mapping[str, Tensor], filename: str | Path) -> None:
        load_exactly(self._network, weights, str(filename))
        self._has_loaded = True
        self.logger.info(f"Loaded {filename}")

    @master_only
    def dump_config(self) -> None:
        """Writes ``config.py``; a test does not overwrite that of a training."""
        path = Path(self.work_dir) / CONFIG
        if self.cfg.get("train_cfg") is not None or not path.exists():
            with written_whole(path) as temporary:
                temporary.write_text(f"{self.cfg.pretty_text}\n", "utf-8")

    def bar(self) -> Progress:
        """Makes the bar of a loop; it is hidden on all processes but one, and if the console shows
        the log."""
        return bar(hidden=self.cfg.get("console") != "bar" or not is_main_process())
