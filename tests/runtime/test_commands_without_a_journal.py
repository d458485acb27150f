"""What an operator asks for while nothing can be recorded is refused, or kept, and they are told which."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sentinel import config
from sentinel.adapters.journal_file import JournalError
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.workers import Worker
from sentinel.model.action import Seat
from sentinel.model.fact import Commanded, NodeJoined
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.runtime.controller import Controller
from sentinel.web.view import Command, CommandRefusedError

STOP = Command("stop-actions", who="ada")


class Desk:
    """A controller whose journal's disk can be full."""

    def __init__(self, root: Path) -> None:
        cluster = config.Cluster(state_dir=root)
        settings = config.Settings(cluster=cluster, ray=config.Ray(address="127.0.0.1:1"))
        self.controller = Controller(settings, cast(Reports, None), ensure_keys(root / "keys"))
        self.append = self.ledger.journal.append_many
        self.disk_is_full()

    @property
    def ledger(self) -> Any:
        return self.controller.ledger

    def disk_is_full(self, full: bool = True) -> None:
        def fails(*_: object) -> list[int]:
            raise JournalError("disk is full", permanent=False)

        self.ledger.journal.append_many = fails if full else self.append

    def commands(self) -> list[Commanded]:
        return [line.fact for line in self.ledger.journal.lines() if isinstance(line.fact, Commanded)]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr("sentinel.runtime.ledger.RETRY_S", 0.0)

    def run(scenario: Callable[[Desk], Awaitable[None]]) -> None:
        async def within() -> None:  # what is decided begins in a running loop
            await scenario(Desk(tmp_path))

        asyncio.run(within())

    return run


def test_a_command_that_meets_a_full_disk_first_is_kept_and_said_to_be(asked: Callable[..., None]) -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.controller.command(STOP) == (
            "stop-actions: kept in memory, and done once the journal can be written again"
        )
        assert desk.ledger.state.stopped == "ada"
        desk.disk_is_full(False)
        assert desk.ledger.absorb([])
        assert [command.who for command in desk.commands()] == ["ada"]

    asked(scenario)


def test_a_command_while_the_journal_fails_is_refused_and_never_done(asked: Callable[..., None]) -> None:
    async def scenario(desk: Desk) -> None:
        desk.ledger.absorb([Commanded(1.0, "resume-actions", "", "eve")])
        with pytest.raises(CommandRefusedError, match="nothing was done"):
            await desk.controller.command(STOP)
        assert desk.ledger.state.stopped == ""
        desk.disk_is_full(False)
        assert desk.ledger.absorb([])
        assert [command.who for command in desk.commands()] == ["eve"]
        assert await desk.controller.command(STOP) == "stop-actions"

    asked(scenario)


def test_nobody_leaves_without_a_record(asked: Callable[..., None]) -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(CommandRefusedError, match="nobody leaves"):
            await desk.controller.command(Command("retire"))

    asked(scenario)


def test_a_command_says_until_when_it_holds(asked: Callable[..., None]) -> None:
    async def scenario(desk: Desk) -> None:
        desk.disk_is_full(False)
        said = await desk.controller.command(Command("silence", "gpu-lost", for_s=3600.0))
        assert re.fullmatch(r"silence gpu-lost until \d{4}-\d\d-\d\d \d\d:\d\d UTC", said)
        assert [each.target for each in desk.controller.view.status().silences] == ["gpu-lost"]
        assert await desk.controller.command(Command("unsilence", "gpu-lost")) == "unsilence gpu-lost"
        with pytest.raises(CommandRefusedError, match="not silenced"):
            await desk.controller.command(Command("unsilence", "gpu-lost"))

    asked(scenario)


def test_a_drain_says_what_it_waits_for(asked: Callable[..., None]) -> None:
    async def scenario(desk: Desk) -> None:
        desk.disk_is_full(False)
        now = desk.controller.now()
        desk.ledger.absorb([NodeJoined(now, NodeId("n1"), "127.0.0.1", 1, 1, "b")])
        desk.ledger.state.add(Job(JobId("moe"), 1, 1, 0, wanted=1, stage=JobStage.BROKEN))
        desk.ledger.state.add(Worker(WorkerId("w1"), NodeId("n1"), gpu=0, job=JobId("moe"), rank=0))
        desk.ledger.state.workers.form(JobId("moe"), 1, (Seat(0, WorkerId("w1"), NodeId("n1"), 0),))
        said = await desk.controller.command(Command("drain", "n1"))
        assert said.startswith("drain n1: moe has rank 0 there, and is broken")

    asked(scenario)


def test_what_was_decided_is_shown_by_the_next_controller_too(
    asked: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(desk: Desk) -> None:
        desk.disk_is_full(False)
        await desk.controller.command(STOP)
        desk.ledger.journal.close()
        shown = Desk(tmp_path).controller.view.status().decisions
        assert [each.what for each in shown] == ["stop-actions, said by ada"]

    asked(scenario)
