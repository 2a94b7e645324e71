"""How much mIoU a network loses when scenes look different: what ``ibnseg robustness`` does.

Every image is read once and shown in every appearance; the counting is that of testing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils.data import DataLoader, Subset

from ibnseg.analysis.robustness import report
from ibnseg.appearance import CONDITIONS, LOOKS, PAPER, SEVERITIES, Condition, Look, generator
from ibnseg.appearance.look import BETA
from ibnseg.datasets.augment.looks import look_of_files, look_of_folder
from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.domain import Domains
from ibnseg.engine.expand import expand
from ibnseg.engine.run import describe_run, hash_of
from ibnseg.evaluation.confusion import confusion_matrix, mean_iou
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.networks.ledger import describe_network, stamp
from ibnseg.networks.network import find_network, load_network
from ibnseg.registry import DATASETS
from ibnseg.report.records import check_seeds
from ibnseg.support.environment import versions
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import alone_in, require_writable, written_whole
from ibnseg.support.memory import enough_memory_for_image
from ibnseg.support.progress import bar

SCHEMA = 1
SAVE_EVERY = 60.0
"""Seconds between two writes of what has been counted."""
AHEAD = 2
"""Threads that change an image while the network sees what is changed already."""
ORIGIN = "origin"

Image = np.ndarray
"""(H, W, 3) RGB: uint8, or float32 on the scale of 0 to 255 and unclipped."""


# ---- what is shown -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Appearance:
    """A way to show an image."""

    name: str
    change: Callable[[np.ndarray, np.random.Generator], Image]
    """Of a uint8 image, and a generator for what is random."""
    severity: int | None = None
    parameter: float | None = None
    source: str = ""
    """A hash of the look, where it is one."""

    @property
    def key(self) -> str:
        """What it is, and so what counts of it are kept by."""
        return "/".join(
            str(x) for x in (self.name, self.parameter, self.source) if x not in (None, "")
        )


def appearances(
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    looks: Mapping[str, Look] | None = None,
) -> list[Appearance]:
    """What images are shown in: as they are, as in the paper, on the road, in the looks of others.

    Args:
        names: of :data:`~ibnseg.appearance.PAPER`, :data:`~ibnseg.appearance.CONDITIONS` and
            :data:`~ibnseg.appearance.LOOKS`; all if None. ``origin`` is always among them.
        severities: of the conditions.
        looks: by what they are called.

    Raises:
        UserError: for an unknown name or severity, and what takes a look if there is none.
    """
    looks = looks or {}
    for name in names or ():
        if name not in {**PAPER, **CONDITIONS, **LOOKS}:
            raise unknown_name("condition", name, [*PAPER, *CONDITIONS, *LOOKS])
        if name in LOOKS and not looks:
            raise UserError(f"condition '{name}' takes a look; say whose, as --look cityscapes")
    for severity in severities:
        if severity not in SEVERITIES:
            raise UserError(f"severity {severity}: expected 1 to {SEVERITIES[-1]}")
    wanted = [*PAPER, *CONDITIONS, *LOOKS] if names is None else names
    found = [Appearance(ORIGIN, lambda image, rng: image)]
    for name, change in PAPER.items():
        if name in wanted and name != ORIGIN:
            found.append(Appearance(name, partial(_in_floats, change)))
    for name, condition in CONDITIONS.items():
        for severity in sorted(set(severities)) if name in wanted else ():
            change = partial(_at, condition, severity)
            parameter = condition.severities[severity - 1]
            found.append(Appearance(name, change, severity, parameter))
    for whose, look in looks.items():
        for name, change in LOOKS.items():
            if name in wanted:
                source = hashlib.sha256(
                    b"".join(np.float32(x).tobytes() for x in (*vars(look).values(), BETA))
                ).hexdigest()[:12]
                own = partial(_with_look, change, look)
                found.append(Appearance(f"{name} of {whose}", own, source=source))
    return found


def _in_floats(change: Callable, image: np.ndarray, rng: np.random.Generator) -> Image:
    return change(image.astype(np.float32))


def _at(condition: Condition, severity: int, image: np.ndarray, rng: np.random.Generator) -> Image:
    return condition.at(image, severity, rng)


def _with_look(change: Callable, look: Look, image: np.ndarray, rng: np.random.Generator) -> Image:
    return change(image, look)


# ---- what is counted ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """What has been counted in an appearance."""

    images: int
    """How many images, the first of the list."""
    confusion: np.ndarray
    """(K, K) int64, rows truth: their sum."""


def count_image(
    predict: Callable[[Image], np.ndarray],
    image: np.ndarray,
    label: np.ndarray,
    shown: Sequence[Appearance],
    tallies: dict[str, Tally],
    place: int = 0,
    key: str = "",
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Shows an image in every appearance in which it has not been counted, and counts it.

    Args:
        predict: an image's classes, (H', W') uint8 train ids at the size of the label.
        image: (H, W, 3) uint8, RGB.
        label: (H', W') uint8 train ids; 255 does not count.
        shown: the appearances.
        tallies: by the appearances' keys; they are replaced, each as a whole, on the way.
        place: of the image in the list.
        key: of the image; with the seed it decides what is random.
        seed: of what is random.
        done: called after each prediction.
    """
    wanted = [each for each in shown if tallies[each.key].images <= place]
    with ThreadPoolExecutor(AHEAD) as threads:
        images = threads.map(lambda each: each.change(image, generator(seed, key)), wanted)
        for appearance, changed in zip(wanted, images, strict=True):
            tally = tallies[appearance.key]
            counts = confusion_matrix(label, predict(changed), len(tally.confusion))
            tallies[appearance.key] = Tally(place + 1, tally.confusion + counts)
            done()


@torch.inference_mode()
def predict_float(network: nn.Module, image: Image, meta: Mapping) -> np.ndarray:
    """A network's classes for an image that may be unclipped floats; the network normalises it.

    Args:
        network: from :func:`ibnseg.load`.
        image: as above.
        meta: ``img_path``, and ``ori_shape``, the (height, width) of the prediction.

    Returns:
        (height, width) uint8 train ids.
    """
    bgr = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    sample = SegDataSample(metainfo={**meta, "img_shape": image.shape[:2]})
    with enough_memory_for_image(meta["img_path"], image.shape[:2]):
        (result,) = network.test_step(dict(inputs=[torch.from_numpy(bgr)], data_samples=[sample]))
    return result.pred_sem_seg.data.squeeze(0).cpu().numpy()


# ---- one network in one domain -----------------------------------------------------------------


@dataclass
class Work:
    """A network in a domain: what there is to count, and what has been."""

    cfg: Config
    checkpoint: Path
    run: dict
    """As of :func:`ibnseg.engine.run.describe_run`."""
    test: dict
    """Of ``cfg.test_cfg.tests``."""
    dataset: DrivingDataset
    file: Path
    identity: dict
    """What counts depend on besides the appearance."""
    tallies: dict[str, Tally] = field(default_factory=dict)

    def begin(self, shown: Sequence[Appearance]) -> None:
        """Reads what has been counted, and sets all else to nothing."""
        classes = len(self.evaluator["classes"])
        self.tallies = read_tallies(self.file, self.identity)
        for appearance in shown:
            self.tallies.setdefault(
                appearance.key, Tally(0, np.zeros((classes, classes), np.int64))
            )

    @property
    def evaluator(self) -> dict:
        return self.cfg.test_evaluator[self.test["name"]]

    def left(self, shown: Sequence[Appearance]) -> int:
        """The number of predictions that are still to be made."""
        return sum(len(self.dataset) - self.tallies[each.key].images for each in shown)

    def save(self) -> None:
        content = dict(
            schema=SCHEMA,
            identity=self.identity,
            appearances={
                key: dict(images=tally.images, confusion=tally.confusion.tolist())
                for key, tally in self.tallies.items()
                if tally.images
            },
        )
        with written_whole(self.file) as temporary:
            temporary.write_text(json.dumps(content) + "\n")

    def loader(self, first: int) -> DataLoader:
        """The images from the first one on that some appearance lacks."""
        return DataLoader(
            Subset(self.dataset, range(first, len(self.dataset))),
            batch_size=1,
            num_workers=min(self.cfg.workers, len(self.dataset) - first),
            collate_fn=pseudo_collate,
        )

    def count(
        self,
        network: nn.Module,
        shown: Sequence[Appearance],
        seed: int,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Counts what is left, in one pass over the images; saved every minute and at the end,
        whatever ends it. ``done`` is called after each prediction."""
        first = min(self.tallies[each.key].images for each in shown)
        root, own, saved = Path(self.dataset.data_root), network.test_cfg, time.monotonic()
        network.test_cfg = ConfigDict({**own, **self.test["inference"]})
        try:
            for place, batch in enumerate(self.loader(first), first):
                (inputs,), (sample,) = batch["inputs"], batch["data_samples"]
                image = np.ascontiguousarray(inputs.numpy().transpose(1, 2, 0)[..., ::-1])
                label = sample.gt_sem_seg.data.squeeze(0).numpy()
                path = Path(sample.metainfo["img_path"])
                meta = dict(img_path=str(path), ori_shape=sample.metainfo["ori_shape"])
                predict = partial(predict_float, network, meta=meta)
                key = path.relative_to(root).as_posix()
                count_image(predict, image, label, shown, self.tallies, place, key, seed, done)
                if time.monotonic() - saved > SAVE_EVERY:
                    self.save()
                    saved = time.monotonic()
        finally:
            network.test_cfg = own
            self.save()

    def records(self, shown: Sequence[Appearance]) -> list[dict]:
        """mIoU and drop in each appearance; fractions, None where undefined."""
        classes = list(self.evaluator["classes"])
        averaged = [classes.index(name) for name in self.evaluator["eval_classes"]]

        def score(appearance: Appearance) -> float | None:
            value = mean_iou(self.tallies[appearance.key].confusion, averaged)
            return None if np.isnan(value) else value

        origin = score(shown[0])
        return [
            dict(
                run=self.run["name"],
                model=self.run["model"],
                title=self.run["title"],
                train_domain=self.run["train_domain"],
                seed=self.run["seed"],
                domain=self.test["domain"],
                appearance=each.name,
                severity=each.severity,
                parameter=each.parameter,
                images=self.tallies[each.key].images,
                mIoU=value,
                drop=None if value is None or each.name == ORIGIN else origin - value,
            )
            for each, value in ((each, score(each)) for each in shown)
        ]


def read_tallies(file: Path, identity: Mapping) -> dict[str, Tally]:
    """What a file has of the same network, images, protocol and seed; nothing if it is damaged."""
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text())
        if content["schema"] != SCHEMA or content["identity"] != identity:
            raise ValueError("of something else")
        return {
            key: Tally(int(kept["images"]), np.array(kept["confusion"], np.int64))
            for key, kept in content["appearances"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"{file}: damaged; starting anew")
        return {}


# ---- the command -------------------------------------------------------------------------------


def robustness(
    runs: Sequence[str | Path],
    domains: Sequence[str] | None = None,
    out: str | Path = "robustness",
    *,
    conditions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    looks: Sequence[str] = (),
    protocol: str = "native",
    roots: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict:
    """Measures the mIoU of runs in domains that look different, prints the table and writes it.

    ``out`` has ``robustness.json``, ``.csv`` and ``.md``, the plot ``robustness.png`` and ``.svg``,
    ``conditions.png``, in which one sees what was shown, and ``measured/``, with which an
    interrupted command goes on.

    Args:
        runs: folders of runs.
        domains: to test in; default those of each run's config.
        out: where to.
        conditions, severities: as of :func:`appearances`.
        looks: folders of images, or names of domains, whose look is taken.
        protocol: how images are shown; what changes them comes after it.
        roots: data folders by name.
        seed: of the noise.

    Returns:
        What ``robustness.json`` holds.

    Raises:
        UserError: for wrong input: what is no run, an unknown domain or condition, data that is not
            there.
    """
    out, roots = Path(out), roots or {}
    plans = [_plan(Path(folder), domains, protocol, roots, out, seed) for folder in runs]
    described = [own[0].run for own in plans]
    check_seeds((Path(run["folder"]), run) for run in described)
    work, titles = [each for own in plans for each in own], {}
    for each in work:
        names = [each.test["domain"], each.run["train_domain"]]
        titles |= Domains.of(each.cfg).titles(names)
    found_looks: dict[str, Look] = {}
    for name in looks:
        called, look = find_look(name, work[0].cfg, roots)
        found_looks[name if called in found_looks else called] = look
    shown = appearances(conditions, severities, found_looks)
    require_writable(out)
    with alone_in(out, "is being measured"):
        for each in work:
            each.begin(shown)
        _count(work, shown, seed)
    records = [record for each in work for record in each.records(shown)]
    result = dict(
        schema=SCHEMA,
        protocol=dict(work[0].test["protocol"]),
        seed=seed,
        domains={
            name: titles.get(name, name) for name in dict.fromkeys(r["domain"] for r in records)
        },
        runs=described,
        records=records,
        versions=versions(),
    )
    image = work[0].dataset[0]["inputs"].numpy().transpose(1, 2, 0)[..., ::-1]
    pictures = [
        (each, each.change(np.ascontiguousarray(image), generator(seed, ""))) for each in shown
    ]
    report.write(out, result, titles, pictures)
    return result


def _plan(
    folder: Path,
    domains: Sequence[str] | None,
    protocol: str,
    roots: Mapping[str, str],
    out: Path,
    seed: int,
) -> list[Work]:
    """A run's work: everything that can be wrong with it is found here, before the first image."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no run, which would be a folder")
    cfg, checkpoint = find_network(folder, None, ())
    checkpoint = checkpoint.resolve()  # of a run under way, the latest may move on meanwhile
    if domains is not None:
        cfg.test_domains = list(domains)
    cfg.protocol, cfg.tta_scales = [protocol], ()
    cfg = expand(cfg, roots, training=False)
    network = describe_network(cfg, checkpoint)
    run = describe_run(cfg, checkpoint, read_checkpoint(checkpoint), folder)
    run["folder"] = str(folder)
    work = []
    for test in cfg.test_cfg.tests:
        dataset = DATASETS.build(cfg.test_dataloader[test["name"]].dataset)
        identity = dict(
            **network,
            domain=test["domain"],
            split=test["split"],
            protocol=dict(test["protocol"]),
            images=_images_of(dataset),
            seed=seed,
        )
        name = f"{test['domain']}-{test['protocol']['name']}-{hash_of(identity)[:12]}"
        file = out / "measured" / f"{name}.json"
        work.append(Work(cfg, checkpoint, run, dict(test), dataset, file, identity))
    return work


def _images_of(dataset: DrivingDataset) -> str:
    """A hash of the names, sizes and times of images and labels."""
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        for path in map(Path, (info["img_path"], info["seg_map_path"])):
            digest.update(f"{path.relative_to(dataset.data_root)}\0{stamp(path)}\0".encode())
    return digest.hexdigest()


def find_look(name: str, cfg: Config, roots: Mapping[str, str]) -> tuple[str, Look]:
    """What a look is called, and the look.

    Args:
        name: a folder of images; or a domain, whose tested images are taken.
        cfg: a config, beside which domains may lie.
        roots: data folders by name.

    Raises:
        UserError: for what is neither.
    """
    if Path(name).is_dir():
        return Path(name).resolve().name, look_of_folder(str(Path(name).resolve()))
    domains = Domains.of(cfg)
    if name not in domains:
        raise UserError(f"look '{name}': neither a folder of images nor a domain; see ibnseg env")
    domain = domains[name]
    own = domain.dataset_config(domain.root(roots), domain.test_split, test_mode=True)
    dataset = DATASETS.build(own)
    paths = [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
    return domain.title, look_of_files(paths)


def _count(work: Sequence[Work], shown: Sequence[Appearance], seed: int) -> None:
    """All that is left, under one bar of predictions."""
    total = sum(len(each.dataset) for each in work) * len(shown)
    left = sum(each.left(shown) for each in work)
    if left < total:
        print(f"{total - left} of {total} predictions are counted already")
    if not left:
        return
    with bar() as progress:
        task = progress.add_task("Measuring", total=total, completed=total - left)
        network, loaded = None, None
        for each in work:
            if not each.left(shown):
                continue
            if loaded != each.checkpoint:
                network, loaded = load_network(each.cfg, each.checkpoint), each.checkpoint
            description = f"{each.run['title']} on {each.test['domain']}"
            progress.update(task, description=description)
            each.count(network, shown, seed, partial(progress.advance, task))
