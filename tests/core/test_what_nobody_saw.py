"""A job that broke while nobody looked stood still from then on: people are told so, and who was away."""

import re

import pytest
from simulated import JOB, Simulated
from watched import Watched

from sentinel.logbook.entry import gpu_seconds_lost, render, row
from sentinel.model.action import Page
from sentinel.model.fact import (
    ControllerPaused,
    ControllerStarted,
    Fact,
    JobStalled,
    RankExited,
    RankRaised,
)
from sentinel.model.report import ExitSeen, Report

AWAY = 91.0
DEAD = 45.6
"""For so long one of its ranks had been dead by then."""


def died(cluster: Simulated, age_s: float) -> RankExited:
    worker = cluster.worker(1)
    place = (1, worker.id, worker.node, worker.gpu, worker.pid, cluster.job.generation)
    return RankExited(cluster.now, JOB, *place, "signal 9", None, age_s)


def raised(cluster: Simulated, age_s: float) -> RankRaised:
    worker = cluster.worker(1)
    place = (1, worker.id, worker.node, worker.gpu, worker.pid, cluster.job.generation)
    return RankRaised(cluster.now, JOB, *place, 7, "user", "ValueError: bad", "Traceback", (), None, age_s)


def stalled(cluster: Simulated, age_s: float) -> JobStalled:
    beats = (cluster.beat(0), cluster.beat(1, "compute", 9, "T"))
    nodes = (cluster.node(0), cluster.node(1))
    return JobStalled(cluster.now, JOB, cluster.job.generation, age_s, 0.1, beats, nodes)


def back(cluster: Simulated, how: str) -> Fact:
    if how == "restarted":
        return ControllerStarted(cluster.now, 2, "p", "r", 0, AWAY)
    return ControllerPaused(cluster.now, AWAY)


def told(cluster: Simulated) -> str:
    return str([each for each in cluster.all(Page) if each.incident == "I-0001"][-1].body)


@pytest.mark.parametrize("how", ["stopped", "restarted"])
@pytest.mark.parametrize("what", [died, raised, stalled])
def test_downtime_counts_from_the_break_and_says_that_sentinel_was_away(what: object, how: str) -> None:
    cluster = Simulated()
    cluster.run(10)
    cluster.now += AWAY
    cluster.tell(back(cluster, how))
    seen = cluster.now
    cluster.tell(what(cluster, DEAD))  # type: ignore[operator]
    cluster.run(8)
    cluster.settle()
    (incident,) = cluster.incidents()
    stood = DEAD + incident.times["new_step"] - seen
    page, entry, summed = told(cluster), render(incident), row(incident)
    for text in (page, entry):
        assert f"Waited {DEAD:.1f} s while Sentinel was away" in text
        assert f"Made no step for {stood:.1f} s, {DEAD:.1f} s of them before it was seen" in text
    assert gpu_seconds_lost(incident) == pytest.approx(2 * stood)
    assert summed.unseen + summed.times["new_step"] == pytest.approx(stood)


def test_what_waited_for_an_agent_says_so() -> None:
    cluster = Simulated()
    cluster.run(10)
    cluster.tell(died(cluster, 12.0))
    cluster.run(8)
    cluster.settle()
    assert f"Waited 12.0 s while nothing was heard of {cluster.incidents()[0].about.nodes[0]}" in told(
        cluster
    )  # type: ignore[union-attr]
    assert "Sentinel was away" not in told(cluster)


def test_what_is_seen_at_once_says_nothing_of_that() -> None:
    cluster = Simulated()
    cluster.tell(ControllerPaused(cluster.now, AWAY))
    cluster.run(10)
    cluster.crash(1)
    cluster.run(8)
    cluster.settle()
    assert not re.search("Waited|Made no step", told(cluster))
    assert row(cluster.incidents()[0]).unseen == 0


@pytest.mark.parametrize("how", ["stopped", "restarted"])
def test_a_repair_that_was_under_way_has_waited_meanwhile(how: str) -> None:
    cluster = Simulated()
    cluster.run(10)
    cluster.crash(1)
    cluster.now += AWAY
    cluster.tell(back(cluster, how))
    cluster.run(8)
    cluster.settle()
    assert f"Waited {AWAY:.1f} s while Sentinel was away" in told(cluster)


def test_who_waits_for_people_has_not_waited_for_sentinel() -> None:
    cluster = Simulated()
    cluster.run(10)
    cluster.crash(1)
    cluster.run(8)
    cluster.tell(ControllerStarted(cluster.now, 2, "p", "r", 0, AWAY))
    cluster.settle()
    assert "Waited" not in told(cluster)


def test_a_break_is_never_before_the_last_step_that_was_heard_of() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(8)
    first = cluster.incidents()[0].times["new_step"]
    cluster.tell(died(cluster, 1e6))
    cluster.run(3)
    again = row(cluster.incidents()[0]).again
    assert again == (pytest.approx(cluster.job.advanced - first),)


# --- what reports show of it -------------------------------------------------------------------------------


def test_steps_are_dated_by_the_ranks_durations_where_nobody_looked() -> None:
    cluster = Watched()
    for step in range(40):
        cluster.report(step)
    cluster.now += AWAY
    cluster.watch.slept(cluster.now, AWAY)
    for rank in range(3):
        cluster.phase_since[rank] = cluster.now - DEAD
    cluster.phase = "failed"
    cluster.report(800)
    high, at, _ = cluster.watch.reached(JOB) or (0, 0.0, 0.0)
    assert (high, at) == (800, pytest.approx(cluster.now - DEAD, abs=1.0))


def test_a_report_that_waited_to_be_read_is_as_late_as_its_nodes_quickest_is_not() -> None:
    cluster = Watched()
    worker = cluster.worker(1)
    place = (JOB, 1, worker.id, worker.pid, cluster.job.generation, worker.gpu)

    def told(sent: float, *events: tuple[int, ExitSeen]) -> list[RankExited]:
        report = Report(worker.node, "boot", 0, (), events, sent)
        facts = cluster.watch.report(report, cluster.state, cluster.now)
        return [fact for fact in facts if isinstance(fact, RankExited)]

    ahead = 7.0  # by which the node's clock is wrong
    for _ in range(40):
        cluster.now += 1.0
        told(cluster.now + ahead - 0.01)
    sent = cluster.now + ahead + 0.5
    cluster.now += AWAY
    cluster.watch.slept(cluster.now, AWAY)
    (fact,) = told(sent, (1, ExitSeen(*place, "signal 9")))
    assert fact.age_s == pytest.approx(AWAY - 0.5, abs=0.1)
    (fact,) = told(cluster.now + ahead, (2, ExitSeen(*place, "signal 9", DEAD)))
    assert fact.age_s == pytest.approx(DEAD, abs=0.1)
