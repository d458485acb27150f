"""What a node lacks: a look while it is silent, its eviction while it is cordoned, the scheduler's word."""

from collections.abc import Iterator

from sentinel.core.group import has_recovered
from sentinel.core.settle import preflights, proofs
from sentinel.core.settle.guards import No, refuse_action
from sentinel.core.settle.orders import refuse
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import OPERATOR, Node
from sentinel.core.state.timers import Timer
from sentinel.model.action import CordonNode, Evict, OfCordon, Ping, Readmit, action_id
from sentinel.model.counted import counted
from sentinel.model.decision import Decision, Opened
from sentinel.model.ids import IncidentId
from sentinel.model.incident import Incident
from sentinel.model.runbook import Remedy

OF_NODES = frozenset({Remedy.EVICT, Remedy.DRAIN, Remedy.RESTART_AGENT})
"""After other remedies a silent node is as silent as before."""


def settle(node: Node, state: State, rules: Rules) -> Iterator[Decision]:
    """Give what is missing."""
    if node.cordon is not None:
        yield from _evict(node, state, rules)
        yield from proofs.settle(node, state, rules)
    elif node.silent and not (node.left or node.maintained):
        yield from _look(node, state, rules)
    if node.preflight is not None:
        yield from preflights.settle(node, node.preflight, state, rules)
    if node.lacks_telling:
        yield from _tell_scheduler(node, state, rules)


def _tell_scheduler(node: Node, state: State, rules: Rules) -> Iterator[Decision]:
    """Have the scheduler know of a cordon, or of its end: one order at a time, and again until it is done.

    What a human says of a node is told whoever stopped the actions; what an incident wants waits for them.
    """
    told = node.outside
    orders = (each for each in state.unfinished.values() if isinstance(each, OfCordon))
    if Timer.OUTSIDE.of(node.id) in state.deadlines or any(each.node == node.id for each in orders):
        return
    cordon = node.cordon if node.is_kept_out else None
    by = cordon or told.cordon
    name = IncidentId(by.by if by is not None and by.is_ours else f"{OPERATOR}-{node.id}")
    if cordon is None:
        yield Readmit(action_id(name, "readmit", node.id, told.orders + 1), name, node.id)
    elif not (cordon.is_ours and refuse_action(state, rules)):
        order = action_id(name, "cordon", node.id, told.orders + 1)
        who = cordon.by if cordon.is_ours else f"drained by {cordon.who}"
        said = f"{who}: {cordon.reason}" if cordon.reason else who
        yield CordonNode(order, name, node.id, said)


def _look(node: Node, state: State, rules: Rules) -> Iterator[Decision]:
    """Look at a silent node again and again, until it is known what is the matter with it."""
    incident = state.incidents.get(node.about) if node.about else None
    if incident is None and node.about:
        return  # its incident is over, and blamed this node
    over = incident is None or incident.is_over or has_recovered(state, incident)
    if incident is None or (over and not _is_accused(node, incident, rules)):
        # The job goes on without it, and why it is silent is not yet known.
        if node.fell is not None:
            yield Opened(IncidentId(f"I-{state.opened + 1:04d}"), node.id)
    elif incident.is_over:
        return
    elif Timer.PING.of(node.id) not in state.deadlines and not _is_explained(node, incident, rules):
        name = action_id(incident.id, "ping", node.id, node.pings + 1)
        yield Ping(name, incident.id, node.id)


def _is_accused(node: Node, incident: Incident | None, rules: Rules) -> bool:
    """Say whether an incident takes care of a node, and not only of a rank that sat there."""
    if incident is None or incident.diagnosis is None or node.id not in incident.diagnosis.nodes:
        return False
    return rules.remedy_of(incident) in OF_NODES


def _is_explained(node: Node, incident: Incident, rules: Rules) -> bool:
    return _is_accused(node, incident, rules) and rules.remedy_of(incident) is not Remedy.FREEZE


def _is_anothers(node: Node, state: State) -> bool:
    """Say whether ranks live there that somebody else started, and so starts elsewhere."""
    return any(each.is_living and state.jobs[each.job].watched for each in state.workers.sitting(node.id))


def _evict(node: Node, state: State, rules: Rules) -> Iterator[Decision]:
    """Empty a node that an incident cordoned: at once, or when its ranks have left."""
    cordon = node.cordon
    assert cordon is not None
    if not cordon.is_ours:
        return  # an operator's drain stays in force
    by, tried = IncidentId(cordon.by), node.evicts - node.forgiven
    under_way = action_id(by, "evict", node.id, node.evicts) in state.unfinished
    if node.is_empty or under_way or refuse_action(state, rules):
        return
    if tried >= rules.policy.resume_attempts:
        vain = No("attempts", f"{node.id} is not empty: {counted(tried, 'attempt')} failed")
        yield from refuse(state, by, f"evict {node.id}", vain)
        return
    waits = Timer.EVICT.of(node.id) in state.deadlines
    if waits or (cordon.gently and state.workers.sitting(node.id)) or _is_anothers(node, state):
        return
    known = state.incidents.get(by)
    why = known.diagnosis.why if known and known.diagnosis else ""
    name = action_id(by, "evict", node.id, node.evicts + 1)
    yield Evict(name, by, node.id, f"{cordon.reason}: {why}")
