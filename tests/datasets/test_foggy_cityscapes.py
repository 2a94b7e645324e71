"""Foggy Cityscapes: three densities with one label."""

import pytest

from ibnseg.datasets import FoggyCityscapes
from ibnseg.datasets.domain import Domains
from ibnseg.registry import DATASETS
from ibnseg.support.errors import UserError
from tests.datasets.conftest import warnings
from tests.datasets.miniatures import PIPELINE, only, require_scenes, write_foggy_cityscapes


def test_all_densities_of_an_image_have_its_label(tmp_path):
    seeds = write_foggy_cityscapes(tmp_path)
    for split in ("train", "val"):
        dataset = FoggyCityscapes(tmp_path, split, pipeline=PIPELINE)
        require_scenes(dataset, tmp_path, only(seeds, f"/{split}/"))


@pytest.mark.parametrize(
    ("name", "beta"),
    [
        ("foggy_cityscapes", "0.02"),
        ("foggy_cityscapes_001", "0.01"),
        ("foggy_cityscapes_0005", "0.005"),
    ],
)
def test_each_density_is_a_domain(tmp_path, name, beta):
    seeds = write_foggy_cityscapes(tmp_path)
    domain = Domains()[name]
    dataset = DATASETS.build(domain.dataset_config(str(tmp_path), "val", PIPELINE))
    require_scenes(dataset, tmp_path, only(only(seeds, "/val/"), f"_beta_{beta}.png"))
    assert beta in domain.title


def test_a_density_that_was_not_unpacked_is_an_error(tmp_path):
    write_foggy_cityscapes(tmp_path)
    folder = tmp_path / "leftImg8bit_foggy/val/lindau"
    (folder / "lindau_000004_000019_leftImg8bit_foggy_beta_0.01.png").unlink()
    with pytest.raises(UserError, match="lindau_000004_.*labelIds.png: label without image;"):
        FoggyCityscapes(tmp_path, "val")
    assert len(FoggyCityscapes(tmp_path, "val", betas=("0.005", "0.02"))) == 4


def test_the_official_counts_are_those_of_cityscapes_for_each_density(tmp_path, log):
    write_foggy_cityscapes(tmp_path)
    for betas in (None, ("0.02",)):
        for split in ("train", "val"):
            FoggyCityscapes(tmp_path, split, betas=betas)
    assert [int(text.split()[-5]) for text in warnings(log)] == [8925, 1500, 2975, 500]


def test_an_unknown_density_suggests_the_nearest(tmp_path):
    with pytest.raises(UserError, match="beta of FoggyCityscapes '0.2'; did you mean 0.02"):
        FoggyCityscapes(tmp_path, "val", betas=("0.2",))
