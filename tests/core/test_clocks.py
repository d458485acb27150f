"""Clocks of nodes that are off the controller's: a warning, whatever the network does beside."""

from collections.abc import Callable

import pytest
from simulated import Simulated

from sentinel.core.detect.watch import Watch
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId, Seconds
from sentinel.model.report import Report

NODE = NodeId("n1")


class Cluster(Simulated):
    """A cluster of whose nodes one reports by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch(self.rules.policy, self.now)
        self.found: list[Finding] = []

    def reports(self, ahead: Seconds, delay: Callable[[int], Seconds] = lambda _: 0.01) -> None:
        for number in range(4 * 70):
            self.now += 0.25
            sent = self.now - delay(number) + ahead
            for fact in self.watch.report(Report(NODE, "boot", number, (), (), sent), self.state, self.now):
                self.tell(fact)
        self.found = list(self.at(NODE).findings.values())


@pytest.mark.parametrize("ahead", [0.0, 0.9, -0.9])
def test_a_clock_that_is_near_is_well(ahead: Seconds) -> None:
    cluster = Cluster()
    cluster.reports(ahead)
    assert cluster.found == []


@pytest.mark.parametrize(("ahead", "where"), [(1.5, "ahead"), (-1.5, "behind"), (7200.0, "ahead")])
def test_a_clock_that_is_off_is_a_warning_until_it_is_near_again(ahead: Seconds, where: str) -> None:
    cluster = Cluster()
    cluster.reports(ahead)
    (found,) = cluster.found
    assert (found.code, found.health, where in found.summary) == ("clock-differs", Health.WARNING, True)
    assert found.evidence["offset_s"] == pytest.approx(ahead, abs=0.02)
    facts = len(cluster.facts)
    cluster.reports(ahead)
    assert len(cluster.facts) == facts, "what is known is no news"
    cluster.reports(0.0)
    assert (cluster.found, cluster.causes(), cluster.pages()) == ([], [], set())


def test_a_clock_that_swings_about_the_limit_is_told_once() -> None:
    cluster = Cluster()
    for ahead in (1.1, 0.9, 1.1, 0.9):
        cluster.reports(ahead)
    assert len([fact for fact in cluster.facts if "finding" in fact.__struct_fields__]) == 1


def test_reports_that_are_late_for_a_while_move_no_clock() -> None:
    cluster = Cluster()
    cluster.reports(0.0, lambda number: 0.01 if number % 40 == 0 else 5.0)
    assert cluster.found == []


def test_a_clock_ahead_shows_whatever_most_reports_take() -> None:
    cluster = Cluster()
    cluster.reports(4.0, lambda number: 0.5 + number % 3)
    (found,) = cluster.found
    assert found.evidence["offset_s"] == pytest.approx(3.5), "at least so much"


def test_a_controller_that_takes_over_knows_what_was_told() -> None:
    cluster = Cluster()
    cluster.reports(2.0)
    cluster.watch = Watch(cluster.rules.policy, cluster.now)
    facts = len(cluster.facts)
    cluster.reports(2.0)
    assert len(cluster.facts) == facts
    cluster.reports(0.0)
    assert cluster.found == []


def test_an_agent_of_before_says_nothing_of_its_clock() -> None:
    cluster = Cluster()
    for number in range(300):
        cluster.now += 0.25
        assert cluster.watch.report(Report(NODE, "boot", number, (), ()), cluster.state, cluster.now) == []
