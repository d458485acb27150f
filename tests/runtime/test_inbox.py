"""What agents say is taken in once, whatever becomes of the acknowledgement."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.adapters.transport import Link, Reports, Uplink, ensure_keys
from sentinel.core.state import Rules
from sentinel.core.watch import Watch
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import Ack, FindingSeen, Hello, Order, Report
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.ledger import Ledger

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


def test_while_the_journal_fails_nothing_is_acknowledged_but_the_lease_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.runtime.ledger.RETRY_S", 0.0)
    keys, journal = ensure_keys(tmp_path / "keys"), Journal(tmp_path / "journal.db")
    rules = Rules(Policy(), runbooks.load())
    ledger = Ledger(journal, rules, "r", lambda _actions: None)
    inbox = Inbox(ledger, Watch(rules.policy, 0.0), lambda _done: None, lambda: 1.0)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            listening = asyncio.create_task(inbox.listen(reports))
            uplink = Uplink(reports.endpoint, keys, NODE)
            await until(lambda: Link.UP in uplink.changes())
            uplink.send(Hello(NODE, "boot", "127.0.0.1", 1, 8, "0"))
            assert await answers(uplink) == [Ack(0)]
            journal._db.execute(f"PRAGMA max_page_count={FULL}")
            uplink.send(Report(NODE, "boot", 1, (), ((1, HOT),)))
            assert await answers(uplink) == [Ack(0, lease=True)]
            journal._db.execute(f"PRAGMA max_page_count={ROOMY_PAGES}")
            uplink.send(Report(NODE, "boot", 2, (), ((1, HOT),)))
            assert await answers(uplink) == [Ack(1)]
            uplink.close()
            listening.cancel()

    asyncio.run(scenario())
    found = [line.fact for line in journal.lines() if isinstance(line.fact, FindingReported)]
    assert len(found) == 1
    journal.close()
