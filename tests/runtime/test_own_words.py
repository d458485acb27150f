"""Whoever has one node's key speaks for that node, and can accuse no other."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace
from small_cluster import JOB, Cluster

from sentinel.core.detect.watch import Watch
from sentinel.model.codec import CodecError, decode, encode, to_plain
from sentinel.model.fact import FindingReported, RankExited, RankRaised
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import (
    Ack,
    Event,
    ExitSeen,
    FindingSeen,
    Hello,
    Leave,
    OrderDone,
    RaisedSeen,
    RankBeat,
    Report,
)
from sentinel.runtime.agent_orders import AgentOrders
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.own_words import MOST_FINDINGS, own_words


def trained(folder: Path) -> tuple[Cluster, Inbox]:
    cluster = Cluster(folder, Policy())
    cluster.trains()
    inbox = Inbox(cluster.ledger, Watch(Policy(), cluster.at), lambda _node, _done: None, lambda: cluster.at)
    return cluster, inbox


def event_about(cluster: Cluster, kind: type[Event], rank: int = 0) -> Event:
    [(_, worker)] = cluster.ledger.state.seated(cluster.ledger.state.jobs[JOB])
    generation = cluster.ledger.state.jobs[JOB].generation
    if kind is ExitSeen:
        return ExitSeen(JOB, rank, worker.id, worker.pid, generation, 0, "signal 9")
    return RaisedSeen(JOB, rank, worker.id, worker.pid, generation, 0, 3, "nan", "E", "")


@pytest.mark.parametrize("kind", [ExitSeen, RaisedSeen])
@pytest.mark.parametrize("own", [True, False], ids=["its own", "another's"])
def test_a_node_tells_of_its_own_workers_only(tmp_path: Path, kind: type[Event], own: bool) -> None:
    cluster, inbox = trained(tmp_path)
    other = next(node for node in cluster.ledger.state.nodes if node != cluster.home)
    teller = cluster.home if own else other
    inbox.hear(Report(teller, "boot", 1, (), ((1, event_about(cluster, kind)),)))
    journalled = [line for line in cluster.journal.lines() if isinstance(line.fact, RankExited | RankRaised)]
    assert len(journalled) == own
    assert inbox.refused == (not own)
    assert not cluster.ledger.state.frozen


@pytest.mark.parametrize("rank", [-1, 0, 7])
def test_a_rank_in_a_note_freezes_nothing(tmp_path: Path, rank: int) -> None:
    cluster, inbox = trained(tmp_path)
    inbox.hear(Report(cluster.home, "boot", 1, (), ((1, event_about(cluster, RaisedSeen, rank)),)))
    assert not cluster.ledger.state.frozen


def test_each_rank_has_one_voice(tmp_path: Path) -> None:
    cluster, _ = trained(tmp_path)
    [(_, worker)] = cluster.ledger.state.seated(cluster.ledger.state.jobs[JOB])
    beat = replace(BEAT, worker=worker.id)
    report = own_words(
        Report(cluster.home, "boot", 1, (beat, beat, replace(beat, step=11)), ()), cluster.ledger.state
    )
    assert [each.step for each in report.beats] == [11]


@pytest.mark.parametrize(
    "event",
    [
        FindingSeen(Finding("gpu", "hot", "gpu-0", Health.WARNING, "x" * 70_000)),
        FindingSeen(Finding("gpu", "hot", "x" * 70_000, Health.WARNING, "x")),
        FindingSeen(Finding("gpu", "hot", "gpu-0", Health.WARNING, "x", burst="x" * 70_000)),
        FindingSeen(Finding("gpu", "hot", "gpu-0", Health.WARNING, "x", {"line": "x" * 70_000})),
        FindingSeen(Finding("gpu", "hot", "gpu-0", Health.WARNING, "x", {f"k{n}": n for n in range(20_000)})),
    ],
    ids=["summary", "component", "burst", "value", "keys"],
)
def test_what_is_absurdly_long_is_passed_over(tmp_path: Path, event: Event) -> None:
    cluster, inbox = trained(tmp_path)
    answer = inbox.hear(Report(NodeId("n1"), "boot", 1, (), ((1, event),)))
    assert (answer, inbox.refused) == (Ack(1, "boot", inbox._ledger.journal.id), 1)
    assert not cluster.ledger.state.nodes[NodeId("n1")].findings


def test_an_order_is_answered_by_whom_it_was_given() -> None:
    async def answers() -> OrderDone:
        reports = SimpleNamespace(send=AsyncMock(return_value=True))
        agents = AgentOrders(SimpleNamespace(reports=reports))  # type: ignore[arg-type]
        asked = asyncio.create_task(agents.order(NodeId("n2"), Leave("leave/n2"), 5.0))
        await asyncio.sleep(0)
        agents.done(NodeId("n1"), OrderDone("leave/n2", True, "forged"))
        agents.done(NodeId("n2"), OrderDone("leave/n2", True, "leaves"))
        return await asked

    assert asyncio.run(answers()).detail == "leaves"


def test_a_node_has_so_many_findings_and_no_more(tmp_path: Path) -> None:
    cluster, inbox = trained(tmp_path)
    known = cluster.ledger.state.nodes[NodeId("n1")].findings
    known |= {f"gpu|warm|gpu-{number}": FOUND for number in range(MOST_FINDINGS - 1)}
    for number in range(1, 4):
        event = FindingSeen(Finding("gpu", "hot", f"gpu-{number}", Health.WARNING, "hot"))
        inbox.hear(Report(NodeId("n1"), "boot", number, (), ((number, event),)))
    journalled = [line for line in cluster.journal.lines() if isinstance(line.fact, FindingReported)]
    assert (len(journalled), inbox.refused) == (1, 2)


BEAT = RankBeat(JOB, 0, "w0", 7, 0, 1, 10, "compute", 5, 4, 0.1, 1e9, 2.5, 0.1, "S", 0.2)  # type: ignore[arg-type]
EXIT = ExitSeen(JOB, 0, "w0", 7, 1, 0, "exit 1")  # type: ignore[arg-type]
RAISED = RaisedSeen(JOB, 0, "w0", 7, 1, 0, 3, "user", "E", "")  # type: ignore[arg-type]
HELLO = Hello(NodeId("n1"), "boot", "127.0.0.1", 1, 8)
FOUND = Finding("gpu", "code", "gpu-0", Health.OK, "fine")


@pytest.mark.parametrize(
    ("noun", "field", "value"),
    [
        *((noun, "rank", value) for noun in (BEAT, EXIT, RAISED) for value in (-5, -2, 2**40)),
        *((noun, "pid", value) for noun in (BEAT, EXIT, RAISED) for value in (-1, 2**40, 2**22 + 1)),
        *((noun, "gpu", value) for noun in (BEAT, EXIT, RAISED) for value in (-2, 2**31)),
        *((noun, "generation", value) for noun in (BEAT, EXIT, RAISED) for value in (-2, 2**50)),
        *((noun, "step", value) for noun in (BEAT, RAISED) for value in (-2, 2**53)),
        *((BEAT, name, value) for name in ("beat_age_s", "phase_age_s", "outside_s", "arrival")
          for value in (float("nan"), float("inf"), 1e300)),
        *((BEAT, name, -1) for name in ("enqueued", "completed")),
        *((BEAT, name, "x" * 300) for name in ("phase", "state", "worker", "job")),
        *((HELLO, "port", value) for value in (-1, 65536)),
        *((HELLO, "gpus", value) for value in (-1, 2**20)),
        *((HELLO, "address", value) for value in ("a b", "h/x", "h\0", "x" * 300)),
        *((FOUND, "age_s", value) for value in (float("nan"), float("inf"))),
        *((FOUND, "count", value) for value in (-1, 2**60)),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_before_the_core(noun: object, field: str, value: object) -> None:
    assert decode(type(noun), encode(noun)) == noun
    with pytest.raises(CodecError, match=rf"`\$\.{field}`"):
        decode(type(noun), encode({**to_plain(noun), field: value}))
