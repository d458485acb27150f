"""How an order or a refusal is written down."""

from sentinel.core.settle.guards import No
from sentinel.core.state import State
from sentinel.core.state.rows import Job
from sentinel.core.state.workers import Worker
from sentinel.model.action import Refusal, StartWorker, StopWorker, action_id
from sentinel.model.ids import IncidentId, NodeId, WorkerId


def refuse(state: State, incident: IncidentId, wanted: str, no: No) -> list[Refusal]:
    """Record what is not done, and why; nothing if that is on record, and was not allowed since.

    It is numbered by those on record: whoever refuses more than one thing waits to be asked again.
    """
    if state.refused.get((incident, wanted)) == no.guard:
        return []
    name = action_id(incident, "refusal", "policy", state.refusals + 1)
    return [Refusal(name, incident, wanted, no.reason, no.guard)]


def stop_worker(incident: IncidentId, job: Job, worker: Worker) -> StopWorker:
    """End a worker that lost its place; its exit is no news."""
    name = action_id(incident, "stop-worker", worker.id, 1)
    return StopWorker(name, incident, job.id, worker.id, worker.node, worker.pid)


def stop_again(job: Job, worker: Worker) -> StopWorker:
    """End one that was told to before, or that is wanted no more while its job goes on."""
    by = job.upkeep
    attempt = (max(2, job.generation + 1) if worker.pid else 0) if worker.may_run else 1
    name = action_id(by, "stop-worker", worker.id, attempt)
    return StopWorker(name, by, job.id, worker.id, worker.node, worker.pid)


def start_worker(incident: IncidentId, job: Job, node: NodeId, gpu: int, number: int) -> StartWorker:
    """Start the job's worker number `number`, counted over its life."""
    name = WorkerId(f"w{number}-{job.journal}" if job.journal else f"w{number}")
    action = action_id(incident, "start-worker", name, 1)
    return StartWorker(action, incident, job.id, name, node, gpu, job.generation)
