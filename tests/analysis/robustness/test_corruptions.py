"""The list of corruptions in which images are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ibnseg.analysis.robustness.corruptions import corruptions
from ibnseg.analysis.robustness.measure import find_look
from ibnseg.appearance import PAPER, generator, look_of_images
from ibnseg.datasets.domain import Domains
from ibnseg.engine.read import load_config
from ibnseg.support.errors import UserError
from tests.conftest import save_rgb, scene


def test_everything_is_shown_by_default() -> None:
    look = look_of_images([scene(0)[0]])
    shown = corruptions(looks={"A": look, "B": look})
    assert len(shown) == 4 + 9 * 5 + 2 * 2
    assert shown[0].name == "origin"
    assert [x.severity for x in shown if x.name == "hue"] == [1, 2, 3, 4, 5]
    assert len({x.key for x in shown}) == len(shown)
    image = scene(1)[0]
    np.testing.assert_array_equal(shown[0].change(image, generator(0, "")), image)
    for each in shown:
        changed = each.change(image, generator(0, "x"))
        assert changed.shape == image.shape
        in_floats = each.name in PAPER.keys() - {"origin"}
        assert changed.dtype == (np.float32 if in_floats else np.uint8)


def test_appearances_of_different_looks_are_kept_apart() -> None:
    keys = {
        corruptions(["fourier"], looks={"A": look_of_images([scene(i)[0]])})[1].key
        for i in (0, 0, 1)
    }
    assert len(keys) == 2


def test_a_corruption_that_cannot_be_shown_is_refused() -> None:
    for arguments, message in (
        (dict(names=["blurr"]), "unknown condition 'blurr'; did you mean blur"),
        (dict(names=["fourier"]), "condition 'fourier' needs a look; name one, e.g. --look"),
        (dict(severities=[0, 1]), "severity 0: expected 1 to 5"),
        (dict(severities=[6]), "severity 6: expected 1 to 5"),
    ):
        with pytest.raises(UserError, match=message):
            corruptions(**arguments)


def test_a_look_is_found_by_folder_or_domain(tmp_path: Path, trained, roots) -> None:
    save_rgb(tmp_path / "photos" / "a.png", scene(0)[0])
    called, look = find_look(str(tmp_path / "photos"), load_config(trained[0]), roots)
    assert called == "photos"
    np.testing.assert_allclose(look.mean, scene(0)[0].mean((0, 1)))
    with pytest.raises(UserError, match="look 'nowhere' is neither a folder of images nor a"):
        find_look("nowhere", load_config(trained[0]), roots)
    cfg = load_config(trained[0])
    cfg.domains = dict(alps=dict(Domains()["gta5"].as_dict(), title="Alps"))  # as in a run's config
    called, look = find_look("alps", cfg, roots)
    assert called == "Alps"
    np.testing.assert_array_equal(look.mean, find_look("gta5", cfg, roots)[1].mean)
