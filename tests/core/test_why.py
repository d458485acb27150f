"""Why something is done, or is not."""

import pytest
from simulated import JOB, Simulated, ecc

from sentinel.core.page.left import left_in_all
from sentinel.core.settle.why import keeps_small, leaves, shrunk, why
from sentinel.core.state.rows import OPERATOR, Cordon
from sentinel.model.policy import Policy


def explained(cluster: Simulated, name: str) -> str:
    reasons = why(name, cluster.state, cluster.rules, cluster.now)
    assert reasons is not None
    return "\n".join(f"{reason.kind}: {reason.text}" for reason in reasons)


def test_a_name_of_nothing_has_no_answer() -> None:
    cluster = Simulated()
    assert why("nobody", cluster.state, cluster.rules, cluster.now) is None


def test_a_job_that_waits_for_a_place_says_so_and_who_wants_it() -> None:
    cluster = Simulated(nodes=2, world=2, min_world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.crash(0)
    cluster.run(1)
    assert "wants: another generation, for I-0001" in explained(cluster, JOB) or "in use" in explained(
        cluster, "n1"
    )
    assert "guard: place: not done for I-0001: evict" in explained(cluster, cluster.node(0))


def test_a_generation_under_way_is_an_order_and_a_wait() -> None:
    cluster = Simulated()
    cluster.fails = {"Resume"}
    cluster.advances = False
    cluster.crash(0)
    cluster.run(0.4)
    said = explained(cluster, JOB)
    assert "is: forming, generation 2" in said
    assert "ordered: I-0001/resume/moe/2: no outcome yet" in said
    assert "waits: for a new step" in said


def test_a_silent_node_says_whose_silence_it_is_and_when_it_is_looked_at_again() -> None:
    cluster = Simulated()
    name = cluster.spare()
    cluster.ports[name] = ("unknown", "unknown", -1)
    cluster.silence(name)
    cluster.run(0.5)
    said = explained(cluster, name)
    assert "is: silent, which is I-0001's" in said
    assert "waits: for another ping of a silent node" in said
    assert "waits" in explained(cluster, name)


def test_a_stop_of_all_actions_stands_with_every_object() -> None:
    cluster = Simulated(policy=Policy())
    cluster.command("stop-actions")
    for name in (JOB, "n1"):
        assert "guard: actions are stopped: ann: because" in explained(cluster, name)


def test_an_evicted_node_says_by_which_incident_and_that_it_is_empty() -> None:
    cluster = Simulated(nodes=4, world=2)
    bad = cluster.spare()
    cluster.finding(bad, ecc())
    assert "wants: to be emptied" in explained(cluster, bad)
    assert f"ordered: I-0001/evict/{bad}/1" in explained(cluster, bad)
    cluster.run(5)
    said = explained(cluster, bad)
    assert "is: cordoned by I-0001: gpu-ecc, and empty" in said
    assert "wants" not in said


@pytest.mark.parametrize("spare", [False, True], ids=["no room elsewhere", "a spare"])
def test_a_drained_node_is_said_to_be_empty_when_it_is_and_not_before(spare: bool) -> None:
    cluster = Simulated(nodes=3 if spare else 2, world=2, min_world=2)
    node = cluster.node(0)
    cluster.command("drain", node)
    cluster.run(30)
    said = [reason.text for reason in why(node, cluster.state, cluster.rules, cluster.now) or []]
    assert any(text.endswith(", and empty") for text in said) == spare
    assert any(text.startswith("to be empty: moe has rank") for text in said) != spare


def test_a_small_job_waits_for_permission_while_actions_are_stopped() -> None:
    cluster = Simulated(nodes=2, world=2)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(30)
    assert cluster.job.is_degraded
    room = "room: it finds 1 GPU on 1 usable node, and none is free and fit"
    assert keeps_small(cluster.job, cluster.state, cluster.rules) == room
    (said, *_) = why(JOB, cluster.state, cluster.rules, cluster.now) or []
    assert said.text == f"running, degraded, generation {cluster.job.generation}, 1 of 2 ranks"
    assert "degraded: moe has 1 of 2 ranks" in left_in_all(cluster.state, cluster.rules)
    cluster.command("stop-actions")
    expected = "permission: actions are stopped: ann: because"
    assert keeps_small(cluster.job, cluster.state, cluster.rules) == expected


@pytest.mark.parametrize(("nodes", "told"), [(2, "moe goes on with 1 of 2 ranks: no spare is fit"), (3, "")])
def test_a_drain_that_shrinks_the_job_says_so(nodes: int, told: str) -> None:
    cluster = Simulated(nodes=nodes, world=2)
    before, node = {JOB: cluster.job}, cluster.node(0)
    cluster.command("drain", node)
    assert shrunk(before, cluster.state) == told
    assert shrunk({JOB: cluster.job}, cluster.state) == ""


def test_what_a_drain_will_cost_is_said_until_it_is_done() -> None:
    cluster = Simulated(nodes=2, world=2)
    cluster.state.change(cluster.at(cluster.node(0)), cordon=Cordon(OPERATOR, "fans", cluster.now, True))
    said = leaves(cluster.job, cluster.state, cluster.rules)
    assert said == "to leave at the next step boundary: moe goes on with 1 of 2 ranks: no spare is fit"
