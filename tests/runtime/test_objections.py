"""A command that makes no sense now is refused with what an operator wants to know instead."""

import asyncio
from pathlib import Path

import pytest
from small_cluster import JOB, Cluster

from sentinel.logbook.book import Logbook
from sentinel.logbook.markdown import utc
from sentinel.model.action import Evict
from sentinel.model.fact import Commanded, FindingReported, NodeHeard, NodeSilent, RankExited
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.objections import objection


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path, Policy())
    made.trains()
    return made


@pytest.fixture
def logbook(tmp_path: Path) -> Logbook:
    return Logbook(tmp_path / "logbook")


def asked(cluster: Cluster, logbook: Logbook, command: str, target: str) -> str:
    """What is said against it; the state stays as it was."""
    before = cluster.ledger.state.to_bytes()
    said = asyncio.run(objection(cluster.ledger, logbook, Commanded(cluster.at + 1, command, target, "ann")))
    assert cluster.ledger.state.to_bytes() == before
    return said


def an_incident_that_passed(cluster: Cluster) -> str:
    name = NodeId("n2")
    cluster.tell(lambda at: NodeSilent(at, name, 3.0, 0, 2), lambda at: NodeHeard(at, name))
    [found] = cluster.ledger.state.incidents.values()
    return found.id


@pytest.mark.parametrize("command", ["ack", "retry"])
@pytest.mark.parametrize("forgotten", [False, True])
def test_of_a_resolved_incident_it_is_said_since_when(
    cluster: Cluster, logbook: Logbook, command: str, forgotten: bool
) -> None:
    name = an_incident_that_passed(cluster)
    incident = cluster.ledger.state.incidents[name]
    logbook.write(incident)
    if forgotten:
        cluster.ledger.state.incidents.drop(incident.id)
    expected = f"{name} is resolved, since {utc(incident.times['resolved'])}"
    assert asked(cluster, logbook, command, name) == expected


@pytest.mark.parametrize("command", ["ack", "retry"])
def test_an_incident_that_never_was_is_not_said_to_be_resolved(
    cluster: Cluster, logbook: Logbook, command: str
) -> None:
    assert "I-0099" in asked(cluster, logbook, command, "I-0099")
    assert "resolved" not in asked(cluster, logbook, command, "I-0099")


@pytest.mark.parametrize("target", ["n1", "n2", JOB])
def test_where_nothing_was_refused_failed_or_given_up_there_is_nothing_to_try_again(
    cluster: Cluster, logbook: Logbook, target: str
) -> None:
    assert asked(cluster, logbook, "retry", target).endswith("there is nothing to try again")


def test_what_was_refused_is_tried_again(cluster: Cluster, logbook: Logbook) -> None:
    """Of both nodes' GPUs the second may not go: that is one for each of the names it is known by."""
    lost = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "GPU is lost", {})
    for node in ("n1", "n2"):
        cluster.tell(lambda at, node=node: FindingReported(at, NodeId(node), lost))
    refused = [name for name, _ in cluster.ledger.state.refused]
    assert refused
    for target in (refused[0], *cluster.ledger.state.incidents[refused[0]].diagnosis.nodes):  # type: ignore[union-attr]
        assert asked(cluster, logbook, "retry", target) == ""


def test_a_job_that_was_stopped_is_started_again(cluster: Cluster, logbook: Logbook) -> None:
    cluster.tell(lambda at: Commanded(at, "stop-job", JOB, "ann"))
    [(_, worker)] = cluster.ledger.state.seated(cluster.ledger.state.jobs[JOB])
    assert "still ending" in asked(cluster, logbook, "retry", JOB)
    place = (0, worker.id, worker.node, 0, worker.pid, cluster.ledger.state.jobs[JOB].generation)
    cluster.tell(lambda at: RankExited(at, JOB, *place, "signal 15"))
    for each in cluster.ledger.state.workers.of(JOB):
        cluster.tell(lambda at, w=each: RankExited(at, JOB, -1, w.id, w.node, w.gpu, w.pid, 0, "signal 15"))
    assert asked(cluster, logbook, "retry", JOB) == ""
    assert not any(isinstance(each, Evict) for each in cluster.performed)
