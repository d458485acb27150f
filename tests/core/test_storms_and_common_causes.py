"""What many nodes have at once has one cause; a storm is counted, and costs what one fact costs."""

from collections.abc import Callable
from cProfile import Profile

import pytest
from msgspec.structs import replace
from seen_by_people import idle, names, newest, open_incidents, text
from simulated import Simulated, ecc, lost, xid

from sentinel.model.action import Evict, Page, Readmit, Refusal
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy

GONE = ("refused", "refused", -1)
BRAKE = Finding("gpu", "throttle", "gpu-0", Health.CRITICAL, "GPU 0 slows down: power brake", {})
NVLINK5 = Finding("xid", "nvlink5-fatal", "gpu-0", Health.CRITICAL, "Xid 145", {"line": "x"}, event=True)
LATER_S = 300.0
"""So long after a group, a fault is its own."""
MANY = 10_000
FEWER = 500
"""Where each fact asks for a decision."""
KEPT = 200
"""More facts or actions than this nobody reads in one incident."""


def fleet(*, evictions_per_hour: int = 100) -> Simulated:
    """Return 24 nodes, so many that three alike at once are no chance."""
    return Simulated(nodes=24, world=4, policy=Policy(evict_share=1.0, evictions_per_hour=evictions_per_hour))


def strike(cluster: Simulated, nodes: list[NodeId], found: Finding | None = None, apart: float = 5.0) -> None:
    for node in nodes:
        cluster.finding(node, found or ecc())
        cluster.run(apart)


# --- who is drained ------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [0.0, 5.0, 29.0])
def test_from_the_third_alike_on_nobody_more_is_drained(apart: float) -> None:
    """The first two may be chance, so they go as a single fault does; what the third shows comes too late."""
    cluster = fleet()
    struck = idle(cluster, 5)
    strike(cluster, struck, apart=apart)
    cluster.run(60)
    assert cluster.evicted() == struck[:2]


def test_the_evictions_before_the_third_stand() -> None:
    """Nobody knows yet that these GPUs are fine: they stay out until a human vouches for them."""
    cluster = fleet()
    struck = idle(cluster, 4)
    strike(cluster, struck)
    cluster.run(LATER_S)
    assert cluster.all(Readmit) == []
    assert [cluster.at(node).usable for node in struck] == [False, False, True, True]


def test_the_evictions_before_the_third_leave_the_breakers_count() -> None:
    cluster = fleet(evictions_per_hour=2)
    *struck, later = idle(cluster, 5)
    strike(cluster, struck)
    cluster.run(LATER_S)
    strike(cluster, [later])
    assert cluster.evicted() == [*struck[:2], later]


def test_two_alike_count_for_the_breaker() -> None:
    cluster = fleet(evictions_per_hour=2)
    *struck, later = idle(cluster, 3)
    strike(cluster, struck)
    cluster.run(LATER_S)
    strike(cluster, [later])
    assert cluster.evicted() == struck
    assert "breaker is open" in str(cluster.all(Refusal))


def test_only_those_of_the_group_leave_the_breakers_count() -> None:
    cluster = fleet(evictions_per_hour=3)
    before, one, two, three, *later = idle(cluster, 7)
    strike(cluster, [before], lost(), apart=LATER_S)
    strike(cluster, [one, two, three])
    cluster.run(LATER_S)
    strike(cluster, later, lost(), apart=LATER_S)
    assert cluster.evicted() == [before, one, two, *later[:2]], (
        "three that are no group, and the breaker opens"
    )


def test_a_breaker_that_was_open_for_the_group_itself_is_closed_by_it() -> None:
    """The breaker asks whether something larger is wrong; once that has a name, a fault is one again."""
    cluster = fleet(evictions_per_hour=1)
    *struck, later = idle(cluster, 5)
    strike(cluster, struck)
    cluster.run(LATER_S)
    strike(cluster, [later], lost())
    assert cluster.evicted() == [struck[0], later]


@pytest.mark.parametrize("busy", [False, True])
def test_the_first_fatal_fault_never_waits_to_see_whether_others_follow(busy: bool) -> None:
    cluster = fleet()
    bad = cluster.node(0) if busy else cluster.spare()
    cluster.finding(bad, ecc())
    assert cluster.evicted() == [bad], "in the same decision"


def test_the_second_does_not_wait_either() -> None:
    cluster = fleet()
    one, two = idle(cluster, 2)
    strike(cluster, [one])
    cluster.finding(two, ecc())
    assert cluster.evicted() == [one, two]


def test_different_faults_at_once_are_no_group() -> None:
    cluster = fleet()
    struck = idle(cluster, 4)
    for node, found in zip(struck, (ecc(), lost(), xid(119), xid(74)), strict=True):
        strike(cluster, [node], found)
    assert cluster.evicted() == struck


def test_one_cause_that_several_checks_tell_of_is_a_group() -> None:
    """A GPU that is off the bus shows as an Xid on one node and as the driver's answer on the next."""
    cluster = fleet()
    struck = idle(cluster, 3)
    for node, found in zip(struck, (lost(), xid(79), lost()), strict=True):
        strike(cluster, [node], found)
    assert cluster.evicted() == struck[:2]


@pytest.mark.parametrize("apart", [61.0, 130.0, 600.0])
def test_nodes_that_fail_far_apart_are_no_group(apart: float) -> None:
    """Each two of them may be within two minutes, but never three."""
    cluster = fleet()
    struck = idle(cluster, 4)
    strike(cluster, struck, apart=apart)
    assert cluster.evicted() == struck


def test_one_node_that_tells_often_is_one_node() -> None:
    cluster = Simulated(nodes=24, gpus=4, world=4, policy=Policy(evict_share=1.0))
    one, two = idle(cluster, 2)
    for gpu in range(4):
        strike(cluster, [one], ecc(gpu), apart=1)
    strike(cluster, [two], ecc(), apart=1)
    strike(cluster, [one], ecc(0, count=9), apart=1)
    assert cluster.evicted() == [one, two]


def test_a_fault_of_the_same_kind_long_after_the_group_is_its_own() -> None:
    cluster = fleet()
    *struck, later = idle(cluster, 5)
    strike(cluster, struck)
    cluster.run(3600)
    strike(cluster, [later])
    assert cluster.evicted() == [*struck[:2], later]


# --- what is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [0.0, 5.0])
def test_eight_alike_are_one_incident(apart: float) -> None:
    """The first two were told alone; from the third on one page says what they share, and names all eight."""
    cluster = fleet()
    struck = idle(cluster, 8)
    strike(cluster, struck, apart=apart)
    cluster.run(60)
    assert (open_incidents(cluster), len(cluster.pages()) <= 3) == (1, True)
    assert any(all(names(node, f"{page.title} {page.body}") for node in struck) for page in newest(cluster))
    assert "share" in text(cluster)


def test_what_only_asks_for_a_drain_is_told_once_for_the_rack() -> None:
    cluster = fleet()
    for node in idle(cluster, 8):
        cluster.finding(node, BRAKE)
    cluster.run(120)
    assert (len(cluster.pages()), cluster.evicted()) == (1, [])


def test_one_more_node_of_the_group_is_told_in_its_page() -> None:
    cluster = fleet()
    *struck, more = idle(cluster, 5)
    strike(cluster, struck)
    cluster.run(20)
    before = cluster.pages()
    strike(cluster, [more])
    cluster.run(20)
    assert cluster.pages() == before
    assert names(more, text(cluster))


def test_a_group_is_over_when_nothing_of_it_is_left() -> None:
    cluster = fleet()
    struck = idle(cluster, 5)
    strike(cluster, struck)
    assert open_incidents(cluster) == 1
    for node in struck:
        cluster.finding(node, replace(ecc(), health=Health.OK))
    cluster.run(60)
    assert open_incidents(cluster) == 0


def test_a_rank_that_dies_on_a_node_of_the_group_is_repaired_and_has_its_cause() -> None:
    """The node stays, for what it shares is to blame, but a GPU that is accused gets no rank."""
    cluster = fleet()
    strike(cluster, idle(cluster, 3))
    bad = cluster.node(0)
    strike(cluster, [bad], apart=1)
    before = cluster.pages()
    cluster.crash(0)
    cluster.run(30)
    assert (bad in cluster.evicted(), cluster.going(), cluster.pages()) == (False, True, before)
    assert bad not in [worker.node for _, worker in cluster.state.seated(cluster.job)]


# --- a dead node's neighbours --------------------------------------------------------------------------


def dies(cluster: Simulated, node: NodeId) -> None:
    cluster.ports[node] = GONE
    cluster.raises(1, kind="collective")
    cluster.silence(node)


@pytest.mark.parametrize("complaint", [xid(74), NVLINK5], ids=["xid-74", "nvlink5"])
def test_neighbours_that_complain_of_a_dead_nodes_link_stay(complaint: Finding) -> None:
    """A broken link within `correlate_s` of a node's death is that node's end of it."""
    cluster = fleet(evictions_per_hour=1)
    dead, neighbours = cluster.node(0), idle(cluster, 5)
    dies(cluster, dead)
    cluster.run(1)
    strike(cluster, neighbours, complaint, apart=0.2)
    cluster.run(30)
    assert (cluster.evicted(), cluster.going(), len(cluster.pages())) == ([dead], True, 1)


def test_two_neighbours_that_complain_stay_too() -> None:
    """They are too few for a group."""
    cluster = fleet()
    dead, neighbours = cluster.node(0), idle(cluster, 2)
    dies(cluster, dead)
    cluster.run(1)
    strike(cluster, neighbours, xid(74), apart=0.2)
    cluster.run(30)
    assert cluster.evicted() == [dead]


def test_a_dead_node_goes_though_its_neighbours_complained_before_it_was_silent() -> None:
    """The complaints come at once, the silence after 2.5 s; whoever went meanwhile takes nobody's turn."""
    cluster = fleet(evictions_per_hour=2)
    dead, neighbours = cluster.node(0), idle(cluster, 6)
    strike(cluster, neighbours[:5], xid(74), apart=0.1)
    cluster.run(2)
    dies(cluster, dead)
    cluster.run(30)
    assert (dead in cluster.evicted(), cluster.going()) == (True, True)
    assert len(cluster.evicted()) <= 3
    cluster.run(LATER_S)
    strike(cluster, neighbours[5:])
    assert cluster.evicted()[-1] == neighbours[5], "the breaker was not used up"


def test_a_link_that_fails_long_after_a_neighbours_death_is_its_own() -> None:
    cluster = fleet()
    dead, neighbour = cluster.node(0), idle(cluster, 1)[0]
    dies(cluster, dead)
    cluster.run(LATER_S)
    strike(cluster, [neighbour], xid(74))
    assert cluster.evicted() == [dead, neighbour]


def test_a_link_that_is_still_broken_a_while_after_a_neighbours_death_is_its_own() -> None:
    cluster = fleet()
    dead, neighbour = cluster.node(0), idle(cluster, 1)[0]
    dies(cluster, dead)
    cluster.run(1)
    strike(cluster, [neighbour], replace(NVLINK5, event=False))
    assert cluster.evicted() == [dead]
    cluster.run(30)
    assert cluster.evicted() == [dead, neighbour]


def test_a_fault_that_no_neighbour_can_cause_is_its_own_at_once() -> None:
    cluster = fleet()
    dead, other = cluster.node(0), idle(cluster, 1)[0]
    dies(cluster, dead)
    cluster.run(1)
    strike(cluster, [other], ecc())
    cluster.run(30)
    assert sorted(cluster.evicted()) == sorted([dead, other])


def test_storage_that_a_rack_misses_is_told_once_and_the_dead_node_goes() -> None:
    cluster = fleet()
    dead, neighbours = cluster.node(0), idle(cluster, 5)
    failed = Finding(TRAINER, "checkpoint-failed", "checkpoint", Health.CRITICAL, "no answer")
    strike(cluster, neighbours, failed, apart=0.2)
    dies(cluster, dead)
    cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([dead], True)
    assert len(cluster.pages()) <= 2, "one for the node, one for the storage"


# --- storms --------------------------------------------------------------------------------------------


def is_bounded(cluster: Simulated) -> bool:
    kept = [max(len(each.evidence), len(each.actions)) for each in cluster.incidents()]
    return max(kept, default=0) <= KEPT and len(cluster.actions) <= KEPT


def test_ten_thousand_lines_of_one_node_are_counted() -> None:
    """Of an agent that counts nothing: each line is a fact of its own."""
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.crash(0)
    for number in range(MANY):
        cluster.finding(bad, xid(31, 0, f"[{number}.0] line", Health.WARNING))
    cluster.run(60)
    assert (is_bounded(cluster), cluster.going(), len(cluster.pages())) == (True, True, 1)


def fatal_lines(many: int) -> Simulated:
    """No GPU is left for the eviction that each of so many lines asks for."""
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    for number in range(many):
        cluster.finding(bad, xid(79, 0, f"[{number}.0] line"))
    return cluster


def fatal_lines_everywhere(many: int) -> Simulated:
    cluster = fleet()
    nodes = sorted(cluster.state.nodes)
    for number in range(many):
        cluster.finding(nodes[number % len(nodes)], xid(79, 0, f"[{number}.0] line"))
    return cluster


def test_fatal_lines_whose_eviction_is_refused_are_refused_once() -> None:
    cluster = fatal_lines(FEWER)
    cluster.run(60)
    assert (is_bounded(cluster), len(cluster.all(Refusal)) <= 3, len(cluster.pages())) == (True, True, 1)


def test_fatal_lines_of_a_whole_fleet_are_no_storm_of_pages() -> None:
    cluster = fatal_lines_everywhere(FEWER)
    cluster.run(60)
    assert is_bounded(cluster)
    assert (len(cluster.pages()) <= 3, len(cluster.evicted()) <= 2) == (True, True)
    assert len(cluster.all(Page)) <= 30, "edits are no storm either"


def test_states_that_come_and_go_ten_thousand_times_are_counted() -> None:
    cluster = Simulated()
    bad = cluster.spare()
    for _ in range(MANY // 2):
        cluster.finding(bad, BRAKE)
        cluster.finding(bad, replace(BRAKE, health=Health.OK))
    cluster.run(60)
    assert (is_bounded(cluster), len(cluster.incidents()) <= KEPT, cluster.evicted()) == (True, True, [])


def test_exceptions_of_every_generation_are_counted() -> None:
    cluster = Simulated()
    for _ in range(MANY):
        cluster.raises(0, kind="collective")
    cluster.run(60)
    assert (is_bounded(cluster), cluster.going(), cluster.causes()) == (True, True, ["gang-broken"])


# --- mass events ---------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    profile = Profile(builtins=False)
    profile.runcall(work)
    return sum(each.callcount for each in profile.getstats())


@pytest.mark.parametrize("storm", [fatal_lines, fatal_lines_everywhere])
def test_twice_the_lines_cost_about_twice(storm: Callable[[int], Simulated]) -> None:
    assert calls(lambda: storm(800)) < 2.5 * calls(lambda: storm(400)), "from when its evidence is full"


def everybody_is_silent(nodes: int) -> Simulated:
    cluster = Simulated(nodes=nodes, world=4)
    cluster.ports = dict.fromkeys(cluster.state.nodes, ("timeout", "timeout", 9))
    return cluster


def test_a_round_in_which_twice_the_nodes_fall_silent_costs_about_twice() -> None:
    def cost(nodes: int) -> int:
        cluster = everybody_is_silent(nodes)
        return calls(lambda: cluster.silence(*sorted(cluster.state.nodes)))

    assert cost(120) < 2.5 * cost(60)


def test_looking_at_twice_the_silent_nodes_costs_about_twice() -> None:
    def cost(nodes: int) -> int:
        cluster = everybody_is_silent(nodes)
        cluster.silence(*sorted(cluster.state.nodes))
        return calls(lambda: cluster.run(0.5))

    assert cost(80) < 2.5 * cost(40)


def test_hearing_twice_the_nodes_again_costs_about_twice() -> None:
    def cost(nodes: int) -> int:
        cluster = everybody_is_silent(nodes)
        cluster.silence(*sorted(cluster.state.nodes))
        cluster.run(0.5)
        return calls(lambda: cluster.heard(*sorted(cluster.state.nodes)))

    assert cost(80) < 2.5 * cost(40)


def test_a_long_silence_of_all_is_one_incident_with_a_bounded_record() -> None:
    cluster = everybody_is_silent(20)
    cluster.silence(*sorted(cluster.state.nodes))
    cluster.run(600)
    (incident,) = cluster.incidents()
    assert (len(cluster.pages()), cluster.evicted(), cluster.all(Evict)) == (1, [], [])
    assert (len(incident.evidence) <= KEPT, len(cluster.all(Page)) <= 5) == (True, True)
