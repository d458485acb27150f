"""Taking Sentinel off a cluster and bringing it back: what is over, what is kept, who may not leave yet."""

import pytest
from simulated import Simulated, ecc

from sentinel.core.commands import refuse_command
from sentinel.core.detect.watch import Watch
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Action, StartWorker, StopJob, StopWorker
from sentinel.model.fact import (
    Commanded,
    DeadlinePassed,
    Fact,
    JobSubmitted,
    NodeJoined,
    NodeLeft,
    NodeSilent,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.policy import Policy

JOB, NODE, WORKER = JobId("moe"), NodeId("n1"), WorkerId("w1")
SUBMITTED = JobSubmitted(1.0, JOB, 1, "m:T", 0, 1)
RULES = Rules(Policy(), {})


def joined(at: float) -> NodeJoined:
    return NodeJoined(at, NODE, "127.0.0.1", 7000, 1, "boot")


def exited(at: float) -> RankExited:
    return RankExited(at, JOB, 0, WORKER, NODE, 0, 4711, 1, "signal 9")


def fold(state: State, *facts: Fact) -> list[Action]:
    return [action for fact in facts for action in decide(state, fact, RULES)]


@pytest.fixture
def state() -> State:
    """A job of one rank that was just told to stop."""
    state = State()
    fold(state, SUBMITTED, joined(2.0), DeadlinePassed(3.0, "place/moe"))
    fold(state, WorkerReady(4.0, JOB, WORKER, NODE, -1, 4711))
    return state


def stop(state: State, at: float = 5.0) -> list[Action]:
    return fold(state, Commanded(at, "stop-job", JOB, "ada"))


def end(state: State) -> None:
    [stopping] = stop(state)
    fold(state, exited(5.1), Outcome(5.2, stopping.id, True, "1 worker stopped"))


def test_agents_may_leave_only_when_no_process_of_a_job_is_left(state: State) -> None:
    assert "stop it first" in refuse_command(state, "retire", "")
    [stopping] = stop(state)
    assert isinstance(stopping, StopJob)
    assert refuse_command(state, "retire", "") == "moe still has 1 process: w1"
    fold(state, exited(5.1))
    assert refuse_command(state, "retire", "") == f"not done yet: {stopping.id}"
    fold(state, Outcome(5.2, stopping.id, True, "1 worker stopped"))
    assert refuse_command(state, "retire", "") == ""


def test_nobody_waits_for_a_worker_of_a_silent_node(state: State) -> None:
    [stopping] = stop(state)
    fold(state, Outcome(5.2, stopping.id, True, "no agent"), NodeSilent(9.0, NODE, 3.0, 0, 1))
    assert refuse_command(state, "retire", "") == ""


def test_a_worker_that_gets_ready_after_the_stop_is_stopped() -> None:
    state = State()
    [start] = fold(state, SUBMITTED, joined(2.0), DeadlinePassed(3.0, "place/moe"))
    assert isinstance(start, StartWorker)
    stop(state)
    [late] = fold(state, WorkerReady(6.0, JOB, WORKER, NODE, -1, 4711))
    assert isinstance(late, StopWorker)
    assert late.pid == 4711


def test_a_node_that_left_is_not_silent(state: State) -> None:
    end(state)
    watch = Watch(RULES.policy, 0.0)
    assert [type(fact) for fact in watch.tick(state, 1000.0)] == [NodeSilent]
    fold(state, NodeLeft(1000.0, NODE))
    assert watch.tick(state, 2000.0) == []


def test_a_cordon_outlives_leaving(state: State) -> None:
    fold(state, Commanded(4.5, "drain", NODE, "ada", "a fan"))
    end(state)
    fold(state, NodeLeft(6.0, NODE), joined(100.0))
    cordon = state.nodes[NODE].cordon
    assert cordon is not None
    assert (cordon.by, cordon.who, cordon.reason) == ("operator", "ada", "a fan")


def test_a_drain_said_again_without_a_reason_keeps_the_first(state: State) -> None:
    fold(state, Commanded(4.5, "drain", NODE, "ada", "a fan"), Commanded(4.6, "drain", NODE, "bob", ""))
    cordon = state.nodes[NODE].cordon
    assert cordon is not None
    assert (cordon.who, cordon.reason) == ("bob", "a fan")


def test_the_job_starts_again_with_new_numbers_when_its_cluster_is_back(state: State) -> None:
    end(state)
    generation = state.jobs[JOB].generation
    fold(state, NodeLeft(6.0, NODE))
    actions = fold(state, SUBMITTED, joined(101.0), DeadlinePassed(102.0, "place/moe"))
    assert [type(action) for action in actions] == [StartWorker]
    fold(state, WorkerReady(103.0, JOB, WorkerId("w2"), NODE, -1, 4712))
    job = state.jobs[JOB]
    assert (job.stage, job.generation) == (JobStage.FORMING, generation + 1)
    assert [worker.id for _, worker in state.seated(job)] == ["w2"]


def test_a_restarted_controller_does_not_start_a_job_that_was_stopped(state: State) -> None:
    end(state)
    assert fold(state, SUBMITTED, joined(101.0)) == []
    assert state.jobs[JOB].stage is JobStage.STOPPED


def go_down(cluster: Simulated) -> None:
    cluster.command("stop-job", JOB)
    cluster.run(2)
    for name in sorted(cluster.state.nodes):
        cluster.tell(NodeLeft(cluster.now, name))


def come_back(cluster: Simulated) -> None:
    for name in sorted(cluster.state.nodes):
        cluster.tell(NodeJoined(cluster.now, name, "10.0.0.1", 1, 1, "boot"))
    cluster.command("resume-actions")
    cluster.run(10)


def test_what_was_refused_before_evicts_nobody_after() -> None:
    cluster = Simulated(nodes=3, world=2)
    cluster.command("stop-actions")
    cluster.finding(cluster.spare(), ecc())
    go_down(cluster)
    assert cluster.stages() == ["resolved"]
    come_back(cluster)
    assert cluster.evicted() == []


@pytest.mark.parametrize("silent", [("n1", "n2", "n3"), ("n2", "n3", "n4")])
def test_a_freeze_that_ends_by_going_down_lets_nothing_be_caught_up_with(silent: tuple[str, ...]) -> None:
    cluster = Simulated(nodes=5, world=2)
    names = [NodeId(name) for name in silent]
    cluster.ports = dict.fromkeys(names, ("ok", "ok", 5))
    cluster.silence(*names)
    cluster.run(2)
    assert "control-cut" in cluster.state.frozen
    cluster.finding(NodeId("n5"), ecc())
    go_down(cluster)
    assert (cluster.state.frozen, set(cluster.stages())) == ("", {"resolved"})
    come_back(cluster)
    assert (cluster.evicted(), cluster.at("n5").cordon) == ([], None)
