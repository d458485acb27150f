"""A job's directory in which a generation has formed that this journal knows nothing of."""

import pytest
from simulated import JOB, Simulated

from sentinel.core.learn.again import with_another_past
from sentinel.core.state import State
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Action, Page, Resume, StartWorker
from sentinel.model.fact import JobSubmitted, NodeJoined, NodeLeft, Outcome
from sentinel.model.ids import NodeId


class Directory(Simulated):
    """Nodes whose ranks ask first whose directory it is, and take it over if the job has never stepped."""

    owner = 0
    """The newest generation of another journal that has formed there; 0 while it is ours."""
    ended = False
    """Its workers have been ended, as for a job that has never stepped."""
    stops = False
    """An operator stops actions at that moment."""

    def _answer(self, action: Action) -> None:
        if isinstance(action, Resume) and self._theirs(action):
            self.later(0.2, lambda: self._refused(action))
        else:
            super()._answer(action)

    def _theirs(self, action: Resume) -> bool:
        return self.owner > 0 and not (self.ended and action.generation > self.owner)

    def _refused(self, action: Resume) -> None:
        self.ended = self.job.high_step < 0
        if self.stops:
            self.command("stop-actions")
        detail = f"generation {self.owner} of another journal has trained in the job's directory"
        self.tell(Outcome(self.now, action.id, ok=False, detail=detail, data=(f"overtaken {self.owner}",)))


class Taken(Directory):
    """The journal that knew generation 57 is lost."""

    owner = 57


class TakenAndStopped(Taken):
    """An operator is careful about it."""

    stops = True


def test_a_new_journal_goes_on_after_the_newest_generation() -> None:
    cluster = Taken(nodes=2, world=2)
    assert (cluster.job.generation, cluster.going(), cluster.incidents()) == (58, True, [])


def test_a_new_journal_waits_until_actions_are_allowed() -> None:
    cluster = TakenAndStopped(nodes=2, world=2)
    cluster.run(100)
    assert (cluster.job.stage, cluster.all(Resume)) == (JobStage.BROKEN, [])
    cluster.command("resume-actions")
    cluster.run(5)
    assert (cluster.job.generation, cluster.going()) == (58, True)


def test_a_journal_with_larger_numbers_takes_over_when_a_human_says_so() -> None:
    cluster = Directory(nodes=2, world=2)
    for rank in (0, 1, 0):
        cluster.crash(rank)
        cluster.run(5)
    cluster.owner = 2
    cluster.command("stop-job", JOB)
    cluster.run(5)
    for node in ("n1", "n2"):
        cluster.tell(NodeLeft(cluster.now, NodeId(node)))
    cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 1, 1))
    for node in ("n1", "n2"):
        cluster.tell(NodeJoined(cluster.now, NodeId(node), "10.0.0.1", 1, 1, "boot"))
    cluster.run(20)
    assert (cluster.going(), cluster.ended) == (True, True)


@pytest.mark.parametrize("owner", [2, 57])
def test_a_journal_that_has_seen_the_job_step_never_takes_over(owner: int) -> None:
    cluster = Directory(nodes=2, world=2)
    cluster.owner = owner  # a successor has formed it while this controller was thought dead
    cluster.crash(0)
    cluster.run(300)
    assert (cluster.job.stage, cluster.evicted()) == (JobStage.BROKEN, [])
    assert "another journal" in str(cluster.all(Page)[-1])
    cluster.command("stop-job", JOB)
    cluster.command("resume-actions")
    cluster.run(100)
    assert cluster.job.stage is JobStage.STOPPED


@pytest.mark.parametrize("crashes", [0, 1, 3], ids=["running", "a standby took over", "moved"])
def test_a_past_whose_end_is_lost_gives_no_name_again(crashes: int) -> None:
    """What was decided after it is unknown: its workers run, under the names that would be given next."""
    cluster = Directory(nodes=3, world=2)
    for rank in range(crashes):
        cluster.crash(rank % 2)
        cluster.run(30)
    named = {worker.id for worker in cluster.state.workers.of(JOB)}
    past = cluster.state.to_bytes()
    cluster.crash(0)
    cluster.run(30)
    lost = {worker.id for worker in cluster.state.workers.of(JOB)} - named
    assert lost, "a standby was started"
    owner = cluster.job.generation

    cluster.state = State.from_bytes(past)
    with_another_past(cluster.state, "b", cluster.rules)
    assert cluster.state.workers.of(JOB) == [], "nobody is believed to sit anywhere"
    cluster.state.frozen = "its end is lost"
    cluster.command("drain", "n1")
    cluster.state = State.from_bytes(cluster.state.to_bytes())
    cluster.owner, cluster.actions = owner, []
    cluster.run(60)
    assert [each for each in cluster.actions if isinstance(each, StartWorker)] == []
    cluster.command("resume-actions")
    cluster.run(60)
    assert (cluster.going(), cluster.ended, cluster.job.generation) == (True, True, owner + 1)
    now = {worker.id for worker in cluster.state.workers.of(JOB)}
    assert now.isdisjoint(named | lost)
    assert all(name.endswith("-b") for name in now)
    assert "n1" not in {worker.node for worker in cluster.state.workers.of(JOB) if worker.rank >= 0}


def test_what_the_lost_past_had_ordered_is_not_ordered_again() -> None:
    cluster = Simulated(nodes=2, world=1)
    cluster.crash(0)
    cluster.run(cluster.rules.policy.gather_s + 0.05)
    assert Resume in {type(each) for each in cluster.state.unfinished.values()}
    with_another_past(cluster.state, "b", cluster.rules)
    assert {type(each) for each in cluster.state.unfinished.values()} <= {Page}
