"""What others have cordoned in the scheduler is not used, said, and theirs to give back."""

import pytest
from seen_by_people import seated
from simulated import JOB, Simulated, lost

from sentinel.core.commands import refuse_command
from sentinel.core.page.left import left_in_all
from sentinel.core.settle.why import why
from sentinel.model.action import Readmit
from sentinel.model.fact import Commanded, NodeCordoned, NodeJoined, NodeUncordoned
from sentinel.model.ids import NodeId


def others_cordon(cluster: Simulated, node: NodeId, reason: str = "bad DIMM") -> None:
    cluster.tell(NodeCordoned(cluster.now, node, "kevin", reason))
    cluster.run(10)


def others_uncordon(cluster: Simulated, node: NodeId) -> None:
    cluster.tell(NodeUncordoned(cluster.now, node))
    cluster.run(10)


def waiting(cluster: Simulated, node: NodeId) -> int:
    return len(cluster.state.workers.waiting(JOB, node))


def says(cluster: Simulated, command: str, node: NodeId) -> None:
    cluster.tell(Commanded(cluster.now, command, node, "ann"))
    cluster.run(10)


def test_ranks_leave_it_at_a_step_boundary_and_nobody_is_accused_or_woken() -> None:
    cluster = Simulated(nodes=5)
    node = cluster.node(0)
    others_cordon(cluster, node)
    assert node not in seated(cluster, JOB)
    assert len(seated(cluster, JOB)) == 2
    assert not waiting(cluster, node), "its standbys go, too"
    assert cluster.pages() == set()
    assert cluster.evicted() == []


def test_it_is_shown_with_their_reason() -> None:
    cluster = Simulated(nodes=5)
    others_cordon(cluster, NodeId("n5"))
    lines = [line for _, line in why("n5", cluster.state, cluster.rules, cluster.now) or ()]
    assert any("cordoned by scheduler: kevin: bad DIMM" in line for line in lines)
    assert "cordoned in the scheduler by others: n5" in left_in_all(cluster.state, cluster.rules)
    others_cordon(cluster, NodeId("n5"), "new DIMM on Monday")
    assert cluster.state.nodes[NodeId("n5")].cordon.reason == "kevin: new DIMM on Monday"  # type: ignore[union-attr]


def test_uncordoned_by_them_it_comes_back() -> None:
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    others_cordon(cluster, spare)
    others_uncordon(cluster, spare)
    assert cluster.state.nodes[spare].usable
    assert waiting(cluster, spare)
    assert not any(isinstance(action, Readmit) for action in cluster.actions), "nothing of ours was there"


def test_ranks_without_another_place_stay_until_there_is_one() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    node = cluster.node(0)
    others_cordon(cluster, node)
    assert node in seated(cluster, JOB)
    cluster.tell(NodeJoined(cluster.now, NodeId("n3"), "10.0.0.3", 1, 1, "boot"))
    cluster.run(30)
    assert node not in seated(cluster, JOB)


def test_it_is_no_operators_to_give_back() -> None:
    cluster = Simulated(nodes=5)
    node = NodeId("n5")
    others_cordon(cluster, node)
    assert "in the scheduler (kevin: bad DIMM)" in refuse_command(cluster.state, "undrain", node)
    says(cluster, "undrain", node)  # as a journal may hold it, from just before
    assert not cluster.state.nodes[node].usable
    assert not any(isinstance(action, Readmit) for action in cluster.actions)


@pytest.mark.parametrize("theirs_first", [True, False])
def test_with_a_drain_of_an_operator_it_is_out_until_both_are_gone(theirs_first: bool) -> None:
    cluster = Simulated(nodes=5)
    node = NodeId("n5")
    if theirs_first:
        others_cordon(cluster, node)
        says(cluster, "drain", node)
    else:
        says(cluster, "drain", node)
        others_cordon(cluster, node)
    says(cluster, "undrain", node)
    assert not cluster.state.nodes[node].usable, "it is theirs still"
    others_uncordon(cluster, node)
    assert cluster.state.nodes[node].usable
    others_cordon(cluster, node)
    says(cluster, "drain", node)
    others_uncordon(cluster, node)
    assert not cluster.state.nodes[node].usable, "it is the operator's still"
    says(cluster, "undrain", node)
    assert cluster.state.nodes[node].usable


def test_an_evicted_node_that_others_cordon_as_well_is_readmitted_when_they_give_it_back() -> None:
    cluster = Simulated(nodes=5)
    node = cluster.node(0)
    cluster.finding(node, lost())
    cluster.run(30)
    assert cluster.evicted() == [node]
    others_cordon(cluster, node)
    assert cluster.state.nodes[node].cordon.is_ours, "ours was there first"  # type: ignore[union-attr]
    says(cluster, "undrain", node)
    assert not cluster.state.nodes[node].usable
    others_uncordon(cluster, node)
    assert cluster.state.nodes[node].usable
    assert [action.node for action in cluster.actions if isinstance(action, Readmit)] == [node]


def test_it_takes_up_nothing_of_what_sentinel_may_evict() -> None:
    cluster = Simulated(nodes=6)
    for spare in ("n5", "n6"):
        others_cordon(cluster, NodeId(spare))
    cluster.finding(cluster.node(0), lost())
    cluster.run(30)
    assert len(cluster.evicted()) == 1


def test_a_silent_or_restarted_node_is_theirs_still() -> None:
    cluster = Simulated(nodes=5)
    node = NodeId("n5")
    others_cordon(cluster, node)
    cluster.ports[node] = ("refused", "refused", -1)
    cluster.silence(node)
    cluster.run(300)
    assert (cluster.pages(), cluster.evicted()) == (set(), [])
    cluster.tell(NodeJoined(cluster.now, node, "10.0.0.7", 1, 1, "another-boot"))
    cluster.run(10)
    assert not cluster.state.nodes[node].usable


def test_of_a_node_that_nobody_knows_nothing_is_learned() -> None:
    cluster = Simulated(nodes=3)
    others_cordon(cluster, NodeId("n9"))
    others_uncordon(cluster, NodeId("n9"))
    assert NodeId("n9") not in cluster.state.nodes
    assert cluster.state.jobs[JOB].world == 2
