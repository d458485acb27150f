"""A token in an exception reaches neither state, journal, pages, recordings nor a report."""

from pathlib import Path

import pytest
from small_cluster import JOB, Cluster

from sentinel.logbook import recording
from sentinel.model import codec
from sentinel.model.action import Action, Page
from sentinel.model.collective import MemberFinding, MemberSample
from sentinel.model.fact import (
    Commanded,
    Fact,
    FindingReported,
    GcsLost,
    MembersProbed,
    NodeProbed,
    Outcome,
    RankExited,
    RankRaised,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import ActionId, IncidentId, NodeId, WorkerId
from sentinel.model.policy import Policy
from sentinel.model.report import FindingSeen, RaisedSeen
from sentinel.runtime.agent.spool import Spool

SECRET = "q7Rk2vXw9Zp4Lm8Ty3Ns6Bd1"
SAID = f"401 for https://ada:{SECRET}@hub.example with Authorization: Bearer {SECRET}"
TRACEBACK = f"Traceback (most recent call last):\n  File 'a.py'\nRuntimeError: HF_TOKEN='{SECRET}'"


def facts(at: float, node: NodeId) -> list[Fact]:
    """One of each kind that carries somebody's words."""
    evidence: dict[str, str | int | float] = {"said": SAID, "token": SECRET}
    finding = Finding("gpu", "odd", "gpu-0", Health.WARNING, SAID, evidence, event=True)
    worker = WorkerId("w1")
    return [
        FindingReported(at, node, finding),
        NodeProbed(at, node, SAID),
        MembersProbed(
            at,
            ActionId("I-0001/probe/pair/1"),
            IncidentId("I-0001"),
            "pair",
            (MemberSample(node, (node,), error=SAID),),
            (MemberFinding(node, finding),),
            SAID,
        ),
        RankRaised(at, JOB, 0, worker, node, 0, 7, 1, 3, "user", SAID, TRACEBACK),
        RankExited(at, JOB, 0, worker, node, 0, 7, 1, SAID),
        GcsLost(at, "head:6379", SAID),
        Commanded(at, "drain", node, "ada", SAID),
        Outcome(at, ActionId("I-0001/evict/n1/1"), ok=False, detail=SAID, data=(TRACEBACK,)),
    ]


def pages(actions: list[Action]) -> str:
    return "".join(f"{each.title}{each.body}{each.thread}" for each in actions if isinstance(each, Page))


def test_no_secret_gets_past_the_ledger(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    cluster.trains()
    for fact in facts(cluster.at, cluster.home):
        cluster.tell(lambda _, fact=fact: fact)
    cluster.pass_time()
    cluster.ledger.save()
    assert pages(cluster.performed)
    assert SECRET not in str(cluster.performed)
    assert SECRET.encode() not in cluster.ledger.state.to_bytes()
    cluster.journal.close()
    for file in tmp_path.glob("journal.db*"):
        assert SECRET.encode() not in file.read_bytes()


def test_what_freezes_is_told_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError(SAID)

    cluster = Cluster(tmp_path, Policy())
    cluster.trains()
    monkeypatch.setattr("sentinel.core.fold._is_learned", breaks)
    cluster.tell(lambda at: NodeProbed(at, NodeId("n1"), "x"))
    assert "[hidden]" in cluster.ledger.state.frozen
    assert SECRET not in cluster.ledger.state.frozen
    assert SECRET not in str(cluster.performed)


@pytest.mark.parametrize("saved", [True, False])
def test_a_journal_of_a_release_that_hid_nothing_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    with monkeypatch.context() as older:
        older.setattr("sentinel.runtime.ledger.redacted", lambda fact: fact, raising=False)
        cluster = Cluster(tmp_path, Policy())
        cluster.trains()
        for fact in facts(cluster.at, cluster.home):
            cluster.tell(lambda _, fact=fact: fact)
        if saved:
            cluster.ledger.save()
        assert SECRET.encode() in cluster.ledger.state.to_bytes()
        cluster.journal.close()
    later = Cluster(tmp_path, Policy())
    assert SECRET.encode() not in later.ledger.state.to_bytes()
    assert later.ledger.state.incidents
    for incident in later.ledger.state.incidents.values():
        text = recording.export(later.journal, incident, codec.to_plain(Policy()))
        assert SECRET not in text
        assert recording.read(text).incident == incident.id
    later.journal.close()


def test_an_agent_spools_no_secret() -> None:
    spool = Spool()
    spool.add(FindingSeen(Finding("xid", "odd", "gpu-0", Health.WARNING, SAID, {"line": SAID})))
    spool.add(RaisedSeen(JOB, 0, WorkerId("w1"), 7, 1, 0, 3, "user", SAID, TRACEBACK))
    assert len(spool.pending()) == 2
    assert SECRET not in str(spool.pending())
