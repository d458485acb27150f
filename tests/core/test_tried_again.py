"""A human's word that something is tried again, and that people may be woken again."""

import pytest
from simulated import JOB, Simulated, ecc

from sentinel.core.commands import refuse_command
from sentinel.core.page.left import left_in_all
from sentinel.core.settle.why import why
from sentinel.core.state import State
from sentinel.core.state.rows import JobStage, Silence
from sentinel.model.action import Page, Refusal, RestartAgent, Resume, StopJob
from sentinel.model.fact import Commanded, NodeJoined
from sentinel.model.policy import Policy


def test_a_job_that_was_given_up_forms_again() -> None:
    cluster = Simulated(policy=Policy(resume_attempts=2))
    cluster.advances = False
    cluster.crash(0)
    cluster.run(600)
    assert any(refusal.guard == "attempts" for refusal in cluster.all(Refusal)), "it was given up"
    formed, cluster.advances = len(cluster.all(Resume)), True
    cluster.command("retry", JOB)
    cluster.run(60)
    assert len(cluster.all(Resume)) == formed + 1
    assert cluster.going()


def test_an_eviction_that_was_refused_is_done_when_there_is_room_again() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=3)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert cluster.evicted() == []
    [incident] = cluster.state.open_incidents()
    cluster.tell(NodeJoined(cluster.now, "n9", "10.0.0.9", 1, 2, "b"))
    cluster.run(5)
    cluster.command("retry", incident.id)
    cluster.run(60)
    assert cluster.evicted() == [bad]


def test_an_agent_that_was_given_up_is_restarted_again() -> None:
    cluster = Simulated()
    spare = cluster.spare()
    cluster.fails = {"RestartAgent"}
    cluster.ports[spare] = ("refused", "ok", -1)
    cluster.silence(spare)
    cluster.run(600)
    tried = len(cluster.all(RestartAgent))
    assert any(refusal.guard == "attempts" for refusal in cluster.all(Refusal)), "it was given up"
    cluster.command("retry", spare)
    cluster.run(1)
    assert len(cluster.all(RestartAgent)) == tried + 1
    assert len({action.id for action in cluster.all(RestartAgent)}) == tried + 1, "each is its own action"


def test_a_job_that_its_code_stopped_starts_again_and_is_stopped_again_only_for_a_new_failure() -> None:
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0, "ValueError: no such layer")
        cluster.run(5)
    assert cluster.job.stage is JobStage.STOPPED
    cluster.run(5)
    cluster.advances = True
    cluster.command("retry", JOB)
    cluster.run(60)
    assert cluster.job.stage is JobStage.RUNNING
    assert len(cluster.all(StopJob)) == 1
    cluster.settle()
    assert cluster.stages() == ["resolved"]


def test_what_can_not_be_tried_again_is_said() -> None:
    cluster = Simulated()
    assert refuse_command(cluster.state, "retry", "n77") == "no incident, node or job 'n77' is known"
    assert refuse_command(cluster.state, "grow", JOB) == "moe has all of its 2 ranks"
    assert refuse_command(cluster.state, "grow", "other").startswith("no job 'other': known are moe")
    assert refuse_command(cluster.state, "unsilence", "n1") == "'n1' is not silenced: silenced are none"
    assert refuse_command(cluster.state, "retry", JOB) == ""


def test_a_smaller_job_grows_without_waiting_for_others_that_may_come() -> None:
    cluster = Simulated(nodes=3, world=3, gpus=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    assert cluster.job.is_degraded
    cluster.tell(NodeJoined(cluster.now, "n9", "10.0.0.9", 1, 1, "b"))
    assert refuse_command(cluster.state, "grow", JOB) == ""
    before = cluster.job.born
    cluster.command("grow", JOB)
    assert cluster.job.born > before, "a worker starts at once"
    cluster.run(60)
    assert not cluster.job.is_degraded


def test_a_silence_that_is_lifted_lets_an_open_incident_page() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=3)
    bad = cluster.node(0)
    for name in ("gpu-ecc", bad):
        cluster.tell(Commanded(cluster.now, "silence", name, "ann", "", cluster.now + 3600))
    cluster.finding(bad, ecc())
    cluster.run(30)
    assert cluster.all(Page) == []
    cluster.command("unsilence", "gpu-ecc")
    assert cluster.all(Page) == [], "the node is silenced still"
    cluster.command("unsilence", bad)
    cluster.run(1)
    assert len(cluster.all(Page)) == 1
    assert not cluster.state.silences


def test_who_asked_for_a_silence_is_kept_and_an_older_release_did_not_say() -> None:
    cluster = Simulated()
    cluster.tell(Commanded(cluster.now, "silence", "gpu-ecc", "ann", "Monday", cluster.now + 100))
    asked = Silence(cluster.now + 100, "ann", "Monday")
    assert State.from_bytes(cluster.state.to_bytes()).silences.copy() == {"gpu-ecc": asked}
    older = cluster.state.to_plain()
    del older["silenced"]
    assert State.from_plain(older).silences.copy() == {"gpu-ecc": Silence(asked.until)}


def test_a_silence_of_a_cause_ends_by_its_time() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=3)
    cluster.tell(Commanded(cluster.now, "silence", "gpu-ecc", "ann", "", cluster.now + 100))
    cluster.finding(cluster.node(0), ecc())
    cluster.run(90)
    assert cluster.all(Page) == []
    cluster.run(20)
    assert len(cluster.all(Page)) == 1


def stopped(error: str = "ValueError: no such layer") -> Simulated:
    """A job that its runbook's remedy has stopped."""
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0, error)
        cluster.run(5)
    cluster.advances = True
    return cluster


def said(cluster: Simulated, name: str) -> list[str]:
    reasons = why(name, cluster.state, cluster.rules, cluster.now)
    assert reasons is not None
    return [f"{kind}: {text}" for kind, text in reasons]


def test_a_stopped_job_says_everywhere_which_incident_stopped_it_and_what_starts_it_again() -> None:
    cluster = stopped()
    assert [line for line in left_in_all(cluster.state, cluster.rules) if line.startswith(JOB)] == [
        "moe is stopped for code-error (I-0001); when that is mended, `sentinel retry moe` submits it again"
    ]
    job, incident = said(cluster, JOB), said(cluster, "I-0001")
    assert any(
        line.startswith("is: stopped for I-0001: code-error") and "no such layer" in line for line in job
    )
    for lines in (job, incident):
        assert "waits: for people: `sentinel retry moe` submits it again" in lines
    assert not any(line.startswith("wants: stop") for line in incident), "that is done"
    cluster.command("retry", "I-0001")
    cluster.run(60)
    assert cluster.going()
    assert not any(JOB in line for line in left_in_all(cluster.state, cluster.rules))
    assert not any("retry" in line for line in (*said(cluster, JOB), *said(cluster, "I-0001")))


def test_of_one_that_a_human_has_stopped_it_is_said_who_did_and_it_is_left_to_nobody() -> None:
    cluster = Simulated()
    cluster.command("stop-job", JOB)
    cluster.run(5)
    assert "is: stopped by ann: because" in said(cluster, JOB)
    assert "waits: for people: `sentinel retry moe` submits it again" in said(cluster, JOB)
    assert not any(JOB in line for line in left_in_all(cluster.state, cluster.rules))


@pytest.mark.parametrize("kind", ["incident", "node", "job"])
def test_whatever_name_is_retried_the_job_that_was_stopped_for_it_starts_again(kind: str) -> None:
    cluster = stopped("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    (node,) = incident.diagnosis.nodes
    target = {"incident": incident.id, "node": node, "job": JOB}[kind]
    assert refuse_command(cluster.state, "retry", target) == ""
    cluster.command("retry", target)
    cluster.run(60)
    assert cluster.going()


def test_another_incident_starts_no_job_that_was_stopped_for_the_first() -> None:
    cluster = stopped()
    other = next(node for node in cluster.state.nodes if not cluster.sitting(node))
    cluster.finding(other, ecc())
    cluster.run(5)
    assert len(cluster.incidents()) == 2
    for target in ("I-0002", other):
        cluster.command("retry", target)
    cluster.run(30)
    assert cluster.job.stage is JobStage.STOPPED
