"""A job whose steps all become slow: it is told once, with whoever the others wait for."""

from collections.abc import Iterator

import pytest
from watched import Watched

from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.model.action import Resume
from sentinel.model.fact import JobAtPace, JobSlowed, JobStalled

LOOK_S = 0.25
"""A node's report comes so often; at its usual pace this job makes a step in it."""


class Paced(Watched):
    """A job that makes a step every so many looks, and a core that hears of it."""

    def __init__(self, world: int = 3) -> None:
        super().__init__(world=world)
        self.at = 0

    def trains(self, seconds: float, every: int = 1) -> None:
        """Let time pass, with a step every so many looks."""
        for look in range(int(seconds / LOOK_S)):
            self.at += look % every == every - 1
            self.looks_once()

    def looks_once(self) -> None:
        for fact in self.report(self.at):
            self.tell(fact)
        self.run(0)

    def stutters(self, rank: int, seconds: float) -> None:
        """A rank is stopped for two of every three looks: the job makes one step in them."""
        for look in range(int(seconds / LOOK_S)):
            runs = look % 3 == 2
            self.states[rank] = "S" if runs else "T"
            self.entered = [0 if runs or each == rank else 1 for each in range(self.job.world)]
            self.at += runs
            self.looks_once()
        self.states, self.entered = ["S"] * self.job.world, [0] * self.job.world

    @property
    def slowed(self) -> list[JobSlowed]:
        return [fact for fact in self.reported if isinstance(fact, JobSlowed)]


def test_a_pace_that_drops_for_all_ranks_is_told_once_and_blames_nobody() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.trains(60, every=3)
    (slowed,) = cluster.slowed
    assert (slowed.usual_s, slowed.step_s, slowed.ranks) == (0.25, 0.75, ())
    assert not cluster.said(JobStalled)
    assert (cluster.causes(), cluster.stages(), cluster.evicted()) == (["job-slow"], ["open"], [])
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert incident.diagnosis.suspects == ()
    assert len(cluster.pages()) == 1


def test_it_is_over_when_the_usual_pace_is_kept_again() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.trains(30, every=3)
    cluster.trains(30)
    assert len(cluster.said(JobAtPace)) == 1
    assert (cluster.stages(), cluster.job.usual_step_s) == (["resolved"], 0.0)
    cluster.trains(30, every=3)
    assert len(cluster.slowed) == 2


def test_a_pace_that_people_let_be_becomes_the_usual_one() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.trains(30 + cluster.rules.policy.new_pace_s, every=3)
    (again,) = cluster.said(JobAtPace)
    assert isinstance(again, JobAtPace)
    assert again.usual_s == 0.75
    cluster.trains(120, every=3)
    assert (len(cluster.slowed), cluster.stages()) == (1, ["resolved"])


def test_a_rank_that_is_stopped_again_and_again_is_replaced() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.actions.clear()
    node, worker = cluster.node(1), cluster.worker(1).id
    cluster.stutters(1, 20)
    (slowed,) = cluster.slowed
    assert [(each.rank, each.node) for each in slowed.ranks] == [(1, node)]
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, [s.rank for s in incident.diagnosis.suspects]) == ("rank-hang", [1])
    (resume,) = cluster.all(Resume)
    assert (resume.seats[1].node, resume.seats[1].worker == worker) == (node, False)
    cluster.run(1)
    cluster.trains(40)
    cluster.settle()
    assert (cluster.going(), cluster.stages(), cluster.evicted()) == (True, ["resolved"], [])


def test_a_node_on_which_ranks_are_stopped_again_and_again_is_evicted() -> None:
    cluster = Paced()
    node = cluster.node(1)
    cluster.trains(60)
    for _ in range(cluster.rules.policy.crashes_per_hour):
        cluster.stutters(1, 30)
        cluster.trains(10)
    assert cluster.evicted() == [node]


def test_a_rank_that_the_others_wait_for_is_named_and_stays() -> None:
    """Only a rank that computes for longer than its peers is drained, and with more patience."""
    cluster = Paced()
    cluster.trains(60)
    for look in range(80):
        cluster.entered = [1, 0, 1] if look % 6 < 5 else [0, 0, 0]
        cluster.at += look % 6 == 5
        cluster.looks_once()
    (incident,) = cluster.incidents()
    assert incident.diagnosis is not None
    assert (incident.diagnosis.cause, [s.rank for s in incident.diagnosis.suspects]) == ("job-slow", [1])
    assert (cluster.evicted(), len(cluster.all(Resume))) == ([], 0)


def test_a_rank_that_takes_part_in_fewer_collectives_is_not_why_the_job_is_slow() -> None:
    cluster = Paced()
    cluster.entered = [1, 0, 1]
    cluster.trains(60)
    cluster.inside = [True] * 3  # the network is slow
    cluster.trains(30, every=3)
    assert [slowed.ranks for slowed in cluster.slowed] == [()]


def _changes(cluster: Paced, kind: str) -> Iterator[None]:
    """What is no fault."""
    match kind:
        case "a larger batch":
            cluster.outside = [0.35] * cluster.job.world
            yield cluster.trains(60, every=2)
        case "an evaluation":
            cluster.phase = "save"
            yield cluster.trains(120, every=480)
        case "evaluations in a row":
            for _ in range(3):
                cluster.phase = "save"
                yield cluster.trains(4, every=16)
                cluster.phase = "collective"
                yield cluster.trains(4)
        case "a bit slower":
            for _ in range(40):
                yield cluster.trains(2 * LOOK_S, every=2)
                yield cluster.trains(LOOK_S)
        case "slow for a while":
            yield cluster.trains(cluster.rules.policy.slow_pace_s - 3, every=3)


@pytest.mark.parametrize(
    "kind", ["a larger batch", "an evaluation", "evaluations in a row", "a bit slower", "slow for a while"]
)
def test_what_is_no_fault_pages_nobody(kind: str) -> None:
    cluster = Paced()
    cluster.trains(60)
    for _ in _changes(cluster, kind):
        pass
    cluster.phase = "collective"
    cluster.trains(30)
    assert (cluster.causes(), cluster.pages()) == ([], set())


def test_a_pace_that_was_hardly_measured_is_not_the_usual_one() -> None:
    cluster = Paced()
    cluster.trains(12)
    cluster.trains(60, every=3)
    assert not cluster.slowed


def test_the_first_steps_of_a_generation_take_their_time() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.crash(0)
    cluster.run(5)
    cluster.trains(15, every=12)
    cluster.trains(30)
    assert not cluster.slowed


def test_the_usual_pace_outlives_a_generation() -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.crash(0)
    cluster.run(5)
    cluster.trains(30, every=3)
    (slowed,) = cluster.slowed
    assert slowed.usual_s == 0.25


@pytest.mark.parametrize(("every", "reported", "stage"), [(3, 2, "open"), (1, 1, "resolved")])
def test_a_new_controller_goes_on_from_what_was_told(every: int, reported: int, stage: str) -> None:
    cluster = Paced()
    cluster.trains(60)
    cluster.trains(30, every=3)
    cluster.state = State.from_bytes(cluster.state.to_bytes())
    cluster.watch = Watch(cluster.rules.policy, cluster.now)
    cluster.trains(40, every=every)
    assert len(cluster.slowed) == reported
    assert (cluster.stages(), len(cluster.pages())) == ([stage], 1), "one incident, one page"
