"""The guards of eviction: a node goes only if it is right, affordable and nobody said otherwise."""

from sentinel.core.rows import Job, JobStage, Node
from sentinel.core.state import Rules, State
from sentinel.model.ids import Cause, Instant, NodeId
from sentinel.model.incident import Diagnosis

HOUR = 3600.0
FEW = 2
"""Of a cluster so small that these are most of it, nobody can say that they all have it."""


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
    since = state.now - policy.stands_s - policy.correlate_s
    alike = sum(_found(each, diagnosis.cause, since, rules) for each in here)
    if alike > FEW and alike >= policy.mass_silence * len(here):
        return f"{node} stays: {alike} of {len(here)} nodes have {diagnosis.cause} at once"
    return _last_place(state, node)


def _found(node: Node, cause: Cause, since: Instant, rules: Rules) -> bool:
    """Say whether a check has lately found what the cause looks like."""
    lately = (fact.finding.code for fact in node.recent if fact.at >= since)
    return any(book.cause == cause for code in lately for book in rules.by_code.get(code, ()))


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
