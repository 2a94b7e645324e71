"""Streets on disk are read back through the adapters of their layouts."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import BDD100K, GTA5, BDD100KDrivable, Cityscapes
from ibnseg.datasets.labels import CITYSCAPES_IDS
from ibnseg.datasets.transforms import LoadLabel
from ibnseg.streets import write
from ibnseg.streets.disk import CITIES, LAYOUTS_ON_DISK, Counts
from ibnseg.streets.drivable import drivable_area
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import rasterise
from ibnseg.streets.write import write_streets

SIZE = (128, 64)
COUNTS = Counts(train=2, val=1, test=2)
ADAPTERS = {
    "gta5": GTA5,
    "cityscapes": Cityscapes,
    "drivable": BDD100KDrivable,
    "drivable-2018": BDD100KDrivable,
    "sem-seg": BDD100K,
    "sem-seg-2018": BDD100K,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder of streets in each layout, not to be changed."""
    out = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patched:  # in this process, which is faster for so few
        patched.setattr(write, "_in_parallel", lambda work, tasks: [work(t) for t in tasks])
        folders = {
            layout: write_streets(out, {"real": COUNTS}, layout=layout, size=SIZE)[0]
            for layout in LAYOUTS_ON_DISK
        }
    assert [folder.name for folder in folders.values()] == [
        "streets_real_gta5",
        "streets_real",
        "streets_real_drivable",
        "streets_real_drivable_2018",
        "streets_real_sem_seg",
        "streets_real_sem_seg_2018",
    ]
    return folders


def test_adapters_read_the_labels_of_the_streets(folders) -> None:
    for layout, split in itertools.product(LAYOUTS_ON_DISK, ("train", "val")):
        numbers = dict(train=(0, 1), val=(10**6,))[split]
        dataset = ADAPTERS[layout](folders[layout], split)
        assert len(dataset) == len(numbers)
        table = np.array([CITYSCAPES_IDS[i] for i in range(34)])
        for i, number in enumerate(numbers):
            raster = rasterise(draw_layout(number), *SIZE)
            is_drivable = layout.startswith("drivable")
            expected = drivable_area(raster) if is_drivable else table[raster.labels]
            found = LoadLabel().train_ids(dataset.get_data_info(i))
            np.testing.assert_array_equal(found, expected)


def test_the_test_split_has_images_only(folders) -> None:
    for layout in LAYOUTS_ON_DISK.keys() - {"gta5"}:
        images = ADAPTERS[layout].images(folders[layout], "test")
        assert len(images) == 2
        for path in images.values():
            with Image.open(path) as image:
                assert image.size == SIZE
        assert not ADAPTERS[layout].labels(folders[layout], "test")


def test_the_releases_differ_in_their_ids(folders) -> None:
    """Background is 2 in one and 0 in the other, in mode L."""
    old = {p.name: p for p in folders["drivable-2018"].glob("drivable_maps/labels/train/*.png")}
    for path in folders["drivable"].glob("labels/drivable/masks/train/*.png"):
        with Image.open(path) as new, Image.open(old[f"{path.stem}_drivable_id.png"]) as before:
            assert new.mode == before.mode == "L"
            found, expected = np.asarray(before), np.array([1, 2, 0])[np.asarray(new)]
        np.testing.assert_array_equal(found, expected)


def test_names_are_of_17_characters(folders) -> None:
    names = [path.stem for path in folders["drivable"].rglob("*.jpg")]
    assert len(set(names)) == 5
    assert all(len(name) == 17 and name[8] == "-" for name in names)


def test_the_test_split_in_gta5s_layout_is_a_range(folders) -> None:
    split = json.loads((folders["gta5"] / "split.json").read_text())
    assert split == {"train": [[1, 2]], "val": [[3, 3]], "test": [[4, 5]]}
    assert len(GTA5(folders["gta5"], "test")) == 2


def test_splits_share_no_street_and_no_file() -> None:
    for name in LAYOUTS_ON_DISK:
        made = [*LAYOUTS_ON_DISK[name].pictures(Path("root"), Counts(25, 9, 4))]
        streets = [*range(25), *range(10**6, 10**6 + 9), *range(2 * 10**6, 2 * 10**6 + 4)]
        assert [picture.layout for picture in made] == streets
        files = {path for picture in made for path in (picture.image, picture.label) if path}
        assert len(files) == 2 * 38 - (0 if name == "gta5" else 4)


def test_cities_are_disjoint_and_all_are_used() -> None:
    made = [*LAYOUTS_ON_DISK["cityscapes"].pictures(Path("root"), Counts(25, 9, 4))]
    assert len({city for cities in CITIES.values() for city in cities}) == 10
    for split, part in (("train", made[:25]), ("val", made[25:34]), ("test", made[34:])):
        assert {picture.image.parent.name for picture in part} == {*CITIES[split]}
        assert {picture.image.parent.parent.name for picture in part} == {split}
