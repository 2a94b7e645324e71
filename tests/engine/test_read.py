"""Finding and reading experiments."""

from pathlib import Path

import pytest

from ibnseg.engine.read import load_config
from ibnseg.runs.literal import read_config_data
from ibnseg.support.errors import UserError


def test_a_packaged_config_is_found_by_its_name(in_data: Path) -> None:
    for name in ("gta2city_ibn50a", Path("gta2city_ibn50a")):
        cfg = load_config(name)
        assert (cfg.train_domain, cfg.model.backbone.variant) == ("gta5", "a")


def test_options_change_nested_values(in_data: Path) -> None:
    cfg = load_config(
        "gta2city_r50", ["model.backbone.depth=101", "crop_size=(512,512)", "optimizer.lr=1e-3"]
    )
    assert cfg.model.backbone.depth == 101
    assert tuple(cfg.crop_size) == (512, 512)
    assert cfg.optimizer.lr == 1e-3


def test_unknown_configs_and_keys_are_refused_with_the_nearest(in_data: Path) -> None:
    for config, options, message in (
        ("gta2city_ibn50", [], "did you mean .*gta2city_ibn50a"),
        ("nowhere/my.py", [], r"nowhere/my.py: no such config"),
        ("gta2city_r50", ["batch"], "option 'batch': expected key=value"),
        ("gta2city_r50", ["epoch=4"], "unknown config key 'epoch'; did you mean epochs"),
    ):
        with pytest.raises(UserError, match=message):
            load_config(config, options)


def test_a_config_in_the_folder_is_meant_by_its_name_without_suffix(in_data: Path) -> None:
    Path("mine.py").write_text("_base_ = 'gta2city_r50.py'\n")
    with pytest.raises(UserError, match="unknown config 'mine'; did you mean the file mine.py?"):
        load_config("mine")


def test_a_dict_over_none_says_how_to_replace_it(in_data: Path) -> None:
    what = (
        r"\(init_cfg is None in the base; to replace it, write init_cfg=dict\(_delete_=True, \.\.\."
    )
    option = "model.backbone.init_cfg=dict(type='Pretrained', checkpoint='x.pth')"
    with pytest.raises(UserError, match=f"options .*: do not fit {what}"):
        load_config("streets_r18", [option])
    Path("mine.py").write_text(
        "_base_ = 'streets_r18.py'\nmodel = dict(backbone=dict(init_cfg=dict(type='X')))\n"
    )
    with pytest.raises(UserError, match=f"mine.py: cannot be read as a config {what}"):
        load_config("mine.py")
    replaced = load_config("streets_r18", [option.replace("dict(", "dict(_delete_=True, ")])
    assert replaced.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="x.pth")


def test_configs_with_a_byte_order_mark_are_read(in_data: Path, monkeypatch) -> None:
    """Of the file, and of one that it is based on."""
    monkeypatch.setenv("HOME", str(in_data))
    for name, text in (("base.py", "batch = 3\n"), ("mine.py", "_base_ = '~/base.py'\nseed = 5\n")):
        Path(name).write_bytes(text.encode("utf-8-sig"))
    cfg = load_config("~/mine.py")
    assert (cfg.batch, cfg.seed) == (3, 5)
    assert read_config_data("base.py") == dict(batch=3)


def test_a_broken_config_is_named(in_data: Path) -> None:
    Path("broken.py").write_text("batch = (")
    with pytest.raises(UserError, match="broken.py: cannot be read as a config"):
        load_config("broken.py")


@pytest.mark.parametrize(
    "text",
    [
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n",
        "from torch.optim import SGD\noptimizer = dict(type=SGD)\n",
    ],
)
def test_configs_that_import_types_are_refused_with_what_to_write_instead(
    text: str, in_data: Path
) -> None:
    Path("imports.py").write_text(text)
    with pytest.raises(UserError, match="imports.py: configs that import .*name bases in _base_"):
        load_config("imports.py")


def test_options_may_hold_dicts(in_data: Path) -> None:
    options = [
        "augment=[dict(type='ibnseg.GaussianBlur', sigma=(0.1, 1.0))]",
        "protocol=native,rein",
    ]
    cfg = load_config("gta2city_r50", options)
    assert cfg.augment == [dict(type="ibnseg.GaussianBlur", sigma=(0.1, 1.0))]
    assert cfg.protocol == ["native", "rein"]
    with pytest.raises(UserError, match="do not fit .*is not plain data"):
        load_config("gta2city_r50", ["augment=[dict(type=print('x'))]"])
