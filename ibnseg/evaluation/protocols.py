"""The one table of test protocols: the sizes at which images are tested, and what is averaged.

``python -m ibnseg.evaluation.protocols`` prints it. The sources are the repositories that the rows
name, in the files that docs/protocols.md lists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ibnseg.datasets.labels import CLASSES, SUBSETS
from ibnseg.support.errors import unknown_name

Resize = tuple[str, "float | tuple[int, int] | None"]
"""A rule of ``ibnseg.datasets.view.SIZES`` and its value."""


@dataclass(frozen=True)
class View:
    """How the images and labels of a dataset are resized and cropped, in this order."""

    both: Resize | None = None
    """The new size of image and label; None: as stored."""
    interpolation: str = "bicubic"
    """How ``both`` resizes the image; labels take the nearest pixel."""
    crop: tuple[int, int] | None = None
    """The middle that image and label are cropped to, (width, height); what lies outside of a
    smaller image is ignored. None: no crop."""
    image: Resize | None = None
    """The new size of the image alone, whose predictions are resized to the label; None: no
    change."""


@dataclass(frozen=True)
class Slide:
    """Sliding windows, (height, width) each; logits are averaged where windows overlap."""

    crop_size: tuple[int, int]
    stride: tuple[int, int]


WHOLE = "whole"
"""The inference that shows the network whole images."""

UNKNOWN = "unknown"
"""The inference of label maps that another program wrote."""


@dataclass(frozen=True)
class Protocol:
    """A test protocol; its version is raised whenever numbers under it would change.

    The network's logits are upsampled bilinearly, once, to the size of the label (those of sliding
    windows first to the size of the image).
    """

    name: str
    version: int
    source: str
    views: Mapping[str, View] = field(default_factory=dict)
    """The view of a dataset, by the name of its adapter. An adapter that is not named has the view
    ``others``, or the stored size if there is none."""
    inference: str | Slide | None = None
    """``WHOLE`` images or a ``Slide``; None: as the model's ``test_cfg`` says; or ``UNKNOWN``."""
    class_maps: Mapping[str, str] = field(default_factory=dict)
    """The map to train ids that replaces an adapter's default one, by the name of the adapter."""
    eval_classes: tuple[str, ...] | None = None
    """Names of the classes that are averaged; None: those that the domain averages."""

    def suits(self, classes: Collection[str]) -> bool:
        """Whether a domain of these classes has all that it averages."""
        return {*(self.eval_classes or ())} <= {*classes}

    def view(self, dataset: str) -> View:
        """Finds the view of a dataset, by the name of its adapter."""
        return self.views.get(dataset, self.views.get("others", View()))


_HALF = ("half", None)
_VISTAS = ("MapillaryVistas", "MapillaryVistas2")
_SLIDE = Slide((512, 512), (341, 341))

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("native", 1, "images and labels at their stored size"),
        Protocol(
            "paper",
            1,
            "Pan et al., ECCV 2018, who train on GTA5 at this size",
            {"GTA5": View(image=("exact", (1024, 563)))},
        ),
        Protocol(
            "robustnet",
            1,
            "shachoi/RobustNet, and SHADE, WildNet, PinMem after it",
            dict.fromkeys(_VISTAS, View(both=("height", 1536), crop=(1536, 1536))),
            WHOLE,
            {"GTA5": "by_color"},
            CLASSES,
        ),
        Protocol(
            "rein",
            1,
            "w1oves/Rein",
            {
                "Cityscapes": View(image=("within", (1024, 512))),
                "BDD100K": View(image=("within", (1280, 720))),
                "GTA5": View(image=("within", (1280, 720))),
                **dict.fromkeys(_VISTAS, View(both=_HALF, image=("within", (1024, 512)))),
            },
            _SLIDE,
            dict.fromkeys(_VISTAS, "openseg"),
            CLASSES,
        ),
        Protocol(
            "soma",
            1,
            "ysj9909/SoMA",
            {
                "Cityscapes": View(image=("within", (2048, 1024))),
                "BDD100K": View(image=("within", (1280, 720))),
                "GTA5": View(image=("within", (1280, 720))),
                **dict.fromkeys(_VISTAS, View(both=_HALF, image=("within", (2048, 1024)))),
            },
            _SLIDE,
            dict.fromkeys(_VISTAS, "openseg"),
            CLASSES,
        ),
        Protocol(
            "short1024",
            1,
            "yasserben/CLOUDS",
            {"others": View(both=("short_edge", 1024), interpolation="bilinear")},
            WHOLE,
        ),
        Protocol(
            "synthia16",
            1,
            "lhoyer/DAFormer, yzou2/CBST and RoyalVane/CLAN, for networks trained on SYNTHIA",
            eval_classes=SUBSETS["synthia16"],
        ),
        Protocol(
            "synthia13",
            1,
            "the same, without wall, fence and pole (mIoU*)",
            eval_classes=SUBSETS["synthia13"],
        ),
    )
}

PREDICTIONS = Protocol(
    "predictions", 1, "another program, which has written label maps", inference=UNKNOWN
)
"""The protocol of label maps, of which nothing but the counting is known. It is not for
networks."""


def get_protocol(name: str) -> Protocol:
    """Finds a protocol by its name.

    Raises:
        UserError: for an unknown name, with the nearest ones.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


ALL = "all"
"""What stands for every protocol, in a list of names."""


def find_protocols(names: Iterable[str]) -> list[Protocol]:
    """Finds protocols by their names, each once; ``ALL`` stands for every one.

    Raises:
        UserError: for an unknown name, with the nearest ones.
    """
    found: dict[str, Protocol] = {}
    for name in names:
        if name not in {ALL, *PROTOCOLS}:
            raise unknown_name("protocol", name, (ALL, *PROTOCOLS))
        found |= PROTOCOLS if name == ALL else {name: PROTOCOLS[name]}
    return [*found.values()]


def full_name(
    protocol: Protocol,
    slide: Slide | None,
    tta_scales: tuple[float, ...],
    precision: str = "float32",
) -> str:
    """Makes the name under which results are recorded: the protocol's, and what was changed of it.

    Examples are ``native``; ``native-slide713x713-476x476``, if the model slides and the protocol
    leaves that open; ``native-tta0.5-1-flip``, with test-time augmentation; and
    ``native-bfloat16``, in that precision.

    Args:
        protocol: the protocol.
        slide: the windows that are used; None for whole images.
        tta_scales: the scales of test-time augmentation; empty without it.
        precision: the precision of the network.
    """
    name = protocol.name
    if slide is not None and protocol.inference is None:
        name += "-slide" + "-".join("x".join(map(str, s)) for s in (slide.crop_size, slide.stride))
    if tta_scales:
        name += "-tta" + "-".join(f"{scale:g}" for scale in tta_scales) + "-flip"
    return name if precision == "float32" else f"{name}-{precision}"


def _resize_words(resize: Resize) -> str:
    rule, to = resize
    if isinstance(to, tuple):
        to = "x".join(map(str, to))
    return {
        "exact": f"{to}",
        "within": f"within {to}",
        "short_edge": f"short edge {to}",
        "height": f"height {to}",
        "half": "half",
    }[rule]


def _view_words(view: View) -> str:
    parts = []
    if view.both:
        parts.append(f"image ({view.interpolation}) and label {_resize_words(view.both)}")
    if view.crop:
        parts.append(f"both centre crop {view.crop[0]}x{view.crop[1]}")
    if view.image:
        parts.append(f"image {_resize_words(view.image)}")
    return ", then ".join(parts)


def _averaged_words(classes: tuple[str, ...] | None) -> str:
    if classes is None:
        return "the domain's classes"
    return f"{'all ' * (classes == CLASSES)}{len(classes)} classes"


def protocols_table() -> str:
    """Returns the table of protocols in Markdown."""
    rows = [
        ("protocol", "sizes", "inference", "class maps", "mean over", "source"),
        ("---",) * 6,
    ]
    for p in PROTOCOLS.values():
        inference = p.inference
        if isinstance(inference, Slide):
            crop, stride = ("x".join(map(str, s)) for s in (inference.crop_size, inference.stride))
            inference = f"slide {crop}, stride {stride}"
        views = [f"{name}: {_view_words(view)}" for name, view in p.views.items()]
        rows.append(
            (
                f"`{p.name}` v{p.version}",
                "; ".join(views) or "stored",
                inference or "as the model says",
                "; ".join(f"{k}: `{v}`" for k, v in p.class_maps.items()) or "the domain's",
                _averaged_words(p.eval_classes),
                p.source,
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(protocols_table(), end="")
