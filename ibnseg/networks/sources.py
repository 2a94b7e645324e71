"""Finds the network that a command is given: a run, a config with a checkpoint, or any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ibnseg.engine.early import check_given_names, check_network
from ibnseg.networks.kinds import kind_of, no_network
from ibnseg.runs.recipe import hash_of
from ibnseg.support import configs
from ibnseg.support.errors import UserError
from ibnseg.support.files import as_path

if TYPE_CHECKING:  # commands check names before torch is imported
    from mmengine.config import Config
    from torch import nn


@dataclass(frozen=True)
class Source:
    """Where a network comes from: its config, and its weights if it was trained here."""

    cfg: Config
    """Not expanded."""
    checkpoint: Path | None
    """None for a network that was not trained here."""

    @property
    def is_foreign(self) -> bool:
        """Whether the network was not trained here."""
        return self.checkpoint is None

    @property
    def sees_images(self) -> bool:
        """Whether images can be shown to it; label maps are predictions already."""
        return not self.is_foreign or self.cfg.foreign["sees_images"]

    def settled(self) -> Source:
        """Returns the same network even if its run is under way, whose latest checkpoint may be
        another one later."""
        return replace(self, checkpoint=self.checkpoint and self.checkpoint.resolve())

    def load(self, fused: bool = False) -> nn.Module:
        """Builds the network, in eval mode and on the GPU if there is one.

        Args:
            fused: whether a network that was trained here is changed for faster inference
                (:func:`~ibnseg.models.fuse.fuse`); others stay as they are.

        Raises:
            UserError: if it cannot be built or loaded, or does not look at images.
        """
        from ibnseg.models.fuse import fuse
        from ibnseg.networks.loading import load_foreign, load_network

        if self.is_foreign:
            return load_foreign(self.cfg)
        network = load_network(self.cfg, self.checkpoint)
        return fuse(network) if fused else network

    def identity(self) -> dict[str, str]:
        """Returns what decides a prediction besides the image: hashes of weights and network."""
        from ibnseg.networks.loading import describe_network

        if self.is_foreign:
            return dict(network_sha256=self.cfg.foreign["sha256"])
        return describe_network(self.cfg, self.checkpoint)

    def describe(self, folder: Path) -> dict:
        """Describes the network as the ``run`` of results that are written to a folder."""
        from ibnseg.engine.record import describe_foreign, describe_run
        from ibnseg.models.checkpoints import read_checkpoint

        if self.is_foreign:
            return describe_foreign(self.cfg)
        return describe_run(self.cfg, self.checkpoint, read_checkpoint(self.checkpoint), folder)

    @cached_property
    def name(self) -> str:
        """What errors call the network."""
        return str(self.cfg.foreign["source"] if self.is_foreign else self.checkpoint)


def require(
    source: str | Path, checkpoint: str | Path | None = None, *, maps: bool = False
) -> None:
    """Checks what names a network, as far as that needs neither torch nor the network itself.

    Args:
        source, checkpoint: as for :func:`find_source`.
        maps: whether label maps will do in its place.

    Raises:
        UserError: if there is no such run or config, a config comes without a checkpoint, or
            another network with one; and for label maps if they will not do.
    """
    kind = kind_of(source)
    if kind is not None and not (kind.sees_images or maps):
        raise no_network(str(source))
    if kind is None:
        configs.require_network(source, checkpoint)
    elif checkpoint is not None:
        raise UserError(f"{source} {checkpoint}: {kind.words} takes no checkpoint; leave it out")


def require_runs(sources: Iterable[str | Path]) -> None:
    """Checks what names runs, or networks that were not trained here.

    Raises:
        UserError: if there is no such run, and for label maps.
    """
    for source in sources:
        kind = kind_of(source)
        if kind is None:
            configs.require_run(source)
        elif not kind.sees_images:
            raise no_network(str(source))


def results_folder(source: str | Path) -> Path:
    """Returns the folder that has the results of a network.

    Args:
        source: the folder of a run, which is returned; or a network that was not trained here,
            whose results are in ``work_dirs/<name>`` by default.

    Raises:
        UserError: if such a network cannot be found, or too little is known of it.
    """
    from ibnseg.runs.run import default_folder

    kind = kind_of(source)
    return default_folder(kind.module.configure(str(source))["name"]) if kind else as_path(source)


def find_source(
    source: str | Path, checkpoint: str | Path | None = None, options: Sequence[str] = ()
) -> Source:
    """Finds a network.

    Args:
        source: a run's folder, whose tested checkpoint is taken; a config, by its path or name; or
            a network of one of :data:`~ibnseg.networks.kinds.KINDS`, or the folder of its results.
        checkpoint: a config's weights; for a run, another checkpoint of it.
        options: changes to the config, ``key=value``.

    Raises:
        UserError: if it cannot be found, or too little is known of it; and for an option that
            changes what is known of a network that was not trained here.
    """
    require(source, checkpoint, maps=True)
    kind = kind_of(source)
    if kind is None:
        named = _foreign_of(as_path(source)) if checkpoint is None else None
        if named is None:
            from ibnseg.engine.read import find_network

            return Source(*find_network(source, checkpoint, options))
        source, kind = named, kind_of(named)
    from ibnseg.engine.read import config_of

    _require_of_test(str(source), options)
    cfg = config_of(kind.module.configure(str(source)), options)
    if runtime := cfg.model.get("runtime"):  # another one rounds in another way
        cfg.foreign.sha256 = hash_of(dict(network=cfg.foreign.sha256, runtime=runtime))
    return Source(cfg, None)


def _require_of_test(source: str, options: Sequence[str]) -> None:
    """Refuses options that would change what is known of a network, beside its hash."""
    for option in options:
        key = option.partition("=")[0]
        top, *below = key.split(".")
        if top == "foreign" or (top == "model" and below[:1] not in (["runtime"], ["test_cfg"])):
            raise UserError(
                f"{source}: option '{key}' cannot be set; state what is true of the network in the "
                "file of its facts (docs/any_model.md)"
            )


def require_own(source: str | Path) -> None:
    """Refuses a network that was not trained here, and the folder of its results."""
    if kind_of(source) is not None or _foreign_of(as_path(source)) is not None:
        raise UserError(
            f"{source}: was not trained here; expected the folder of a run, or a config with a "
            "checkpoint"
        )


def find_own(
    source: str | Path, checkpoint: str | Path | None = None, options: Sequence[str] = ()
) -> tuple[Config, Path]:
    """Finds the config and checkpoint of a network that was trained here.

    Args:
        source, checkpoint, options: as for :func:`find_source`.

    Raises:
        UserError: as that function, and for another network.
    """
    require_own(source)
    from ibnseg.engine.read import find_network

    return find_network(source, checkpoint, options)


def check_testing(
    source: str | Path,
    checkpoint: str | Path | None = None,
    options: Sequence[str] = (),
    **given: object,
) -> None:
    """Checks what :func:`ibnseg.test` is given, as far as that needs no torch.

    Args:
        source, checkpoint, options: as for :func:`find`.
        given: its ``roots``, ``domains``, ``protocols`` and ``class_maps``.

    Raises:
        UserError: as that function.
    """
    require(source, checkpoint, maps=True)
    own = None if kind_of(source) else source
    check_given_names(own, options, given.get("domains"), given.get("protocols"))
    found = find_source(source, checkpoint, options)
    check_network(found.cfg, found.checkpoint, **given)


def _foreign_of(folder: Path) -> str | None:
    """The network that a folder of results is of, if it was not trained here."""
    if not folder.is_dir():
        return None
    from ibnseg.runs.literal import read_some_values
    from ibnseg.runs.run import CONFIG

    try:
        foreign = read_some_values(folder / CONFIG, ("foreign",)).get("foreign")
    except UserError:  # as for every config that is code, such as none of these
        return None
    return foreign and foreign["source"]
