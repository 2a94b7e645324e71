"""The one table of config keys: each with its meaning, default, values and part in the recipe.

``python -m ibnseg.runs.keys`` prints it as docs/configs.md has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ibnseg.runs.kinds import (
    AUTO,
    BOUNDS,
    COUNT,
    DICT,
    DIFFERENT,
    FILE_NAME,
    FILES,
    FRACTION,
    IMAGES,
    NAME,
    NAMES,
    PATH,
    POWER,
    PRECISIONS,
    PROCESSES,
    RESIZE,
    SCALES,
    SEED,
    SHARES,
    SIZE,
    SWITCH,
    TEXTS,
    TYPED,
    TYPED_LIST,
    WHOLE,
    Kind,
    one_of,
    or_none,
)
from ibnseg.runs.mmengine_keys import REFUSED, WORDS

REQUIRED = object()
"""The default of a key that every config has to set."""


@dataclass(frozen=True)
class Key:
    """One key of a config."""

    name: str
    default: object
    kind: Kind
    meaning: str
    """For the table in docs/configs.md."""
    decides: str = ""
    """What it decides: ``"training"``: what is learnt (runs that differ in it have different
    recipes, and are never averaged as seeds); ``"length"``: the number of steps, which the recipe
    has in its place; ``"selection"``: what is learnt, if ``save_best`` is set; ``"testing"``: what
    is measured; ``""``: none of these."""
    refuses_resume: bool = False
    """Whether a run cannot be resumed with another value."""


def _learns(name: str, default: object, kind: Kind, meaning: str) -> Key:
    """Makes a key that decides what is learnt."""
    return Key(name, default, kind, meaning, decides="training", refuses_resume=True)


KEYS = {
    key.name: key
    for key in (
        _learns(
            "train_domain",
            REQUIRED,
            DIFFERENT,
            "the domain to train in, by name; or several, as a list",
        ),
        _learns(
            "train_shares",
            None,
            or_none(SHARES),
            "the share of each of several training domains in the crops; `None`: by their sizes",
        ),
        _learns(
            "train_subset",
            "full",
            NAME,
            '`"full"`, or a fixed random part of its images: `"quarter"`, `"30%"`, `"20%"`, '
            '`"10%"`; a smaller one lies within a larger one',
        ),
        _learns(
            "start_from",
            None,
            or_none(PATH),
            "a run's folder or checkpoint whose weights, heads included, the training starts "
            "from, e.g. for fine-tuning",
        ),
        Key("test_domains", REQUIRED, NAMES, "the domains to test on, by name: one, or a list"),
        Key(
            "protocol",
            "native",
            NAMES,
            "a name out of [protocols.md](protocols.md), or a list; `all` stands for every one",
        ),
        Key(
            "class_maps",
            {},
            FILES,
            "[class maps of your own](domains.md#a-class-map-of-your-own): files, by the names of "
            "the domains that are read by them",
        ),
        Key(
            "metrics",
            (),
            TEXTS,
            'metrics to measure beside those of the confusion matrix: `"boundary_iou"`, '
            '`"calibration"`',
        ),
        Key(
            "tta_scales",
            (),
            SCALES,
            "scales of test-time augmentation, each as it is and flipped; none by default",
            decides="testing",
        ),
        Key(
            "test_batch",
            1,
            IMAGES,
            "images of one size that are tested at a time; with test-time augmentation always one",
        ),
        Key(
            "test_precision",
            "float32",
            one_of(*PRECISIONS),
            '`"float32"`, or `"bfloat16"` for autocast in testing; results then name the protocol '
            "with `-bfloat16`",
            decides="testing",
        ),
        _learns("model", REQUIRED, DICT, "the network, as mmseg has it"),
        _learns(
            "crop_size",
            REQUIRED,
            SIZE,
            "(height, width) of training crops; smaller images are padded with the mean, labels "
            "with 255",
        ),
        _learns(
            "train_resize",
            "domain",
            RESIZE,
            "(width, height) that the random scale starts from; `None`: the stored size; "
            '`"domain"`: what the domain says',
        ),
        _learns("scale", REQUIRED, BOUNDS, "bounds of the random scale"),
        _learns("aspect", REQUIRED, BOUNDS, "bounds of the random change of width over height"),
        _learns(
            "scale_sampling",
            "log_uniform",
            one_of("log_uniform", "uniform"),
            'the scale is drawn `"log_uniform"`, as the aspect ratio is, or `"uniform"`',
        ),
        _learns(
            "interpolation",
            "bilinear",
            one_of("bilinear", "bicubic"),
            'how training images are resized: `"bilinear"` (OpenCV), or `"bicubic"` (Pillow, '
            "slower; leaves out nothing when it shrinks)",
        ),
        _learns(
            "one_class_at_most",
            1.0,
            FRACTION,
            "crops in which one class has this share of the labelled pixels, or more, are drawn "
            "again, up to ten times; 1: none are",
        ),
        _learns("augment", [], TYPED_LIST, "transforms of the mirrored crop, in order"),
        _learns(
            "feature_draws",
            0,
            WHOLE,
            "crops of each image whose features are stored (`ibnseg prepare --features`); the head "
            "is trained from these without the frozen backbone; 0: from images",
        ),
        _learns(
            "class_uniform",
            0.0,
            FRACTION,
            "the share of training crops that are taken around a class, each class equally often",
        ),
        _learns(
            "class_balance",
            0.0,
            FRACTION,
            "b in the weight share^-b of a class in the loss, from 0 to 1",
        ),
        _learns("batch", REQUIRED, IMAGES, "images in an optimiser step, over all processes"),
        _learns(
            "accumulate",
            1,
            COUNT,
            "parts that a process's share of the batch is cut into, if memory is short",
        ),
        Key(
            "epochs",
            None,
            or_none(COUNT),
            "the length in passes over the data: N = epochs x ceil(images / batch) steps",
            decides="length",
            refuses_resume=True,
        ),
        Key(
            "iterations",
            None,
            or_none(COUNT),
            "the length in steps, instead of `epochs`",
            decides="length",
            refuses_resume=True,
        ),
        _learns(
            "optimizer",
            None,
            or_none(TYPED),
            "a torch optimiser; or `None`, with one in `optim_wrapper`",
        ),
        _learns(
            "poly_power",
            0.9,
            POWER,
            "p of lr x (1 - i/N)^p, the schedule unless `param_scheduler` gives another",
        ),
        _learns(
            "precision",
            "float32",
            one_of(*PRECISIONS, AUTO),
            'of training: `"float32"`, `"bfloat16"`, or `"auto"`, bfloat16 where that is fast',
        ),
        _learns(
            "channels_last",
            False,
            one_of(True, False, AUTO),
            'memory layout of the network; `"auto"`: with bfloat16',
        ),
        _learns(
            "compile",
            False,
            one_of(True, False, AUTO),
            'train the network by `torch.compile`; `"auto"`: on GPUs, if the training is long',
        ),
        Key(
            "sync_bn",
            "torch",
            one_of("torch", None),
            '`"torch"`: batch statistics over all GPUs; `None`: each its own',
            decides="training",
        ),
        _learns(
            "deterministic",
            False,
            SWITCH,
            "take deterministic algorithms, slower on GPUs; torch warns of what has none there",
        ),
        Key("workers", 4, PROCESSES, "loader processes of each process"),
        Key("seed", 0, SEED, "seed of weights, order, augmentation, dropout", refuses_resume=True),
        Key(
            "console",
            "log",
            one_of("log", "bar"),
            'what a training or test shows: `"log"`, its lines; `"bar"`, how far it is, the time '
            "left, warnings and errors",
        ),
        Key("tensorboard", False, SWITCH, "also log for TensorBoard (`pip install tensorboard`)"),
        Key("log_interval", 50, COUNT, "iterations between two lines of the log"),
        Key(
            "checkpoint_interval",
            1000,
            COUNT,
            "iterations between two checkpoints, and between two looks of `save_best`",
            decides="selection",
            refuses_resume=True,
        ),
        Key("keep_checkpoints", 2, WHOLE, "how many checkpoints stay"),
        _learns(
            "save_best",
            False,
            SWITCH,
            "test the best iterate on `selection_split` instead of the last one",
        ),
        _learns(
            "selection_split",
            None,
            or_none(NAME),
            "the split of the training domain that `save_best` looks at",
        ),
        Key(
            "name",
            None,
            or_none(FILE_NAME),
            "what results call the run; the file's name by default",
        ),
        Key("model_name", None, or_none(NAME), "what results call the network"),
        Key("model_title", None, or_none(NAME), "what tables call the network"),
        Key(
            "extra",
            (),
            TEXTS,
            "names of top-level keys of the file that are its own, e.g. variables",
        ),
    )
}
"""All keys of this package."""


RECORDED = ("domains", "made_from", "modules", "revisions")
"""Keys that an expanded config adds so that it can be read alone: its domains, the file that it was
made from, where modules of the user's own were found, and the revisions that it was trained
under."""

DERIVED = (
    *REFUSED,
    *RECORDED,
    "given",
    "pulled",
    *(name for name in WORDS if name != "custom_imports"),
)
"""Keys that expanding a config adds or overwrites; ``given`` keeps what the user set of them, and
``pulled`` says where a run that was not trained here is from."""


def defaults() -> dict[str, object]:
    """Returns the default of each key that need not be set."""
    return {name: key.default for name, key in KEYS.items() if key.default is not REQUIRED}


def is_expanded(cfg: Mapping) -> bool:
    """Whether a config is an expanded one, such as a run's ``config.py``."""
    test_cfg = cfg.get("test_cfg")
    return isinstance(test_cfg, Mapping) and test_cfg.get("type") == "ibnseg.DomainTestLoop"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for name, key in KEYS.items():
        default = "" if key.default is REQUIRED else f"`{_shown(key.default)}`"
        yield (
            f"`{name}`",
            key.meaning,
            default,
            {"": "", "testing": "", "selection": "with `save_best`"}.get(key.decides, "yes"),
        )
    for name, word in WORDS.items():
        yield f"`{name}`", f"mmengine's: {word.meaning}", "", "yes" if word.decides else ""


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def keys_table() -> str:
    """Returns the table of keys in Markdown."""
    head = ("key", "meaning", "default", "decides what is learnt")
    rows = [head, ("---",) * 4, *_rows()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(keys_table(), end="")
