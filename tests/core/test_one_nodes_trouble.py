"""A node's own trouble stays its own: who hangs, dies or can't be heard keeps nobody from being helped."""

import pytest
from seen_by_people import idle, names, newest, open_incidents, text, titles
from simulated import JOB, Simulated, ecc

from sentinel.model.action import Readmit, RestartAgent, Resume, StartWorker
from sentinel.model.fact import NodeHeard, NodeJoined, RankExited
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import STUCK_EXIT

STUCK = f"exit {STUCK_EXIT}"
GONE = ("refused", "refused", -1)
HUNG = ["ok", "timeout"]
"""What the port of a stopped agent says: its kernel takes the connection, or its queue is full."""


def hang_agent(cluster: Simulated, node: NodeId, agent: str) -> None:
    """Its raylet answers, and if it has ranks, they step; the detector tells once that steps go on."""
    cluster.ports[node] = (agent, "ok", cluster.step if cluster.sitting(node) else -1)
    cluster.silence(node)
    cluster.run(1)
    train_on(cluster, node, agent)


def train_on(cluster: Simulated, node: NodeId, agent: str, seconds: int = 4) -> None:
    for _ in range(seconds):
        if cluster.going() and cluster.sitting(node):
            cluster.advance()
        cluster.ports[node] = (agent, "ok", cluster.step if cluster.sitting(node) else -1)
        cluster.run(1)


# --- a hung agent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", HUNG)
def test_a_crash_elsewhere_is_repaired_while_an_agent_hangs(agent: str) -> None:
    """The rank beside the hung agent trains, so it keeps its seat."""
    cluster = Simulated(nodes=5)
    hung, worker = cluster.node(0), cluster.seats[0]
    hang_agent(cluster, hung, agent)
    cluster.crash(1)
    cluster.run(10)
    assert (cluster.going(), cluster.evicted(), cluster.seats[0]) == (True, [], worker)
    assert "rank-crash" in cluster.causes()


@pytest.mark.parametrize("agent", HUNG)
def test_a_crash_is_repaired_while_a_spares_agent_hangs(agent: str) -> None:
    cluster = Simulated(nodes=5)
    hang_agent(cluster, cluster.spare(), agent)
    cluster.run(4)
    cluster.crash(0)
    cluster.run(10)
    assert (cluster.going(), cluster.evicted()) == (True, [])


@pytest.mark.parametrize("agent", HUNG)
@pytest.mark.parametrize("busy", [True, False])
def test_a_hung_agent_is_restarted_without_a_page(busy: bool, agent: str) -> None:
    cluster = Simulated(nodes=5)
    node = cluster.node(0) if busy else cluster.spare()
    hang_agent(cluster, node, agent)
    cluster.run(10)
    assert {action.node for action in cluster.all(RestartAgent)} == {node}
    cluster.tell(NodeJoined(cluster.now, node, "10.0.0.1", 1, 1, "boot-2"))
    cluster.run(60)
    assert (cluster.pages(), open_incidents(cluster), cluster.evicted()) == (set(), 0, [])
    assert cluster.resumed() == []


@pytest.mark.parametrize("agent", HUNG)
@pytest.mark.parametrize("busy", [True, False])
def test_a_hung_agent_that_a_restart_does_not_help_is_paged_once(busy: bool, agent: str) -> None:
    cluster = Simulated(nodes=5)
    node = cluster.node(0) if busy else cluster.spare()
    cluster.fails = {"RestartAgent"}
    hang_agent(cluster, node, agent)
    train_on(cluster, node, agent, 200)
    assert (len(cluster.pages()), cluster.evicted()) == (1, [])
    assert names(node, text(cluster))
    assert 1 <= len(cluster.all(RestartAgent)) <= cluster.rules.policy.resume_attempts
    cluster.fails = set()
    cluster.crash(1)
    cluster.run(10)
    assert (cluster.going(), cluster.evicted()) == (True, []), "and people who sleep on keep nobody waiting"


def test_a_bad_gpu_elsewhere_is_evicted_while_an_agent_hangs() -> None:
    cluster = Simulated(nodes=5)
    hang_agent(cluster, cluster.node(0), "ok")
    bad = cluster.node(1)
    cluster.finding(bad, ecc())
    cluster.run(10)
    assert (cluster.evicted(), cluster.going()) == ([bad], True)


def test_nothing_is_started_on_the_node_whose_agent_hangs() -> None:
    """Nobody there could tell what became of it."""
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    hang_agent(cluster, spare, "ok")
    cluster.run(4)
    for rank in (0, 1):
        cluster.crash(rank)
        cluster.run(10)
    assert cluster.going()
    assert spare not in [start.node for start in cluster.all(StartWorker)]


def test_two_hung_agents_of_ten_are_two_nodes_trouble() -> None:
    cluster = Simulated(nodes=10)
    hung = [cluster.node(0), *idle(cluster, 1)]
    for node in hung:
        hang_agent(cluster, node, "ok")
    cluster.crash(1)
    cluster.run(10)
    assert (cluster.going(), cluster.evicted()) == (True, [])
    assert {action.node for action in cluster.all(RestartAgent)} == set(hung)


def test_many_silent_at_once_still_freeze_everything() -> None:
    cluster = Simulated(nodes=6)
    nodes = sorted(cluster.state.nodes)[:4]
    cluster.ports = dict.fromkeys(nodes, ("ok", "ok", 5))
    cluster.silence(*nodes)
    cluster.run(2)
    cluster.crash(0)
    cluster.run(20)
    assert (cluster.resumed(), cluster.evicted(), cluster.all(RestartAgent)) == ([], [], [])
    assert "control-cut" in cluster.causes()


def test_a_cut_that_heals_thaws_though_one_agent_hung_before_it() -> None:
    cluster = Simulated(nodes=6)
    hung = cluster.spare()
    hang_agent(cluster, hung, "ok")
    cluster.run(30)
    others = [node for node in sorted(cluster.state.nodes) if node != hung]
    cluster.silence(*others)
    cluster.run(5)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.resumed() == []
    cluster.heard(*others)
    cluster.run(10)
    assert (cluster.going(), cluster.evicted()) == (True, [])


def test_the_agent_that_hung_is_no_reason_to_evict_its_node_for_another_nodes_crash() -> None:
    """The gang breaks while a node is silent: whoever crashed did it, and not the one that can't be heard."""
    cluster = Simulated(nodes=6, world=3)
    hung = cluster.node(0)
    hang_agent(cluster, hung, "timeout")
    cluster.raises(2, kind="collective")
    cluster.crash(1)
    cluster.run(120)
    assert (cluster.evicted(), cluster.going()) == ([], True)


# --- causes that were named ----------------------------------------------------------------------------


def test_a_cut_that_was_told_is_still_its_incidents_cause_when_it_ends() -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)
    cluster.silence(*nodes)
    cluster.run(2)
    cluster.crash(0)
    cluster.run(5)
    cluster.heard(*nodes)
    cluster.run(10)
    assert sorted(cluster.causes()) == ["control-cut", "rank-crash"]
    assert ("control-cut" in text(cluster), cluster.going()) == (True, True)


def test_a_dead_agent_that_is_back_is_still_what_it_was() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    cluster.ports[node] = ("refused", "ok", 5)
    cluster.silence(node)
    cluster.run(200)
    cluster.heard(node)
    cluster.run(10)
    assert cluster.causes() == ["agent-dead"]
    assert "agent-dead" in text(cluster)


def test_a_lost_node_that_is_heard_again_amid_its_repair_was_lost() -> None:
    cluster = Simulated()
    dead = cluster.node(0)
    cluster.ports[dead] = GONE
    cluster.raises(1, kind="collective")
    cluster.silence(dead)
    cluster.run(0.4)
    cluster.heard(dead)
    cluster.run(20)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["node-lost"], [dead], True)


def test_ranks_that_end_in_several_generations_are_all_named() -> None:
    """Four ranks are killed while the gang forms anew: none is forgotten when the next generation forms."""
    cluster = Simulated(nodes=4, gpus=2, world=4, standbys=2)
    homes = {cluster.node(0), cluster.node(2)}
    for rank in (0, 2):
        cluster.crash(rank)
        cluster.run(0.35)
    cluster.run(20)
    said = newest(cluster)[-1].title
    assert ("rank 0" in said, "rank 2" in said, cluster.evicted()) == (True, True, [])
    assert all(names(node, said) for node in homes)


# --- several processes of one node ---------------------------------------------------------------------


def agent_and_rank_die(cluster: Simulated) -> NodeId:
    """Nobody tells of the rank's end: its peers' collectives fail, and its node is silent."""
    node = cluster.node(0)
    cluster.ports[node] = ("refused", "ok", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(node)
    return node


def test_an_agent_and_a_rank_that_die_together_are_restarted_and_replaced() -> None:
    """Its raylet answers, so the node is not lost, and stays."""
    cluster = Simulated(nodes=5)
    node = agent_and_rank_die(cluster)
    cluster.run(30)
    assert (cluster.going(), cluster.evicted()) == (True, [])
    assert {action.node for action in cluster.all(RestartAgent)} == {node}
    assert not any(names(other, titles(cluster)) for other in cluster.state.nodes if other != node)


def test_an_agent_that_comes_back_beside_its_dead_rank_is_heard_of_the_end() -> None:
    cluster = Simulated(nodes=5)
    worker = cluster.worker(0)
    node = agent_and_rank_die(cluster)
    cluster.run(8)
    cluster.tell(NodeHeard(cluster.now, node))
    place = (worker.rank, worker.id, worker.node, worker.gpu, worker.pid)
    cluster.tell(RankExited(cluster.now, JOB, *place, 1, "signal 9"))
    cluster.run(60)
    assert (cluster.going(), cluster.evicted(), open_incidents(cluster)) == (True, [], 0)
    assert len(cluster.pages()) <= 1


@pytest.mark.parametrize("agent", HUNG)
def test_a_hung_agent_beside_a_rank_that_is_gone_costs_no_node(agent: str) -> None:
    cluster = Simulated(nodes=5)
    node = cluster.node(0)
    cluster.ports[node] = (agent, "ok", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(node)
    cluster.run(30)
    assert (cluster.going(), cluster.evicted()) == (True, [])
    assert node not in cluster.resumed()[-1], "nobody tells whether its rank still holds the GPU"


def raylet_dies(cluster: Simulated, rank: int, standby_after: float) -> None:
    """It takes the rank and the warm standby of its node with it; the agent lives and tells."""
    node = cluster.node(rank)
    waiting = [w for w in cluster.workers if w.node == node and w.stage.value == "standby"]
    cluster.crash(rank, "exit 1")
    cluster.run(standby_after)
    for worker in waiting:
        seat = next((r for r, name in enumerate(cluster.seats) if name == worker.id), -1)
        place = (seat, worker.id, worker.node, worker.gpu, worker.pid)
        generation = cluster.job.generation
        cluster.tell(RankExited(cluster.now, JOB, *place, generation, "exit 1"))
    cluster.run(60)


@pytest.mark.parametrize("standby_after", [0.0, 0.1, 0.4, 0.6])
def test_a_raylets_death_that_takes_a_rank_and_a_standby_is_one_failure(standby_after: float) -> None:
    """Also if the standby had just been seated: it had made no step yet. There is no other node to go to."""
    cluster = Simulated(nodes=2)
    for _ in range(2):
        raylet_dies(cluster, 0, standby_after)
    assert (cluster.evicted(), cluster.going()) == ([], True)


@pytest.mark.parametrize("standby_after", [0.0, 0.4])
def test_a_third_death_of_a_nodes_raylet_within_an_hour_evicts_it(standby_after: float) -> None:
    cluster = Simulated(nodes=2)
    home = cluster.node(0)
    for _ in range(3):
        raylet_dies(cluster, 0, standby_after)
    assert (cluster.evicted(), cluster.going()) == ([home], True)


def test_crashes_with_steps_between_them_count_each_however_soon_they_come() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    for _ in range(3):
        cluster.crash(0)
        cluster.run(3)
        assert cluster.going()
    assert cluster.evicted() == [home]


def test_eight_ranks_whose_ends_are_told_over_seconds_are_one_failure() -> None:
    """An agent tells them one by one, and the gang forms anew in between."""
    cluster = Simulated(nodes=3, gpus=4, world=8, standbys=4)
    home = cluster.node(0)
    for rank in range(4):
        cluster.crash(rank)
        cluster.run(0.4)
    cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([], True)
    assert cluster.at(home).usable


# --- ends by Sentinel's own hand -----------------------------------------------------------------------


def test_ranks_that_stop_themselves_beside_a_crash_are_not_blamed_for_it() -> None:
    cluster = Simulated(nodes=6, world=4)
    culprit = cluster.node(3)
    for rank in (0, 1, 2):
        cluster.crash(rank, STUCK)
    cluster.crash(3)
    cluster.run(30)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)
    assert names(culprit, titles(cluster))
    assert not any(names(node, titles(cluster)) for node in cluster.state.nodes if node != culprit)


def test_ranks_that_only_stopped_themselves_blame_no_node() -> None:
    """What they waited for is gone and nobody knows whose fault it was: the page says so."""
    cluster = Simulated(nodes=6, world=4)
    for rank in (0, 1):
        cluster.crash(rank, STUCK)
    cluster.run(30)
    assert (cluster.evicted(), cluster.going()) == ([], True)
    assert not any(names(node, titles(cluster)) for node in cluster.state.nodes)


def test_a_replacement_that_stops_itself_while_it_forms_counts_against_nobody() -> None:
    cluster = Simulated(policy=Policy(crashes_per_hour=2))
    for _ in range(3):
        cluster.crash(0, STUCK)
        cluster.run(0.35)
        cluster.crash(0, STUCK)
        cluster.run(120)
    assert (cluster.evicted(), cluster.going()) == ([], True)


def test_a_rank_that_stops_itself_on_two_nodes_is_no_rank_whose_work_kills_it() -> None:
    cluster = Simulated(nodes=6)
    for _ in range(7):
        cluster.crash(0, STUCK)
        cluster.run(60)
    assert "crash-follows-rank" not in cluster.causes()
    assert (cluster.evicted(), cluster.going()) == ([], True)


def test_a_crash_between_two_ends_by_our_own_hand_is_one() -> None:
    cluster = Simulated(policy=Policy(crashes_per_hour=2))
    for how in (STUCK, "signal 9", STUCK):
        cluster.crash(0, how)
        cluster.run(60)
    assert cluster.evicted() == []
    cluster.crash(0)
    cluster.run(60)
    assert len(cluster.evicted()) == 1, "the second of its own"


@pytest.mark.parametrize(("how", "evicted"), [(STUCK, 0), ("exit 75", 0), ("signal 9", 1)])
def test_a_dead_process_that_holds_the_others_up_counts_by_how_it_ended(how: str, evicted: int) -> None:
    """Its agent may tell that it is dead before it tells how it died."""
    cluster = Simulated(policy=Policy(crashes_per_hour=2))
    for _ in range(2):
        cluster.stall(cluster.beat(0, state="Z"), cluster.beat(1, enqueued=11))
        cluster.run(0.4)
        cluster.crash(0, how)
        cluster.run(60)
        assert cluster.going()
    assert len(cluster.evicted()) == evicted


def test_nobody_is_readmitted_or_moved_for_an_agents_trouble() -> None:
    cluster = Simulated(nodes=5)
    hang_agent(cluster, cluster.node(0), "ok")
    cluster.run(60)
    cluster.heard(cluster.node(0))
    cluster.run(60)
    assert (cluster.all(Readmit), cluster.all(Resume)) == ([], [])
