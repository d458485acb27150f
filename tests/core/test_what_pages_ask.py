"""How a page says how the job does, who looks after it, and what its reader is asked to do."""

import re

import pytest
from simulated import BOOKS, JOB, Simulated, ecc

from sentinel.core.page import words
from sentinel.core.settle.why import why
from sentinel.core.state import Rules, State
from sentinel.model.action import Page
from sentinel.model.fact import GcsLost, JobSubmitted, Outcome
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import ActionId, Cause, IncidentId, JobId
from sentinel.model.incident import Diagnosis, Incident, Stage
from sentinel.model.policy import Policy


def last(cluster: Simulated) -> tuple[Page, list[str]]:
    page = cluster.all(Page)[-1]
    return page, page.body.splitlines()


def test_nothing_is_asked_while_sentinel_repairs_and_when_all_is_well() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.4)
    page, lines = last(cluster)
    assert (page.cause, lines[-1]) == ("rank-crash", "Asked of you: nothing, while Sentinel repairs it")
    assert any(line.startswith("Job: moe is ") and line.endswith("of 2 ranks") for line in lines)
    cluster.run(60)
    page, lines = last(cluster)
    assert (page.stage, lines[-1]) == ("resolved", "Asked of you: nothing")
    assert "Job: moe is running, with 2 of 2 ranks" in lines


def test_what_is_left_is_what_is_asked() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    _, lines = last(cluster)
    assert lines[-1] == "Asked of you: what is left, above, in working hours"


def test_nobody_is_told_to_wait_for_a_repair_while_sentinel_only_looks_on() -> None:
    """All ranks are on one node, which is silent and answers nothing: it may train, so nothing is done."""
    cluster = Simulated(gpus=2)
    cluster.silence(cluster.node(0))
    cluster.run(600)
    page, lines = last(cluster)
    assert (page.cause, lines[-1]) == (
        "unknown",
        "Asked of you: to do what its runbook says, in working hours",
    )


def test_a_job_that_was_stopped_asks_for_people() -> None:
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(5)
    page, lines = last(cluster)
    assert (page.cause, lines[-1]) == (
        "code-error",
        f"Asked of you: to do what its runbook says, now, then `sentinel retry {JOB}`",
    )
    assert (page.stage, f"Job: {JOB} is stopped" in lines) == ("open", True), "nobody mitigates it but people"


@pytest.mark.parametrize(("breaks", "lines"), [(3, 3), (4, 1), (6, 1)])
def test_a_job_that_is_formed_again_and_again_is_one_line(breaks: int, lines: int) -> None:
    cluster = Simulated()
    for _ in range(breaks):
        cluster.crash(0)
        cluster.run(2)
    formed = [line for line in last(cluster)[1] if line.startswith("Did: resume as generation")]
    assert len(formed) == lines
    assert ("the last of" in formed[-1]) is (lines == 1)


def test_an_acknowledgement_is_in_the_page() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.4)
    before = len(cluster.all(Page))
    cluster.command("ack", "I-0001")
    assert len(cluster.all(Page)) == before + 1, "its page is edited at once"
    assert "Acknowledged by ann: because" in last(cluster)[1]


GCS = "10.0.0.1:6379"


@pytest.mark.parametrize("code", ["checkpoint-failed", "disk-full"])
def test_the_page_of_a_node_that_a_job_is_on_names_the_job_and_its_ranks(code: str) -> None:
    cluster = Simulated()
    check, place = (TRAINER, "checkpoint") if code == "checkpoint-failed" else ("disk", "/data")
    cluster.finding(cluster.node(0), Finding(check, code, place, Health.CRITICAL, "no room"))
    cluster.run(60)
    page, lines = last(cluster)
    assert page.cause == code
    assert "Job: moe is running, with 2 of 2 ranks" in lines


def test_the_page_of_a_node_without_ranks_names_no_job() -> None:
    cluster = Simulated(standbys=0)
    cluster.finding(cluster.spare(), Finding("disk", "disk-full", "/data", Health.CRITICAL, "no room"))
    cluster.run(60)
    page, lines = last(cluster)
    assert page.cause == "disk-full"
    assert not [line for line in lines if line.startswith("Job: ")]


def test_the_page_of_what_all_stand_on_names_every_job_that_is_not_over() -> None:
    cluster = Simulated(world=2)
    cluster.tell(JobSubmitted(cluster.now, JobId("second"), 9, "x:y", 0, 9))
    cluster.tell(GcsLost(cluster.now, GCS, "refused"))
    cluster.run(1.0)
    page, lines = last(cluster)
    assert page.cause == "gcs-dead"
    assert [line for line in lines if line.startswith("Job: ")] == [
        "Job: moe is running, with 2 of 2 ranks",
        "Job: second is waiting, with 0 of 9 ranks",
    ]
    reasons = why("second", cluster.state, cluster.rules, cluster.now)
    assert reasons is not None
    said = [reason.text for reason in reasons if reason.kind == "is"]
    assert said == ["waiting, generation 0, 0 of 9 ranks"]


# --- as urgent as it says ----------------------------------------------------------------------------------

FITS = {
    ("info", False): "nothing",  # as yet nothing is done about any of these
    ("info", True): "nothing",
    ("warning", False): "to do what .*, in working hours.*",
    ("warning", True): "nothing now; in working hours what its runbook says",
    ("critical", False): "to do what its runbook says, now",
    ("critical", True): "nothing now; in working hours what its runbook says",
}


@pytest.mark.parametrize("cause", BOOKS)
@pytest.mark.parametrize("over", [False, True], ids=["open", "over"])
@pytest.mark.parametrize("failed", [False, True], ids=["", "tried in vain"])
def test_what_is_asked_is_as_urgent_as_the_page(cause: Cause, over: bool, failed: bool) -> None:
    state, rules = State(1000.0), Rules(Policy(), BOOKS)
    evidence = (Outcome(1000.0, ActionId("I-0001/evict/n1/1"), False, "no"),) if failed else ()
    stage = Stage.RESOLVED if over else Stage.MITIGATING
    found = Diagnosis(cause, (), 1.0, "")
    incident = Incident(
        IncidentId("I-0001"), 1000.0, "", None, stage, found, evidence, times={"resolved": 1000.0}, revision=1
    )
    state.add(incident)
    (page,) = words.settle(incident, state, rules)
    asked = page.body.splitlines()[-1].removeprefix("Asked of you: ")
    assert re.fullmatch(FITS[page.severity, over], asked), (page.severity, asked)
    assert page.severity == ("critical" if failed and not over else BOOKS[cause].severity.value)
