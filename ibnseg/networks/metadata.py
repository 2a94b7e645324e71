"""What an exported file says of itself, in JSON: facts, colours, protocol and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

import ibnseg
from ibnseg.datasets.labels import ClassSet
from ibnseg.engine.selection import selection_of
from ibnseg.engine.testing import describe_inference, slide_of
from ibnseg.models.checkpoints import read_checkpoint
from ibnseg.networks.facts import Facts
from ibnseg.networks.graph import Graph
from ibnseg.runs.kinds import as_list
from ibnseg.runs.recipe import domain_label
from ibnseg.runs.run import Run
from ibnseg.support.errors import UserError
from ibnseg.support.files import sha256

KEY = "ibnseg"
"""The name under which the text lies: in an ONNX file's ``metadata_props``, in an OpenVINO file's
``rt_info``, and as an extra file of a torch.export file."""


def describe(
    cfg: Config,
    checkpoint: Path,
    graph: Graph,
    class_set: ClassSet,
    size: tuple[int, int] | None,
    batch: int | None,
) -> dict:
    """Describes an exported network.

    Args:
        cfg: its config, expanded or not.
        checkpoint: the file of its weights.
        graph: what is exported.
        class_set: its classes.
        size: (height, width) of the images, if it is fixed.
        batch: the number of images, if it is fixed.

    Returns:
        A dict that JSON can hold. ``facts`` are those of :data:`ibnseg.networks.facts.FACTS`, of
        the graph: with normalisation inside, ``mean`` is 0 and ``std`` 1; ``network`` has those of
        the network itself.
    """
    meta = read_checkpoint(checkpoint).get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    name = cfg.get("name") or Path(cfg.filename or "unnamed").stem
    run = Run.of_checkpoint(checkpoint)
    recipe = run and run.recipe
    facts = dict(
        title=cfg.get("model_title") or name,
        classes=list(class_set.classes),
        **graph.expected,
        trained_on=domain_label(cfg),
        size=list(size) if size else None,
        stride=graph.stride,
        selected_on=selection_of(checkpoint, meta),
        gives="classes" if graph.gives == "train-ids" else "logits",
    )
    return dict(
        facts=facts,
        palette=[list(color) for color in class_set.palette],
        takes=graph.takes,
        gives=graph.gives,
        align_corners=graph.align_corners,
        batch=batch,
        network=graph.normalisation,
        protocol=[str(each) for each in as_list(cfg.get("protocol") or "native")],
        inference=describe_inference(slide_of(cfg.model.get("test_cfg") or {})),
        provenance=dict(
            name=name,
            checkpoint_sha256=sha256(checkpoint),
            iteration=meta.get("iter"),
            seed=meta.get("seed"),
            recipe=recipe and recipe.hash,
            versions=dict(ibnseg=ibnseg.__version__, torch=str(torch.__version__)),
        ),
    )


def facts_in(description: Mapping) -> Facts:
    """Returns the facts of a description."""
    return Facts.of({"class_map": {}, **description["facts"]})


def as_text(description: Mapping) -> str:
    """Returns a description as it is written into a file, in ASCII."""
    return json.dumps(description)


def read_description(text: str | None, source: str) -> dict:
    """Reads a description.

    Args:
        text: from a file; None if it has none.
        source: the file, for messages.

    Returns:
        The description, with ``facts`` that are a dict; an empty one if there is none.

    Raises:
        UserError: if it is damaged.
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: its metadata '{KEY}' is not JSON ({error})") from error
    if not isinstance(found, dict) or not isinstance(found.get("facts"), dict):
        raise UserError(f"{source}: its metadata '{KEY}' has no facts; export it again")
    return found
