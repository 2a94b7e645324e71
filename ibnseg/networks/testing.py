"""Tests a network, whatever it is, from what names it to a table: what ``ibnseg test`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import ibnseg.networks.foreign  # noqa: F401 (registers its type)
from ibnseg.engine.run import TTA_SCALES, test_network
from ibnseg.networks.kinds import kind_of
from ibnseg.networks.sources import find_source
from ibnseg.support.processes import losses_in_one_line


@losses_in_one_line()
def test(
    source: str | Path,
    checkpoint: str | Path | None = None,
    *,
    options: Sequence[str] = (),
    roots: Mapping[str, str] | None = None,
    domains: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    class_maps: Mapping[str, str] | None = None,
    work_dir: str | Path | None = None,
    resume: bool = False,
    tta: bool = False,
    batch: int | None = None,
    precision: str | None = None,
) -> dict:
    """Tests a network on all test domains, adds to ``results.json``, writes and prints the table.

    Args:
        source: a run's folder; a config, by its path or name; or a network that was not trained
            here, as :func:`ibnseg.networks.sources.find_source` takes it.
        checkpoint: the config's weights; for a run, another checkpoint of it.
        options: changes to the config, ``key=value``.
        roots: data folders from the command line, by name.
        domains: names of the domains to test on, instead of the config's ``test_domains``.
        protocols: names of the protocols to test by, instead of its ``protocol``.
        class_maps: files with class maps of one's own by the names of domains, instead of its
            ``class_maps``.
        work_dir: where results go; by default the run, the one that the checkpoint lies in, or the
            folder of results, else ``work_dirs/<name>``.
        resume: leave out the tests whose results exist already.
        tta: test-time augmentation over ``TTA_SCALES`` and flips, if the config has none.
        batch: images of one size that are tested at a time, instead of its ``test_batch``.
        precision: the network's, instead of its ``test_precision``.

    Returns:
        The content of ``results.json``; an empty dict on all processes but the main one.

    Raises:
        UserError: for wrong input.
    """
    found = find_source(source, checkpoint, options)
    if found.is_foreign and kind_of(source) is None:
        work_dir = work_dir or source
    given = dict(
        test_domains=domains,
        protocol=protocols,
        class_maps=class_maps,
        test_batch=batch,
        test_precision=precision,
        tta_scales=TTA_SCALES if tta and not found.cfg.get("tta_scales") else None,
    )
    for key, value in given.items():
        if value is not None:
            found.cfg[key] = value
    return test_network(found.cfg, found.checkpoint, roots, work_dir, resume)
