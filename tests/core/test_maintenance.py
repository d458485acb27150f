"""A node that is expected silent until some time is not accused before it, and is afterwards."""

import pytest
from seen_by_people import idle, names, open_incidents, seated, titles
from simulated import JOB, Simulated, ecc, lost

from sentinel.model.action import Evict, Resume, StartWorker
from sentinel.model.fact import Commanded, NodeJoined
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy

GONE = ("refused", "refused", -1)
HOUR = 3600.0


def maintain(cluster: Simulated, node: NodeId, seconds: float) -> None:
    """Announce maintenance of a node."""
    announce(cluster, node, seconds)
    cluster.run(5)


def announce(cluster: Simulated, node: NodeId, seconds: float) -> None:
    until = cluster.now + seconds
    cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "new kernel", until))


def dies(cluster: Simulated, node: NodeId) -> None:
    cluster.ports[node] = GONE
    cluster.silence(node)


def boots(cluster: Simulated, node: NodeId) -> None:
    cluster.ports.pop(node, None)
    cluster.tell(NodeJoined(cluster.now, node, "10.0.0.7", 1, 1, "another-boot"))
    cluster.run(5)


def quiet(cluster: Simulated) -> bool:
    """Nobody is accused, evicted or woken."""
    return not (cluster.pages() or cluster.evicted() or open_incidents(cluster))


@pytest.mark.parametrize("ports", [GONE, ("timeout", "timeout", -1), ("refused", "ok", -1)])
def test_a_spare_in_maintenance_may_be_silent(ports: tuple[str, str, int]) -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.ports[spare] = ports
    cluster.silence(spare)
    cluster.run(HOUR - 60)
    assert quiet(cluster)


def test_a_node_that_is_still_silent_after_its_maintenance_is_lost() -> None:
    """The time that was announced is over, so it counts as if it had fallen silent then."""
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(HOUR + 120)
    assert (cluster.evicted(), cluster.causes(), len(cluster.pages())) == ([spare], ["node-lost"], 1)


def test_a_node_that_falls_silent_after_its_maintenance_is_lost() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(600)
    boots(cluster, spare)
    cluster.run(HOUR)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


def test_maintenance_that_is_over_already_excuses_nothing() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, -60)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


def test_another_nodes_silence_is_not_excused() -> None:
    cluster = Simulated(nodes=6)
    one, two = idle(cluster, 2)
    maintain(cluster, one, HOUR)
    for node in (one, two):
        dies(cluster, node)
    cluster.run(120)
    assert cluster.evicted() == [two]


def test_a_job_leaves_a_node_in_maintenance_at_a_step_boundary() -> None:
    """Whoever announces maintenance is about to end its processes: the job goes before, and loses no step."""
    cluster = Simulated(nodes=5)
    node, running = cluster.node(0), tuple(cluster.seats)
    maintain(cluster, node, HOUR)
    (resume,) = cluster.all(Resume)
    assert (node in cluster.resumed()[0], resume.pause) == (False, running)
    dies(cluster, node)
    cluster.run(HOUR - 60)
    assert (quiet(cluster), cluster.going()) == (True, True)


def test_a_job_without_a_spare_stays_until_its_node_goes_and_comes_back_with_it() -> None:
    """It may not shrink, so it trains as long as it can; nobody is accused of what was announced."""
    cluster = Simulated(nodes=2, min_world=2)
    node = cluster.node(0)
    maintain(cluster, node, HOUR)
    assert (cluster.going(), cluster.resumed()) == (True, [])
    cluster.raises(1, kind="collective")
    dies(cluster, node)
    cluster.run(600)
    assert (cluster.evicted(), names(node, titles(cluster))) == ([], False)
    boots(cluster, node)
    cluster.run(HOUR)
    assert (cluster.going(), cluster.evicted(), open_incidents(cluster)) == (True, [], 0)


def test_a_rank_that_ends_by_its_nodes_maintenance_counts_against_nobody() -> None:
    """The shutdown ends the processes before the job has left."""
    cluster = Simulated(nodes=5, policy=Policy(crashes_per_hour=1))
    node = cluster.node(0)
    until = cluster.now + HOUR
    cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "", until))
    if node in seated(cluster, JOB):
        cluster.crash(seated(cluster, JOB).index(node), "signal 9")
    dies(cluster, node)
    cluster.run(600)
    assert (cluster.evicted(), cluster.pages(), cluster.going()) == ([], set(), True)


def test_nothing_is_placed_on_a_node_in_maintenance() -> None:
    for spares in (0, 1):
        cluster = Simulated(nodes=4)
        spare, other = (idle(cluster, 2)[each] for each in (spares, 1 - spares))
        maintain(cluster, spare, HOUR)
        cluster.actions.clear()
        cluster.finding(cluster.node(0), ecc())
        cluster.run(60)
        cluster.crash(1)
        cluster.run(60)
        assert (cluster.going(), cluster.resumed()[0][0]) == (True, other)
        assert spare not in [start.node for start in cluster.all(StartWorker)]


def test_a_node_is_used_again_when_its_maintenance_is_over_and_it_reports() -> None:
    """Nobody has to undrain it: the announced time is the word. It may boot twice before."""
    cluster = Simulated(nodes=3, min_world=2)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    for _ in range(2):
        dies(cluster, spare)
        cluster.run(300)
        boots(cluster, spare)
    assert spare not in [start.node for start in cluster.all(StartWorker)]
    cluster.run(HOUR)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(30)
    assert (spare in seated(cluster, JOB), cluster.evicted(), cluster.going()) == (True, [bad], True)


def test_undraining_ends_a_maintenance_early() -> None:
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.command("undrain", spare)
    cluster.run(5)
    dies(cluster, spare)
    cluster.run(120)
    assert cluster.evicted() == [spare]


def test_a_drain_outlives_a_maintenance() -> None:
    """A human's cordon is never undone, also not by the end of what another human announced."""
    cluster = Simulated(nodes=3)
    spare = cluster.spare()
    cluster.command("drain", spare)
    maintain(cluster, spare, 600)
    cluster.run(HOUR)
    assert not cluster.at(spare).usable
    cluster.actions.clear()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(30)
    assert spare not in seated(cluster, JOB)


def test_a_longer_maintenance_is_announced_by_a_second_word() -> None:
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, 600)
    dies(cluster, spare)
    cluster.run(300)
    maintain(cluster, spare, HOUR)
    cluster.run(HOUR - 60)
    assert quiet(cluster)


def test_what_checks_find_during_maintenance_accuses_nobody() -> None:
    """A driver that is unloaded looks like lost GPUs; what still stands when the time is over counts."""
    cluster = Simulated(nodes=5)
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    cluster.finding(spare, lost())
    cluster.run(HOUR - 60)
    assert quiet(cluster)
    cluster.run(180)
    assert cluster.evicted() == [spare]


def test_what_an_open_incident_has_in_evidence_is_no_news_when_the_maintenance_is_over() -> None:
    """The finding counts from then on: for the incident that knows of it, and people are told once."""
    cluster = Simulated(nodes=2, world=2, standbys=0, min_world=1)
    first, second = cluster.node(0), cluster.node(1)
    announce(cluster, first, 5)
    cluster.raises(0, kind="user")
    cluster.finding(second, lost())
    announce(cluster, second, 60)
    cluster.run(600)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["gpu-lost"], [second], 1)


def test_a_rack_in_maintenance_is_no_cut_of_the_control_network() -> None:
    """Half of the nodes are silent, as was announced: the others are looked after."""
    cluster = Simulated(nodes=8)
    rack = idle(cluster, 5)
    for node in rack:
        maintain(cluster, node, HOUR)
        dies(cluster, node)
    cluster.run(60)
    cluster.crash(0)
    cluster.run(60)
    assert (cluster.going(), cluster.evicted()) == (True, [])
    assert "control-cut" not in cluster.causes()


def test_a_rack_in_maintenance_does_not_use_up_the_share_that_may_go() -> None:
    cluster = Simulated(nodes=8, policy=Policy(evict_share=0.13))
    rack = idle(cluster, 4)
    for node in rack:
        maintain(cluster, node, HOUR)
        dies(cluster, node)
    cluster.run(60)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(30)
    assert (cluster.evicted(), [each.node for each in cluster.all(Evict)]) == ([bad], [bad])


def test_maintenance_is_remembered_over_a_restart() -> None:
    cluster = Simulated(nodes=5)
    cluster.restarts = True
    spare = cluster.spare()
    maintain(cluster, spare, HOUR)
    dies(cluster, spare)
    cluster.run(HOUR - 60)
    assert quiet(cluster)
    cluster.run(180)
    assert cluster.evicted() == [spare]


def test_ranks_stay_where_they_are_while_there_is_no_other_place() -> None:
    """Their node has not gone yet, and another node's rank crashes: better with it than not at all."""
    cluster = Simulated(nodes=2, min_world=2)
    node, worker = cluster.node(0), cluster.seats[0]
    maintain(cluster, node, HOUR)
    cluster.crash(1)
    cluster.run(30)
    assert (cluster.going(), cluster.seats[0], cluster.evicted()) == (True, worker, [])


def test_ranks_that_lose_their_peers_by_maintenance_wake_nobody_in_whatever_order_that_is_told() -> None:
    for order in ("echo exit echo", "exit echo echo", "echo echo exit", "echo silence echo"):
        cluster = Simulated(nodes=5, world=3, standbys=0)
        node = cluster.node(0)
        cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "", cluster.now + HOUR))
        if node in seated(cluster, JOB):
            echoes = iter((1, 2))
            for word in order.split():
                if word == "echo":
                    cluster.raises(next(echoes), kind="collective")
                elif word == "exit":
                    cluster.crash(0)
                else:
                    dies(cluster, node)
        cluster.run(600)
        assert (cluster.pages(), cluster.evicted(), cluster.going()) == (set(), [], True), order


def test_a_crash_of_another_node_during_maintenance_is_told() -> None:
    cluster = Simulated(nodes=5)
    maintain(cluster, cluster.spare(), HOUR)
    cluster.crash(1)
    cluster.run(30)
    assert (cluster.causes(), cluster.going()) == (["rank-crash"], True)
