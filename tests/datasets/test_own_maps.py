"""Class maps of one's own: their files, the labels that are read by them, and what results say of
them."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from ibnseg.datasets.base import DrivingDataset
from ibnseg.datasets.camvid import CamVid
from ibnseg.datasets.cityscapes import Cityscapes
from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.gta5 import GTA5
from ibnseg.datasets.labels import CAMVID_IDS, CLASSES, GTA5_IDS, IGNORE
from ibnseg.datasets.listing import classes_as_csv
from ibnseg.datasets.own_maps import apply_own_map, read_own_map
from ibnseg.datasets.prepare import prepare
from ibnseg.datasets.sizes import require_equal_sizes
from ibnseg.engine.expand import expand
from ibnseg.runs.run import Recipe
from ibnseg.support.errors import UserError

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel"), dict(type="ibnseg.Pack")]


def as_file(path: Path, dataset: str, **changes: str) -> Path:
    """A file with the map of a dataset to the 19 classes, in which some classes become others."""
    lines = classes_as_csv(classes_of(dataset), ["cityscapes"]).splitlines()
    cells = dict(line.rsplit(",", 1) for line in lines)
    assert changes.keys() <= cells.keys()
    path.write_text("\n".join(f"{name},{to}" for name, to in {**cells, **changes}.items()))
    return path


def test_the_map_that_classes_prints_is_the_one_that_is_in_use(tmp_path: Path) -> None:
    for name, ids in (("camvid", CAMVID_IDS), ("gta5", GTA5_IDS)):
        own = read_own_map(as_file(tmp_path / "own.csv", name))
        assert apply_own_map(own, classes_of(name), CLASSES) == (ids, {})


def test_classes_are_given_by_name_or_by_id_and_become_a_class_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    words = ["0,sky", "Building, wall ", "2,", "# pavement and road", "Road,road", "4,road", ""]
    rest = [f"{i}," for i in range(5, 12)]
    path.write_text("\n".join([*words, *rest]))
    ids, colors = apply_own_map(read_own_map(path), classes_of("camvid"), CLASSES)
    assert ids == {0: 10, 1: 3, 2: 255, 3: 0, 4: 0, **dict.fromkeys(range(5, 12), 255)}
    assert colors == {}


def test_labels_that_are_stored_as_rgb_are_mapped_by_colour(tmp_path: Path) -> None:
    own = read_own_map(as_file(tmp_path / "own.csv", "a2d2", Sky="building"))
    ids, colors = apply_own_map(own, classes_of("a2d2"), CLASSES)
    assert ids == {}
    assert colors == {**classes_of("a2d2").colors("cityscapes"), (0x87, 0xCE, 0xFF): 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no lines, expected NAME,CLASS"),
        ("name,class\n", "has no lines, expected NAME,CLASS"),
        ("Sky,sky\nRoad\n", "line 2: 'Road', expected NAME,CLASS"),
        ("Sky,sky,10\n", "line 1: 'Sky,sky,10', expected NAME,CLASS"),
        (",sky\n", "line 1: ',sky', expected NAME,CLASS"),
        ("Sky,sky\n\nSky,road\n", "line 3: 'Sky' is on an earlier line already"),
    ],
)
def test_damaged_files_are_refused_with_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_own_map(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "own.csv", tmp_path / "absent.csv", tmp_path):
        with pytest.raises(UserError, match=r"^class map .*: cannot be read"):
            read_own_map(path)


def test_unknown_missing_and_doubled_classes_are_refused(tmp_path: Path) -> None:
    table = classes_of("camvid")
    own = read_own_map(as_file(tmp_path / "own.csv", "camvid"))
    for changes, words in (
        ({"Skye": "sky"}, "unknown class of camvid in the class map 'Skye'; did you mean Sky"),
        ({"12": "sky"}, "unknown class of camvid in the class map '12'"),
        ({"Sky": "skye"}, "class that the class map makes of 'Sky' 'skye'; did you mean sky"),
        ({"0": "sky"}, "'Sky' is given by name and by id"),
    ):
        with pytest.raises(UserError) as caught:
            apply_own_map({**own, **changes}, table, CLASSES)
        assert words in str(caught.value)
    del own["Fence"]
    with pytest.raises(UserError, match=r"lacks 1 of 12 classes, e.g. 'Fence'; add a line"):
        apply_own_map(own, table, CLASSES)


def test_a_dataset_is_read_by_a_map_of_ones_own(data: Path, tmp_path: Path) -> None:
    own = read_own_map(as_file(tmp_path / "own.csv", "gta5", road="sidewalk", sky=""))
    usual, other = (GTA5(data / "gta5", "val", class_map=m, pipeline=PIPELINE) for m in (None, own))
    seen = set()
    for i in range(len(usual)):
        before, after = (
            dataset[i]["data_samples"].gt_sem_seg.data.numpy() for dataset in (usual, other)
        )
        seen |= {*np.unique(before)}
        expected = np.where(before == CLASSES.index("road"), CLASSES.index("sidewalk"), before)
        expected[before == CLASSES.index("sky")] = IGNORE
        np.testing.assert_array_equal(after, expected)
    assert {CLASSES.index("road"), CLASSES.index("sky")} <= seen


def test_instances_whose_classes_the_map_does_not_change_are_left_out(
    data: Path, tmp_path: Path
) -> None:
    own = read_own_map(as_file(tmp_path / "own.csv", "cityscapes", car="truck"))
    for class_map, has_instances in ((None, True), (own, False)):
        dataset = Cityscapes(data / "cityscapes", "val", class_map=class_map, test_mode=True)
        infos = dataset.infos()
        assert len(infos) == 5
        assert all(("instance_map_path" in info) == has_instances for info in infos)


def test_an_adapter_without_a_table_takes_no_map_of_ones_own(data: Path) -> None:
    class Plain(CamVid):
        CLASS_TABLE = None

    with pytest.raises(UserError, match="Plain: takes no class map of one's own"):
        Plain(data / "camvid", "val", class_map={"Sky": "sky"})
    assert DrivingDataset.CLASS_TABLE is None


@pytest.fixture
def cfg(tiny: Config, in_data: Path) -> Config:
    return tiny


def test_results_under_a_map_of_ones_own_have_another_protocol_and_hold_the_map(
    cfg: Config, tmp_path: Path
) -> None:
    path = as_file(tmp_path / "own.csv", "camvid", Fence="wall", Tree="")
    cfg.test_domains, cfg.protocol = ["camvid", "gta5"], ["native", "robustnet"]
    cfg.class_maps = dict(camvid=str(path))
    own = expand(cfg)
    tests = {test["name"]: test["protocol"] for test in own.test_cfg.tests}
    assert tests["gta5-native"] == dict(name="native", version=1, inference="whole")
    mapped = tests["camvid-native"]
    assert mapped["name"].startswith("native-map")
    assert mapped["class_map"] == read_own_map(path)
    assert tests["camvid-robustnet"]["name"].startswith("robustnet-map")
    averaged = own.test_evaluator["camvid-native"].eval_classes
    assert "wall" in averaged
    assert not {"fence", "vegetation"} & set(averaged)
    assert own.test_dataloader["camvid-native"].dataset.class_map == read_own_map(path)
    cfg.class_maps = dict(camvid=str(as_file(path, "camvid", Fence="wall")))
    again = {test["name"]: test["protocol"] for test in expand(cfg).test_cfg.tests}
    assert again["camvid-native"]["name"] != mapped["name"]


def test_a_map_of_ones_own_wins_over_that_of_a_protocol(cfg: Config, tmp_path: Path) -> None:
    cfg.test_domains, cfg.protocol = ["gta5"], "robustnet"
    cfg.class_maps = dict(gta5=str(as_file(tmp_path / "own.csv", "gta5", sky="")))
    dataset = expand(cfg).test_dataloader["gta5"].dataset
    assert dataset.class_map["polegroup"] == ""


def test_a_run_holds_its_map_without_the_file_and_has_another_recipe(
    cfg: Config, tmp_path: Path
) -> None:
    usual = expand(cfg)
    path = as_file(tmp_path / "own.csv", "gta5", sky="")
    cfg.class_maps = dict(gta5=str(path))
    own = expand(cfg)
    assert Recipe.of(own).hash != Recipe.of(usual).hash
    path.unlink()
    again = expand(own)
    assert again.domains == own.domains
    assert Recipe.of(again) == Recipe.of(own)
    assert Domains.of(own)["gta5"].own_map["sky"] == ""
    assert Domains.of(usual)["gta5"].own_map is None


def test_a_store_is_of_one_map(data: Path, in_data: Path, tmp_path: Path) -> None:
    """A store that was prepared by a map of one's own is read by the same map only."""
    path = as_file(tmp_path / "own.csv", "gta5", sky="")
    prepare(["gta5"], tmp_path / "prepared", class_maps=dict(gta5=str(path)))
    folder = str(tmp_path / "prepared/gta5")
    root = data / "gta5"
    own = read_own_map(path)
    stored = GTA5(root, "train", class_map=own, prepared=folder, pipeline=PIPELINE)
    files = GTA5(root, "train", class_map=own, pipeline=PIPELINE)
    one, other = (each[0]["data_samples"].gt_sem_seg.data for each in (stored, files))
    assert (one == other).all()
    require_equal_sizes(stored)
    with pytest.raises(UserError, match=r"holds prepared images with class map \w+, not \w+"):
        require_equal_sizes(GTA5(root, "train", prepared=folder, pipeline=PIPELINE))
    with pytest.raises(UserError, match="domain of a class map 'gta5'; known: cityscapes"):
        prepare(["cityscapes"], tmp_path / "prepared", class_maps=dict(gta5=str(path)))


def test_maps_of_other_domains_and_wrong_files_are_refused(cfg: Config, tmp_path: Path) -> None:
    cfg.class_maps = dict(camvid=str(as_file(tmp_path / "own.csv", "camvid")))
    with pytest.raises(UserError, match="domain of a class map 'camvid'; known: cityscapes"):
        expand(cfg)
    cfg.class_maps = dict(gta5=str(tmp_path / "absent.csv"))
    with pytest.raises(UserError, match=r"^class map .*absent.csv: cannot be read"):
        expand(cfg)
    cfg.class_maps = dict(gta5=5)
    with pytest.raises(UserError, match="class_maps is .*, expected a dict of files by names"):
        expand(cfg)
