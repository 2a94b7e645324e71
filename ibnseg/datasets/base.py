"""The base class of all adapters: it lists the pairs of image and label found on disk and seeds the
pipeline."""

from __future__ import annotations

import logging
import math
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from mmengine.logging import print_log

from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.label_reader import LabelReader
from ibnseg.datasets.labels import CITYSCAPES, IGNORE, ClassSet
from ibnseg.datasets.mistaken import SAMPLED, seem_train_ids, telling_ids
from ibnseg.datasets.own_maps import apply_own_map
from ibnseg.datasets.pairing import without_defects, without_unpaired
from ibnseg.datasets.pictures import CHANNELS, read_label
from ibnseg.datasets.sampler import StreamItem
from ibnseg.datasets.store import Store, identity_of, short_digest
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.datasets.upstream import BaseSegDataset
from ibnseg.support.data_files import is_foreign, list_folders
from ibnseg.support.errors import UserError, unknown_name

SUBSETS = {
    "full": Fraction(1),
    "quarter": Fraction(1, 4),
    "30%": Fraction(3, 10),
    "20%": Fraction(1, 5),
    "10%": Fraction(1, 10),
}
"""The share of the images that each training subset holds; a smaller subset lies within a larger
one."""


class DrivingDataset(BaseSegDataset):
    """A dataset of driving scenes, read from the official download.

    An adapter is a subclass that states ``LAYOUT``, ``SPLITS`` and ``LABEL_IDS``, and lists the
    files of a split (:meth:`pairs`). It may also state ``CLASS_SET`` (if its classes are not the 19
    of Cityscapes), ``LABEL_COLORS`` (if there are copies with labels stored as RGB),
    ``LABEL_CHANNEL`` (if one channel of the labels holds the ids), ``label_reader`` (if they are
    stored as polygons, segments or colours), ``CLASS_MAPS`` (if other maps to train ids are in
    use), ``CLASS_TABLE`` (so that users can give maps of their own), ``COUNTS`` (if the number of
    images is known) and ``DEFECTS`` (if the download has pairs that cannot be used).

    Args:
        data_root: the folder into which the download was unpacked.
        split: one of the adapter's ``SPLITS``.
        subset: one of :data:`SUBSETS`, e.g. ``'quarter'``, a random quarter of the images on disk,
            which is the same on every machine.
        class_map: one of the adapter's ``CLASS_MAPS``, used instead of ``LABEL_IDS``; or a map of
            one's own, as :func:`ibnseg.datasets.own_maps.read_own_map` gives it.
        prepared: the folder of a store (:mod:`ibnseg.datasets.store`) of this split, from which
            images and labels are then read.
        kwargs: ``pipeline``, ``test_mode``, ``lazy_init`` and others of mmseg's ``BaseSegDataset``.

    Attributes:
        skipped: the names of listed images that are left out, because they are known defects, have
            no label, or are not on disk; and of labels that have no image.
        store: the store that samples are read from, or None.
        has_own_map: whether the labels are read by a class map of one's own; instances are then
            left out, because instance maps have classes of their own.

    Raises:
        UserError: if split, subset or class map is unknown; if a table does not fit the class set;
            if the root is missing or empty; if more images have no label, or labels no image, than
            the download is known to have.
    """

    CLASS_SET: ClassVar[ClassSet] = CITYSCAPES
    """The classes of the labels; the index of a class is its train id."""
    LAYOUT: ClassVar[str]
    """How the files lie below the root, for error messages."""
    SPLITS: ClassVar[tuple[str, ...]]
    """The names of the splits."""
    LABEL_IDS: ClassVar[dict[int, int]]
    """Every id that occurs in a label, mapped to its train id or to ``IGNORE``."""
    LABEL_COLORS: ClassVar[dict[tuple[int, int, int], int]] = {}
    """RGB colours mapped to train ids, for labels that are stored as RGB."""
    COUNTS: ClassVar[Mapping[str, int]] = {}
    """The official number of labelled images of each split, as far as it is known; if another
    number is found, a warning says so."""
    LABEL_CHANNEL: ClassVar[str | None] = None
    """The channel that holds the ids in labels with several, of 8 or 16 bits: ``red``, ``green`` or
    ``blue``."""
    label_reader: LabelReader | None = None
    """What reads labels that are not stored as ids; :meth:`pairs` may set it."""
    CLASS_MAPS: ClassVar[dict[str, dict[int, int]]] = {}
    """Other tables like ``LABEL_IDS``, by name."""
    CLASS_TABLE: ClassVar[str | None] = None
    """The name of the table of the classes in the labels (:mod:`ibnseg.datasets.class_tables`)."""
    DEFECTS: ClassVar[Mapping[str, str]] = {}
    """The pairs of the official download that cannot be used, by the keys of :meth:`pairs`, each
    with what is wrong with it."""

    def __init__(
        self,
        data_root: str,
        split: str,
        subset: str = "full",
        class_map: str | Mapping[str, str] | None = None,
        prepared: str | Path | None = None,
        **kwargs,
    ) -> None:
        if split not in self.SPLITS:
            raise unknown_name(f"split of {type(self).__name__}", split, self.SPLITS)
        if not isinstance(subset, str) or subset not in SUBSETS:
            raise unknown_name("subset", subset, SUBSETS)
        _require_classes(type(self))
        self.label_ids, self.label_colors = self._tables(class_map)
        self.has_own_map = isinstance(class_map, Mapping)
        self.split, self.subset, self.skipped = split, subset, []
        self.prepared, self.store = prepared, None
        metainfo = dict(classes=self.CLASS_SET.classes, palette=self.CLASS_SET.palette)
        super().__init__(data_root=str(data_root), metainfo=metainfo, **kwargs)

    @classmethod
    def labelled_classes(cls) -> tuple[str, ...]:
        """The names of the classes that the dataset's labels can have, in order of train id."""
        train_ids = cls.LABEL_IDS.values()
        return tuple(name for i, name in enumerate(cls.CLASS_SET.classes) if i in train_ids)

    def _tables(
        self, class_map: str | Mapping[str, str] | None
    ) -> tuple[dict[int, int], dict[tuple[int, int, int], int]]:
        """The train ids by id and by colour under a class map."""
        if isinstance(class_map, Mapping):
            if self.CLASS_TABLE is None:
                raise UserError(
                    f"{type(self).__name__}: takes no class map of one's own, because it states no "
                    "CLASS_TABLE that lists its classes"
                )
            return apply_own_map(class_map, classes_of(self.CLASS_TABLE), self.CLASS_SET.classes)
        if class_map is not None and class_map not in list(self.CLASS_MAPS):
            raise unknown_name(f"class map of {type(self).__name__}", class_map, self.CLASS_MAPS)
        ids = self.LABEL_IDS if class_map is None else self.CLASS_MAPS[class_map]
        return ids, self.LABEL_COLORS

    @abstractmethod
    def pairs(self, root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
        """Lists the split's images and its labels below ``root``.

        Returns:
            Two dicts of paths, by keys that an image and its label share.
        """

    def defects(self, root: Path) -> Mapping[str, str]:
        """The pairs below ``root`` that are known not to be usable, by the keys of :meth:`pairs`,
        each with what is wrong with it."""
        return self.DEFECTS

    def may_be_unpaired(self, root: Path) -> Fraction:
        """The share of the files below ``root`` that may lack their partner, in [0, 1]; these are
        left out with a warning. It is above 0 only for a download that is known to lack some."""
        return Fraction(0)

    def official_count(self) -> int | None:
        """The number of labelled images that the whole download has in this split, or None if it is
        not known."""
        return self.COUNTS.get(self.split)

    def instance_maps(self, root: Path) -> dict[str, Path]:
        """Lists the split's instance maps below ``root``, by the keys of :meth:`pairs`; an adapter
        without instances inherits this empty dict."""
        return {}

    def load_data_list(self) -> list[dict]:
        root = Path(self.data_root)
        if not root.is_dir():
            raise UserError(
                f"{type(self).__name__}: no folder {root}; expected the layout {self.LAYOUT}"
            )
        images, labels = (
            {key: path for key, path in paths.items() if not is_foreign(path.name)}
            for paths in self.pairs(root)
        )
        if not images and not labels:
            elsewhere = self._elsewhere(root)
            raise UserError(
                f"{type(self).__name__}: no images of split '{self.split}' in {root}; "
                f"expected the layout {self.LAYOUT}"
                + (f"; {elsewhere} has it, so give this folder" if elsewhere else "")
            )
        if not images or not labels:
            have, lack = ("images", "labels") if images else ("labels", "images")
            raise UserError(
                f"{type(self).__name__}: {have} but no {lack} of split '{self.split}' in {root}; "
                f"expected the layout {self.LAYOUT}; unpack the {lack} too"
            )
        images, labels, defects = without_defects(images, labels, self.defects(root))
        images, labels, alone = without_unpaired(images, labels, self.may_be_unpaired(root))
        if alone:
            print_log(
                f"{type(self).__name__} {self.split}: {len(alone)} files in {root} are images "
                "without a label or labels without an image; they are skipped: "
                + ", ".join(sorted(alone)),
                logger="current",
                level=logging.WARNING,
            )
        self.skipped = sorted({*self.skipped, *defects, *alone})
        if not images:
            raise UserError(
                f"{type(self).__name__}: no images of split '{self.split}' in {root} can be used, "
                f"{len(self.skipped)} are left out; unpack the whole download"
            )
        official = self.official_count()
        if official not in (None, len(images)):
            _warn_once(
                f"{type(self).__name__} {self.split}: {len(images)} labelled images in {root}, "
                f"{official} in the whole download"
            )
        counts_instances = self.test_mode and not self.has_own_map  # theirs are the usual classes
        instances = self._all_or_none(labels, root) if counts_instances else {}
        keys = sorted(images)
        if self.subset != "full":
            order = np.random.RandomState(0).permutation(len(keys))  # never changes
            count = max(1, math.floor(len(keys) * SUBSETS[self.subset]))
            keys = [keys[i] for i in sorted(order[:count])]
        reads = any(isinstance(step, LoadLabel) for step in self.pipeline.transforms)
        if reads and self.label_reader is None:
            self._warn_of_train_ids([labels[key] for key in keys])
        found = [
            dict(
                img_path=str(images[key]),
                seg_map_path=str(labels[key]),
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
            | (dict(instance_map_path=str(instances[key])) if instances else {})
            for key in keys
        ]
        if self.prepared is not None:
            self.store = self.store_in(self.prepared, found)
            for info in found:
                image, label = self.store.files(info)
                info |= dict(stored_image=str(image), stored_label=str(label))
        return found

    def _elsewhere(self, root: Path) -> Path | None:
        """The folder one level below ``root`` that has the split, or above it if ``root`` is a
        folder of the layout; None if neither has."""
        above = [root.absolute().parent] if root.absolute().name in self.LAYOUT else []
        for folder in (*above, *list_folders(root)):
            with suppress(UserError, OSError, ValueError):  # adapters of others may raise these
                if all(self.pairs(folder)):
                    return folder
        return None

    def store_in(self, folder: str | Path, infos: Iterable[Mapping]) -> Store:
        """Returns the store of this split in a folder, be it made or not.

        Args:
            folder: the folder of the store.
            infos: the samples, as :meth:`load_data_list` lists them.
        """
        identity = identity_of(type(self), self.split, self.label_ids, self.label_colors, infos)
        if self.label_reader is not None:
            identity["label reader"] = short_digest(self.label_reader.identity())
        return Store(Path(folder), Path(self.data_root), identity)

    def _all_or_none(self, labels: dict[str, Path], root: Path) -> dict[str, Path]:
        """The instance maps if every label has one, otherwise none, with a warning if some do."""
        instances = self.instance_maps(root)
        absent = sorted(labels.keys() - instances.keys())
        if not absent:
            return instances
        if len(absent) < len(labels):
            print_log(
                f"{type(self).__name__} {self.split}: {len(absent)} of {len(labels)} images have "
                f"no instance map, the first is {absent[0]}; iIoU is left out",
                logger="current",
                level=logging.WARNING,
            )
        return {}

    def _warn_of_train_ids(self, labels: Sequence[Path]) -> None:
        """Warns, once in a process, if a sample of the labels seems to hold train ids instead of
        the dataset's ids. Of a right split, one label is read."""
        classes = len(self.CLASS_SET.classes)
        places = np.linspace(0, len(labels) - 1, min(len(labels), SAMPLED)).round().astype(int)
        sample = [labels[i] for i in places]
        ids = (read_label(path, self.LABEL_CHANNEL) for path in sample)
        with suppress(UserError):  # a label that cannot be read is reported when it is used
            if not seem_train_ids(ids, self.label_ids, classes):
                return
            example = telling_ids(self.label_ids, classes)[-1]
            name = self.CLASS_SET.classes[self.label_ids[example]]
            _warn_once(
                f"{self.data_root}: the labels of split '{self.split}' have only the values 0 to "
                f"{classes - 1} and {IGNORE} ({len(sample)} were checked), as train ids do; "
                f"{type(self).__name__} expects its own ids, of which {name} is {example}. If they "
                "are train ids, the classes are mixed up: read them with an adapter whose "
                "LABEL_IDS are train ids (docs/troubleshooting.md)"
            )

    def get_data_info(self, idx: int) -> dict:
        tables = dict(
            label_ids=self.label_ids,
            label_colors=self.label_colors,
            label_channel=self.LABEL_CHANNEL,
            label_reader=self.label_reader,
        )
        return super().get_data_info(idx) | tables

    def infos(self) -> list[dict]:
        """Describes all samples."""
        return [self.get_data_info(i) for i in range(len(self))]

    def __getitem__(self, item: int | StreamItem) -> dict:
        """Loads a sample; the augmentation of a :class:`StreamItem` depends on its place in the
        stream alone."""
        if not isinstance(item, StreamItem):
            return super().__getitem__(item)
        place = dict(centroid=item.centroid, position=item.position)
        with _random_state(item.seed, item.position):
            return self.pipeline(self.get_data_info(item.index) | place)


@cache
def _warn_once(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)


@contextmanager
def _random_state(*entropy: int) -> Iterator[None]:
    """Seeds Python's and NumPy's global generators, from which mmcv's and mmseg's transforms draw,
    and restores their state afterwards."""
    before = random.getstate(), np.random.get_state()
    seed, numpy_seed = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(seed))
    np.random.seed(numpy_seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _require_classes(adapter: type[DrivingDataset]) -> None:
    """Raises a UserError if the tables of an adapter do not fit its class set."""
    name, own = adapter.__name__, adapter.CLASS_SET
    count = len(own.classes)
    if len(own.palette) != count or own.background not in (None, *own.classes):
        raise UserError(
            f"{name}: class set '{own.name}' has {count} classes, {len(own.palette)} colours and "
            f"background {own.background}; expected a colour for each class, and a background that "
            "is one of the classes or None"
        )
    if adapter.LABEL_CHANNEL not in (None, *CHANNELS):
        raise unknown_name(f"LABEL_CHANNEL of {name}", adapter.LABEL_CHANNEL, CHANNELS)
    tables = {"LABEL_IDS": adapter.LABEL_IDS, "LABEL_COLORS": adapter.LABEL_COLORS}
    for table, ids in {**tables, **adapter.CLASS_MAPS}.items():
        for id_, train_id in ids.items():
            if not (0 <= train_id < count or train_id == IGNORE):
                raise UserError(
                    f"{name}: {table} maps {id_} to {train_id}, expected a train id from 0 to "
                    f"{count - 1} of class set '{own.name}', or {IGNORE} to ignore it"
                )
            if isinstance(id_, int) and not 0 <= id_ <= 255:
                raise UserError(f"{name}: {table} has the id {id_}, expected 0 to 255")
