"""Arguments on the command line reach the functions that they are for."""

import argparse
from pathlib import Path

import pytest

from ibnseg import cli
from ibnseg.cli import build_parser

CALLS = [
    (
        "train gta2city_r50 --data-root gta5=/a,cityscapes=/b --data-root camvid=/c=d --domains a,b"
        " --protocol paper --class-map gta5=own.csv --seed 3 --resume",
        "engine.run.train",
        ["gta2city_r50"],
        dict(
            options=[],
            roots={"gta5": "/a", "cityscapes": "/b", "camvid": "/c=d"},
            domains=["a", "b"],
            protocols=["paper"],
            class_maps={"gta5": "own.csv"},
            work_dir=None,
            seed=3,
            resume=True,
        ),
    ),
    (
        "test gta2city_r50 y.pth --cfg-options a=1 b.c=2",
        "networks.testing.test",
        ["gta2city_r50", "y.pth"],
        dict(options=["a=1", "b.c=2"], class_maps=None, resume=False, batch=None, precision=None),
    ),
    (
        "predict run photos",
        "networks.folder.predict_folder",
        ["run", None, "photos", "predictions"],
        dict(options=[]),
    ),
    (
        "predict gta2city_r50 x.pth a.png --out o --cfg-options a=1 b=2",
        "networks.folder.predict_folder",
        ["gta2city_r50", "x.pth", "a.png", "o"],
        dict(options=["a=1", "b=2"]),
    ),
    (
        "export gta2city_r50 x.pth --to onnx --out x.onnx --size 64x48 --batch 2 --input normalised"
        " --output logits --images photos --int8 more --cost gta5 --data-root gta5=/a"
        " --cfg-options a=1",
        "networks.export.export_network",
        ["gta2city_r50", "x.pth", "onnx", "x.onnx"],
        dict(
            options=["a=1"],
            takes="normalised",
            gives="logits",
            size=(48, 64),
            batch=2,
            images="photos",
            int8="more",
            cost="gta5",
            roots={"gta5": "/a"},
        ),
    ),
    (
        "export run --full --out x.pth",
        "networks.export.export_weights",
        ["run", None, "x.pth"],
        dict(options=[]),
    ),
    (
        "imagenet resnet50 val",
        "analysis.imagenet.measure.measure_imagenet",
        ["resnet50", "val"],
        dict(checkpoint=None, styled=None, out=None, batch=64, workers=4),
    ),
    (
        "imagenet resnet50 val --checkpoint x.pth --styled m --out o --batch 8 --workers 0",
        "analysis.imagenet.measure.measure_imagenet",
        ["resnet50", "val"],
        dict(checkpoint="x.pth", styled="m", out="o", batch=8, workers=0),
    ),
    (
        "robustness run run",
        "analysis.robustness.measure.measure_robustness",
        [["run", "run"], None, "robustness"],
        dict(conditions=None, severities=[1, 2, 3, 4, 5], looks=[], protocol="native", roots={}),
    ),
    (
        "robustness run --domains x,y --out o --conditions RGB+50,blur --severities 1,3 "
        "--look z,p/q --protocol paper --data-root x=/d",
        "analysis.robustness.measure.measure_robustness",
        [["run"], ["x", "y"], "o"],
        dict(
            conditions=["RGB+50", "blur"],
            severities=[1, 3],
            looks=["z", "p/q"],
            protocol="paper",
            roots={"x": "/d"},
        ),
    ),
    (
        "divergence run --domains a --transform R+50 --layers s,t --min-share 2 --out o "
        "--content car --data-root a=/d",
        "analysis.divergence.measure.measure_divergence",
        [["run"], ["a"], "o"],
        dict(transform="R+50", content="car", min_share=0.02, layers=["s", "t"], roots={"a": "/d"}),
    ),
    ("push run --out o", "networks.hub.save_pretrained", ["run", "o", None], dict(licence=None)),
    (
        "push run x.pth --out o --licence mit",
        "networks.hub.save_pretrained",
        ["run", "o", "x.pth"],
        dict(licence="mit"),
    ),
    ("pull a/b", "networks.pulling.pull", ["a/b", None], dict(revision=None)),
    (
        "pull a/b --out o --revision v1",
        "networks.pulling.pull",
        ["a/b", "o"],
        dict(revision="v1"),
    ),
]


@pytest.mark.parametrize(("line", "function", "args", "kwargs"), CALLS)
def test_arguments_reach_the_functions(
    line: str, function: str, args: list, kwargs: dict, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.py").touch()
    calls = []
    for early in ("engine.early.check_training", "networks.sources.check_testing"):
        monkeypatch.setattr(f"ibnseg.{early}", lambda *a, **k: None)  # there is no run, nor data
    monkeypatch.setattr(f"ibnseg.{function}", lambda *a, **k: calls.append(([*a], k)))
    assert cli.main(line.split()) == 0
    ((found, by_name),) = calls
    assert found == args
    assert {key: by_name[key] for key in kwargs} == kwargs


def test_arguments_of_matrix_reach_the_report(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from ibnseg.report import formats, gather

    def report(*args: object, recipe_of: object) -> gather.Report:
        return gather.Report(args, (), (), {}, {})

    monkeypatch.setattr(gather, "gather", report)
    monkeypatch.setitem(formats.FORMATS, "csv", lambda report: f"csv of {report.metric}")
    line = "matrix a b --metric car --protocol native,rein --domains x --format csv --published"
    assert cli.main(line.split()) == 0
    expected = ([Path("a"), Path("b")], "car", ["native", "rein"], ["x"], True)
    out, err = capsys.readouterr()
    assert out == f"csv of {expected}\n"
    assert err == "ibnseg: no published car for these domains\n"
    monkeypatch.setitem(formats.FORMATS, "terminal", lambda report: str(report.metric))
    assert cli.main(["matrix", "a"]) == 0
    assert capsys.readouterr().out == f"{([Path('a')], 'mIoU', None, None, False)}\n"


def test_formats_are_those_of_the_reports() -> None:
    from ibnseg.report.formats import FORMATS

    parser = cli.build_parser()
    for name in FORMATS:
        assert parser.parse_args(["matrix", "--format", name]).format == name


NO_PATHS = {
    "cfg_options",  # the keys that take paths read ~ themselves
    "device",
    "domains",
    "protocol",
    "write",
    "to",
    "domain",
    "cost",
    "split",
    "imports",
    "metric",
    "transform",
    "content",
    "layers",
    "conditions",
    "appearances",
    "model",
    "licence",
    "revision",
    "dataset",
    "map",
}
"""Arguments that are texts and no paths."""


PAIRS = {"data_root", "class_map"}
"""Arguments that are paths by names."""


def test_every_path_on_the_command_line_may_begin_with_a_tilde(monkeypatch) -> None:
    """Written as ``--out=~/x``, which shells leave as it is."""
    monkeypatch.setenv("HOME", "/home/me")
    (commands,) = (each.choices for each in build_parser()._actions if each.dest == "command")
    found = set()
    for command, parser in commands.items():
        for action in parser._actions:
            is_text = action.nargs != 0 and action.choices is None and action.dest != "help"
            if not is_text or action.dest in NO_PATHS or action.type in (int, float):
                continue
            text = "gta5=~/x,camvid=~/y" if action.dest in PAIRS else "~/x"
            try:
                value = parser._get_value(action, text)
            except argparse.ArgumentError:
                continue  # it takes numbers
            assert "/home/me/x" in str(value), (command, action.dest)
            assert "~" not in str(value), (command, action.dest)
            found.add(action.dest)
    assert found == {
        "runs", "folder", "config", "network", "checkpoint", "images", "out", "check", "styled",
        "data_root", "class_map", "look", "work_dir", "suite", "features", "int8", "run", "source",
    }  # fmt: skip
