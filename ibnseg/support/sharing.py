"""Shares out work over the processes of torchrun or Slurm, so that each item is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import count
from typing import Generic, TypeVar

import torch.distributed as dist
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    is_distributed,
)

from ibnseg.support.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

FOREVER = timedelta(days=365)
"""How long processes wait for each other; the loss of one is seen at once, by its connection."""


class Team:
    """The processes of a command, which share its work; one process alone is a team, too.

    Every process makes its team at the same place, after it has joined the process group
    (:func:`ibnseg.engine.launch.start_processes`), and calls the same methods in the same order.
    Processes that wait for a long time, such as for the end of another's video, do not time out.
    If a process ends early, the others get torch's error at the next call, which
    :func:`ibnseg.support.processes.losses_in_one_line` turns into one line.
    """

    def __init__(self) -> None:
        self._group, self._store = None, dist.HashStore()
        if is_distributed():
            # NCCL could neither wait for hours nor see at once that a process is gone
            self._group = dist.new_group(backend="gloo", timeout=FOREVER)
            self._store = dist.distributed_c10d._get_default_store()
        self._number = count()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that plans, records and reports."""
        return get_rank() == 0

    def from_main(self, make: Callable[[], Result]) -> Result:
        """Returns, in every process, what a function returns in the main one, where alone it is
        called.

        Args:
            make: a function whose result can be pickled.

        Raises:
            UserError: in every process, if the function raises it.
        """
        made, error = None, None
        if self.is_main:
            try:
                made = make()
            except UserError as raised:
                error = raised
        shared = [made, error]
        if self._group:
            broadcast_object_list(shared, group=self._group)
        if error or shared[1]:
            raise error or shared[1]
        return shared[0]

    def share(self, items: Sequence[Item]) -> Shared[Item]:
        """Shares out items, which are the same in every process."""
        name = f"ibnseg/{getattr(self._group, 'group_name', '')}/{next(self._number)}"
        return Shared(items, dist.PrefixStore(name, self._store))

    def gather(self, own: Result) -> list[Result]:
        """Waits until every process is here, and returns what each has brought, in the order of the
        processes."""
        return all_gather_object(own, group=self._group) if self._group else [own]


class Shared(Generic[Item]):
    """Items that the processes of a :class:`Team` share: each takes the next one that is left
    whenever it needs one, so that a fast process does more than a slow one.

    Iterating gives the items of this process. Large items should come first.
    """

    def __init__(self, items: Sequence[Item], store: dist.Store) -> None:
        self._items, self._store = items, store

    def __iter__(self) -> Iterator[Item]:
        while (i := self._store.add("taken", 1) - 1) < len(self._items):
            yield self._items[i]

    def finish(self, number: int = 1) -> int:
        """Counts items, or parts of them, as finished; returns how many all processes have
        finished."""
        return self._store.add("finished", number)
