"""Nodes that fall silent: lost, cut off, or only out of the controller's hearing."""

import pytest
from simulated import Simulated, ecc

from sentinel.model.action import Page, Ping, Refusal, RestartAgent
from sentinel.model.fact import NodeLeft
from sentinel.model.finding import Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy

GONE = ("refused", "refused", -1)
AGENT_ONLY = ("refused", "ok", 5)
OPEN = ("ok", "ok", 5)


def test_a_lost_node_with_several_ranks_is_one_incident_and_the_spare_comes_in() -> None:
    cluster = Simulated(nodes=3, gpus=4, world=8, standbys=4)
    dead = cluster.node(0)
    cluster.ports[dead] = GONE
    for rank in (4, 5, 6, 7):
        cluster.raises(rank, kind="collective")
    cluster.silence(dead)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["node-lost"], [dead], 1)
    assert all(dead not in nodes for nodes in cluster.resumed())
    assert cluster.going()


@pytest.mark.parametrize("heals_after", [5, 100])
def test_a_cut_node_is_evicted_once_and_stays_out_when_it_heals(heals_after: float) -> None:
    cluster = Simulated()
    cut = cluster.node(0)
    cluster.raises(1, kind="collective")
    cluster.silence(cut)
    cluster.run(heals_after)
    cluster.heard(cut)
    cluster.run(20)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["node-cut"], [cut], True)
    assert all(cut not in nodes for nodes in cluster.resumed())


@pytest.mark.parametrize("came_back", [False, True])
@pytest.mark.parametrize("ports", [GONE, ("timeout", "timeout", -1)])
def test_a_node_that_is_taken_back_while_nobody_answers_there_leaves_nothing_open(
    came_back: bool, ports: tuple[str, str, int]
) -> None:
    """What fell silent again after it was back goes again; an open incident keeps agents away."""
    cluster = Simulated()
    cut = cluster.node(0)
    cluster.raises(1, kind="collective")
    cluster.silence(cut)
    cluster.run(30)
    if came_back:
        cluster.heard(cut)
        cluster.run(3)
        cluster.silence(cut)
        cluster.run(3)
    cluster.ports[cut] = ports
    cluster.command("undrain", cut)
    cluster.run(120)
    assert cluster.evicted() == [cut] * (1 + came_back)
    assert set(cluster.stages()) == {"resolved"}
    cluster.ports[cut] = OPEN
    cluster.heard(cut)
    cluster.run(1)
    cluster.command("undrain", cut)
    cluster.run(30)
    assert (cluster.evicted(), cluster.at(cut).usable) == ([cut] * (1 + came_back), True)


def test_silence_alone_evicts_nobody() -> None:
    cluster = Simulated()
    cluster.silence(cluster.node(0))
    cluster.run(60)
    assert (cluster.evicted(), cluster.resumed(), cluster.pages()) == ([], [], set())
    assert len(cluster.all(Ping)) > 3, "it is pinged again"


@pytest.mark.parametrize("end", ["heard", "gone"])
def test_a_node_with_all_ranks_that_stays_silent_is_paged_and_looked_at_further(end: str) -> None:
    cluster = Simulated(gpus=2)
    whole = cluster.node(0)
    assert cluster.node(1) == whole
    cluster.silence(whole)
    cluster.run(600)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["unknown"], [], 1)
    assert f"silent and not understood: {whole}" in cluster.all(Page)[-1].body
    if end == "heard":
        cluster.heard(whole)
    else:
        cluster.ports[whole] = GONE
    cluster.run(60)
    assert (cluster.stages(), len(cluster.pages()), cluster.going()) == (["resolved"], 1, True)
    assert cluster.evicted() == ([whole] if end == "gone" else [])


def test_a_node_that_was_taken_for_lost_stayed_and_is_heard_again_leaves_nothing_open() -> None:
    cluster = Simulated(nodes=1, world=1)
    cluster.ports["n1"] = GONE
    cluster.silence(cluster.node(0))
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.stages()) == (["node-lost"], [], ["mitigating"])
    cluster.heard(cluster.node(0))
    assert (cluster.stages(), len(cluster.pages()), cluster.going()) == (["resolved"], 1, True)


def test_a_blip_leaves_no_page() -> None:
    cluster = Simulated()
    cluster.silence(cluster.node(0))
    cluster.run(1)
    cluster.heard(cluster.node(0))
    assert (cluster.pages(), cluster.stages()) == (set(), ["resolved"])


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_a_cut_control_network_freezes_and_evicts_nobody(cut: int) -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)[:cut]
    cluster.ports = dict.fromkeys(nodes, ("timeout", "timeout", 5))
    cluster.silence(*nodes)
    cluster.run(10)
    assert cluster.state.frozen.startswith("control-cut")
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["control-cut"], [], 1)
    cluster.heard(*nodes)
    assert cluster.state.frozen == "", "at once"
    cluster.settle()
    assert (cluster.stages(), cluster.evicted()) == (["resolved"], [])


def shrunken() -> Simulated:
    """Four nodes are left of ten."""
    cluster = Simulated(nodes=10, policy=Policy(evict_share=0.4))
    for number in range(5, 11):
        cluster.tell(NodeLeft(cluster.now, NodeId(f"n{number}")))
    return cluster


def present(cluster: Simulated) -> list[NodeId]:
    return sorted(node.id for node in cluster.state.nodes.values() if not node.left)


def test_nodes_that_sentinel_was_taken_off_do_not_hide_that_all_others_are_silent() -> None:
    cluster = shrunken()
    cluster.raises(1, kind="collective")
    cluster.silence(*present(cluster))
    cluster.run(30)
    assert (cluster.causes(), cluster.evicted()) == (["control-cut"], [])


def test_nodes_that_sentinel_was_taken_off_raise_no_share_that_may_be_evicted() -> None:
    cluster = shrunken()
    for name in present(cluster):
        cluster.finding(name, ecc())
        cluster.run(30)
    assert len(cluster.evicted()) == 1


def test_steps_that_need_a_silent_nodes_ranks_show_that_it_lives() -> None:
    cluster = Simulated()
    cluster.silence(cluster.node(0))
    cluster.run(1)
    cluster.advance()
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["agent-hung"], [])


def test_what_happens_while_frozen_is_refused_and_done_after_the_thaw() -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)
    cluster.silence(*nodes)
    cluster.run(2)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.resumed() == []
    assert [r for r in cluster.all(Refusal) if "frozen" in r.reason]
    cluster.heard(*nodes)
    cluster.run(5)
    assert (len(cluster.resumed()), cluster.going(), cluster.evicted()) == (1, True, [])
    cluster.settle()
    assert set(cluster.stages()) == {"resolved"}


def test_a_human_who_resumes_actions_amid_a_cut_is_not_overruled_by_it() -> None:
    cluster = Simulated(world=3)
    cut = [cluster.node(1), cluster.node(2)]
    cluster.ports = dict.fromkeys(cut, ("ok", "ok", 5))
    cluster.silence(*cut)
    cluster.run(2)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.resumed() == []
    before = len(cluster.all(Refusal))
    cluster.command("resume-actions")
    assert cluster.state.frozen == ""
    cluster.run(5)
    assert not any("frozen" in refusal.reason for refusal in cluster.all(Refusal)[before:])


def test_a_dead_node_among_a_healed_cut_is_still_found() -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)
    cluster.silence(*nodes)
    cluster.run(2)
    dead = cluster.node(0)
    cluster.raises(1, kind="collective")
    cluster.ports[dead] = GONE
    cluster.heard(*[node for node in nodes if node != dead])
    cluster.run(30)
    assert (cluster.evicted(), cluster.state.frozen, cluster.going()) == ([dead], "", True)


def test_an_evicted_dead_node_neither_makes_a_mass_silence_nor_keeps_actions_frozen() -> None:
    cluster = Simulated(nodes=5)
    first = cluster.node(0)
    cluster.ports = dict.fromkeys(cluster.state.nodes, GONE)
    for dead in (first,):
        cluster.raises(1, kind="collective")
        cluster.silence(dead)
        cluster.run(10)
    cluster.ports = dict.fromkeys(cluster.state.nodes, ("timeout", "timeout", 9))
    nodes = [node for node in cluster.state.nodes if node != first]
    cluster.silence(*nodes)
    cluster.run(5)
    assert cluster.state.frozen
    cluster.heard(*nodes)
    assert cluster.state.frozen == ""


def test_a_dead_agent_is_restarted_without_a_page() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.ports[node] = AGENT_ONLY
    cluster.silence(node)
    cluster.run(2)
    assert [a.node for a in cluster.all(RestartAgent)] == [node]
    cluster.heard(node)
    cluster.run(60)
    assert (cluster.causes(), cluster.pages(), cluster.stages()) == (["agent-dead"], set(), ["resolved"])
    assert (cluster.evicted(), cluster.resumed()) == ([], [])


@pytest.mark.parametrize("how", ["fails", "says nothing"])
def test_an_agent_that_cannot_be_restarted_is_paged(how: str) -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.ports[node] = AGENT_ONLY
    cluster.fails = {"RestartAgent"} if how == "fails" else set()
    cluster.silence(node)
    cluster.run(200)
    assert len(cluster.pages()) == 1
    assert len(cluster.all(RestartAgent)) == cluster.rules.policy.resume_attempts
    assert cluster.evicted() == []


def test_a_second_node_lost_during_recovery_goes_too() -> None:
    cluster = Simulated(nodes=6, world=2)
    one, two = cluster.node(0), cluster.node(1)
    cluster.ports = {one: GONE, two: GONE}
    cluster.silence(one)
    cluster.run(0.35)
    cluster.silence(two)
    cluster.run(10)
    assert sorted(cluster.evicted()) == sorted([one, two])
    assert (len(cluster.incidents()), cluster.going()) == (1, True)


def test_a_warning_on_another_node_does_not_disturb_a_recovery() -> None:
    from simulated import xid

    cluster = Simulated()
    dead = cluster.node(0)
    cluster.ports[dead] = GONE
    cluster.silence(dead)
    cluster.run(0.35)
    cluster.finding(cluster.node(1), xid(31, health=Health.WARNING))
    cluster.run(10)
    assert len(cluster.resumed()) == 1


@pytest.mark.parametrize("starts_s", [0.5, 14.0, 45.0, 100.0])
@pytest.mark.parametrize("heard_s", [1.0, 10.0, 18.0])
def test_an_agent_whose_start_takes_long_is_waited_for(starts_s: float, heard_s: float) -> None:
    cluster = Simulated()
    node = cluster.spare()
    cluster.agent_starts_s = starts_s
    cluster.ports[node] = ("refused", "ok", -1)
    cluster.silence(node)
    while not cluster.all(RestartAgent):
        cluster.run(0.1)
    cluster.run(starts_s + heard_s)
    cluster.heard(node)
    cluster.run(60)
    assert (len(cluster.all(RestartAgent)), cluster.all(Page), cluster.stages()) == (1, [], ["resolved"])


def test_one_that_was_started_and_stays_unheard_is_started_again_and_paged() -> None:
    cluster = Simulated()
    node = cluster.spare()
    cluster.agent_starts_s = 14.0
    cluster.ports[node] = ("refused", "ok", -1)
    cluster.silence(node)
    cluster.run(14 + cluster.rules.policy.action_timeout_s + 5)
    assert (len(cluster.all(RestartAgent)), len(cluster.all(Page))) == (2, 1)


def test_what_a_ping_found_belongs_to_the_incident_that_the_node_is_about_now() -> None:
    """An operator had the job tried again, and it steps: the silence that came meanwhile is told apart."""
    cluster = Simulated(nodes=3, gpus=2, world=2)
    cluster.crash(0)
    while not cluster.resumed():
        cluster.run(0.05)
    cluster.command("retry", "I-0001")
    cluster.run(0.35)
    cluster.silence(*cluster.state.nodes)
    cluster.run(15)
    assert cluster.causes() == ["rank-crash", "control-cut"]
