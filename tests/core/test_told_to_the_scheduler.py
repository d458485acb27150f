"""What is cordoned is so in the scheduler, too, and what is given back is not, whatever it takes."""

import pytest
from seen_by_people import newest, open_incidents, text
from simulated import JOB, Simulated, lost

from sentinel.core.page.left import left_in_all
from sentinel.core.settle import missing
from sentinel.core.settle.why import why
from sentinel.core.state import State
from sentinel.model.action import CordonNode, Evict, Readmit
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    NodeCordoned,
    NodeJoined,
    NodeLeft,
    NodeUncordoned,
    RankSlow,
)
from sentinel.model.ids import NodeId

BOTH = {"CordonNode", "Readmit"}


def told(cluster: Simulated, kind: type, node: NodeId) -> int:
    return sum(action.node == node for action in cluster.all(kind))


def drained(**settings: int) -> tuple[Simulated, NodeId]:
    cluster = Simulated(**settings)  # type: ignore[arg-type]
    node = cluster.node(0)
    cluster.command("drain", node)
    return cluster, node


def pauses(cluster: Simulated, node: NodeId) -> list[float]:
    """Give the pauses between tries, as they come."""
    found = []
    for _ in range(9):
        before = cluster.now
        at = cluster.state.deadlines[f"outside/{node}"]
        cluster.run(at - before + 0.1)
        found.append(at - before)
    return found


def test_a_drain_by_hand_is_told_at_once_with_who_and_why() -> None:
    cluster, node = drained(nodes=2, world=2, min_world=2)
    [cordon] = cluster.all(CordonNode)
    assert (cordon.node, cordon.reason) == (node, "drained by ann: because")
    cluster.run(1)
    assert cluster.sitting(node), "its ranks have no other place yet"
    assert cluster.scheduler == {node}
    cluster.command("undrain", node)
    cluster.run(1)
    assert cluster.scheduler == set()
    assert (told(cluster, CordonNode, node), told(cluster, Readmit, node)) == (1, 1)


def test_a_straggler_that_is_to_leave_at_a_step_boundary_is_cordoned_before() -> None:
    cluster = Simulated(nodes=5, world=3, standbys=0)
    node = cluster.node(1)
    cluster.tell(RankSlow(cluster.now, JOB, 1, node, 0, cluster.job.generation, 0.5, 0.1, 12))
    assert [action.reason for action in cluster.all(CordonNode)] == ["I-0001: straggler"]
    assert not cluster.all(Evict), "its rank trains there still"


def test_an_eviction_is_told_once() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.finding(node, lost())
    cluster.run(30)
    assert (cluster.scheduler, told(cluster, CordonNode, node)) == ({node}, 1)


def test_what_others_have_cordoned_is_theirs_to_tell() -> None:
    cluster = Simulated()
    cluster.tell(NodeCordoned(cluster.now, NodeId("n4"), "kevin", "bad DIMM"))
    cluster.run(5)
    cluster.tell(NodeUncordoned(cluster.now, NodeId("n4")))
    cluster.run(5)
    assert not cluster.all(CordonNode)
    assert not cluster.all(Readmit)


def test_with_theirs_ours_may_be_gone_so_it_is_told_again() -> None:
    cluster, node = drained()
    cluster.tell(NodeCordoned(cluster.now, node, "kevin", "bad DIMM"))
    cluster.run(5)
    cluster.tell(NodeUncordoned(cluster.now, node))
    cluster.run(5)
    assert told(cluster, CordonNode, node) == 2


@pytest.mark.parametrize("back", [False, True], ids=["cordoned", "given back"])
def test_what_fails_is_tried_again_with_growing_pauses_seen_and_paged_if_it_stays_so(back: bool) -> None:
    cluster, node = drained()
    if back:
        cluster.run(1)
    cluster.fails = set(BOTH)
    if back:
        cluster.command("undrain", node)
    cluster.run(0.2)
    policy = cluster.rules.policy
    found = pauses(cluster, node)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(policy.retry_limit_s, abs=1)
    word = "given back" if back else "cordoned"
    assert any(f"that {node} is {word}: " in line for line in left_in_all(cluster.state, cluster.rules))
    reasons = [line for _, line in why(node, cluster.state, cluster.rules, cluster.now) or ()]
    assert any(f"the scheduler to know that it is {word}; " in line for line in reasons)
    cluster.run(policy.untold_s)
    assert cluster.causes() == ["scheduler-untold"]
    assert [page.incident for page in newest(cluster)] == ["I-0001"], "one page, however often it is tried"
    assert f"{node} is {word}" in text(cluster)
    assert missing(cluster.state, cluster.rules) == []
    cluster.fails.clear()
    cluster.run(policy.retry_limit_s + 1)
    assert (cluster.scheduler, open_incidents(cluster)) == (set() if back else {node}, 0)
    assert not any("scheduler does not know" in line for line in left_in_all(cluster.state, cluster.rules))


def test_many_nodes_are_one_page_that_ends_with_the_last() -> None:
    cluster, node = drained()
    cluster.fails = set(BOTH)
    other = cluster.spare()
    cluster.command("drain", other)
    cluster.run(400)
    assert (len(cluster.pages()), open_incidents(cluster)) == (1, 1)
    cluster.fails.clear()
    cluster.run(61)
    assert (cluster.scheduler, open_incidents(cluster)) == ({node, other} | cluster.scheduler, 0)


def test_a_human_who_changes_their_mind_is_not_kept_waiting_for_the_next_try() -> None:
    cluster, node = drained()
    cluster.fails = set(BOTH)
    cluster.run(100)
    cluster.fails.clear()
    cluster.command("undrain", node)
    cluster.run(1)
    assert cluster.state.nodes[node].outside.is_known
    assert told(cluster, Readmit, node) == 1, "a cordon that failed may have been set all the same"


def test_while_one_order_is_under_way_no_other_one_is_given() -> None:
    cluster, node = drained()
    cluster.command("undrain", node)
    cluster.command("drain", node)
    cluster.command("undrain", node)
    assert (told(cluster, CordonNode, node), told(cluster, Readmit, node)) == (1, 0)
    cluster.run(1)
    assert (cluster.scheduler, told(cluster, CordonNode, node), told(cluster, Readmit, node)) == (set(), 1, 1)


def test_what_an_incident_wants_waits_while_actions_are_stopped_and_a_humans_word_does_not() -> None:
    cluster = Simulated(nodes=5)
    cluster.fails = {"CordonNode"}
    node = cluster.node(0)
    cluster.finding(node, lost())
    cluster.run(0.2)
    cluster.command("stop-actions")
    before = told(cluster, CordonNode, node)
    cluster.command("drain", "n5")
    cluster.run(100)
    assert told(cluster, CordonNode, node) == before
    assert told(cluster, CordonNode, NodeId("n5")) > 1
    cluster.fails.clear()
    cluster.command("resume-actions")
    cluster.run(100)
    assert cluster.scheduler == {node, "n5"}


@pytest.mark.parametrize("back", [False, True], ids=["cordoned", "given back"])
@pytest.mark.parametrize("down", [False, True], ids=["killed", "down and up"])
def test_a_controller_that_starts_anew_goes_on_with_what_is_half_done(down: bool, back: bool) -> None:
    cluster, node = drained()
    cluster.run(0.0 if not back else 1)
    cluster.fails = set(BOTH)
    if back:
        cluster.command("undrain", node)
    cluster.run(20)
    if down:
        cluster.command("stop-job", JOB)
        cluster.run(5)
        for each in list(cluster.state.nodes):
            cluster.tell(NodeLeft(cluster.now, each))
    cluster.state = State.from_bytes(cluster.state.to_bytes())
    cluster.fails.clear()
    cluster.tell(ControllerStarted(cluster.now, 1, "p", "r"))
    cluster.run(cluster.rules.policy.retry_limit_s)
    assert cluster.scheduler == (set() if back else {node}), "whether its agents are there or not"
    if down:
        cluster.tell(NodeJoined(cluster.now, node, "10.0.0.9", 1, 1, "boot"))
        cluster.run(5)
    assert cluster.state.nodes[node].usable is back
    cluster.tell(Commanded(cluster.now, "undrain", node, "ann"))
    cluster.run(5)
    assert (cluster.scheduler, cluster.state.nodes[node].usable) == (set(), True)
