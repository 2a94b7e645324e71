"""Finding and reading experiments."""

from pathlib import Path

import pytest

from ibnseg.engine.read import load_config
from ibnseg.support.errors import UserError


@pytest.mark.parametrize("kind", [str, Path])
def test_a_packaged_config_goes_by_name(kind: type, in_data: Path) -> None:
    cfg = load_config(kind("gta2city_ibn50a"))
    assert (cfg.train_domain, cfg.model.backbone.variant) == ("gta5", "a")


def test_options_change_nested_values(in_data: Path) -> None:
    cfg = load_config(
        "gta2city_r50", ["model.backbone.depth=101", "crop_size=(512,512)", "optimizer.lr=1e-3"]
    )
    assert cfg.model.backbone.depth == 101
    assert tuple(cfg.crop_size) == (512, 512)
    assert cfg.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("gta2city_ibn50", [], "did you mean .*gta2city_ibn50a"),
        ("nowhere/my.py", [], r"nowhere/my.py: no such config"),
        ("gta2city_r50", ["batch"], "option 'batch': expected key=value"),
        ("gta2city_r50", ["epoch=4"], "unknown config key 'epoch'; did you mean epochs"),
    ],
)
def test_wrong_names(config: str, options: list[str], message: str, in_data: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_config(config, options)


def test_a_broken_config_is_named(in_data: Path) -> None:
    Path("broken.py").write_text("batch = (")
    with pytest.raises(UserError, match="broken.py: cannot be read as a config"):
        load_config("broken.py")
