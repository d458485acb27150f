"""What forming a job costs grows with its ranks, not with ranks times nodes."""

import sys
from collections import Counter
from itertools import count

import pytest
from simulated import Simulated

from sentinel.core.settle import missing
from sentinel.core.settle.seating import Seated, Wait, seat
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage, Node
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import StartWorker
from sentinel.model.fact import Fact
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.policy import Policy

GPUS = 8
POLICY = Policy()
JOB = JobId("moe")


def cluster(nodes: int, *, standbys: int) -> tuple[State, Job]:
    state, numbers = State(now=1e9), count()
    for number in range(nodes):
        node = state.add(Node(NodeId(f"n{number}"), gpus=GPUS))
        for gpu in range(standbys):
            warm(state, f"w{next(numbers)}", node.id, gpu)
    return state, state.add(Job(JOB, nodes * GPUS, 1, 1))


def warm(state: State, name: str, node: NodeId, gpu: int) -> None:
    state.add(Worker(WorkerId(name), node, WorkerStage.STANDBY, pid=1, gpu=gpu, job=JOB))


def calls_of_seating(state: State, job: Job) -> tuple[object, int]:
    made = count()
    sys.setprofile(lambda _frame, event, _arg: next(made) if event == "call" else None)
    try:
        plan = seat(state, job, POLICY, ())
    finally:
        sys.setprofile(None)
    return plan, next(made)


@pytest.mark.parametrize(
    ("standbys", "kind"),
    [
        pytest.param(0, Wait, id="nobody is there yet"),
        pytest.param(1, Wait, id="one standby on each node, and no more"),
        pytest.param(GPUS, Seated, id="all are warm"),
    ],
)
def test_twice_the_cluster_costs_about_twice(standbys: int, kind: type) -> None:
    small, few = calls_of_seating(*cluster(40, standbys=standbys))
    large, many = calls_of_seating(*cluster(80, standbys=standbys))
    assert isinstance(small, kind)
    assert isinstance(large, kind)
    assert many < 2.5 * few


def test_ranks_of_lost_nodes_do_not_ask_each_full_node() -> None:
    """Half the nodes are gone, and each of the others has a warm standby, but no free GPU."""

    def lost(nodes: int) -> int:
        state, job = cluster(nodes, standbys=GPUS)
        seats = seat(state, job, POLICY, ())
        assert isinstance(seats, Seated)
        state.workers.form(JOB, 1, seats.seats)
        for number, node in enumerate(list(state.nodes.values())):
            if number % 2:
                state.change(node, silent=True)
            else:
                warm(state, f"spare{number}", node.id, 0)
        return calls_of_seating(state, job)[1]

    assert lost(80) < 2.5 * lost(40)


class AFewAtOnce(Simulated):
    """A cluster whose controller starts three workers at once."""

    def __init__(self, *, gpus: int, world: int) -> None:
        self.starts: list[int] = []
        self.names: Counter[str] = Counter()
        super().__init__(2, gpus, world, standbys=0, policy=Policy(starts_at_once=3), min_world=world)

    def tell(self, fact: Fact) -> tuple[object, ...]:
        actions = super().tell(fact)
        started = [action.worker for action in actions if isinstance(action, StartWorker)]
        self.names.update(started)
        self.starts += [len(started)] if started else []
        assert missing(self.state, self.rules) == [], "what is settled is settled"
        return actions


def test_of_very_many_workers_the_first_are_started_and_the_others_at_once_after_them() -> None:
    cluster = AFewAtOnce(gpus=4, world=8)
    assert cluster.starts == [3, 3, 2]
    assert set(cluster.names.values()) == {1}, "nobody is started twice"
    assert cluster.job.stage is JobStage.RUNNING
    assert cluster.job.world == 8


def test_none_is_started_where_not_all_have_a_place() -> None:
    cluster = AFewAtOnce(gpus=4, world=9)
    assert cluster.starts == []
    assert cluster.job.stage is JobStage.WAITING
