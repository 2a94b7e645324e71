"""Reading foreign checkpoints: only tensors are read, and all of them must fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner.checkpoint import get_torchvision_models
from torch import Tensor, nn

from ibnseg.models.zoo import SCHEME, get_published, hash_in
from ibnseg.support.errors import UserError, unknown_name
from ibnseg.support.files import sha256
from ibnseg.support.finite import non_finite, some

REMOTE = ("http://", "https://")


def read_checkpoint(source: str | Path) -> dict:
    """Reads a checkpoint to the CPU with ``weights_only=True``, so that it cannot run code.

    Args:
        source: a path, an ``http(s)://`` address, ``torchvision://NAME``, or ``ibnseg://NAME`` with
            a name in :data:`~ibnseg.models.zoo.PUBLISHED`. A file is downloaded once, to torch's
            hub folder; the main process does this for all, so that all have to call. If the file's
            name has a hash, e.g. ``resnet50_ibn_a-d9d0bb7b.pth``, it is checked.

    Raises:
        UserError: if it is missing, truncated, not a checkpoint, holds more than weights, or is not
            the file that the hash in its name promises.
    """
    source, path = locate(source)
    if source.startswith(REMOTE):
        with _main_process_first():  # downloads; the others find it there
            return _read(source, path)
    return _read(source, path)


@contextmanager
def _main_process_first() -> Iterator[None]:
    if not is_main_process():
        barrier()
    try:
        yield
    finally:
        if is_main_process():
            barrier()


def _read(source: str, path: Path) -> dict:
    remote = source.startswith(REMOTE)
    if path.is_file():
        _check_hash(path)
    elif not remote:
        raise UserError(f"{source}: no such checkpoint")
    try:
        if remote:
            hashed = hash_in(source) != ""
            checkpoint = torch.hub.load_state_dict_from_url(
                source, map_location="cpu", check_hash=hashed, weights_only=True
            )
        else:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except URLError as error:
        raise UserError(
            f"{source}: cannot be downloaded ({error.reason}); download it elsewhere and give "
            "its path instead, or train from scratch with init_cfg=None"
        ) from error
    except UnpicklingError as error:
        raise UserError(
            f"{path}: not a file of weights: it is damaged, or holds objects other than tensors, "
            "which are not loaded because they can run code"
        ) from error
    except Exception as error:  # reading a damaged file can fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        at = path if path.is_file() else source
        raise UserError(f"{at}: truncated or not a checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(
            f"{source}: holds a {type(checkpoint).__name__}, expected a dict of tensors"
        )
    return checkpoint


def locate(source: str | Path) -> tuple[str, Path]:
    """Finds the path or address that a source of :func:`read_checkpoint` stands for, and the file
    in which it lies once it has been read.

    Raises:
        UserError: for an unknown name.
    """
    source = str(source)
    if source.startswith(SCHEME):
        source = get_published(source.removeprefix(SCHEME)).url
    if source.startswith("torchvision://"):
        name, urls = source.removeprefix("torchvision://"), get_torchvision_models()
        if name not in urls:
            raise unknown_name("torchvision weights", name, urls)
        source = urls[name]
    if source.startswith(REMOTE):
        return source, hub_folder() / Path(urlsplit(source).path).name
    return source, Path(source).expanduser()


def hub_folder() -> Path:
    """The folder in which torch keeps the checkpoints that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _check_hash(path: Path) -> None:
    wanted = hash_in(path.name)
    if not wanted:
        return
    found = sha256(path)
    if not found.startswith(wanted):
        raise UserError(
            f"{path}: SHA-256 begins with {found[: len(wanted)]}, expected {wanted}, as its name "
            "says; it is damaged or another file: delete it and get it again"
        )


def state_dict_of(checkpoint: Mapping, source: str, prefix: str = "") -> dict[str, Tensor]:
    """Takes the weights out of a checkpoint, which may have them as ``state_dict``.

    The beginning ``module.`` of a name is removed, and torchvision's old names of dense layers
    (``norm.1``) become those of today (``norm1``).

    Args:
        checkpoint: from :func:`read_checkpoint`.
        source: what error messages call the checkpoint.
        prefix: if given, only weights below this name are taken, e.g. ``backbone``, and named
            without it.

    Raises:
        UserError: if there is anything but named tensors.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    named = isinstance(weights, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )
    if not named:
        raise UserError(f"{source}: expected a dict of names to tensors, or one as 'state_dict'")
    weights = {_name_of_today(key): value for key, value in weights.items()}
    if prefix:
        dot = prefix.rstrip(".") + "."
        weights = {k.removeprefix(dot): v for k, v in weights.items() if k.startswith(dot)}
    return weights


def _name_of_today(key: str) -> str:
    return re.sub(
        r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key.removeprefix("module.")
    )


def load_exactly(
    module: nn.Module, weights: Mapping[str, Tensor], source: str, spare: Iterable[str] = ()
) -> None:
    """Loads ``weights`` into ``module`` if every name and shape fits, and changes nothing
    otherwise.

    Args:
        module: the network to fill.
        weights: names to tensors; ``num_batches_tracked`` may be missing (checkpoints older than
            torch 0.4.1).
        source: what error messages call the checkpoint.
        spare: prefixes of weights that the module need not have.

    Raises:
        UserError: if they do not fit; it names the keys that are missing, left over or misshapen.
            If a weight that is used is NaN or infinite.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
    unused = [k for k in weights if k not in own and not k.startswith(tuple(spare))]
    shapes = [
        f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    faults = {"missing": missing, "left over": unused, "of another shape": shapes}
    if any(faults.values()):
        found = "; ".join(f"{len(v)} {kind}: {some(v, 4)}" for kind, v in faults.items() if v)
        raise UserError(f"{source}: does not fit {type(module).__name__}: {found}")
    used = {k: v for k, v in weights.items() if k in own}
    parameters = {name for name, _ in module.named_parameters()}
    require_finite(
        [k for k in non_finite(used) if k in parameters or not _same_places(used[k], own[k])],
        source,
    )
    module.load_state_dict(used, strict=False)


def _same_places(buffer: Tensor, own: Tensor) -> bool:
    """Whether a network's own buffer has the same finite values and others, as a mask may."""
    return not own.is_meta and torch.equal(buffer.isfinite().cpu(), own.isfinite().cpu())


def require_finite(names: list[str], source: str) -> None:
    """Refuses a checkpoint of which some tensors are not finite.

    Args:
        names: of these tensors.
        source: what the message calls the checkpoint.

    Raises:
        UserError: if there are any.
    """
    if names:
        raise UserError(
            f"{source}: NaN or infinity in {some(names)}, as a training that diverged leaves "
            "there; take an earlier checkpoint, or train again with a lower rate"
        )
