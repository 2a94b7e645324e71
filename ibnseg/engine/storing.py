"""Stores what a frozen backbone makes of a training's crops (``ibnseg prepare --features``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from torch import Tensor

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.features import FOLDER, SEED, packed
from ibnseg.datasets.prepare import HEADER, fill_store
from ibnseg.datasets.sampler import StreamItem, StreamSampler
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.datasets.store import Store, save_array
from ibnseg.engine.expand import expand
from ibnseg.engine.features import START, require_frozen, require_possible, store_of
from ibnseg.engine.precision import autocast
from ibnseg.models.build import build_network
from ibnseg.models.create import initialise
from ibnseg.models.partial import digest
from ibnseg.models.segmentor import Segmentor
from ibnseg.registry import DATASETS
from ibnseg.runs.recipe import train_domains
from ibnseg.support.errors import UserError, building
from ibnseg.support.files import as_path
from ibnseg.support.memory import enough_memory
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.sharing import Team
from ibnseg.support.terminal import say


@losses_in_one_line()
def prepare_features(
    cfg: Config, out: str | Path, *, roots: Mapping[str, str] | None = None
) -> list[Path]:
    """Stores the features of crops of a config's training images, in ``out/<domain>``.

    The crops are those of the first ``feature_draws`` passes of a training with seed 0. An
    interrupted command goes on when it is given again, and the processes of torchrun or Slurm
    share the images.

    Args:
        cfg: the config of an experiment, with ``feature_draws`` above 0 and a frozen backbone.
        out: the folder of the stores.
        roots: data folders from the command line, as for :meth:`Domain.root`.

    Returns:
        The folders of the stores.

    Raises:
        UserError: for a config that does not have these; for missing data; a folder that holds
            something else, or features of other crops or weights; too little room on the disk,
            before anything is written; and at the end, if some images cannot be used.
    """
    draws = cfg.get("feature_draws", 0)
    if not draws:
        raise UserError(
            "feature_draws is 0, so there is nothing to store; set it to the number of crops of "
            "each image, e.g. --cfg-options feature_draws=8"
        )
    if not any(cfg.model.backbone.get(name) for name in START):
        raise UserError(
            "model.backbone has random weights, which no training would have again; give it those "
            "of a file, e.g. model.backbone.init_cfg=dict(type='Pretrained', checkpoint=PATH)"
        )
    cfg = cfg.copy()
    cfg.update(feature_draws=0, test_domains=train_domains(cfg))
    cfg = expand(cfg, roots)
    cfg.feature_draws = draws
    require_possible(cfg)
    with building("model"):
        network = build_network(cfg.model)
        initialise(network)
    require_frozen(network)
    weights = digest(network.backbone.state_dict())
    network.to(get_device()).eval()
    maps = _probe(network, cfg)
    whole = DATASETS.build(cfg.train_dataloader.dataset)
    require_equal_sizes(whole)
    crops: list[list[StreamItem]] = [[] for _ in range(len(whole))]
    for item in islice(StreamSampler(whole, seed=SEED).stream(), draws * len(whole)):
        crops[item.index].append(item)
    of_images = iter(crops)
    team, known, folders, first = Team(), Domains.of(cfg), [], 0
    datasets = getattr(whole, "datasets", [whole])
    for name, dataset in zip(train_domains(cfg), datasets, strict=True):
        folder = as_path(out) / name
        infos = dataset.infos()
        store = store_of(cfg, known[name], dataset, infos, folder, len(whole), first)
        first += len(infos)
        own = dict(maps=[list(shape) for shape in maps], weights=weights)
        store = replace(store, identity={**store.identity, **own})
        names = [store.name(info) for info in infos]
        by_name = dict(zip(names, infos, strict=True))
        items = dict(zip(names, islice(of_images, len(dataset)), strict=True))
        height, width = cfg.crop_size
        size = draws * (2 * sum(map(prod, maps)) + height * width) + 2 * HEADER
        one = _Storing(cfg, network, whole, store, by_name, items)
        fill_store(team, store, by_name, name, lambda n, size=size: dict.fromkeys(n, size), one, 1)
        folders.append(folder)
    if team.is_main:
        say(f"To train from them: {FOLDER}={as_path(out)} ibnseg train CONFIG")
    return folders


class _Storing:
    """Stores the maps and labels of an image's crops."""

    def __init__(
        self,
        cfg: Config,
        network: Segmentor,
        dataset: DrivingDataset,
        store: Store,
        by_name: Mapping[str, Mapping],
        items: Mapping[str, Sequence[StreamItem]],
    ) -> None:
        self.cfg, self.network, self.dataset = cfg, network, dataset
        self.store, self.by_name, self.items = store, by_name, items

    def __call__(self, name: str) -> tuple[str | None, bool]:
        """Returns what is wrong with the files, if anything, and whether something was written."""
        try:
            samples = [self.dataset[item] for item in self.items[name]]
        except UserError as error:
            return str(error), False
        parts = [
            self._seen(samples[i : i + self.cfg.batch])
            for i in range(0, len(samples), self.cfg.batch)
        ]
        paths = self.store.files(self.by_name[name])
        for path, arrays in zip(paths, zip(*parts, strict=True), strict=True):
            save_array(path, np.concatenate(arrays))
        return None, True

    @torch.no_grad()
    def _seen(self, samples: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
        """The maps of crops as they are stored, and their labels, (N, H, W) uint8."""
        height, width = self.cfg.crop_size
        what = f"the features of {len(samples)} crops of {width}x{height} at a time"
        with enough_memory(what, "lower batch"), autocast(self.cfg.precision):
            data = self.network.data_preprocessor(pseudo_collate(samples), training=True)
            maps = packed(self.network.backbone(data["inputs"]))
        labels = [sample.gt_sem_seg.data[0].byte().cpu() for sample in data["data_samples"]]
        return maps, torch.stack(labels).numpy()


@torch.no_grad()
def _probe(network: Segmentor, cfg: Config) -> list[tuple[int, ...]]:
    """The shapes (C, h, w) of the maps of a crop, which have to be the same in training."""
    crop = torch.rand(1, 3, *cfg.crop_size, device=get_device())

    def seen() -> Sequence[Tensor]:
        with autocast(cfg.precision):
            return network.backbone(crop)

    in_testing = seen()
    network.train()
    in_training = seen()
    network.eval()
    if not all(map(torch.equal, in_testing, in_training)):
        raise UserError(
            f"feature_draws trains from stored features, but {type(network.backbone).__name__} "
            "computes others in training than in testing; set model.backbone.norm_eval=True, and "
            "leave out dropout and random depth"
        )
    return [tuple(each.shape[1:]) for each in in_testing]
