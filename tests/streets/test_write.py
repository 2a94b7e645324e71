"""Streets on disk: read back through the datasets' adapters, resumed, and refused."""

import itertools
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ibnseg.datasets import GTA5, Cityscapes
from ibnseg.datasets.labels import CITYSCAPES_IDS, GTA5_COLORS, LABELS
from ibnseg.streets import write
from ibnseg.streets.disk import CITIES, FIRST_LAYOUT
from ibnseg.streets.layout import draw_layout
from ibnseg.streets.raster import Raster, rasterise
from ibnseg.streets.render import APPEARANCES, render
from ibnseg.streets.write import write_streets
from ibnseg.support.errors import UserError
from tests.support.killing import FORK, is_alive, kill_alone, wait_until

PIPELINE = [dict(type="ibnseg.LoadImage"), dict(type="ibnseg.LoadLabel")]
SIZE = (64, 64)
SEED = 3
COUNTS = {"virtual": (3, 2), "real": (3, 2), "night": (1, 1)}


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Streets of three appearances, not to be changed."""
    out = tmp_path_factory.mktemp("streets")
    folders = write_streets(out, COUNTS, size=SIZE, seed=SEED)
    assert folders == [out / f"streets_{appearance}" for appearance in COUNTS]
    return out


@pytest.fixture
def serial(monkeypatch):
    """Draws without further processes, so that patches also work in the drawing."""
    monkeypatch.setattr(write, "_in_parallel", lambda work, tasks: [work(t) for t in tasks])


def expected(layout: int) -> tuple[int, Raster]:
    """The number of a layout under SEED, 4 million for each seed, and its raster."""
    number = 4_000_000 * SEED + layout
    return number, rasterise(draw_layout(number), *SIZE)


def files(folder: Path) -> dict[str, int]:
    """All files below a folder, hidden ones too but the lock, and when each was written."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in paths}


# --- what lies there ---


def test_the_adapters_read_what_was_drawn(out):
    """All pictures, in the order of their layouts, to the value: images are BGR in the adapters."""
    for appearance, split in itertools.product(COUNTS, ("train", "val")):
        adapter = GTA5 if appearance == "virtual" else Cityscapes
        dataset = adapter(out / f"streets_{appearance}", split, pipeline=PIPELINE)
        count = COUNTS[appearance][split == "val"]
        assert len(dataset) == count
        assert dataset.skipped == []
        table = np.array([CITYSCAPES_IDS[i] for i in range(34)])
        for i in range(count):
            number, raster = expected(i + FIRST_LAYOUT[split])
            sample = dataset[i]
            np.testing.assert_array_equal(sample["gt_seg_map"], table[raster.labels])
            image = render(raster, appearance, number)
            np.testing.assert_array_equal(sample["img"][..., ::-1], image)


def test_the_files_of_virtual_streets(out):
    """Flat folders, numbered through, and a split of their own; nothing else, nothing left over."""
    root = out / "streets_virtual"
    names = {f"{folder}/{n:05d}.png" for folder in ("images", "labels") for n in range(1, 6)}
    assert files(root).keys() == names | {"split.json", "streets.json"}
    split = json.loads((root / "split.json").read_text())
    assert split == {"train": [[1, 3]], "val": [[4, 5]]}


def test_the_files_of_real_streets(out):
    names = {
        *(f"train/{city}/{city}_{i:06d}_000019" for i, city in enumerate(CITIES["train"][::2])),
        *(f"val/{city}/{city}_{i:06d}_000019" for i, city in enumerate(CITIES["val"])),
    }
    assert files(out / "streets_real").keys() == {
        "streets.json",
        *(f"leftImg8bit/{name}_leftImg8bit.png" for name in names),
        *(f"gtFine/{name}_gtFine_labelIds.png" for name in names),
    }


def test_labels_of_virtual_streets_are_palette_indices(out):
    """Mode P; the index is the Cityscapes id, the colour is GTA5's for its train id."""
    _, raster = expected(0)
    with Image.open(out / "streets_virtual/labels/00001.png") as label:
        assert label.mode == "P"
        np.testing.assert_array_equal(np.array(label), raster.labels)
        rgb = np.array(label.convert("RGB"))
    for id_ in np.unique(raster.labels):
        (color,) = {tuple(c) for c in rgb[raster.labels == id_].tolist()}
        assert GTA5_COLORS[color] == CITYSCAPES_IDS[id_]
        assert LABELS[id_].name == "static" or color == LABELS[id_].color


def test_labels_of_real_streets_are_ids(out):
    _, raster = expected(0)
    name = "gtFine/train/ahornfurt/ahornfurt_000000_000019_gtFine_labelIds.png"
    with Image.open(out / "streets_real" / name) as label:
        assert label.mode == "L"
        np.testing.assert_array_equal(np.array(label), raster.labels)


def test_labels_of_one_layout_are_equal_in_all_appearances(tmp_path, serial):
    write_streets(tmp_path, dict.fromkeys(APPEARANCES, (0, 1)), size=SIZE)
    labels = [
        np.array(Image.open(path))
        for path in (*tmp_path.rglob("labels/*.png"), *tmp_path.rglob("*_labelIds.png"))
    ]
    assert len(labels) == len(APPEARANCES) == 6
    assert all((label == labels[0]).all() for label in labels)


def test_seeds_share_no_layout(tmp_path, serial, monkeypatch):
    """The greatest of one seed is below the least of the next, and all are seeds of 32 bits."""
    drawn = []
    empty = draw_layout(0)
    monkeypatch.setattr(write, "draw_layout", lambda number: drawn.append(number) or empty)
    for seed in (0, 1, 999):
        write_streets(tmp_path / str(seed), {"virtual": (1, 1)}, size=SIZE, seed=seed)
    assert drawn == [0, 10**6, 4 * 10**6, 5 * 10**6, 3996 * 10**6, 3997 * 10**6]
    assert max(FIRST_LAYOUT.values()) + 10**6 <= 4 * 10**6
    assert 3996 * 10**6 + 3 * 10**6 < 1 << 32


# --- interrupted ---


def test_an_interrupted_drawing_continues(tmp_path, out, monkeypatch):
    """The third picture fails in its process: what was drawn before is left alone afterwards, the
    rest is the same as without the interruption, and nothing temporary is left."""

    def broken(raster, name, seed):
        if seed == expected(2)[0]:
            raise RuntimeError("stopped")
        return render(raster, name, seed)

    arguments = tmp_path, {"virtual": COUNTS["virtual"]}
    with monkeypatch.context() as patched:
        patched.setattr(write, "render", broken)
        with pytest.raises(RuntimeError, match="stopped"):
            write_streets(*arguments, size=SIZE, seed=SEED)
    root = tmp_path / "streets_virtual"
    before = files(root)
    assert {"images/00001.png", "labels/00002.png"} <= before.keys()
    assert "images/00003.png" not in before
    assert not [name for name in before if "tmp" in name]
    write_streets(*arguments, size=SIZE, seed=SEED)
    after = files(root)
    pictures = [name for name in before if name.endswith(".png")]
    assert {n: after[n] for n in pictures} == {n: before[n] for n in pictures}
    whole = out / "streets_virtual"
    assert after.keys() == files(whole).keys()
    assert all((root / n).read_bytes() == (whole / n).read_bytes() for n in after)


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_what_was_deleted_is_drawn_again(tmp_path, out, serial, folder):
    """An image without label, or a label without image; the other pictures are left alone."""
    arguments = tmp_path, {"virtual": COUNTS["virtual"]}
    write_streets(*arguments, size=SIZE, seed=SEED)
    root = tmp_path / "streets_virtual"
    before = files(root)
    (root / folder / "00002.png").unlink()
    write_streets(*arguments, size=SIZE, seed=SEED)
    after = files(root)
    assert after.keys() == before.keys()
    assert {n for n in after if after[n] != before[n]} <= {
        "images/00002.png", "labels/00002.png", "split.json"
    }  # fmt: skip
    whole = out / "streets_virtual"
    assert all((root / n).read_bytes() == (whole / n).read_bytes() for n in after)


def test_a_complete_folder_is_not_drawn_again(out, monkeypatch):
    def fail(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(write, "_draw", fail)
    before = files(out / "streets_real")
    write_streets(out, {"real": COUNTS["real"]}, size=SIZE, seed=SEED)
    assert files(out / "streets_real") == before


def test_an_empty_folder_that_is_there_is_used(tmp_path, serial):
    (tmp_path / "streets_fog").mkdir()
    (root,) = write_streets(tmp_path, {"fog": (0, 1)}, size=SIZE)
    assert len(Cityscapes(root, "val")) == 1


# --- refused ---


def test_wrong_arguments_are_refused_before_anything_is_made(tmp_path):
    for counts, options, message in (
        ({"nigth": (1, 1)}, {}, "unknown appearance 'nigth'; did you mean night?"),
        (
            {"real": (1, 1), "7": (1, 1)},
            {},
            "unknown appearance '7'; known: dusk, fog, night, rain, real, virtual",
        ),
        ({"real": (-1, 1)}, {}, "-1 images of split train: expected 0 to 999999"),
        ({"real": (4, 0)}, {}, "0 images of split val: expected 1 to 999999"),
        ({"real": (1, 1, 10**6)}, {}, "1000000 images of split test: expected 0 to 999999"),
        (
            {"real": (1, 1)},
            dict(layout="drivabel"),
            "unknown layout on disk 'drivabel'; did you mean drivable or drivable-2018?",
        ),
        *(
            (
                {"real": (1, 1)},
                dict(size=size),
                f"size {size[0]}x{size[1]}: expected even numbers from 64 to 4096",
            )
            for size in ((65, 64), (64, 65), (64, 62), (62, 64), (4098, 64), (64, 4098))
        ),
        ({"real": (1, 1)}, dict(seed=1000), "seed 1000: expected 0 to 999"),
        ({"real": (1, 1)}, dict(seed=-1), "seed -1: expected 0 to 999"),
    ):
        with pytest.raises(UserError) as error:
            write_streets(tmp_path / "out", counts, **options)
        assert str(error.value) == message, message
        assert not (tmp_path / "out").exists(), message


def test_a_folder_from_before_there_were_layouts_on_disk_is_known(tmp_path, serial):
    """Its record says neither a layout nor a number of test images."""
    (root,) = write_streets(tmp_path, {"real": (0, 1)}, size=SIZE)
    record = json.loads((root / "streets.json").read_text())
    (root / "streets.json").write_text(
        json.dumps({key: record[key] for key in record if key not in ("layout", "test")})
    )
    before = files(root)
    assert write_streets(tmp_path, {"real": (0, 1)}, size=SIZE) == [root]
    assert files(root) == before


def test_a_folder_of_other_streets_is_refused(out):
    for counts, options, difference in (
        ((3, 2), dict(seed=4), "seed 3, not 4"),
        ((3, 2), dict(size=(128, 64)), "size [64, 64], not [128, 64]"),
        ((4, 2), {}, "train 3, not 4"),
        ((3, 3), {}, "val 2, not 3"),
        ((3, 2, 1), {}, "test 0, not 1"),
    ):
        before = files(out)
        with pytest.raises(UserError) as error:
            write_streets(out, {"real": counts}, **{**dict(size=SIZE, seed=SEED), **options})
        assert f"holds streets with {difference}; give another folder, or remove it" in str(
            error.value
        ), difference
        assert files(out) == before, difference


def test_streets_of_another_version_are_not_mixed(out, monkeypatch):
    monkeypatch.setattr(write, "VERSION", 2)
    with pytest.raises(UserError, match="holds streets with version 1, not 2; give another folder"):
        write_streets(out, {"real": COUNTS["real"]}, size=SIZE, seed=SEED)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    """Files without a record, or with one of the name that is none."""
    for i, content in enumerate((None, "", "{", "[]", "1", "null", b"\xff\xfe\x00")):
        root = tmp_path / str(i) / "streets_real"
        root.mkdir(parents=True)
        (root / "holiday.txt").write_text("mine")
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (root / "streets.json").write_bytes(raw)
        before = files(root)
        with pytest.raises(UserError, match=r"/streets.json: damaged|_real is not a folder of"):
            write_streets(tmp_path / str(i), {"real": (1, 1)}, size=SIZE)
        assert files(root) == before


def test_a_file_with_the_name_of_the_folder_is_refused(tmp_path):
    (tmp_path / "streets_real").write_text("mine")
    with pytest.raises(UserError, match="streets_real is not a folder of streets; give another"):
        write_streets(tmp_path, {"real": (1, 1)}, size=SIZE)
    assert (tmp_path / "streets_real").read_text() == "mine"


def test_a_file_with_the_name_of_the_parent_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"streets_real: cannot be written to \(.*"):
        write_streets(tmp_path / "out", {"real": (1, 1)}, size=SIZE)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_that_a_worker_cannot_make_is_reported(tmp_path):
    """A file where images should lie is met in a worker: its UserError comes through the pool."""
    arguments = tmp_path, {"virtual": (0, 1)}
    (root,) = write_streets(*arguments, size=SIZE)
    (root / "images" / "00001.png").unlink()
    (root / "images").rmdir()
    (root / "images").write_text("mine")
    with pytest.raises(UserError, match=r"images/00001\.png: cannot be written \("):
        write_streets(*arguments, size=SIZE)


def test_a_refused_call_writes_nothing(tmp_path):
    """If one look is refused, no folder of another is left to block the corrected call."""
    write_streets(tmp_path, {"real": (0, 1)}, size=SIZE, seed=1)
    with pytest.raises(UserError, match="seed 1, not 2"):
        write_streets(tmp_path, {"virtual": (0, 1), "real": (0, 1)}, size=SIZE, seed=2)
    assert [path.name for path in tmp_path.iterdir()] == ["streets_real"]


def test_too_little_memory_is_reported(tmp_path, monkeypatch):
    def fail(work, tasks):
        raise MemoryError

    monkeypatch.setattr(write, "_in_parallel", fail)
    with pytest.raises(UserError, match="too little memory to draw a picture of 64x64"):
        write_streets(tmp_path, {"real": (0, 1)}, size=SIZE)


def be_slow(task: list[Path]) -> None:
    (started,) = task
    (started / str(os.getpid())).touch()
    time.sleep(60)


def test_workers_end_with_the_process_that_draws(tmp_path):
    """A killed process leaves nobody who would keep its folder locked."""
    started = tmp_path / "started"
    started.mkdir()
    work = FORK.Process(target=write._in_parallel, args=(be_slow, [[started]] * 2))
    work.start()
    workers = kill_alone(work, min(2, len(os.sched_getaffinity(0))), started)
    assert wait_until(lambda: not any(map(is_alive, workers)))
