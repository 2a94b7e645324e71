"""Top-level config keys of mmengine and mmseg: those that users may set, and those refused."""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """A top-level config key of mmengine that users may set."""

    decides: bool
    """Whether it decides what is learnt, and so belongs to the recipe."""
    meaning: str
    """For the table in docs/configs.md."""
    but: tuple[str, ...] = ()
    """Keys in it that decide nothing."""


WORDS = {
    "optim_wrapper": Word(True, "merged key by key with ours, e.g. `paramwise_cfg`, `clip_grad`"),
    "param_scheduler": Word(True, "replaces the poly schedule; by iterations"),
    "custom_hooks": Word(True, "run beside ours, e.g. `EMAHook`"),
    "default_hooks": Word(
        True,
        "merged key by key with ours, but the checkpoint's; those of the log decide nothing",
        but=("logger", "timer", "runtime_info", "visualization"),
    ),
    "visualizer": Word(False, "merged key by key; its `vis_backends` are appended to ours"),
    "env_cfg": Word(False, "merged key by key with ours"),
    "custom_imports": Word(
        True, "modules of yours, found again by the run; their code is part of the recipe"
    ),
    "model_wrapper_cfg": Word(
        False, "how the network is wrapped for several processes; merged key by key with ours"
    ),
    "find_unused_parameters": Word(
        False, "for several processes, if a step leaves out parameters, as a phase may"
    ),
    "log_level": Word(False, 'the least severe level that is logged, e.g. `"WARNING"`'),
}
"""mmengine's keys that users may set; they are merged with what this package sets."""

MODEL_FILE_KEYS = (
    "norm_cfg",
    "act_cfg",
    "conv_cfg",
    "backbone_norm_cfg",
    "data_preprocessor",
    "checkpoint",
    "checkpoint_file",
    "num_classes",
    "default_scope",
)
"""Top-level keys that mmseg's model files have; they are accepted, and nothing here reads them."""

REFUSED = {
    **dict.fromkeys(
        ("train_dataloader", "val_dataloader", "test_dataloader"),
        "loaders are made from train_domain, test_domains, batch and workers",
    ),
    **dict.fromkeys(
        ("train_cfg", "val_cfg", "test_cfg"),
        "loops are made from epochs or iterations, accumulate and save_best",
    ),
    **dict.fromkeys(
        ("val_evaluator", "test_evaluator"),
        "evaluators are made from test_domains, protocol and metrics",
    ),
    "train_pipeline": "the pipeline is made from crop_size, scale, aspect and augment",
    "test_pipeline": "how tested images are shown is made from protocol",
    "tta_model": "test-time augmentation is asked for by tta_scales",
    "log_processor": "the log is set by log_interval",
    "randomness": "set seed, and deterministic",
    "load_from": "set start_from",
    "resume": "give --resume",
    "launcher": "start the command with torchrun or srun",
    "work_dir": "give --work-dir",
    "auto_scale_lr": "set the rate in optimizer; batch is the total over all processes",
    "experiment_name": "set name",
}
"""mmengine's keys that cannot be honoured, each with the reason or what to do instead."""
