"""How a page says how the job does, who looks after it, and what its reader is asked to do."""

from simulated import JOB, Simulated, ecc

from sentinel.model.action import Page


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
    assert lines[-1] == "Asked of you: what is left, above"


def test_a_job_that_was_stopped_asks_for_people() -> None:
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(5)
    page, lines = last(cluster)
    assert (page.cause, lines[-1]) == ("code-error", "Asked of you: to do what its runbook says")
    assert f"Job: {JOB} is stopped, with 2 of 2 ranks" in lines


def test_an_acknowledgement_is_in_the_page() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.4)
    before = len(cluster.all(Page))
    cluster.command("ack", "I-0001")
    assert len(cluster.all(Page)) == before + 1, "its page is edited at once"
    assert "Acknowledged by ann" in last(cluster)[1]
