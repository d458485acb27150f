"""What forming a job costs grows with its ranks, not with ranks times nodes."""

import sys
from itertools import count

import pytest

from sentinel.core.crew import Worker, WorkerStage
from sentinel.core.seating import Seated, Wait, seat
from sentinel.core.state import Job, Node, State
from sentinel.model.ids import JobId, NodeId, WorkerId

GPUS = 8


def cluster(nodes: int, *, standbys: int) -> tuple[State, Job]:
    state, numbers = State(now=1e9), count()
    for number in range(nodes):
        state.nodes[NodeId(f"n{number}")] = Node(NodeId(f"n{number}"), gpus=GPUS)
    workers = {
        name: Worker(name, node, WorkerStage.STANDBY, pid=1, gpu=gpu)
        for node in state.nodes
        for gpu in range(standbys)
        for name in [WorkerId(f"w{next(numbers)}")]
    }
    job = state.jobs[JobId("moe")] = Job(JobId("moe"), nodes * GPUS, 1, 1, workers=workers)
    return state, job


def calls_of_seating(state: State, job: Job) -> tuple[object, int]:
    made = count()
    sys.setprofile(lambda _frame, event, _arg: next(made) if event == "call" else None)
    try:
        plan = seat(state, job, ())
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
        seats = seat(state, job, ())
        assert isinstance(seats, Seated)
        for each in seats.seats:
            job.workers[each.worker].rank, job.workers[each.worker].stage = each.rank, WorkerStage.RANK
            state.nodes[each.node].ranks.append((job.id, each.worker))
        job.seats = [each.worker for each in seats.seats]
        for number in range(nodes):
            if number % 2:
                state.nodes[NodeId(f"n{number}")].silent = True
            else:
                name = WorkerId(f"spare{number}")
                job.workers[name] = Worker(name, NodeId(f"n{number}"), WorkerStage.STANDBY, pid=1, gpu=0)
        job.__dict__.pop("crew", None)
        return calls_of_seating(state, job)[1]

    assert lost(80) < 2.5 * lost(40)
