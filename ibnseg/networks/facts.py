"""What has to be known of a network that was not trained here, and the file that says it.

The facts are in the network itself, e.g. in the metadata of an ONNX file, or in a small JSON file
beside it, which has precedence. ``python -m ibnseg.networks.facts`` prints the table of facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ibnseg.networks.kinds import lasting
from ibnseg.runs.kinds import (
    SIZE,
    Kind,
    is_list,
    is_number,
    is_text,
    is_texts,
    one_of,
    or_none,
    whole,
)
from ibnseg.runs.recipe import hash_of
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.reading import read_json

REQUIRED = object()
"""The default of a fact that has to be stated."""


def _is_classes(value: object) -> bool:
    return is_texts(value) and len(set(value)) == len(value) and 2 <= len(value) <= 255


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        is_text(name) and (to is None or is_text(to)) for name, to in value.items()
    )


def _is_three(value: object) -> bool:
    return is_list(value) and len(value) == 3 and all(map(is_number, value))


CLASSES = Kind(_is_classes, "a list of 2 to 255 different names")
MAP = Kind(_is_map, "an object of names to names or null")
THREE = Kind(_is_three, "three numbers")
TEXT = Kind(is_text, "a text")
POSITIVE = Kind(lambda value: _is_three(value) and min(value) > 0, "three numbers above 0")


@dataclass(frozen=True)
class Fact:
    """A row of the table of facts."""

    kind: Kind
    meaning: str
    default: object = REQUIRED
    example: object = None
    """What the file to write has in its place, if it is not known."""


FACTS = {
    "title": Fact(TEXT, "what tables call the network", example="My network"),
    "classes": Fact(
        CLASSES,
        "names of its classes, in the order of its output; those of Cityscapes, or any that "
        "`class_map` translates",
        example=["road", "sidewalk", "..."],
    ),
    "channels": Fact(one_of("RGB", "BGR"), "the order of its input's channels", example="RGB"),
    "range": Fact(
        one_of(1, 255), "the value of white before `mean` and `std` are applied", example=255
    ),
    "mean": Fact(THREE, "what is subtracted from each channel", example=[123.675, 116.28, 103.53]),
    "std": Fact(POSITIVE, "what each channel is then divided by", example=[58.395, 57.12, 57.375]),
    "trained_on": Fact(
        TEXT,
        "the domain that it was trained on, by its name if it is one here",
        example="cityscapes",
    ),
    "gives": Fact(
        one_of("logits", "classes"),
        "whether its output is logits or classes, the places of names in `classes`; 255 is none",
        "logits",
    ),
    "class_map": Fact(
        MAP,
        "what some of its classes are called in the tested domains; null for a class that they do "
        "not have",
        {},
    ),
    "size": Fact(or_none(SIZE), "(height, width), if it takes images of this size alone", None),
    "stride": Fact(
        or_none(whole(1, 1024)), "what height and width of its input must be divisible by", None
    ),
    "selected_on": Fact(
        or_none(TEXT), "the domain whose labels chose this checkpoint among several", None
    ),
    "licence": Fact(or_none(TEXT), "the licence of its weights", None),
}
"""The facts, by name."""


@dataclass(frozen=True)
class Facts:
    """What is known of a network; the table ``FACTS`` says what each field means."""

    title: str
    classes: tuple[str, ...]
    channels: str
    range: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    trained_on: str
    gives: str
    class_map: Mapping[str, str | None]
    size: tuple[int, int] | None = None
    stride: int | None = None
    selected_on: str | None = None
    licence: str | None = None

    @classmethod
    def of(cls, values: Mapping) -> Facts:
        """Makes facts of plain values by name, as JSON has them; they have to be right."""
        return cls(**{name: _hashable(value) for name, value in values.items()})

    def as_dict(self) -> dict:
        """Returns the facts as plain values by name, in a form that JSON can hold."""
        return json.loads(json.dumps(asdict(self)))


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Found:
    """What is found out about a network before it is built."""

    name: str
    """A short name; results are kept in ``work_dirs/<name>`` by default."""
    sha256: str
    """The hash of all that the network is made of."""
    file: Path
    """The JSON file that may say more, or something else, of the network."""
    says: Mapping[str, object]
    """The facts that are in the network itself, by name."""


def facts_of(source: str, found: Found) -> Facts:
    """Collects the facts of a network, from itself and from the file beside it.

    Args:
        source: what the user calls the network, for messages.
        found: what was found out about it.

    Raises:
        UserError: for a fact that nobody states (it shows the file to write), an unknown one, a
            value of the wrong kind, and a mean or std of another range than the one stated.
    """
    in_file = _read(found.file) if found.file.is_file() else {}
    values = {**found.says, **in_file}
    for name, value in values.items():
        where = found.file if name in in_file else source
        if name not in FACTS:
            raise UserError(f"{where}: {unknown_name('fact', name, FACTS)}")
        if not FACTS[name].kind.accepts(value):
            raise UserError(f"{where}: {name} is {value!r}, expected {FACTS[name].kind.words}")
    missing = [name for name, fact in FACTS.items() if fact.default is REQUIRED]
    missing = [name for name in missing if name not in values]
    if missing:
        example = {name: FACTS[name].example for name in missing}
        raise UserError(
            f"{source}: {', '.join(missing)} not known; write {found.file} with "
            f"{json.dumps({**in_file, **example})}, with what is true of this network"
        )
    defaults = {name: fact.default for name, fact in FACTS.items() if fact.default is not REQUIRED}
    facts = Facts.of({**defaults, **values})
    if _is_of_other_range(facts):
        where = found.file if {"range", "mean", "std"} & in_file.keys() else source
        raise UserError(
            f"{where}: mean {[*facts.mean]} and std {[*facts.std]} are not those of pixels from 0 "
            f"to {facts.range}; state the range that they are of, 1 or 255"
        )
    unknown = [name for name in facts.class_map if name not in facts.classes]
    if unknown:
        where = found.file if "class_map" in in_file else source
        raise UserError(f"{where}: class_map: {unknown_name('class', unknown[0], facts.classes)}")
    return facts


def _is_of_other_range(facts: Facts) -> bool:
    """Whether mean and standard deviation can only be those of pixels of the other range."""
    mean, std = ([abs(value) for value in values] for values in (facts.mean, facts.std))
    if facts.range == 1:
        return max(mean) > 2 or max(std) > 10
    return 0 < max(mean) <= 1 or max(std) < 1


def named_as_tested(
    classes: Sequence[str], class_map: Mapping[str, str | None]
) -> list[str | None]:
    """Returns what each class is called in the tested domains; None for a class that they do not
    have.

    Args:
        classes: the network's own names.
        class_map: names for some of them.
    """
    return [class_map.get(name, name) for name in classes]


def configured(source: str, kind: str, found: Found) -> dict:
    """Makes the values of a config of a network that was not trained here.

    ``foreign`` is what tells such a config from others: it says where the network is from. Its
    ``sha256`` changes with the weights and with the facts.

    Args:
        source: what the user calls the network.
        kind: what it is, in words.
        found: what was found out about it.

    Raises:
        UserError: as :func:`facts_of`.
    """
    facts = facts_of(source, found)
    return dict(
        name=found.name,
        model_name=found.name,
        model_title=facts.title,
        train_domain=facts.trained_on,
        model=dict(
            type="ibnseg.Foreign",
            source=source,
            facts=facts.as_dict(),
            data_preprocessor=dict(
                type="ibnseg.Preprocessor",
                mean=[value * 255 / facts.range for value in facts.mean],
                std=[value * 255 / facts.range for value in facts.std],
                bgr_to_rgb=facts.channels == "RGB",
            ),
        ),
        foreign=dict(
            kind=kind,
            source=lasting(source),
            sha256=hash_of(dict(weights=found.sha256, **facts.as_dict())),
            weights_sha256=found.sha256,
            classes=named_as_tested(facts.classes, facts.class_map),
            gives=facts.gives,
            sees_images=True,
            selected_on=facts.selected_on,
            licence=facts.licence,
        ),
    )


def _read(file: Path) -> dict:
    content = read_json(file, "write it anew")
    if not isinstance(content, dict):
        raise UserError(f"{file}: is not an object of facts by name")
    return content


def facts_table() -> str:
    """Returns the table of facts in Markdown."""
    rows = [("fact", "what it says", "value", "default"), ("---",) * 4]
    for name, fact in FACTS.items():
        default = "" if fact.default is REQUIRED else f"`{json.dumps(fact.default)}`"
        rows.append((f"`{name}`", fact.meaning, fact.kind.words, default))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(facts_table(), end="")
