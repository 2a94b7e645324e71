"""Work that processes share: each item once, whoever is slow, fails or is killed."""

from __future__ import annotations

import os
import signal
import time
from itertools import chain
from pathlib import Path

import pytest

from ibnseg.engine.launch import start_processes
from ibnseg.support.errors import UserError
from ibnseg.support.processes import losses_in_one_line
from ibnseg.support.sharing import Team
from tests.support.team import in_processes

ITEMS = list(range(9))


def test_one_process_alone_does_all_in_order() -> None:
    team = Team()
    assert team.is_main
    assert team.from_main(lambda: "plan") == "plan"
    work = team.share(ITEMS)
    assert list(work) == ITEMS
    assert [work.finish() for _ in ITEMS] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert list(team.share(ITEMS)) == ITEMS  # other work, with a count of its own
    assert team.gather("mine") == ["mine"]


def test_processes_share_items_and_a_slow_one_does_fewer(tmp_path: Path) -> None:
    def work() -> None:
        start_processes()
        team = Team()
        seconds = team.from_main(lambda: {0: 0.05, 1: 0.0})[int(os.environ["RANK"])]
        for _ in range(2):
            shared, own = team.share(ITEMS), []
            for item in shared:
                time.sleep(seconds)
                own.append(item)
                shared.finish()
            parts = team.gather(own)
            assert sorted(chain(*parts)) == ITEMS
            assert len(parts[0]) < len(parts[1])
            assert shared.finish(0) == len(ITEMS)
            team.gather(None)  # the main process must not leave before the others have asked
        print(team.is_main)

    assert in_processes(2, work, tmp_path / "said") == ["True\n", "False\n"]


def test_what_the_main_process_refuses_all_refuse(tmp_path: Path) -> None:
    def work() -> None:
        def refuse() -> None:
            raise UserError("no images")

        start_processes()
        Team().from_main(refuse)

    assert in_processes(2, work, tmp_path / "said") == ["UserError: no images\n"] * 2


def test_a_killed_process_is_noticed_by_the_others(tmp_path: Path) -> None:
    @losses_in_one_line()
    def work() -> None:
        start_processes()
        team = Team()
        for _ in team.share(ITEMS):
            if os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)
        team.gather(None)

    first, second = in_processes(2, work, tmp_path / "said")
    assert first.startswith("UserError: another process of this command has ended or cannot be ")
    assert second == "killed"


def test_other_errors_stay_what_they_are_in_one_process() -> None:
    with pytest.raises(UserError, match="no images"):
        Team().from_main(lambda: (_ for _ in ()).throw(UserError("no images")))
