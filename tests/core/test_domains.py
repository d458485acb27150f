"""What nodes share has a name: a rack, a feed, an image; it is judged at its own size."""

from typing import Any

import pytest
from msgspec.structs import replace
from seen_by_people import newest, open_incidents, submit
from simulated import Simulated, ecc, lost, xid

from sentinel.core.common import shared
from sentinel.core.state import State
from sentinel.core.state.rows import Node
from sentinel.model.action import Page, Refusal
from sentinel.model.fact import NodeJoined, NodePinged
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId
from sentinel.model.incident import Domain, Incident, Shared, Stage
from sentinel.model.policy import Policy

GONE = ("refused", "refused", -1)
BRAKE = Finding("gpu", "throttle", "gpu-0", Health.CRITICAL, "GPU 0 slows down: power brake", {})
RACK = 8
OTHER = JobId("other")


def racks(nodes: int = 24, **more: Any) -> Simulated:
    """Return a cluster in racks of eight, in the order of the nodes' names."""
    policy = Policy(evict_share=1.0, evictions_per_hour=100)
    given = {"world": 4, "policy": policy, **more}
    cluster = Simulated(nodes=nodes, **given)
    for number in range(1, nodes + 1):
        place(cluster, f"n{number}", rack=f"r{(number - 1) // RACK + 1}")
    cluster.run(5)
    cluster.actions.clear()
    return cluster


def place(cluster: Simulated, name: str, **labels: str) -> None:
    node = cluster.state.nodes[NodeId(name)]
    labels = {**node.labels, **labels}
    cluster.tell(NodeJoined(cluster.now, node.id, node.address, node.port, node.gpus, node.boot, labels))


def of_rack(cluster: Simulated, name: str, count: int = RACK) -> list[NodeId]:
    nodes = [node.id for node in cluster.state.nodes.values() if node.labels["rack"] == name]
    return [node for node in nodes if not cluster.sitting(node)][:count]


def strike(cluster: Simulated, nodes: list[NodeId], found: Finding, apart: float = 1.0) -> None:
    for node in nodes:
        cluster.finding(node, found)
        cluster.run(apart)


def shares(cluster: Simulated) -> list[Shared]:
    """What each incident's nodes share, where they do."""
    found = (incident.diagnosis for incident in cluster.incidents())
    return [each.shared for each in found if each is not None and each.shared is not None]


def named(cluster: Simulated) -> list[tuple[Domain, ...]]:
    return [each.domains for each in shares(cluster)]


# --- where a node sits ---------------------------------------------------------------------------------


def test_a_node_keeps_its_labels_and_takes_others_when_it_says_hello_again() -> None:
    cluster = racks()
    place(cluster, "n1", image="new")
    assert cluster.at("n1").labels == {"rack": "r1", "image": "new"}
    assert State.from_bytes(cluster.state.to_bytes()).nodes[NodeId("n1")].labels == cluster.at("n1").labels


# --- which domain it is --------------------------------------------------------------------------------


def given(**labels: dict[str, str]) -> State:
    state = State()
    for name, of in labels.items():
        state.add(Node(NodeId(name), labels=of))
    return state


def judged(state: State, *nodes: str, apart: float = 0.0) -> Shared | None:
    seen = [(number * apart, NodeId(name)) for number, name in enumerate(nodes)]
    return shared(state, [NodeId(nodes[0])], seen, Policy())


def fleet(racks: int, of: int = RACK, **more: str) -> State:
    names = [(rack, number) for rack in range(1, racks + 1) for number in range(1, of + 1)]
    return given(**{f"r{rack}n{number}": {"rack": f"r{rack}", **more} for rack, number in names})


def test_it_is_the_smallest_that_has_them_all() -> None:
    what = judged(fleet(3, feed="A"), "r2n1", "r2n2", "r2n7")
    assert what == Shared((Domain("rack", "r2"),), (NodeId("r2n1"), NodeId("r2n2"), NodeId("r2n7")), RACK)


def test_it_is_the_larger_one_if_several_racks_have_it() -> None:
    state = fleet(400)
    for node in [each for each in state.nodes.values() if each.labels["rack"] in ("r1", "r2", "r3", "r4")]:
        state.change(node, labels={**node.labels, "feed": "A"})
    what = judged(state, "r2n1", "r2n2", "r2n7", "r3n1", "r3n2", "r4n4")
    assert what is not None
    assert (what.domains, what.size) == ((Domain("feed", "A"),), 32)


def test_a_stray_node_elsewhere_does_not_hide_the_rack() -> None:
    what = judged(fleet(40), *(f"r2n{number}" for number in range(1, 7)), "r9n1")
    assert what is not None
    assert (what.domains, len(what.nodes)) == ((Domain("rack", "r2"),), 6)


def test_domains_of_the_same_nodes_are_both_named() -> None:
    state = fleet(3)
    for node in [each for each in state.nodes.values() if each.labels["rack"] == "r2"]:
        state.change(node, labels={**node.labels, "switch": "tor-2"})
    what = judged(state, "r2n1", "r2n2", "r2n3")
    assert what is not None
    assert what.domains == (Domain("rack", "r2"), Domain("switch", "tor-2"))


def test_a_rack_of_a_large_cluster_is_judged_at_its_own_size() -> None:
    """Of 12,000 nodes three at once may be chance; of a rack's eight they are not."""
    state = fleet(1500)
    assert judged(state, "r2n1", "r2n2", "r2n3") is not None
    assert judged(state, "r2n1", "r3n2", "r4n3") is None


@pytest.mark.parametrize(("apart", "is_common"), [(60.0, True), (61.0, False)])
def test_three_have_to_fail_within_two_minutes(apart: float, is_common: bool) -> None:
    assert (judged(fleet(3), "r2n1", "r2n2", "r2n3", apart=apart) is not None) is is_common


def test_two_of_a_rack_of_two_may_be_chance() -> None:
    assert judged(fleet(12, of=2), "r2n1", "r2n2") is None


def test_three_of_several_racks_are_a_matter_of_the_cluster() -> None:
    what = judged(fleet(3), "r1n1", "r2n2", "r3n3")
    assert what is not None
    assert (what.domains, what.size, what.inferred) == ((), 24, False)


def test_without_a_topology_it_is_said_to_be_inferred() -> None:
    what = judged(given(**{f"n{number}": {} for number in range(24)}), "n1", "n2", "n3")
    assert what is not None
    assert (what.domains, what.inferred) == ((), True)
    assert "inferred, no topology is known" in str(what)


@pytest.mark.parametrize("found", [ecc(), lost(), BRAKE], ids=["ecc", "lost", "brake"])
def test_names_of_racks_decide_nothing(found: Finding) -> None:
    """With all labels renamed, and nodes in the same order, the same is decided of the same nodes."""
    plain, renamed = racks(), racks()
    other = {"r1": "z9", "r2": "a0", "r3": "m5"}
    for node in list(renamed.state.nodes.values()):
        place(renamed, node.id, rack=other[node.labels["rack"]])
    renamed.run(5)
    renamed.actions.clear()
    for cluster in (plain, renamed):
        strike(cluster, [NodeId(f"n{number}") for number in (17, 18, 9, 19, 20)], found, apart=3.0)
        cluster.run(60)
    assert plain.evicted() == renamed.evicted()
    assert [each.nodes for each in shares(plain)] == [each.nodes for each in shares(renamed)]
    assert shares(plain) != []
    moved = [tuple(Domain(kind, other[name]) for kind, name in each) for each in named(plain)]
    assert moved == named(renamed)


# --- who is drained ------------------------------------------------------------------------------------


def test_a_fatal_fault_of_a_node_whose_rack_is_known_does_not_wait() -> None:
    cluster = racks()
    bad = of_rack(cluster, "r3", 1)[0]
    cluster.finding(bad, ecc())
    assert cluster.evicted() == [bad], "in the same decision"


def test_from_the_third_of_a_rack_on_nobody_more_is_drained_and_the_breaker_is_free() -> None:
    cluster = racks(policy=Policy(evict_share=1.0, evictions_per_hour=2))
    struck = of_rack(cluster, "r3", 6)
    strike(cluster, struck, ecc())
    cluster.run(300)
    other = of_rack(cluster, "r2", 1)
    strike(cluster, other, lost())
    assert cluster.evicted() == [*struck[:2], *other]
    assert named(cluster) == [(Domain("rack", "r3"),)]


def test_evictions_of_another_rack_stay_in_the_breakers_count() -> None:
    """In a cluster so large that three of three racks are chance."""
    cluster = racks(400, policy=Policy(evict_share=1.0, evictions_per_hour=3, failures_per_node_day=0.1))
    strike(cluster, [*of_rack(cluster, "r2", 1), *of_rack(cluster, "r7", 3)], ecc())
    strike(cluster, of_rack(cluster, "r9", 1), lost())
    strike(cluster, of_rack(cluster, "r11", 1), lost())
    strike(cluster, of_rack(cluster, "r13", 1), lost())
    assert len(cluster.evicted()) == 5
    assert "breaker is open" in str(cluster.all(Refusal))


def test_two_racks_with_different_faults_are_two_incidents() -> None:
    cluster = racks()
    for one, two in zip(of_rack(cluster, "r2", 5), of_rack(cluster, "r3", 5), strict=True):
        strike(cluster, [one], ecc())
        strike(cluster, [two], lost())
    assert sorted(named(cluster)) == [(Domain("rack", "r2"),), (Domain("rack", "r3"),)]
    assert open_incidents(cluster) == 2


# --- what is told --------------------------------------------------------------------------------------


def test_the_page_names_the_rack_and_how_many_of_it() -> None:
    cluster = racks()
    strike(cluster, of_rack(cluster, "r2", 6), BRAKE, apart=0)
    cluster.run(60)
    (page,) = newest(cluster)
    assert (page.title, cluster.evicted()) == ("A GPU slows itself down: rack r2: 6 of 8 nodes", [])


def test_incidents_of_the_first_nodes_say_whose_part_they_are() -> None:
    cluster = racks()
    struck = of_rack(cluster, "r3", 4)
    strike(cluster, struck, ecc())
    *first, last = cluster.incidents()
    assert [each.part_of for each in first] == [last.id] * len(first)
    bodies = [page.body for page in newest(cluster) if page.incident != last.id]
    assert len(bodies) == len(first) > 0
    assert all(f"Part of {last.id}" in body for body in bodies)


def test_what_was_refused_of_a_part_is_not_done_later() -> None:
    """The share allowed one; when it allows more, the second is one of many, though that is a while ago."""
    cluster = racks(policy=Policy(evict_share=0.0, evictions_per_hour=100))
    one, *struck = of_rack(cluster, "r3", 4)
    strike(cluster, [one, *struck], ecc())
    cluster.run(600)
    cluster.command("undrain", one)
    cluster.run(60)
    assert cluster.evicted() == [one]
    assert open_incidents(cluster) == 1


def test_a_part_that_waits_for_its_ranks_evicts_nobody_meanwhile() -> None:
    """Without spares its job stays degraded, so that its incident is open for long."""
    cluster = racks(policy=Policy(evict_share=0.0, evictions_per_hour=100))
    submit(cluster, OTHER, 20, min_world=1)
    one, two, *more = (NodeId(name) for name in ("n1", "n5", "n2", "n3"))
    strike(cluster, [one, two], ecc())
    (worker,) = cluster.sitting(two)
    cluster._exits(worker, OTHER, "signal 9")
    cluster.run(20)
    strike(cluster, more, ecc())
    cluster.run(300)
    (part,) = [each for each in cluster.incidents() if each.job == OTHER]
    assert (part.part_of, part.stage) == (cluster.incidents()[0].id, Stage.MITIGATING)
    cluster.command("undrain", one)
    cluster.run(60)
    assert cluster.evicted() == [one]


def test_what_was_shared_stays_said_when_some_of_it_is_over() -> None:
    cluster = racks()
    struck = of_rack(cluster, "r3", 5)
    strike(cluster, struck, BRAKE, apart=0)
    cluster.run(60)
    for node in struck[:3]:
        cluster.finding(node, replace(BRAKE, health=Health.OK))
    cluster.run(300)
    assert named(cluster) == [(Domain("rack", "r3"),)]
    assert (cluster.evicted(), len(cluster.pages())) == ([], 1)


# --- silence -------------------------------------------------------------------------------------------


def dies(cluster: Simulated, *nodes: NodeId) -> None:
    for node in nodes:
        cluster.ports[node] = GONE
    cluster.silence(*nodes)


def silent_about(cluster: Simulated) -> list[Incident]:
    return [each for each in cluster.incidents() if each.diagnosis and each.diagnosis.cause == "node-lost"]


def test_a_rack_that_dies_is_one_incident_until_it_is_heard_again() -> None:
    cluster = racks()
    nodes = [node.id for node in cluster.state.nodes.values() if node.labels["rack"] == "r1"]
    assert any(cluster.sitting(node) for node in nodes)
    cluster.raises(1, kind="collective")
    dies(cluster, *nodes)
    cluster.run(120)
    assert (cluster.evicted(), cluster.going(), len(cluster.pages())) == ([], True, 1)
    assert (named(cluster), open_incidents(cluster)) == ([(Domain("rack", "r1"),)], 1)
    cluster.heard(*nodes[2:])
    (incident,) = silent_about(cluster)
    cluster.tell(NodePinged(cluster.now, nodes[0], *GONE, incident.id))  # and it is diagnosed again
    cluster.run(60)
    assert (named(cluster), cluster.evicted()) == ([(Domain("rack", "r1"),)], []), "the last two stay, too"
    cluster.heard(*nodes)
    cluster.run(60)
    assert open_incidents(cluster) == 0
    assert all(cluster.at(node).usable for node in nodes), "nobody has to take them back"


def test_a_single_node_that_dies_in_a_rack_is_evicted() -> None:
    cluster = racks()
    cluster.raises(1, kind="collective")
    dead = cluster.node(0)
    dies(cluster, dead)
    cluster.run(30)
    assert (cluster.evicted(), cluster.going(), shares(cluster)) == ([dead], True, [])


def test_all_but_one_node_silent_is_the_controller_whatever_their_labels_say() -> None:
    """The head node is heard always; that it is in a rack of its own says nothing."""
    cluster = racks(16)
    for number in range(1, 17):
        place(cluster, f"n{number}", rack="head" if number == 16 else "all")
    cluster.run(5)
    cluster.silence(*(NodeId(f"n{number}") for number in range(1, 16)))
    cluster.run(30)
    assert (cluster.causes(), cluster.evicted()) == (["control-cut"], [])


# --- a dead node's neighbours --------------------------------------------------------------------------


def coupled() -> Simulated:
    """NVLink domains of eight."""
    cluster = racks()
    for node in list(cluster.state.nodes.values()):
        place(cluster, node.id, nvlink=f"d{node.labels['rack'][1:]}")
    cluster.run(5)
    cluster.actions.clear()
    return cluster


def test_a_link_that_breaks_in_another_domain_is_no_echo_of_a_death() -> None:
    cluster = coupled()
    dead, elsewhere = cluster.node(0), of_rack(cluster, "r3", 1)[0]
    cluster.raises(1, kind="collective")
    dies(cluster, dead)
    cluster.run(2)
    cluster.finding(elsewhere, xid(74))
    assert cluster.evicted() == [dead, elsewhere]


@pytest.mark.parametrize("after", [0.0, 0.1, 2.0])
def test_a_neighbours_complaint_does_not_overtake_the_look_at_a_silent_node(after: float) -> None:
    cluster = coupled()
    dead = cluster.node(0)
    neighbour = of_rack(cluster, cluster.at(dead).labels["rack"], 1)[0]
    cluster.raises(1, kind="collective")
    dies(cluster, dead)
    cluster.run(after)
    cluster.finding(neighbour, xid(74))
    cluster.run(60)
    assert cluster.evicted() == [dead]


def test_a_complaint_beside_a_neighbour_that_only_does_not_report_counts_after_a_moment() -> None:
    cluster = coupled()
    hung = cluster.node(0)
    neighbour = of_rack(cluster, cluster.at(hung).labels["rack"], 1)[0]
    cluster.ports[hung] = ("ok", "ok", 9)
    cluster.silence(hung)
    cluster.finding(neighbour, xid(74))
    cluster.run(10)
    assert cluster.evicted() == [neighbour]


@pytest.mark.parametrize("order", ["complains first", "raises first"])
def test_a_dead_node_goes_and_its_peers_complaint_is_no_second_cause(order: str) -> None:
    """The peer that shares its job complains, too, and its rank loses the dead one."""
    cluster = coupled()
    dead, peer = cluster.node(0), cluster.node(1)
    dies(cluster, dead)
    if order == "complains first":
        cluster.finding(peer, xid(74))
        cluster.raises(1, kind="collective")
    else:
        cluster.raises(1, kind="collective")
        cluster.finding(peer, xid(74))
    cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([dead], True)
    assert all(page.incident == cluster.all(Page)[0].incident for page in cluster.all(Page))
