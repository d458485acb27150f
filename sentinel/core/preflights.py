"""Whether a node is free to be measured while nobody needs it, and when it is looked at next."""

from hashlib import sha256

from msgspec.structs import replace

from sentinel.core.state import State
from sentinel.core.state.rows import JobStage, Node
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import WorkerStage
from sentinel.model.action import Action, Evict, Probe, Prove, StartWorker, StopWorker
from sentinel.model.ids import Instant, JobId
from sentinel.model.policy import Policy

BITS = 8
"""Of a byte."""
_CALM = (JobStage.RUNNING, JobStage.STOPPED, JobStage.FINISHED)


def is_free(node: Node, state: State, policy: Policy) -> bool:
    """Say whether no rank sits on a node or is about to, and nobody else measures there.

    That can be known only where Sentinel itself places all ranks, and only while no job is formed: then any
    spare may be taken. Standbys that are warm wait there all the same.
    """
    if not policy.idle_probes or not node.usable:
        return False
    if not state.jobs or not all(_is_calm(state, job) for job in state.jobs):
        return False
    if state.workers.sitting(node.id) or any(_starts(state, job, node) for job in state.jobs):
        return False
    mine = node.preflight.order if node.preflight is not None else ""
    return not any(action.id != mine and _needs(action, node) for action in state.unfinished.values())


def _is_calm(state: State, name: JobId) -> bool:
    """Say whether a job takes no place now, and none that nobody here knows of."""
    job = state.jobs[name]
    return job.stage in _CALM and job.want is None and (not job.watched or job.is_over)


def _starts(state: State, job: JobId, node: Node) -> bool:
    return any(each.stage is WorkerStage.STARTING for each in state.workers.waiting(job, node.id))


def _needs(action: Action, node: Node) -> bool:
    """Say whether an order that is under way may have to do with a node."""
    match action:
        case Probe(members=members) | Prove(members=members) if members:
            return node.id in members
        case StartWorker(node=name) | StopWorker(node=name) | Evict(node=name):
            return name == node.id
        case _:
            return False


def is_due(node: Node, now: Instant, policy: Policy) -> bool:
    """Say whether a node has never been measured since its machine started, or not for long.

    Each waits for a share of its own less than others, so that a fleet does not measure at once.
    """
    drawn = sha256(f"{node.id} {node.preflights}".encode()).digest()
    share = policy.idle_jitter * int.from_bytes(drawn) / 2 ** (len(drawn) * BITS)
    return not node.preflight_at or now >= node.preflight_at + policy.idle_probe_s * (1 - share)


def is_wanted(probe: Probe, state: State) -> bool:
    """Say whether the pre-flight that ordered this probe still waits for it."""
    node = state.nodes.get(probe.node)
    return node is not None and node.preflight is not None and node.preflight.order == probe.id


def ordered(state: State, node: Node, order: str) -> None:
    """A measurement is under way."""
    if node.preflight is not None:
        flight = replace(node.preflight, order=order)
        state.change(node, preflight=flight, preflights=node.preflights + 1)


def put_off(state: State, node: Node) -> None:
    """It is given up; when the node is free it is due as before."""
    state.change(node, preflight=None)
    state.deadlines.drop(Timer.PREFLIGHT.of(node.id))
