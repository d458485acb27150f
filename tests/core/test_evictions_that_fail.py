"""A node that can't be emptied is not given up in silence: it is said, and left for people."""

import pytest
from seen_by_people import newest
from simulated import Simulated, lost

from sentinel.core.page.left import left_in_all
from sentinel.core.state import State
from sentinel.model.action import Evict, Page, Refusal
from sentinel.model.ids import NodeId

SAID = "not done: evict n1; n1 is not empty: 4 attempts failed"


def full() -> Simulated:
    """n1's GPU is lost, and its eviction has failed as often as it is tried."""
    cluster = Simulated()
    cluster.fails = {"Evict"}
    cluster.finding(NodeId("n1"), lost())
    cluster.run(120)
    assert len(cluster.all(Evict)) == cluster.rules.policy.resume_attempts
    return cluster


def left(cluster: Simulated) -> list[str]:
    """What is left for people, on the newest page and on the whole cluster."""
    [page] = newest(cluster)
    paged = [line.removeprefix("Left: ") for line in page.body.splitlines() if line.startswith("Left: ")]
    assert set(paged) <= {*left_in_all(cluster.state, cluster.rules)}
    return paged


def test_it_is_refused_once_and_its_page_says_so_also_when_the_job_has_recovered() -> None:
    cluster = full()
    assert len(cluster.all(Refusal)) == 1
    assert SAID in left(cluster)
    assert (cluster.stages(), newest(cluster)[0].severity) == (["resolved"], "warning")
    cluster.run(3600)
    assert len(cluster.all(Refusal)) == 1


def test_while_its_incident_is_open_it_is_critical() -> None:
    cluster = Simulated(nodes=3)
    cluster.fails, cluster.advances = {"Evict"}, False
    cluster.finding(NodeId("n1"), lost())
    cluster.run(25)
    assert [page.severity for page in cluster.all(Page) if SAID in page.body][-1] == "critical"


def test_the_next_controller_leaves_the_same_to_people() -> None:
    cluster = full()
    restarted = State.from_bytes(cluster.state.to_bytes())
    assert left_in_all(restarted, cluster.rules) == left_in_all(cluster.state, cluster.rules)


@pytest.mark.parametrize("how", ["undrain", "retry", "retry that fails"])
def test_it_is_left_for_people_until_they_have_done_something(how: str) -> None:
    cluster = full()
    cluster.fails = {"Evict"} if how == "retry that fails" else set()
    cluster.command(how.split()[0], "n1")
    cluster.run(120)
    assert (SAID in left(cluster)) == (how == "retry that fails")
    assert len(cluster.all(Refusal)) == (2 if how == "retry that fails" else 1)
    assert cluster.at("n1").is_empty == (how == "retry")
