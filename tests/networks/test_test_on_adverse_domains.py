"""A finished run is tested on every adverse and synthetic domain, each in its official layout."""

from pathlib import Path

import numpy as np
import pytest

from ibnseg.networks.testing import test as run_test
from tests.datasets import miniatures

DOMAINS = {
    "synthia": ("synthia", miniatures.write_synthia, 4, 4, 16),
    "acdc": ("acdc", miniatures.write_acdc, 8, 4, 19),
    "acdc_night": ("acdc", None, 2, 1, 19),
    "acdc_snow_ref": ("acdc", None, 2, 1, 19),
    "dark_zurich": ("dark_zurich", miniatures.write_dark_zurich, 3, 1, 19),
    "nighttime_driving": ("nighttime_driving", miniatures.write_nighttime_driving, 3, 2, 19),
    "nightcity": ("nightcity", miniatures.write_nightcity, 2, 1, 19),
    "nightcity_fine": ("nightcity_fine", miniatures.write_nightcity_fine, 2, 1, 19),
    "foggy_zurich": ("foggy_zurich", miniatures.write_foggy_zurich, 3, 2, 19),
    "foggy_driving": ("foggy_driving", miniatures.write_foggy_driving, 4, 4, 19),
    "foggy_cityscapes": ("foggy", miniatures.write_foggy_cityscapes, 2, 2, 19),
    "rain_cityscapes": ("rain", miniatures.write_rain_cityscapes, 6, 1, 19),
}
"""For each domain its folder, what writes it, and its numbers of images, groups and classes."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adverse")
    for name, write, *_ in DOMAINS.values():
        if write is not None:
            write(folder / name)
    return folder


def test_every_domain_is_tested_on_all_its_images(trained, root, tmp_path):
    config, folder, _ = trained
    roots = {domain: str(root / name) for domain, (name, *_) in DOMAINS.items()}
    content = run_test(
        config, folder / "latest.pth", domains=[*DOMAINS], roots=roots, work_dir=tmp_path
    )
    found = {}
    for record in content["tests"]:
        with np.load(tmp_path / record["per_image"]) as images:
            groups = len(set(images["groups"].tolist()))
        found[record["domain"]] = (record["images"], groups, len(record["eval_classes"]))
        rows = np.array(record["confusion"]).sum()
        assert rows == record["images"] * 47 * 64  # the top row of a scene is ignored
    assert found == {name: (*numbers,) for name, (_, _, *numbers) in DOMAINS.items()}
