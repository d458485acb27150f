"""A page says how urgent it is: as its runbook says, and critical while somebody's hand is needed."""

from seen_by_people import newest
from simulated import JOB, Simulated, ecc

from sentinel.model.action import Page
from sentinel.model.fact import GcsBack, GcsLost
from sentinel.model.policy import Policy


def told(cluster: Simulated) -> list[tuple[str, str, str]]:
    """(cause, stage, severity) of each page in turn, where one of them changed."""
    said = [(page.cause, page.stage, page.severity) for page in cluster.all(Page)]
    return [each for place, each in enumerate(said) if not place or said[place - 1] != each]


def test_what_repairs_itself_is_information() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(60)
    assert {severity for _, _, severity in told(cluster)} == {"info"}


def test_a_node_that_awaits_repair_is_a_warning_to_the_end() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    assert {severity for _, _, severity in told(cluster)} == {"warning"}
    assert newest(cluster)[0].stage == "resolved"


def test_information_with_something_left_is_a_warning() -> None:
    cluster = Simulated(nodes=2, standbys=0)
    cluster.never_starts = {"n1", "n2"}
    cluster.crash(0)
    cluster.run(30)
    page = newest(cluster)[0]
    assert "degraded" in page.body
    assert (page.cause, page.severity) == ("rank-crash", "warning")


def test_a_refusal_is_critical_until_it_is_done() -> None:
    cluster = Simulated()
    cluster.command("stop-actions")
    cluster.crash(0)
    cluster.run(5)
    assert told(cluster)[-1] == ("rank-crash", "open", "critical")
    cluster.command("resume-actions")
    cluster.run(60)
    assert told(cluster)[-1] == ("rank-crash", "resolved", "info")


def test_a_job_that_is_given_up_is_critical() -> None:
    cluster = Simulated(policy=Policy(resume_attempts=2))
    cluster.advances = False
    cluster.crash(0)
    cluster.run(300)
    page = newest(cluster)[0]
    assert "attempts brought no new step" in page.body
    assert page.severity == "critical"


def test_a_job_that_is_stopped_is_critical() -> None:
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(5)
    page = newest(cluster)[-1]
    assert (page.cause, page.severity) == ("code-error", "critical")
    assert f"{JOB} is stopped" in page.body


def test_a_remedy_that_fails_is_critical_until_it_helps() -> None:
    cluster = Simulated()
    cluster.fails = {"RestartGcs"}
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "refused"))
    assert told(cluster) == [("gcs-dead", "mitigating", "warning")]
    cluster.run(1)
    assert told(cluster)[-1] == ("gcs-dead", "mitigating", "critical")
    cluster.fails = set()
    cluster.run(30)
    cluster.tell(GcsBack(cluster.now, "10.0.0.1:6379"))
    assert told(cluster)[-1] == ("gcs-dead", "mitigating", "warning")
    cluster.settle()
    assert told(cluster)[-1] == ("gcs-dead", "resolved", "warning")


def test_an_agent_that_does_not_come_back_is_critical_from_its_first_page_on() -> None:
    cluster = Simulated()
    node = cluster.spare()
    cluster.ports[node] = ("refused", "ok", 5)
    cluster.silence(node)
    cluster.run(60)
    assert [(cause, severity) for cause, _, severity in told(cluster)[:1]] == [("agent-dead", "critical")]


def test_stacks_that_can_t_be_taken_leave_nothing_undone() -> None:
    cluster = Simulated()
    cluster.fails = {"CollectStacks"}
    cluster.stall(cluster.beat(0, "compute", state="T"), cluster.beat(1))
    cluster.run(60)
    assert {(cause, severity) for cause, _, severity in told(cluster)} == {("rank-hang", "info")}
