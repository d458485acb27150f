"""What agents say is taken in once, whatever becomes of the acknowledgement."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest
from msgspec.structs import replace

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.adapters.transport import Reports
from sentinel.adapters.uplink import Link, Uplink
from sentinel.core.detect.watch import Watch
from sentinel.core.state import Rules
from sentinel.model.codec import to_plain
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import Ack, FindingSeen, Hello, Order, Report
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.ledger import Ledger
from sentinel.topology import Topology
from tests.enrolled import keys_with

NODE = NodeId("n1")
HOT = FindingSeen(Finding("gpu", "temperature", "gpu-0", Health.WARNING, "hot " * 5_000))
ROOMY_PAGES, FULL = 1_000_000, 1


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.01)


async def answers(uplink: Uplink) -> list[Order]:
    received: list[Order] = []
    await until(lambda: received.extend(uplink.orders()) or received)
    return received


@dataclass
class Desk:
    """A real inbox with its journal, and an agent's end of a real connection."""

    inbox: Inbox
    journal: Journal
    uplink: Uplink

    async def tell(self, number: int, *events: tuple[int, object]) -> list[Order]:
        """Send a report whose events are plain, as an agent of another release may send them."""
        report = to_plain(Report(NODE, "boot", number, (), ()))
        self.uplink.socket.send(msgpack.packb({**report, "events": events}))
        return await answers(self.uplink)

    def found(self) -> list[Finding]:
        return [line.fact.finding for line in self.journal.lines() if isinstance(line.fact, FindingReported)]


@asynccontextmanager
async def desk(directory: Path) -> AsyncIterator[Desk]:
    keys, journal = keys_with(directory / "keys", NODE), Journal(directory / "journal.db")
    rules = Rules(Policy(), runbooks.load())
    ledger = Ledger(journal, rules, "r", lambda _actions: None)
    inbox = Inbox(ledger, Watch(rules.policy, 0.0), lambda _node, _done: None, lambda: 1.0)
    async with Reports("tcp://127.0.0.1:0", keys) as reports:
        listening = asyncio.create_task(inbox.listen(reports))
        uplink = Uplink(reports.endpoint, keys, NODE)
        try:
            await until(lambda: Link.UP in uplink.changes())
            uplink.send(Hello(NODE, "boot", "127.0.0.1", 1, 8))
            assert await answers(uplink) == [Ack(0, journal=journal.id)]
            yield Desk(inbox, journal, uplink)
        finally:
            uplink.close()
            listening.cancel()
    journal.close()


def test_while_the_journal_fails_nothing_is_acknowledged_but_the_lease_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.runtime.ledger.RETRY_S", 0.0)

    async def scenario() -> None:
        async with desk(tmp_path) as there:
            there.journal._db.execute(f"PRAGMA max_page_count={FULL}")
            assert await there.tell(1, (1, to_plain(HOT))) == [Ack(0, "boot", there.journal.id)]
            there.journal._db.execute(f"PRAGMA max_page_count={ROOMY_PAGES}")
            assert await there.tell(2, (1, to_plain(HOT))) == [Ack(1, "boot", there.journal.id)]
            assert there.found() == [HOT.finding]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("event", "why"),
    [
        pytest.param({"is": "GpuMelted", "gpu": 3}, "Invalid value 'GpuMelted'", id="of a newer agent"),
        pytest.param(
            {**to_plain(HOT), "finding": {**to_plain(HOT.finding), "evidence": {"speed": None}}},
            "got `None` - at `$.finding.evidence[...]`",
            id="a value that no finding has",
        ),
        pytest.param("hot", "Expected `object`, got `str`", id="no event at all"),
    ],
)
def test_an_event_that_cannot_be_read_is_passed_over_once_and_nothing_else_is_lost(
    tmp_path: Path, event: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = replace(HOT, finding=replace(HOT.finding, component="gpu-1"))

    async def scenario() -> None:
        async with desk(tmp_path) as there:
            events = (1, to_plain(HOT)), (2, event), (3, to_plain(cold)), (4, event)
            for again in (1, 2):
                assert await there.tell(again, *events) == [Ack(4, "boot", there.journal.id)]
            assert there.found() == [HOT.finding, cold.finding]
            assert there.inbox.refused == 2

    asyncio.run(scenario())
    lines = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    assert [re.findall(r"number=(\d+)", line) for line in lines] == [["2"], ["4"]]
    assert all("node=n1" in line and why in line for line in lines)


def test_a_node_that_tells_without_end_is_taken_in_by_parts(tmp_path: Path) -> None:
    line = {"line": "x" * 4_000}
    flood = tuple(
        (n, replace(HOT, finding=replace(HOT.finding, component=f"gpu-{n}", event=True, evidence=line)))
        for n in range(1, 200)
    )

    async def scenario() -> None:
        async with desk(tmp_path) as there:
            there.uplink.send(Report(NODE, "boot", 1, (), flood))
            [ack] = await answers(there.uplink)
            assert isinstance(ack, Ack)
            assert 0 < ack.event < len(flood)
            assert len(there.found()) == ack.event

    asyncio.run(scenario())


def test_what_the_topology_file_says_of_a_node_counts_more_than_its_own_word(tmp_path: Path) -> None:
    rules = Rules(Policy(), runbooks.load())
    journal = Journal(tmp_path / "journal.db")
    ledger = Ledger(journal, rules, "r", lambda _actions: None)

    def says(topology: Topology, **labels: str) -> dict[str, str]:
        inbox = Inbox(ledger, Watch(rules.policy, 0.0), lambda *_: None, lambda: 1.0, topology.labels)
        inbox.hear(Hello(NODE, "boot", "127.0.0.1", 1, 8, labels=labels))
        return dict(ledger.state.nodes[NODE].labels)

    assert says(Topology({}), rack="r1", image="v1") == {"rack": "r1", "image": "v1"}
    written = journal.last_seq
    assert says(Topology({}), rack="r1", image="v1") == {"rack": "r1", "image": "v1"}
    assert journal.last_seq == written, "the same hello is no news"
    assert says(Topology({"*": {"rack": "r2"}}), rack="r1", image="v1") == {"rack": "r2", "image": "v1"}
    assert says(Topology({"other": {"rack": "r2"}}), rack="r1") == {"rack": "r1"}, (
        "what it said before is old"
    )
    journal.close()
