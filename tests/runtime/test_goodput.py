"""Where a job's time went: every second is in training or in what it was lost to, and in one of them only."""

from pathlib import Path
from typing import cast

import pytest
from depth import tries
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cluster import JOB, Cluster

from sentinel import runbooks
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.fact import Commanded
from sentinel.model.ids import Cause, IncidentId, JobId
from sentinel.model.incident import Diagnosis, Incident, Stage
from sentinel.model.policy import Policy
from sentinel.runtime.goodput import Goodput


class Known:
    """As much of a state as is looked at."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.incidents: dict[IncidentId, Incident] = {}

    def open_incidents(self) -> list[Incident]:
        return [each for each in self.incidents.values() if each.stage is not Stage.RESOLVED]


class Life:
    """One job whose stages, steps and incidents are set by hand."""

    def __init__(self, usual_s: float = 0.0) -> None:
        self.state, self.now, self.reached = Known(), 0.0, (-1, 0.0, usual_s)
        self.state.jobs[JOB] = Job(JOB, 2, 1, 1)
        books = [Cause("gpu-lost"), Cause("unknown")]
        state = cast(State, self.state)
        self.goodput = Goodput(state, books, lambda _: self.reached, lambda: self.now)
        self.goodput.look()

    def turn(self, stage: JobStage) -> None:
        self.state.jobs[JOB] = Job(JOB, 2, 1, 1, stage=stage, high_step=self.reached[0])
        self.goodput.look()

    def steps(self, count: int, each_s: float) -> None:
        high, _, usual_s = self.reached
        self.now += count * each_s
        self.reached = (high + count, self.now, usual_s)

    def incident(self, cause: str | None, stage: Stage = Stage.OPEN) -> None:
        found = Diagnosis(Cause(cause), (), 1.0, "") if cause else None
        self.state.incidents[IncidentId("I-1")] = Incident(
            IncidentId("I-1"), self.now, f"job:{JOB}", JOB, stage, found, steps_lost=3
        )

    def figures(self) -> dict[str, float]:
        return {
            ".".join(
                [sample.name.removeprefix("sentinel_job_"), *list(sample.labels.values())[1:]]
            ): sample.value
            for family in self.goodput.collect()
            for sample in family.samples
            if sample.value
        }


def test_a_break_costs_from_the_last_step_on_and_is_put_down_to_its_cause() -> None:
    life = Life()
    life.now = 5.0
    life.reached = (0, 5.0, 0.0)
    life.turn(JobStage.RUNNING)
    life.steps(10, 1.0)
    life.now += 0.5  # half a step, then the break is seen
    life.incident(None)
    life.turn(JobStage.BROKEN)
    life.now += 2.0
    life.incident("gpu-lost")
    life.turn(JobStage.FORMING)
    life.now += 1.0
    life.reached = (11, life.now, 0.0)
    life.turn(JobStage.RUNNING)
    life.steps(4, 1.0)
    assert life.figures() == {
        "elapsed_seconds_total": 22.5,
        "training_seconds_total": 14.0,
        "productive_seconds_total": 14.0,
        "lost_seconds_total.start": 5.0,
        "lost_seconds_total.gpu-lost": 3.5,
        "new_steps_total": 16,
        "repeated_steps_total": 3,
        "effective_training_time_ratio": pytest.approx(14 / 22.5),
        "goodput_ratio": pytest.approx(14 / 22.5),
    }


def test_what_was_trained_while_nobody_looked_is_not_lost() -> None:
    life = Life()
    life.turn(JobStage.RUNNING)
    life.steps(10, 1.0)
    life.goodput.look()
    life.now += 91.0  # the controller stood still, and half way the job broke
    life.incident(None)
    life.turn(JobStage.BROKEN)
    life.reached = (55, 55.0, 0.0)  # then the survivors' reports are read
    life.goodput.look()
    life.incident("gpu-lost")
    life.turn(JobStage.FORMING)
    life.now += 2.0
    life.reached = (56, life.now, 0.0)
    life.turn(JobStage.RUNNING)
    shown = life.figures()
    assert (shown["training_seconds_total"], shown["lost_seconds_total.gpu-lost"]) == (55.0, 48.0)
    assert shown["elapsed_seconds_total"] == 103.0


def test_what_is_slower_than_usual_is_training_and_not_productive() -> None:
    life = Life(usual_s=1.0)
    life.turn(JobStage.RUNNING)
    life.steps(10, 2.0)
    shown = life.figures()
    assert (shown["training_seconds_total"], shown["productive_seconds_total"]) == (20.0, 10.0)


def test_what_nobody_ever_explained_is_lost_to_the_unknown() -> None:
    life = Life()
    life.turn(JobStage.RUNNING)
    life.incident(None)
    life.turn(JobStage.BROKEN)
    life.now += 7.0
    life.goodput.look()
    assert "lost_seconds_total.unknown" not in life.figures()
    life.incident(None, Stage.RESOLVED)
    life.turn(JobStage.BROKEN)
    assert life.figures()["lost_seconds_total.unknown"] == 7.0


def test_a_job_that_has_ended_loses_nothing_more() -> None:
    life = Life()
    life.turn(JobStage.RUNNING)
    life.steps(3, 1.0)
    life.turn(JobStage.FINISHED)
    before = life.figures()
    life.now += 1000.0
    assert life.figures() == before


MOVES = st.lists(
    st.tuples(
        st.sampled_from(list(JobStage)),
        st.integers(0, 5),
        st.floats(0.0, 9.0),
        st.sampled_from([None, "", "gpu-lost"]),
    ),
    max_size=25,
)


@given(moves=MOVES, usual_s=st.sampled_from([0.0, 0.5, 3.0]))
@settings(max_examples=tries(150, 1500))
def test_no_second_is_counted_twice_and_nothing_goes_back(
    moves: list[tuple[JobStage, int, float, str | None]], usual_s: float
) -> None:
    life, before = Life(usual_s), dict[str, float]()
    for stage, count, each_s, cause in moves:
        if cause is not None:
            life.incident(cause or None)
        else:
            life.state.incidents.clear()
        life.steps(count, each_s) if stage is JobStage.RUNNING else setattr(life, "now", life.now + each_s)
        life.turn(stage)
        now = {name: value for name, value in life.figures().items() if not name.endswith("_ratio")}
        assert all(now.get(name, 0.0) >= value for name, value in before.items())
        before = now
    total = before.get("elapsed_seconds_total", 0.0)
    lost = sum(value for name, value in before.items() if name.startswith("lost_"))
    assert total == pytest.approx(before.get("training_seconds_total", 0.0) + lost)
    assert total <= life.now + 1e-6
    assert before.get("productive_seconds_total", 0.0) <= before.get("training_seconds_total", 0.0) + 1e-9


def test_a_real_break_and_a_stop_by_a_person_are_told_apart(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    ledger = cluster.ledger
    goodput = Goodput(ledger.state, runbooks.load(), lambda _: None, lambda: cluster.at)
    ledger.changed = lambda _fact, _actions: goodput.look()
    cluster.trains()
    cluster.breaks(cluster.home)
    cluster.tell(lambda at: Commanded(at, "stop-job", JOB, "ann"))
    cluster.at += 60.0
    lost = {
        sample.labels["cause"]: sample.value
        for family in goodput.collect()
        if family.name == "sentinel_job_lost_seconds"
        for sample in family.samples
    }
    assert lost["gpu-ecc"] > 0
    assert lost["stopped"] == pytest.approx(60.0, abs=0.1)
    assert lost.keys() >= {*runbooks.load(), "start", "waiting", "forming", "stopped"}
