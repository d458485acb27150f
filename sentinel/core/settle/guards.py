"""The guards: what may be done by Sentinel's own decision, and which node may go."""

from typing import NamedTuple

from sentinel.core import common
from sentinel.core.group import COMMON
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, Node
from sentinel.model.counted import counted
from sentinel.model.ids import HOUR_S, Cause, NodeId
from sentinel.model.incident import Diagnosis, Incident, Shared


class No(NamedTuple):
    """Which guard refuses, and why."""

    guard: str
    reason: str


def refuse_action(state: State, rules: Rules) -> str:
    """Why nothing may be done by Sentinel's own decision; empty when actions are allowed.

    Where Sentinel only observes a job may start all the same.
    """
    return state.held or ("observe-only mode" if rules.policy.observe_only else "")


def refuse_eviction(state: State, rules: Rules, node: NodeId, diagnosis: Diagnosis) -> No | None:
    """Why this node stays; None when it may be evicted."""
    policy, here = rules.policy, state.here_count()
    if diagnosis.confidence < policy.evict_confidence:
        sure = f"confidence {diagnosis.confidence:.2f} is below {policy.evict_confidence:.2f}"
        return No("confidence", f"{node} stays: {sure}")
    ours = sum(each.cordon is not None and each.cordon.is_ours for each in _here(state))
    limit = max(1, int(policy.evict_share * here))
    if ours >= limit:
        return No("share", f"{node} stays: {ours} of {here} nodes are evicted already, the limit is {limit}")
    if (lately := len(evictions(state))) >= policy.evictions_per_hour:
        return No(
            "breaker", f"{node} stays: {counted(lately, 'eviction')} within an hour, the breaker is open"
        )
    reason = _last_place(state, node)
    return No("place", reason) if reason else None


def evictions(state: State) -> tuple[float, ...]:
    """When nodes were evicted within the last hour."""
    return tuple(at for at in state.evictions if at > state.now - HOUR_S)


def _here(state: State) -> list[Node]:
    return [node for node in state.cordoned() if not node.left]


def shared_with(state: State, rules: Rules, incident: Incident, node: NodeId, cause: Cause) -> Shared | None:
    """Say what a node shares with others that have the same at once; None when it is alone with it."""
    seen = common.in_evidence(state, incident, cause, rules) + common.lately(state, cause, rules)
    what = common.shared(state, [node], seen, rules.policy)
    return what if what is not None and node in what.nodes else None


def refuse_common(node: NodeId, what: Shared, cause: Cause) -> No:
    """Say why a node stays that is not alone."""
    why = f"{what.nodes_of} have {cause} at once, so the cause is something that they share{what.doubt}"
    return No(COMMON, f"{node} stays: {why}")


def _last_place(state: State, node: NodeId) -> str:
    """Refuse an eviction that would leave a job on the node with less than its smallest world."""
    sitting = {worker.job: state.jobs[worker.job] for worker in state.workers.sitting(node)}
    if not sitting:
        return ""
    others = [other for other in state.nodes.values() if other.usable and other.id != node]
    for job in sitting.values():
        room = sum(_room(state, other, job) for other in others)
        kept = (name for name in state.unusable() if name != node and not state.is_cut(name))
        room += sum(worker.job == job.id for name in kept for worker in state.workers.sitting(name))
        if room < job.min_world:
            return f"{node} stays: {counted(room, 'GPU')} would be left, {job.id} needs {job.min_world}"
    return ""


def _room(state: State, node: Node, job: Job) -> int:
    """Count the GPUs of a node that no other job holds."""
    held = (w.job for w in state.workers.sitting(node.id) if w.job != job.id)
    return node.gpus - sum(not state.jobs[owner].is_over for owner in held)
