"""The guards of eviction: a node goes only if it is right, affordable and nobody said otherwise."""

from sentinel.core import common
from sentinel.core.rows import Job, JobStage, Node
from sentinel.core.state import Rules, State
from sentinel.model.ids import NodeId
from sentinel.model.incident import Diagnosis

HOUR = 3600.0


def refuse_start(state: State) -> str:
    """Why no job may start at the moment; empty when it may, where Sentinel only observes, too."""
    if state.stopped:
        return f"actions are stopped: {state.stopped}"
    if state.frozen:
        return f"actions are frozen: {state.frozen}"
    return ""


def refuse_action(state: State, rules: Rules) -> str:
    """Why nothing may be done by Sentinel's own decision; empty when actions are allowed."""
    return refuse_start(state) or ("observe-only mode" if rules.policy.observe_only else "")


def refuse_eviction(state: State, rules: Rules, node: NodeId, diagnosis: Diagnosis) -> str:
    """Why this node stays; empty when it may be evicted."""
    policy = rules.policy
    if diagnosis.confidence < policy.evict_confidence:
        return f"{node} stays: confidence {diagnosis.confidence:.2f} is below {policy.evict_confidence:.2f}"
    here = [each for each in state.nodes.values() if not each.left]
    ours = sum(1 for each in here if each.cordon and each.cordon.by != "operator")
    limit = max(1, int(policy.evict_share * len(here)))
    if ours >= limit:
        return f"{node} stays: {ours} of {len(here)} nodes are evicted already, the limit is {limit}"
    state.evictions = tuple(at for at in state.evictions if at > state.now - HOUR)
    if len(state.evictions) >= policy.evictions_per_hour:
        return f"{node} stays: {len(state.evictions)} evictions within an hour, the breaker is open"
    return _last_place(state, node)


def refuse_common(state: State, rules: Rules, node: NodeId, diagnosis: Diagnosis) -> str:
    """Why a node stays because it is not alone; empty when it is."""
    alike = common.nodes_with(state, diagnosis.cause, rules)
    if not common.is_common(state, len(alike), rules):
        return ""
    here = sum(not each.left for each in state.nodes.values())
    shared = "what they share is to blame: a rack, a power feed, a switch, an image"
    return f"{node} stays: {len(alike)} of {here} nodes have {diagnosis.cause} at once; {shared}"


def _last_place(state: State, node: NodeId) -> str:
    """Refuse an eviction that would leave a job on the node with less than its smallest world."""
    others = [other for other in state.nodes.values() if other.usable and other.id != node]
    for job in {w.job: state.jobs[w.job] for w in state.crew.sitting(node)}.values():
        room = sum(_room(state, other, job) for other in others)
        if room < job.min_world:
            return f"{node} stays: {room} GPUs would be left, {job.id} needs {job.min_world}"
    return ""


def _room(state: State, node: Node, job: Job) -> int:
    """Count the GPUs of a node that no other job holds."""
    held = (w.job for w in state.crew.sitting(node.id) if w.job != job.id)
    return node.gpus - sum(state.jobs[owner].stage is not JobStage.STOPPED for owner in held)
