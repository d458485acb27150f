"""A finding about a whole node keeps ranks away from it until it has passed, and people are told so."""

import pytest
from msgspec.structs import replace
from seen_by_people import names, newest
from simulated import JOB, Simulated

from sentinel.core.page.left import left_in_all
from sentinel.model.finding import NODE, Finding, Health
from sentinel.model.ids import NodeId

DEAD = Finding(
    "raylet", "raylet-dead", NODE, Health.CRITICAL, "Ray's raylet on this node has died: start Ray"
)


def raylet_dies(cluster: Simulated, node: NodeId, *, reported_first: bool = False) -> None:
    """All that Ray ran there ends; the agent tells of the one or the other first."""
    if reported_first:
        cluster.finding(node, DEAD)
    for worker in [w for w in cluster.workers if w.node == node and w.is_living]:
        cluster._exits(worker, JOB, "exit 1")
    if not reported_first:
        cluster.finding(node, DEAD)
    cluster.probed(node)


def raylet_is_back(cluster: Simulated, node: NodeId) -> None:
    cluster.finding(node, replace(DEAD, health=Health.OK))


@pytest.mark.parametrize("reported_first", [True, False])
def test_what_ends_with_a_raylet_counts_against_nobody(reported_first: bool) -> None:
    cluster = Simulated(nodes=4, gpus=2, world=4, standbys=2)
    node = cluster.node(0)
    raylet_dies(cluster, node, reported_first=reported_first)
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["raylet-dead"], [], True)
    assert (cluster.at(node).failures, cluster.job.failed, len(cluster.pages())) == ((), (), 1)
    assert not cluster.sitting(node)


def test_nothing_is_placed_there_until_it_is_back() -> None:
    cluster = Simulated(nodes=3)
    node = cluster.node(0)
    raylet_dies(cluster, node)
    cluster.run(600)
    assert not [worker for worker in cluster.workers if worker.node == node and worker.is_living]
    assert not cluster.at(node).usable
    raylet_is_back(cluster, node)
    cluster.run(60)
    assert [worker for worker in cluster.workers if worker.node == node and worker.is_living]


def test_people_are_told_what_to_do_until_it_is_done() -> None:
    cluster = Simulated(nodes=3)
    node = cluster.node(0)
    raylet_dies(cluster, node)
    cluster.run(600)
    assert cluster.stages() == ["resolved"]
    (page,) = newest(cluster)
    assert any(names(node, line) and "start Ray" in line for line in page.body.splitlines())
    assert any(names(node, line) for line in left_in_all(cluster.state, cluster.rules))
    raylet_is_back(cluster, node)
    cluster.run(60)
    (page,) = newest(cluster)
    assert not any(line.startswith("Left:") for line in page.body.splitlines())
    assert left_in_all(cluster.state, cluster.rules) == ()


def test_a_finding_about_a_part_of_it_leaves_the_rest() -> None:
    cluster = Simulated(nodes=3)
    cluster.finding(cluster.node(0), replace(DEAD, component="disk:/ckpt"))
    assert cluster.at(cluster.node(0)).usable


def test_a_standby_that_waits_there_is_not_seated() -> None:
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    cluster.finding(spare, DEAD)
    cluster.crash(0)
    cluster.run(30)
    assert cluster.going()
    assert not cluster.sitting(spare)
