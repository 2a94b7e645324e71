"""The table of commands: what ``ibnseg --help`` lists."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module

AGAIN = "the same command again"
RESUME = "the same command with --resume"


@dataclass(frozen=True)
class Command:
    """A command of ``ibnseg``: its words, and the module that has its arguments and runs it.

    The module has two functions, ``<name>_arguments(parser)`` and ``<name>(args)``.
    """

    name: str
    description: str
    example: str
    module: str
    """The name of a module of ``ibnseg.commands``."""
    go_on: str | None = None
    """How an interrupted command is continued, if it can be."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its parser."""
        getattr(self._home, f"{self.name}_arguments")(parser)

    def run(self, args: argparse.Namespace) -> None:
        """Runs the command with its parsed arguments."""
        getattr(self._home, self.name)(args)

    @property
    def _home(self) -> object:
        return import_module(f"ibnseg.commands.{self.module}")


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "train",
            "Train a network, then test it on every domain of the config.",
            "ibnseg train gta2city_ibn50a --data-root gta5=/data/gta5,cityscapes=/data/cityscapes",
            "training",
            RESUME,
        ),
        Command(
            "test",
            "Test a network on every domain of its config, or on others, by one or more protocols.",
            "ibnseg test work_dirs/gta2city_ibn50a --protocol native,rein --domains cityscapes",
            "training",
            RESUME,
        ),
        Command(
            "prepare",
            "Decode domains once, so that training reads of each image only what a crop shows.",
            "ibnseg prepare gta5 --out /scratch/prepared",
            "preparing",
            AGAIN,
        ),
        Command(
            "matrix",
            "Compare runs: train domains and networks by test domains, with intervals.",
            "ibnseg matrix work_dirs/gta2city_r50/seed0 work_dirs/gta2city_ibn50a/seed0 "
            "--format markdown",
            "comparing",
        ),
        Command(
            "suite",
            "Run a list of trainings; skip finished ones, resume interrupted ones.",
            "ibnseg suite evidence --minutes 90",
            "comparing",
            AGAIN,
        ),
        Command(
            "divergence",
            "Measure where in networks two domains differ, layer by layer, and plot it.",
            "ibnseg divergence work_dirs/gta2city_r50 work_dirs/gta2city_ibn50b "
            "--domains gta5,cityscapes",
            "analysing",
        ),
        Command(
            "robustness",
            "Measure what runs lose when scenes look different: colours, noise, blur, other "
            "domains' looks.",
            "ibnseg robustness work_dirs/gta2city_r50 work_dirs/gta2city_ibn50a "
            "--domains gta5,cityscapes --out robustness",
            "analysing",
            AGAIN,
        ),
        Command(
            "imagenet",
            "Measure a network's ImageNet errors, as they are and with colours and contrast "
            "changed.",
            "ibnseg imagenet resnet50_ibn_b imagenet/val --styled imagenet/val_monet",
            "analysing",
            AGAIN,
        ),
        Command(
            "predict",
            "Write label maps and overlays for images and videos.",
            "ibnseg predict work_dirs/gta2city_ibn50a photos/",
            "predicting",
            AGAIN,
        ),
        Command(
            "submit",
            "Predict a test split and write the archive that a benchmark's server takes, checked.",
            "ibnseg submit work_dirs/drivable_ibn50a --to bdd100k-drivable --out submission.zip",
            "predicting",
            AGAIN,
        ),
        Command(
            "export",
            "Write a trained network as one file, for ONNX Runtime, OpenVINO or torch, or as a "
            "checkpoint of all weights.",
            "ibnseg export work_dirs/gta2city_ibn50a --to onnx --out ibn50a.onnx",
            "exporting",
        ),
        Command(
            "push",
            "Write a run's network, results and model card as a folder for Hugging Face's hub.",
            "ibnseg push work_dirs/gta2city_ibn50a --out shared/gta2city_ibn50a",
            "sharing",
        ),
        Command(
            "pull",
            "Make a run of a network that others pushed, from the hub or a folder.",
            "ibnseg pull USER/gta2city_ibn50a",
            "sharing",
        ),
        Command(
            "streets",
            "Draw street scenes with labels, laid out on disk like GTA5, Cityscapes or BDD100K.",
            "ibnseg streets data --appearances virtual,real --train 400 --val 100",
            "streets",
            AGAIN,
        ),
        Command(
            "demo",
            "Draw streets, train three networks on one look of them and test them on six.",
            "ibnseg demo",
            "streets",
            AGAIN,
        ),
        Command(
            "runs",
            "List runs with their state and their mIoU.",
            "ibnseg runs work_dirs",
            "about",
        ),
        Command(
            "models",
            "List the published ImageNet checkpoints.",
            "ibnseg models",
            "about",
        ),
        Command(
            "classes",
            "List the classes of datasets: ids, names, colours, and what maps make of them.",
            "ibnseg classes mapillary --map openseg",
            "about",
        ),
        Command(
            "env",
            "Print versions, devices and where the data is, for a bug report.",
            "ibnseg env",
            "about",
        ),
        Command(
            "completion",
            "Print a script that makes a shell complete these commands.",
            'eval "$(ibnseg completion bash)"',
            "about",
        ),
    )
}
