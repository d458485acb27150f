"""An incident whose repair had to wait says so, to the page's readers and in the logbook: and why."""

import re

import pytest
from simulated import Simulated, lost

from sentinel.core.settle.why import why
from sentinel.logbook.entry import render
from sentinel.model.action import Page, Resume
from sentinel.model.fact import GcsBack, GcsLost, JournalBack, JournalFailed, LinkBack, LinkLost
from sentinel.model.policy import Policy

WAITED = r"Waited (\d+\.\d) s while (.*)"


class Deaf(Simulated):
    """A cluster whose scheduler can be away: what is ordered of it is done when it is back."""

    there = True

    def _formed(self, action: Resume) -> None:
        self.later(
            0.0 if self.there else 0.1,
            lambda: super(Deaf, self)._formed(action) if self.there else self._formed(action),
        )


def waits(cluster: Simulated, number: int = 0) -> list[tuple[str, str]]:
    """What the newest page of an incident, and its logbook entry, say of what was waited for."""
    incident = cluster.incidents()[number]
    page = [each for each in cluster.all(Page) if each.incident == incident.id][-1]
    told = re.findall(f"^{WAITED}$", page.body, re.MULTILINE)
    entry = re.findall(WAITED, render(incident))
    assert [seconds for seconds, _ in entry] == [seconds for seconds, _ in told]
    return told


def test_a_rank_that_died_while_the_link_hung_unnoticed_says_what_its_repair_waited_for() -> None:
    cluster = Deaf()
    cluster.there = False
    cluster.run(0.2)
    cluster.crash(0)
    cluster.run(1.8)
    cluster.tell(LinkLost(cluster.now, "it has not answered for 2 s", 2.0))
    cluster.run(0.5)
    cluster.there = True
    cluster.tell(LinkBack(cluster.now))
    cluster.settle()
    ((seconds, what),) = waits(cluster)
    assert what == "Ray was away: ray-link-lost (I-0002)"
    assert 1.8 <= float(seconds) <= 2.3  # from the order on, and not from before it


def test_who_waits_for_the_link_is_told_so_while_it_does() -> None:
    cluster = Deaf()
    cluster.there = False
    cluster.crash(0)
    cluster.run(2)
    cluster.tell(LinkLost(cluster.now, "hangs", 2.0))
    reasons = why("I-0001", cluster.state, cluster.rules, cluster.now) or []
    assert any(each.kind == "waits" and "Ray" in each.text for each in reasons)


def test_a_link_that_hung_when_nothing_was_to_be_done_is_said_of_nobody() -> None:
    cluster = Deaf()
    cluster.crash(0)
    cluster.run(5)
    cluster.tell(LinkLost(cluster.now, "hangs", 2.0))
    cluster.run(1)
    cluster.tell(LinkBack(cluster.now))
    cluster.settle()
    assert waits(cluster) == []


def test_gcs_and_link_that_are_away_at_the_same_time_are_waited_for_once() -> None:
    cluster = Deaf()
    cluster.there = False
    cluster.crash(0)
    cluster.run(1)
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "refused"))
    cluster.run(1)
    cluster.tell(LinkLost(cluster.now, "ended"))
    cluster.run(3)
    cluster.tell(GcsBack(cluster.now, "10.0.0.1:6379"))
    cluster.run(2)
    cluster.there = True
    cluster.tell(LinkBack(cluster.now))
    cluster.settle()
    assert waits(cluster) == [("6.0", "Ray was away: gcs-dead (I-0002)")]


@pytest.mark.parametrize("kind", ["link", "journal", "operator"])
def test_what_was_refused_while_actions_were_held_says_so_when_it_is_done(kind: str) -> None:
    """Whoever holds them: an incident with that remedy, or a human."""
    cluster = Simulated()
    hold = {"link": LinkLost(cluster.now, "hangs"), "journal": JournalFailed(cluster.now, "disk full")}
    cluster.tell(hold[kind]) if kind in hold else cluster.command("stop-actions")
    cluster.finding(cluster.node(0), lost())
    cluster.run(7)
    free = {"link": LinkBack(cluster.now), "journal": JournalBack(cluster.now)}
    cluster.tell(free[kind]) if kind in free else cluster.command("resume-actions")
    cluster.settle()
    held = {
        "link": "actions were frozen: ray-link-lost (I-0001)",
        "journal": "actions were frozen: journal-failed (I-0001)",
        "operator": "actions were stopped: ann: because",
    }
    assert waits(cluster, -1) == [("7.0", held[kind])]
    assert len(cluster.evicted()) == 1


def test_a_wait_goes_on_when_another_cause_is_named_meanwhile() -> None:
    cluster = Simulated()
    cluster.command("stop-actions")
    cluster.crash(0)
    cluster.run(3)
    cluster.finding(cluster.node(0), lost())
    cluster.run(3)
    cluster.command("resume-actions")
    cluster.settle()
    ((seconds, _),) = waits(cluster)
    assert float(seconds) > 5


def test_waits_one_after_the_other_are_summed() -> None:
    cluster = Simulated()
    for rank in (0, 1):
        cluster.command("stop-actions")
        cluster.crash(rank)
        cluster.run(4)
        cluster.command("resume-actions")
        cluster.run(3)
    cluster.settle()
    ((seconds, _),) = waits(cluster)
    assert float(seconds) == pytest.approx(8, abs=0.7)


def test_who_only_observes_waits_for_nothing() -> None:
    cluster = Simulated(policy=Policy(observe_only=True))
    cluster.crash(0)
    cluster.run(3)
    cluster.finding(cluster.node(0), lost())
    cluster.run(3)
    assert waits(cluster) == []
