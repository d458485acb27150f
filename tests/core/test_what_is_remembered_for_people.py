"""What an incident remembers for people: when each thing was decided, what was told, what is still left."""

import json

import pytest
from msgspec.structs import replace
from seen_by_people import names, newest
from simulated import Simulated, ecc, lost, xid
from test_numbers_told import shrunken

from sentinel.core.group import LEFT_LIMIT, forget
from sentinel.core.page.left import left_in_all
from sentinel.core.record import ACTIONS_LIMIT, DIAGNOSES_LIMIT, record
from sentinel.core.state import State
from sentinel.model.action import Refusal, Resume
from sentinel.model.fact import NodeJoined
from sentinel.model.finding import Health
from sentinel.model.ids import Cause, NodeId
from sentinel.model.incident import Diagnosis, Incident, Suspect

DAY = 86400.0


def left(cluster: Simulated) -> list[str]:
    """What the newest page says is left."""
    return [line for line in newest(cluster)[-1].body.splitlines() if line.startswith("Left: ")]


def evict(cluster: Simulated) -> NodeId:
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert cluster.evicted()[-1] == bad
    return bad


# --- when each thing was decided ------------------------------------------------------------------------


def test_each_decision_has_its_own_time() -> None:
    """Attempts come one after the other; that they belong to one diagnosis does not make them one moment."""
    cluster = Simulated()
    cluster.advances = False
    began = cluster.now
    cluster.crash(0)
    cluster.run(200)
    (incident,) = cluster.incidents()
    tried = [at - began for at, action in incident.deeds if at and isinstance(action, Resume)]
    assert len(tried) == len(set(tried)) == cluster.rules.policy.resume_attempts
    assert (tried == sorted(tried), tried[0] < 1.0, tried[-1] > 60.0) == (True, True, True)


def test_a_state_of_an_older_release_says_of_its_decisions_no_time_and_of_new_ones_does() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(20)
    plain = json.loads(json.dumps(cluster.state.to_plain()))
    for incident in plain["incidents"].values():
        for field in ("decided", "diagnoses", "left", "steps_before"):
            incident.pop(field, None)
    old = len(cluster.incidents()[0].actions)
    cluster.state = State.from_plain(plain)
    cluster.run(40)
    times = [at for at, _ in cluster.incidents()[0].deeds]
    assert (times[:old], None in times[old:], len(times) > old) == ([None] * old, False, True)


@pytest.mark.parametrize("timed", [ACTIONS_LIMIT + 9, ACTIONS_LIMIT // 2, 3])
def test_times_stay_with_their_decisions_when_the_middle_is_dropped(timed: int) -> None:
    """An older release has decided the first ones."""
    cluster = Simulated()
    incident = cluster.state.add(Incident("I-9", cluster.now))  # type: ignore[arg-type]
    for number in range(ACTIONS_LIMIT + 9):
        cluster.state.now = float(number)
        record(
            cluster.state,
            Refusal(f"I-9/refusal/policy/{number}", incident.id, str(number), ""),
            cluster.rules,
        )
        if number == ACTIONS_LIMIT + 8 - timed:
            cluster.state.change(incident, decided=())
    deeds = list(cluster.state.incidents[incident.id].deeds)
    assert len(deeds) == ACTIONS_LIMIT
    assert all(at in (None, float(action.wanted)) for at, action in deeds)  # type: ignore[union-attr]
    assert sum(at is not None for at, _ in deeds) >= min(timed, ACTIONS_LIMIT // 2)


# --- what was told --------------------------------------------------------------------------------------


def test_what_was_told_is_remembered_with_when() -> None:
    cluster = Simulated()
    bad, began = cluster.node(0), cluster.now
    cluster.crash(0)
    cluster.run(3)
    cluster.finding(bad, ecc())
    cluster.run(60)
    first, then = cluster.incidents()[0].diagnoses
    assert [first.diagnosis.cause, then.diagnosis.cause] == ["rank-crash", "gpu-ecc"]
    assert (first.at - began < 1.0, then.at - began) == (True, 3.0)


def test_the_first_and_the_newest_of_many_diagnoses_are_kept() -> None:
    cluster = Simulated()
    evict(cluster)
    incident = cluster.incidents()[0]
    for number in range(2 * DIAGNOSES_LIMIT):
        found = Diagnosis(Cause(f"cause-{number}"), (Suspect(),), 0.5, "why")
        cluster.state.change(incident, diagnosis=found)
        cluster.command("ack", incident.id)
    causes = [each.diagnosis.cause for each in cluster.incidents()[0].diagnoses]
    assert (len(causes), causes[0], causes[-1]) == (DIAGNOSES_LIMIT, "gpu-ecc", f"cause-{number}")


# --- what is left ---------------------------------------------------------------------------------------


def test_the_page_of_the_incident_that_shrank_a_job_says_degraded_and_no_other() -> None:
    cluster, bad = shrunken()
    cluster.run(20)
    cluster.crash(0)
    cluster.run(60)
    assert len(newest(cluster)) == 2
    said = {names(bad, page.body): "degraded" in page.body for page in newest(cluster)}
    assert said == {True: True, False: False}
    cluster.command("stop-job", cluster.job.id)
    cluster.run(5)
    assert "degraded" not in newest(cluster)[0].body


def test_a_job_that_shrank_for_a_humans_drain_is_degraded_and_pages_nobody() -> None:
    cluster = Simulated(nodes=2, min_world=1)
    cluster.command("drain", cluster.node(0))
    cluster.run(20)
    assert (cluster.job.is_degraded, cluster.pages()) == (True, set())
    assert any("drained by hand" in line for line in left_in_all(cluster.state, cluster.rules))


def test_a_spare_that_is_lost_later_is_missed_in_the_page_of_the_node_that_is_out() -> None:
    cluster = Simulated(nodes=4)
    evict(cluster)
    assert not any("no spare" in line for line in left(cluster))
    pages, spare = cluster.pages(), cluster.spare()
    cluster.command("drain", spare)
    cluster.run(5)
    assert any("no spare" in line for line in left(cluster))
    cluster.command("undrain", spare)
    cluster.run(5)
    assert (any("no spare" in line for line in left(cluster)), cluster.pages()) == (False, pages)


def test_a_job_that_is_stopped_leaves_its_nodes_as_spares() -> None:
    cluster = Simulated(nodes=3, world=1)
    evict(cluster)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 0, "boot"))
    for node in ("n2", "n3"):
        if not cluster.sitting(NodeId(node)):
            cluster.command("drain", node)
    cluster.run(5)
    assert any("no spare" in line for line in left(cluster)), "a node without a GPU is none"
    cluster.command("stop-job", cluster.job.id)
    cluster.run(5)
    assert not any("no spare" in line for line in left(cluster)), "and nobody needs one"


def test_a_refusal_outlasts_its_incident_while_what_was_found_holds() -> None:
    """The job goes on where a bad GPU is, for there is no other place: somebody should know."""
    cluster = Simulated(nodes=2, gpus=2, world=3, min_world=3)
    bad = cluster.node(2)
    cluster.crash(2)
    cluster.finding(bad, ecc(1))
    cluster.run(DAY)
    assert (cluster.going(), cluster.stages()) == (True, ["resolved"])
    assert any(names(bad, line) and "not done" in line for line in left(cluster))
    cluster.finding(bad, replace(ecc(1), health=Health.OK))
    cluster.run(5)
    (page,) = newest(cluster)
    assert (left(cluster), page.stage, cluster.state.refused.copy()) == ([], "resolved", {})


def test_an_event_that_was_refused_is_left_until_somebody_vouches_for_the_node() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    cluster.finding(bad, xid(79))
    cluster.crash(0)
    cluster.run(DAY)
    assert any(names(bad, line) for line in left(cluster))
    cluster.command("undrain", bad)
    cluster.run(60)
    assert (left(cluster), newest(cluster)[-1].stage) == ([], "resolved")


def test_who_stopped_actions_is_told_anew_when_somebody_else_does() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(1)
    for _ in range(2):
        cluster.command("stop-actions")
        cluster.run(60)
        assert any("actions are stopped" in line for line in left(cluster))
        cluster.command("resume-actions")
        cluster.run(1)
        assert left(cluster) == []


def test_resolved_incidents_are_kept_while_something_is_left_and_no_more_than_so_many() -> None:
    cluster = Simulated(nodes=6)
    bad = evict(cluster)
    incident = cluster.incidents()[0]
    for number in range(2 * LEFT_LIMIT):
        cluster.state.add(replace(incident, id=f"I-{number + 100}"))
    cluster.run(DAY)
    cluster.state.now = cluster.now
    forget(cluster.state, cluster.rules)
    assert [each.id for each in cluster.incidents()] == [
        f"I-{LEFT_LIMIT + n + 100}" for n in range(LEFT_LIMIT)
    ]
    assert any(names(bad, line) for line in left_in_all(cluster.state, cluster.rules)), (
        "the nodes say so still"
    )


def test_an_incident_is_let_go_when_nothing_is_left() -> None:
    cluster = Simulated(nodes=6)
    bad = evict(cluster)
    cluster.crash(0)
    cluster.run(DAY)
    assert cluster.causes() == ["gpu-ecc", "rank-crash"]
    cluster.command("undrain", bad)
    cluster.run(60)
    cluster.finding(cluster.node(1), lost())
    cluster.run(DAY)
    assert cluster.causes() == ["gpu-lost"]
