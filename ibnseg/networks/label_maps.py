"""Label maps that another program wrote, tested by the same code as networks:
``predictions:FOLDER``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.labels import ClassSet
from ibnseg.datasets.mistaken import SAMPLED, seem_train_ids
from ibnseg.datasets.pictures import read_label
from ibnseg.datasets.sizes import Pair, compare_sizes
from ibnseg.evaluation.protocols import PREDICTIONS as PROTOCOL
from ibnseg.networks.facts import TEXT
from ibnseg.networks.found_maps import digest_of, list_maps, match
from ibnseg.networks.kinds import PREDICTIONS, lasting
from ibnseg.networks.map_values import IDS, KIND, Table, read_map
from ibnseg.registry import MODELS, TRANSFORMS
from ibnseg.runs.kinds import one_of
from ibnseg.runs.recipe import hash_of
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import as_path, is_file_name
from ibnseg.support.reading import read_json

FACTS = {"ids": one_of(*IDS), "title": TEXT, "trained_on": TEXT}
"""What the file beside maps may say, and the kind of each value."""

FILE = "predictions.json"
"""The file beside maps; ``ibnseg predict`` writes a list of its images under the same name."""

LISTS = {"schema", "network_sha256", "precision", "images"}
"""The keys of the file that ``ibnseg predict`` writes, whatever the network."""


class Written(NamedTuple):
    """What is known of the maps in a folder."""

    folder: Path
    """The folder that the maps lie in."""
    facts: dict[str, str]
    """A value for each of :data:`FACTS`."""
    by_us: bool
    """Whether ``ibnseg predict`` wrote them."""


def look_into(source: str) -> Written:
    """Finds out what is known of the maps that a source names.

    Args:
        source: ``predictions:FOLDER``. ``FOLDER/predictions.json``, if it is there, says more of
            the maps; if it is the list of ``ibnseg predict``, they are in ``FOLDER/labels``.

    Raises:
        UserError: for a file that cannot be read, or says something unknown.
    """
    if not source.removeprefix(PREDICTIONS):
        raise UserError(f"{source}: expected {PREDICTIONS}FOLDER, with a folder of label maps")
    folder = as_path(source.removeprefix(PREDICTIONS))
    facts = dict(ids="train", title=_name_of(folder), trained_on="unknown")
    file = folder / FILE
    if not file.is_file():
        return Written(folder, facts, by_us=False)
    content = read_json(file, "write it anew")
    if not isinstance(content, dict):
        raise UserError(f"{file}: is not an object of {', '.join(FACTS)}")
    if content.keys() >= LISTS and "target" not in content:
        return Written(folder / "labels", facts, by_us=True)
    for name, value in content.items():
        if name not in FACTS:
            raise UserError(f"{file}: {unknown_name('key', name, FACTS)}")
        if not FACTS[name].accepts(value):
            raise UserError(f"{file}: {name} is {value!r}, expected {FACTS[name].words}")
    return Written(folder, facts | content, by_us=False)


def _name_of(folder: Path) -> str:
    name = folder.resolve().name
    return name if is_file_name(name) else "predictions"


def configure(source: str) -> dict:
    """Makes the values of a config that tests label maps.

    Args:
        source: as for :func:`look_into`.

    Raises:
        UserError: as that function, and for a folder without maps.
    """
    written = look_into(source)
    digest = digest_of(list_maps(written.folder))
    name = _name_of(as_path(source.removeprefix(PREDICTIONS)))
    return dict(
        name=name,
        model_name=name,
        model_title=written.facts["title"],
        train_domain=written.facts["trained_on"],
        protocol=PROTOCOL.name,
        model=dict(
            type="ibnseg.LabelMaps",
            source=lasting(source),
            facts=written.facts,
            data_preprocessor=dict(type="BaseDataPreprocessor"),
        ),
        foreign=dict(
            kind="predictions",
            source=lasting(source),
            sha256=hash_of(dict(weights=digest, **written.facts)),
            weights_sha256=digest,
            classes=[],  # those of the tested domains
            gives="classes",
            sees_images=False,
            selected_on=None,
            licence=None,
        ),
    )


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Loads the label map of an image into ``img``, (H, W, 1) uint8 classes, in place of the image.

    Attributes:
        maps: the path of its map by the path of each image.
        ids, table: as for :func:`~ibnseg.networks.map_values.read_map`.

    All three are set by :meth:`LabelMaps.prepare`.
    """

    maps: Mapping[str, Path]
    ids: str
    table: Table

    def transform(self, results: dict) -> dict:
        classes = read_map(self.maps[results["img_path"]], self.ids, self.table)
        results["img"] = classes[..., None]
        results["img_shape"] = results["ori_shape"] = classes.shape
        return results


@MODELS.register_module()
class LabelMaps(BaseModel):
    """What stands for a network in a test of label maps: its inputs are its predictions.

    Args:
        source: as for :func:`look_into`.
        facts: those of :class:`Written`, for the record.
        target: names of the tested domains' classes.
        data_preprocessor, test_cfg: as for mmseg's segmentors.
    """

    def __init__(
        self,
        source: str,
        facts: Mapping[str, str],
        target: Sequence[str] | None = None,
        data_preprocessor: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.source, self.facts, self.target = source, dict(facts), target
        self.test_cfg = ConfigDict(test_cfg or {})

    def prepare(self, datasets: Mapping[str, DrivingDataset]) -> None:
        """Finds the map of each image, before the first one is counted.

        Args:
            datasets: those of all tests, by the names of their domains; they load maps from now on.

        Raises:
            UserError: for images and maps that do not belong together one by one, and maps of
                another size than their image.
        """
        written = look_into(self.source)
        images = {name: _images_of(dataset) for name, dataset in datasets.items()}
        maps = match(list_maps(written.folder), images)
        compare_sizes(
            [Pair(image, str(path), KIND) for image, path in maps.items()],
            "write maps of the size of the labels",
        )
        ids = written.facts["ids"]
        for dataset in datasets.values():
            table = IDS[ids](dataset.CLASS_SET)
            if written.by_us:
                _require_palette(next(iter(maps.values())), dataset.CLASS_SET)
            if ids == "label":
                _warn_of_train_ids(list(maps.values()), table, len(dataset.CLASS_SET.classes))
            loading = dataset.pipeline.transforms[0]
            loading.maps, loading.ids, loading.table = maps, ids, table

    def forward(
        self, inputs: list[Tensor], data_samples: list[SegDataSample], mode: str = "predict"
    ) -> list[SegDataSample]:
        """Takes maps, (1, H, W) uint8 each, as predictions of their samples."""
        for sample, classes in zip(data_samples, inputs, strict=True):
            sample.pred_sem_seg = PixelData(data=classes)
        return data_samples


def map_reader(
    source: str, domain: str, root: Path, images: Iterable[Path], class_set: ClassSet
) -> Callable[[Path], np.ndarray]:
    """Finds the maps of some images, and returns what reads the map of each of them.

    Args:
        source: as for :func:`look_into`.
        domain: the name of the images' domain.
        root: the folder of its data.
        images: the images' paths.
        class_set: the classes of the maps.

    Returns:
        A function from an image's path to (H, W) uint8 classes. It raises a UserError for a map
        that has pixels of no class.

    Raises:
        UserError: as :meth:`LabelMaps.prepare`.
    """
    written = look_into(source)
    below = {path.relative_to(root).as_posix(): str(path) for path in images}
    maps = match(list_maps(written.folder), {domain: below})
    if written.by_us:
        _require_palette(next(iter(maps.values())), class_set)
    ids = written.facts["ids"]
    table = IDS[ids](class_set)

    def read(image: Path) -> np.ndarray:
        path = maps[str(image)]
        classes = read_map(path, ids, table)
        without = np.count_nonzero(classes == len(class_set.classes))
        if without:
            raise UserError(
                f"{path}: {without} of its {classes.size} pixels have no class; give each pixel one"
            )
        return classes

    return read


def _images_of(dataset: DrivingDataset) -> dict[str, str]:
    """The paths of a dataset's images, by those below its root."""
    paths = (info["img_path"] for info in dataset.infos())
    return {Path(path).relative_to(dataset.data_root).as_posix(): path for path in paths}


def _require_palette(path: Path, class_set: ClassSet) -> None:
    """Refuses maps that ``ibnseg predict`` wrote in other classes than the domain's, which their
    palette shows."""
    with Image.open(path) as image:
        found = image.getpalette() or []
    own = np.array(class_set.palette).ravel().tolist()
    if found[: len(own)] != own or any(found[len(own) :]):
        raise UserError(
            f"{path}: its palette is not that of {class_set.name}, so it was predicted in other "
            "classes than those of the tested domain; test the network itself (ibnseg test)"
        )


def _warn_of_train_ids(maps: Sequence[Path], table: Table, classes: int) -> None:
    """Warns if a sample of maps seems to hold train ids instead of the ids of labels."""
    places = np.linspace(0, len(maps) - 1, min(len(maps), SAMPLED)).round().astype(int)
    of_classes = {value: place for value, place in table.items() if place < classes}
    if seem_train_ids((read_label(maps[i], kind=KIND) for i in places), of_classes, classes):
        print_log(
            f"{maps[0].parent}: the label maps have only the values 0 to {classes - 1} and 255 "
            f'({len(places)} were checked), as train ids do; if they are, write "ids": "train" '
            f"into {FILE}",
            logger="current",
            level=logging.WARNING,
        )
