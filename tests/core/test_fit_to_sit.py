"""Who was called stuck gets no seat again, whichever generation's outcome said so."""

import pytest
from seen_by_people import text
from simulated import JOB, Simulated

from sentinel.core.state.workers import WorkerStage
from sentinel.model.action import Resume, StartWorker, StopWorker
from sentinel.model.fact import Outcome, WorkerReady
from sentinel.model.ids import WorkerId

GIVEN_UP_S = 15.0
"""After this a gang that does not form says who gave no answer."""


class Held(Simulated):
    """Generations whose outcome comes when the test says so, and that never form with who is stuck."""

    def __init__(self, **named: int) -> None:
        self.holds = False
        self.stuck: set[WorkerId] = set()
        super().__init__(**named)

    def _formed(self, action: Resume) -> None:
        stuck = self.stuck & {seat.worker for seat in action.seats}
        if stuck:
            self.later(GIVEN_UP_S, lambda: self.says(action, *sorted(stuck)))
        elif not self.holds:
            super()._formed(action)

    def says(self, resume: Resume, *stuck: WorkerId, ok: bool = False) -> None:
        named = tuple(f"stuck {worker}" for worker in stuck)
        self.tell(Outcome(self.now, resume.id, ok, "formed" if ok else "no answer in time", named))


def seated_later(cluster: Simulated, since: int) -> set[WorkerId]:
    """Whom any generation seats that was ordered since so many."""
    return {seat.worker for resume in cluster.all(Resume)[since:] for seat in resume.seats}


def stopped(cluster: Simulated) -> set[WorkerId]:
    return {stop.worker for stop in cluster.all(StopWorker)}


def superseded(**named: int) -> tuple[Held, Resume]:
    """Return a generation that is overtaken by the next before anybody said what became of it."""
    cluster = Held(**named)
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    [first] = cluster.all(Resume)
    cluster.stuck = {first.seats[0].worker}
    cluster.crash(1)
    cluster.run(0.4)
    assert len(cluster.all(Resume)) == 2
    return cluster, first


def test_who_is_called_stuck_by_a_superseded_generation_is_not_seated_again() -> None:
    cluster, first = superseded()
    stuck = first.seats[0].worker
    assert stuck in seated_later(cluster, 1), "it was taken for warm"
    cluster.says(first, stuck)
    cluster.holds = False
    cluster.run(60)
    assert (stuck in cluster.seats, stuck in seated_later(cluster, 2), cluster.going()) == (
        False,
        False,
        True,
    )
    assert stuck in stopped(cluster)


def test_a_generation_with_a_worker_that_was_called_stuck_does_not_wait_for_its_time_out() -> None:
    """The gang can't form with it, so the next is ordered at once."""
    cluster, first = superseded()
    cluster.says(first, first.seats[0].worker)
    cluster.holds = False
    cluster.run(8)
    assert cluster.going()


def test_a_standby_that_is_stuck_is_not_seated_in_one_generation_after_the_other() -> None:
    """Each generation breaks before it is known that it can't form; what it said of its workers counts."""
    cluster = Held(nodes=6)
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    stuck = cluster.all(Resume)[0].seats[0].worker
    cluster.stuck = {stuck}
    for _ in range(3):
        before = cluster.all(Resume)[-1]
        cluster.crash(1)
        cluster.says(before, stuck)
        cluster.run(0.4)
    cluster.holds = False
    cluster.run(60)
    assert (stuck in seated_later(cluster, 1), cluster.going()) == (False, True)


def test_a_standby_that_was_called_stuck_is_not_warm() -> None:
    """It is stopped and another is started in its place."""
    cluster = Held()
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    [first] = cluster.all(Resume)
    stuck = first.seats[0]
    cluster.says(first, stuck.worker)
    cluster.holds = False
    cluster.run(60)
    assert stuck.worker in stopped(cluster)
    live = [w for w in cluster.workers if w.stage in (WorkerStage.STANDBY, WorkerStage.RANK)]
    assert stuck.worker not in {worker.id for worker in live}
    assert any(start.node == stuck.node for start in cluster.all(StartWorker))


def test_several_that_were_called_stuck_by_one_outcome_are_all_replaced() -> None:
    cluster = Held(nodes=6, world=3)
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    [first] = cluster.all(Resume)
    stuck = {first.seats[0].worker, first.seats[2].worker}
    cluster.says(first, *stuck)
    cluster.holds = False
    cluster.run(60)
    assert (stuck & seated_later(cluster, 1), stuck <= stopped(cluster), cluster.going()) == (
        set(),
        True,
        True,
    )


def test_one_that_is_stuck_in_every_generation_does_not_use_up_the_attempts() -> None:
    """Each time another standby turns out to be stopped: the job still comes back, for there are more."""
    cluster = Held(nodes=8)
    cluster.holds = True
    cluster.crash(0)
    seen: set[WorkerId] = set()
    for number in range(3):
        cluster.run(8)
        resume = cluster.all(Resume)[-1]
        stuck = resume.seats[0].worker
        assert stuck not in seen, number
        seen.add(stuck)
        cluster.says(resume, stuck)
    cluster.holds = False
    cluster.run(60)
    assert (cluster.going(), bool(seen & set(cluster.seats)), cluster.evicted()) == (True, False, [])
    assert "nobody" not in text(cluster).lower()


def test_an_outcome_that_says_who_is_stuck_counts_though_the_job_broke_meanwhile() -> None:
    cluster = Held()
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    [first] = cluster.all(Resume)
    stuck = first.seats[0].worker
    cluster.crash(1)
    cluster.says(first, stuck)
    cluster.holds = False
    cluster.run(60)
    assert (stuck in seated_later(cluster, 1), cluster.going()) == (False, True)


def test_a_worker_that_has_made_a_step_since_is_not_stuck_any_more() -> None:
    """An outcome that comes late does not break a generation that trains with whom it accuses."""
    cluster, first = superseded()
    cluster.holds, cluster.stuck = False, set()
    second = cluster.all(Resume)[1]
    cluster.says(second, ok=True)
    cluster.advance()
    cluster.run(2)
    assert cluster.going()
    seats = cluster.seats
    cluster.says(first, first.seats[0].worker)
    cluster.run(60)
    assert (cluster.going(), cluster.seats, len(cluster.all(Resume))) == (True, seats, 2)


def test_who_is_stuck_is_remembered_over_a_restart() -> None:
    cluster, first = superseded()
    cluster.restarts = True
    stuck = first.seats[0].worker
    cluster.says(first, stuck)
    cluster.holds = False
    cluster.run(60)
    assert (stuck in seated_later(cluster, 2), cluster.going()) == (False, True)


@pytest.mark.parametrize("after", [0.1, 30.0])
def test_a_stuck_worker_that_says_it_is_ready_gets_no_seat(after: float) -> None:
    """Its word was under way, or it was let go on: it has missed a generation, and is stopped."""
    cluster, first = superseded()
    stuck = first.seats[0]
    cluster.says(first, stuck.worker)
    cluster.holds = False
    cluster.run(after)
    pid = cluster.pid + 500
    cluster.tell(WorkerReady(cluster.now, JOB, stuck.worker, stuck.node, stuck.gpu, pid))
    cluster.run(60)
    cluster.crash(0)
    cluster.run(60)
    assert (stuck.worker in seated_later(cluster, 2), cluster.going()) == (False, True)


def test_a_node_whose_standby_was_stuck_once_is_used_again() -> None:
    """One stopped process says little about a machine: a new one there is as good as any."""
    cluster = Held()
    cluster.holds = True
    cluster.crash(0)
    cluster.run(0.4)
    [first] = cluster.all(Resume)
    cluster.says(first, first.seats[0].worker)
    cluster.holds = False
    cluster.run(60)
    assert (cluster.evicted(), cluster.at(first.seats[0].node).usable) == ([], True)


def test_a_name_that_is_nobodys_changes_nothing() -> None:
    cluster, first = superseded()
    cluster.says(first, WorkerId("w99"), WorkerId(""))
    cluster.holds = False
    cluster.run(60)
    assert cluster.going()
