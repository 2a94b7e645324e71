"""The published ImageNet checkpoints, as a table."""

from __future__ import annotations

import re
from typing import NamedTuple

from ibnseg.support.errors import unknown_name

SCHEME = "ibnseg://"
"""What precedes the name of a published checkpoint wherever a checkpoint is asked for."""

AUTHORS = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
TORCHVISION = "https://download.pytorch.org/models/"


class Checkpoint(NamedTuple):
    """A published checkpoint of a backbone with its classifier of 1000 classes."""

    url: str
    parameters: int
    """The number of parameters, those of the classifier included."""
    top1: float | None
    """Error in percent on ImageNet's validation images (256, centre crop 224), if published."""
    top5: float | None
    """The same, if the five most likely classes count."""

    @property
    def hash(self) -> str:
        """The beginning of the file's SHA-256, from its name."""
        return hash_in(self.url)


def hash_in(name: str) -> str:
    """Finds the beginning of a SHA-256 in a file's name, e.g. ``d9d0bb7b`` in ``net-d9d0bb7b.pth``;
    empty if there is none.

    Digits alone, e.g. in ``net-20180908.pth``, are a date or a count.
    """
    found = re.search(r"-(?!\d+\.)([0-9a-f]{8,})\.[^/]*$", name)
    return found[1] if found else ""


# IBN: XingangPan/IBN-Net, README and hubconf.py; b of depth 50: the paper's table 1.
# Plain: torchvision's weights IMAGENET1K_V1.
PUBLISHED = {
    name: Checkpoint(base + file, *facts)
    for base, name, file, *facts in (
        (AUTHORS, "resnet18_ibn_a", "resnet18_ibn_a-2f571257.pth", 11689512, 29.17, 10.24),
        (AUTHORS, "resnet18_ibn_b", "resnet18_ibn_b-bc2f3c11.pth", 11689896, None, None),
        (AUTHORS, "resnet34_ibn_a", "resnet34_ibn_a-94bc1577.pth", 21797672, 25.78, 8.19),
        (AUTHORS, "resnet34_ibn_b", "resnet34_ibn_b-04134c37.pth", 21798056, None, None),
        (AUTHORS, "resnet50_ibn_a", "resnet50_ibn_a-d9d0bb7b.pth", 25557032, 22.54, 6.32),
        (AUTHORS, "resnet50_ibn_b", "resnet50_ibn_b-9ca61e85.pth", 25558568, 23.64, 6.86),
        (AUTHORS, "resnet101_ibn_a", "resnet101_ibn_a-59ea0ac6.pth", 44549160, 21.39, 5.59),
        (AUTHORS, "resnet101_ibn_b", "resnet101_ibn_b-c55f6dba.pth", 44550696, None, None),
        (AUTHORS, "resnext101_ibn_a", "resnext101_ibn_a-6ace051d.pth", 44177704, 20.88, 5.42),
        (AUTHORS, "se_resnet101_ibn_a", "se_resnet101_ibn_a-fabed4e2.pth", 49292328, 21.25, 5.51),
        (AUTHORS, "densenet121_ibn_a", "densenet121_ibn_a-e4af5cc1.pth", 7978856, 24.47, 7.25),
        (AUTHORS, "densenet169_ibn_a", "densenet169_ibn_a-9f32c161.pth", 14149480, 23.25, 6.51),
        (TORCHVISION, "resnet18", "resnet18-f37072fd.pth", 11689512, 30.242, 10.922),
        (TORCHVISION, "resnet34", "resnet34-b627a593.pth", 21797672, 26.686, 8.58),
        (TORCHVISION, "resnet50", "resnet50-0676ba61.pth", 25557032, 23.87, 7.138),
        (TORCHVISION, "resnet101", "resnet101-63fe2227.pth", 44549160, 22.626, 6.454),
        (TORCHVISION, "resnet152", "resnet152-394f9c45.pth", 60192808, 21.688, 5.954),
        (TORCHVISION, "resnext50", "resnext50_32x4d-7cdf4587.pth", 25028904, 22.382, 6.302),
        (TORCHVISION, "densenet121", "densenet121-a639ec97.pth", 7978856, 25.566, 8.028),
        (TORCHVISION, "densenet161", "densenet161-8d451a50.pth", 28681000, 22.862, 6.44),
        (TORCHVISION, "densenet169", "densenet169-b2777c0a.pth", 14149480, 24.4, 7.194),
        (TORCHVISION, "densenet201", "densenet201-c1103571.pth", 20013928, 23.104, 6.63),
    )
}

PAPER_PLAIN = {
    "resnet18": (30.24, 10.92),
    "resnet34": (26.70, 8.58),
    "resnet50": (24.27, 7.08),
    "resnet101": (22.48, 6.23),
    "resnext101": (21.31, 5.74),
    "se_resnet101": (21.68, 5.88),
    "densenet121": (24.96, 7.85),
    "densenet169": (24.02, 7.06),
}
"""Top-1 and top-5 errors of the plain networks as the paper's authors trained them, in percent
(XingangPan/IBN-Net, README; the paper's table 2 has all but ResNet18 and 34)."""

PAPER_APPEARANCES = {
    "resnet50": {
        "origin": (24.27, 7.08),
        "RGB+50": (28.22, 9.64),
        "R+50": (27.53, 8.78),
        "std x1.5": (40.01, 19.08),
        "Monet": (54.51, 29.32),
    },
    "resnet50_ibn_a": {
        "origin": (22.54, 6.32),
        "RGB+50": (25.54, 8.03),
        "R+50": (25.20, 7.56),
        "std x1.5": (35.97, 16.22),
        "Monet": (51.57, 27.15),
    },
    "resnet50_ibn_b": {
        "origin": (23.64, 6.86),
        "RGB+50": (23.82, 6.96),
        "R+50": (25.10, 7.43),
        "std x1.5": (23.64, 6.86),
        "Monet": (50.45, 25.22),
    },
}
"""Top-1 and top-5 errors in percent on ImageNet's validation images, by how these were changed: in
colour, in contrast, or to Monet's style (Pan et al., "Two at Once", ECCV 2018, table 1)."""


def paper_errors(name: str) -> dict[str, tuple[float, float]]:
    """Looks up the errors of a network that the paper or its authors report, by appearance.

    Returns:
        (top-1, top-5) in percent for the appearances of table 1, or for ``origin`` alone (table 2,
        or the authors' README), or an empty dict.
    """
    if name in PAPER_APPEARANCES:
        return PAPER_APPEARANCES[name]
    if name in PAPER_PLAIN:
        return {"origin": PAPER_PLAIN[name]}
    found = PUBLISHED.get(name)
    reported = found and found.url.startswith(AUTHORS) and found.top1 is not None
    return {"origin": (found.top1, found.top5)} if reported else {}


def get_published(name: str) -> Checkpoint:
    """Finds a row of :data:`PUBLISHED`.

    Raises:
        UserError: for an unknown name.
    """
    if name not in PUBLISHED:
        raise unknown_name("published weights", name, PUBLISHED)
    return PUBLISHED[name]
