"""Which keys and words make two trainings different recipes."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.config import Config

from ibnseg.datasets.class_tables import classes_of
from ibnseg.datasets.domain import Domains
from ibnseg.datasets.listing import classes_as_csv
from ibnseg.engine import run as engine
from ibnseg.engine.expand import expand
from ibnseg.engine.read import load_config
from ibnseg.runs.keys import KEYS
from ibnseg.runs.mmengine_keys import WORDS
from ibnseg.runs.recipe import differences
from ibnseg.runs.revisions import REVISIONS
from ibnseg.runs.run import Recipe, Run
from ibnseg.support.errors import UserError

TWO = dict(train_domain=["gta5", "cityscapes"])
SELECTING = dict(train_domain="cityscapes", test_domains=["gta5"], selection_split="val")
OTHER = dict(
    train_domain="cityscapes",
    train_shares=dict(gta5=0.25, cityscapes=0.75),
    train_subset="quarter",
    start_from="other.pth",
    test_domains=["gta5"],
    protocol="paper",
    class_maps=dict(cityscapes="own.csv"),
    metrics=["calibration"],
    tta_scales=[0.5],
    test_batch=2,
    test_precision="bfloat16",
    model=dict(backbone=dict(variant="b")),
    crop_size=(32, 64),
    train_resize=None,
    scale=(0.5, 1.5),
    aspect=(1.0, 1.25),
    scale_sampling="uniform",
    interpolation="bicubic",
    augment=[dict(type="ibnseg.GaussianBlur", sigma=(0.15, 1.3))],
    feature_draws=2,
    one_class_at_most=0.75,
    class_uniform=0.5,
    class_balance=0.5,
    batch=2,
    accumulate=2,
    epochs=7,
    iterations=7,
    optimizer=dict(lr=0.5),
    poly_power=1.0,
    precision="bfloat16",
    channels_last=True,
    compile=True,
    sync_bn=None,
    deterministic=True,
    workers=1,
    seed=1,
    console="bar",
    tensorboard=True,
    log_interval=2,
    checkpoint_interval=3,
    keep_checkpoints=1,
    save_best=True,
    selection_split="test",
    name="another",
    model_name="another",
    model_title="Another",
    extra=["mine"],
    optim_wrapper=dict(clip_grad=dict(max_norm=1.0)),
    param_scheduler=[dict(type="ConstantLR", factor=1.0, by_epoch=False)],
    custom_hooks=[dict(type="EMAHook")],
    default_hooks=dict(param_scheduler=None),
    visualizer=dict(name="mine"),
    env_cfg=dict(cudnn_benchmark=False),
    custom_imports=dict(imports=["ibnseg.registry"]),
    model_wrapper_cfg=dict(type="MMDistributedDataParallel"),
    find_unused_parameters=True,
    log_level="WARNING",
)
"""Another value of every key and word."""
WITH = dict(
    train_shares=TWO,
    save_best=SELECTING,
    checkpoint_interval=dict(SELECTING, save_best=True),
    epochs=dict(epochs=3, iterations=None),
)
"""Other values that must be set for that value to make sense."""
FREE = {
    *("test_domains", "protocol", "metrics", "tta_scales", "test_batch", "test_precision"),
    "class_maps",  # of test domains; those of training domains are compared as their data
    *("workers", "seed", "console", "tensorboard", "log_interval", "log_level", "visualizer"),
    *("keep_checkpoints", "env_cfg", "model_wrapper_cfg", "find_unused_parameters"),
    *("name", "model_name", "model_title", "extra"),
}
"""What decides nothing of what is learnt, or the seed alone. It is not read off the table, which
says the same of a key that nobody has thought about."""


def expand_changed(path: Path, changes: Mapping[str, object]) -> Config:
    """Expands an experiment with changes."""
    changes = copy.deepcopy(dict(changes))
    domains = changes.pop("domains", None)
    cfg = load_config(path, changes)
    if domains:
        cfg.domains = domains
    return expand(cfg)


@pytest.fixture
def expanded(in_data: Path, tiny_config):
    """A function that expands a tiny experiment with changes."""
    path = tiny_config("gta5", ["gta5", "cityscapes"])
    return lambda changes: expand_changed(path, changes)


class Change(NamedTuple):
    """A tiny experiment before and after another value of a key, and the run that it was."""

    before: Config
    after: Config
    run: Path


@pytest.fixture(scope="module")
def changed(data: Path, tiny_config, tmp_path_factory) -> dict[str, Change]:
    """Each key and word with another value, expanded once for all tests."""
    folder, path = tmp_path_factory.mktemp("changed"), tiny_config("gta5", ["gta5", "cityscapes"])
    (folder / "other.pth").touch()
    (folder / "own.csv").write_text(classes_as_csv(classes_of("cityscapes"), ["cityscapes"]))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IBNSEG_DATA", str(data))
        patch.chdir(folder)
        # without a store of features
        patch.setattr("ibnseg.engine.training.from_features", lambda cfg, domains, parts: parts)
        usual = begun(expand_changed(path, {}), folder / "usual")
        for name, value in OTHER.items():
            common = WITH.get(name, {})
            before, run = begun(expand_changed(path, common), folder / name) if common else usual
            found[name] = Change(before, expand_changed(path, {**common, name: value}), run)
    return found


def begun(cfg: Config, folder: Path) -> tuple[Config, Path]:
    """A config and the folder of a run of it, with an empty checkpoint."""
    folder.mkdir()
    run = Config(copy.deepcopy(cfg.to_dict()))
    run.work_dir = str(folder)
    run.dump(folder / "config.py")
    (folder / "latest.pth").touch()
    return cfg, folder


def test_every_key_and_word_is_compared_below() -> None:
    assert set(OTHER) == {*KEYS, *WORDS}


def test_what_changes_a_training_changes_its_recipe_and_is_named(changed) -> None:
    differ, named = set(), set()
    for name, change in changed.items():
        one, other = Recipe.of(change.before), Recipe.of(change.after)
        if one.hash != other.hash:
            differ.add(name)
        if ("iterations" if name == "epochs" else name) in differences(one.values, other.values):
            named.add(name)
    assert differ == OTHER.keys() - FREE
    assert named == OTHER.keys() - FREE


class GoesOn(Exception):
    """The run is not refused."""


def test_a_run_is_resumed_only_with_the_same_recipe(
    changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(*args: object) -> None:
        raise GoesOn

    monkeypatch.setattr(engine, "_build_runner", go_on)
    monkeypatch.setattr(engine, "load_config", lambda name, options: Config(dict(case=name)))
    monkeypatch.setattr(engine, "expand", lambda cfg, *args: changed[cfg.case].after)
    goes_on, refusals = set(), {}
    for name, change in changed.items():
        try:
            engine.train(name, work_dir=change.run, resume=True)
        except GoesOn:
            goes_on.add(name)
        except UserError as error:
            refusals[name] = str(error)
    unexplained = [n for n, text in refusals.items() if not re.search("was .* and is now", text)]
    assert not unexplained
    assert goes_on == (FREE - {"seed"}) | {"sync_bn"}  # CPU processes turn sync_bn off


def of_another_version(cfg: Config, revisions: list[str] | None) -> Config:
    """The config of a run as another version wrote it; None: before there were revisions."""
    cfg = copy.deepcopy(cfg)
    cfg.pop("revisions")
    return cfg if revisions is None else Config({**cfg, "revisions": revisions})


CENTRED, WHOLE = "revision: centred labels", "revision: means over the whole batch"


@pytest.mark.parametrize(
    ("interpolation", "loss", "revisions"),
    [
        ("bilinear", {}, [CENTRED]),
        ("bilinear", dict(avg_non_ignore=True), [CENTRED, WHOLE]),
        ("bicubic", dict(class_weight=[1.0] * 19), [WHOLE]),
        ("bicubic", {}, []),  # by Pillow, whose labels never were off
    ],
)
def test_what_earlier_versions_learnt_otherwise_is_another_recipe(
    expanded, interpolation: str, loss: dict, revisions: list[str]
) -> None:
    now = expanded(dict(interpolation=interpolation))
    now.model.decode_head.loss_decode = dict(type="CrossEntropyLoss", **loss)
    now.model.pop("auxiliary_head", None)
    one, other = Recipe.of(of_another_version(now, None)), Recipe.of(now)
    assert differences(one.values, other.values) == revisions
    assert (one.hash == other.hash) == (not revisions)


def test_testing_a_run_keeps_what_it_was_trained_under(expanded) -> None:
    now = expanded({})
    before = of_another_version(now, None)
    assert expand(now, training=False).revisions == now.revisions == list(REVISIONS)
    assert expand(before, training=False).get("revisions") is None
    assert expand(before).revisions == now.revisions  # trained anew by its config


def test_a_run_of_another_version_is_not_resumed(
    expanded, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "load_config", lambda name, options: expanded({}))
    earlier = r"begun by an earlier version, with labels half a pixel right of and below their "
    earlier += "images, and would go on without; finish it by that version, or train again in "
    later = "begun by a later version, with centred crops; finish it by that version"
    known = expanded({}).revisions
    for i, (revisions, message) in enumerate(((None, earlier), ([*known, "centred crops"], later))):
        _, run = begun(of_another_version(expanded({}), revisions), in_data / f"run{i}")
        with pytest.raises(UserError, match=message):
            engine.train("tiny", work_dir=run, resume=True)


GTA5 = Domains()["gta5"].as_dict()


def test_the_split_the_size_and_the_data_of_a_training_domain_decide_its_titles_do_not(
    expanded,
) -> None:
    usual = Recipe.of(expanded({})).hash
    for changes, decides in (
        (dict(train_split="val"), True),
        (dict(train_resize=(640, 360)), True),
        (dict(dataset=dict(type="ibnseg.GTA5", class_map="by_color")), True),
        (dict(test_split="train"), False),
        (dict(title="Grand Theft Auto", eval_classes=["road"]), False),
    ):
        other = expanded(dict(domains=dict(gta5={**GTA5, **changes})))
        assert (Recipe.of(other).hash != usual) == decides, changes


def test_how_often_it_is_saved_decides_nothing_if_the_last_iterate_is_tested(expanded) -> None:
    assert Recipe.of(expanded(dict(checkpoint_interval=3))) == Recipe.of(expanded({}))


def test_hooks_of_the_log_are_not_part_of_the_recipe(expanded) -> None:
    hooks = dict(logger=dict(interval=3), timer=dict(type="IterTimerHook"))
    assert Recipe.of(expanded(dict(default_hooks=hooks))) == Recipe.of(expanded({}))


def test_processes_with_batch_statistics_of_their_own_decide_by_their_images(expanded) -> None:
    alone = expanded(dict(sync_bn=None))
    shared = copy.deepcopy(alone)
    shared.train_dataloader.batch_size //= 2
    names = differences(Recipe.of(alone).values, Recipe.of(shared).values)
    assert names == ["images of a process"]


def test_a_domain_that_is_only_tested_is_not_part_of_the_recipe(expanded) -> None:
    city = {**Domains()["cityscapes"].as_dict(), "train_resize": (640, 320)}
    other = expanded(dict(domains=dict(cityscapes=city)))
    assert Recipe.of(other).hash == Recipe.of(expanded({})).hash


def test_the_code_of_ones_own_package_is_part_of_the_recipe(
    expanded, in_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(in_data)
    own = dict(custom_imports=dict(imports=["decisive_package"]))
    (in_data / "decisive_package").mkdir()
    file = in_data / "decisive_package" / "__init__.py"
    file.write_text("RATE = 1\n")
    before = Recipe.of(expanded(own)).hash
    assert Recipe.of(expanded(own)).hash == before
    file.write_text("RATE = 2\n")
    assert Recipe.of(expanded(own)).hash != before


def test_the_seeds_of_a_fine_tuning_start_from_seeds(expanded, in_data: Path) -> None:
    """Each seed starts from the run of its own seed, and so all are one recipe."""
    found = set()
    for seed in (0, 1):
        folder = in_data / "first" / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "latest.pth").touch()
        found.add(Recipe.of(expanded(dict(seed=seed, start_from=str(folder)))).hash)
    assert len(found) == 1


def test_a_recipe_survives_its_way_through_the_runs_config(expanded, in_data: Path) -> None:
    cfg = expanded(
        dict(
            custom_hooks=[dict(type="EMAHook")],
            augment=[dict(type="ibnseg.GaussianBlur", sigma=(0.15, 1.3))],
        )
    )
    cfg.work_dir = "run"
    (in_data / "run").mkdir()
    cfg.dump(in_data / "run" / "config.py")
    assert Run.open("run").recipe == Recipe.of(cfg)
