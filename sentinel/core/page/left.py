"""What is left for people, until it is done: nodes to repair, spares to bring, what was not allowed."""

from collections.abc import Iterator, Sequence
from itertools import chain

from sentinel.core import group, proofs
from sentinel.core.evidence import holding, vouched
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import OPERATOR, SCHEDULER, Cordon, Job, JobStage, Node
from sentinel.core.waits import ACTIONS
from sentinel.model.action import Refusal
from sentinel.model.counted import counted
from sentinel.model.fact import FindingReported
from sentinel.model.finding import NODE, Health
from sentinel.model.ids import NodeId
from sentinel.model.incident import Incident

NO_SPARE = "no spare is left for the next node that fails"
NOT_DONE = "not done: "
"""What a refusal that stands begins with."""
MOST_NAMES = 20
"""Nodes that one line names."""


def left_for_people(incident: Incident, state: State, rules: Rules) -> tuple[str, ...]:
    """Say what an incident leaves to people, a line each; nothing when all is done.

    Of a resolved one it grows only less, until it is nothing: nothing is done for its sake any more.
    """
    small = [job for job in state.jobs.values() if job.is_degraded and incident.id in job.shrunk]
    mine = [node for node, cordon in _cordons(state) if cordon.by == incident.id]
    lines = _out([node.id for node in mine])
    lines += chain.from_iterable(proofs.left(node, rules.policy) for node in mine)
    if unfit := state.unfit():
        found = (fact for fact in incident.evidence if isinstance(fact, FindingReported))
        accused = {fact.node for fact in found if fact.finding.component == NODE}
        lines += _unfit([node for node in unfit if node.id in accused])
    lines += _degraded(small)
    lines += [NO_SPARE] if lines and _needs_a_spare(state) else []
    return (*lines, *_refused(incident, state, rules))


def left_in_all(state: State, rules: Rules) -> tuple[str, ...]:
    """Say what is left to people on the whole cluster, each once, also of incidents long forgotten."""
    small = [job for job in state.jobs.values() if job.is_degraded]
    lines = _out([node.id for node, cordon in _cordons(state) if cordon.is_ours])
    lines += chain.from_iterable(proofs.left(node, rules.policy) for node, _ in _cordons(state))
    lines += _unfit(state.unfit())
    lines += _unstarted(state)
    lines += _degraded(small)
    lines += [NO_SPARE] if lines and _needs_a_spare(state) else []
    lines += [text for job in state.jobs.values() if (text := stopped(job, state))]
    drained = [node.id for node, cordon in _cordons(state) if cordon.by == OPERATOR]
    lines += [f"drained by hand: {_listed(drained)}"] if drained else []
    others = [node.id for node, cordon in _cordons(state) if cordon.by == SCHEDULER]
    lines += [f"cordoned in the scheduler by others: {_listed(others)}"] if others else []
    lines += [
        f"the scheduler does not know yet that {node.id} is {node.to_scheduler}: "
        f"{counted(node.outside.tries, 'try')} failed, the last one: {node.outside.why}"
        for node in state.nodes.values()
        if node.outside.tries
    ]
    refused = (_refused(incident, state, rules) for incident in state.incidents.values())
    return tuple(dict.fromkeys((*lines, *chain.from_iterable(refused))))


def stopped(job: Job, state: State) -> str:
    """Say for which incident a job is stopped and how it is submitted again; empty where it is for none."""
    incident = group.stopped(state, job)
    if incident is None:
        return ""
    return f"{job.id} is stopped for {incident.named}; when that is mended, {again(job)} submits it again"


def again(job: Job) -> str:
    """Say what is to be typed to have a job submitted again."""
    return f"`sentinel retry {job.id}`"


def _degraded(small: Sequence[Job]) -> list[str]:
    return [f"degraded: {job.id} has {job.world} of {job.wanted} ranks" for job in small]


def _cordons(state: State) -> Iterator[tuple[Node, Cordon]]:
    return ((node, node.cordon) for node in state.cordoned() if node.cordon is not None)


def _out(nodes: Sequence[NodeId]) -> list[str]:
    """Say which nodes were evicted and not taken back."""
    if not nodes:
        return []
    if len(nodes) == 1:
        return [
            f"{nodes[0]} is out and awaits repair; `sentinel undrain {nodes[0]}` takes it back once repaired"
        ]
    return [
        f"{_listed(nodes)} are out and await repair; `sentinel undrain NODE` takes back one that is repaired"
    ]


def _unfit(nodes: Sequence[Node]) -> list[str]:
    """Say on which nodes nothing is placed because of a finding about the whole node, and which."""
    found = ((node, finding) for node in nodes for finding in node.findings.values())
    why = [(node.id, f.summary) for node, f in found if f.component == NODE and f.health is Health.CRITICAL]
    return [f"nothing is placed on {names}: {summary}" for names, summary in _alike(why)]


def _unstarted(state: State) -> list[str]:
    """Say on which nodes no worker starts, and why the last one did not."""
    why = [(node.id, node.start_error) for node in state.nodes.values() if node.usable and node.shunned]
    return [f"no worker starts on {names}: {error}" for names, error in _alike(why)]


def _alike(why: Sequence[tuple[NodeId, str]]) -> Iterator[tuple[str, str]]:
    """Give each reason once, after the nodes that have it."""
    for reason in dict.fromkeys(each for _, each in why):
        yield _listed([name for name, each in why if each == reason]), reason


def _listed(nodes: Sequence[NodeId]) -> str:
    more = f" and {len(nodes) - MOST_NAMES} more" if len(nodes) > MOST_NAMES else ""
    return ", ".join(nodes[:MOST_NAMES]) + more


def _needs_a_spare(state: State) -> bool:
    """Say whether a job is there that has none."""
    live = any(job.stage is not JobStage.STOPPED for job in state.jobs.values())
    return live and not state.workers.has_spare() and not _given_up(state)


def _given_up(state: State) -> bool:
    """Say whether a stopped job alone had its ranks on a node."""
    stopped = [job for job in state.jobs.values() if job.stage is JobStage.STOPPED]
    places = {worker.node for job in stopped for _, worker in state.seated(job)}
    return any(state.nodes[place].may_start and state.job_on(place) is None for place in places)


def _refused(incident: Incident, state: State, rules: Rules) -> Iterator[str]:
    """Give the refusals that stand, each as it was put on record last."""
    if not state.refused:
        return
    reasons = {action.wanted: action.reason for action in incident.actions if isinstance(action, Refusal)}
    stand = {wanted: reason for wanted, reason in reasons.items() if (incident.id, wanted) in state.refused}
    if not stand:
        return
    staying = refused_evictions(incident, state)
    for wanted, reason in stand.items():
        over = state.refused[incident.id, wanted] == ACTIONS and not (state.held or rules.policy.observe_only)
        if not over and staying.get(wanted, True):
            yield f"{NOT_DONE}{wanted}; {reason}"


def is_refused(left: tuple[str, ...]) -> bool:
    """Say whether, by what is left, something was not allowed."""
    return any(line.startswith(NOT_DONE) for line in left)


def refused_evictions(incident: Incident, state: State) -> dict[str, bool]:
    """Say of each eviction that was refused, or failed too often, whether it is still for people to decide.

    It is while the node is here and what was found there holds, or, if no check can tell, the incident lasts;
    and while a node that is out is not empty. Of one that passed before people were told only that is left.
    """
    found = {fact.node for fact in incident.evidence if isinstance(fact, FindingReported)}
    held = {fact.node for fact in holding(incident) if _stands(fact, state)}
    lasts = not incident.is_over
    told = lasts or incident.revision > 0
    refused = (wanted.split() for name, wanted in state.refused if name == incident.id)
    names = (NodeId(words[1]) for words in refused if words[0] == "evict")
    return {
        f"evict {node.id}": _is_full(node, incident)
        or (told and _is_here(node, incident) and (node.id in held if node.id in found else lasts))
        for node in (state.nodes[name] for name in names if name in state.nodes)
    }


def _is_full(node: Node, incident: Incident) -> bool:
    """Say whether it was cordoned for an incident's sake and could not be emptied yet."""
    return node.cordon is not None and node.cordon.by == incident.id and not node.is_empty


def _stands(fact: FindingReported, state: State) -> bool:
    return fact.finding.event or fact.finding.name in state.nodes[fact.node].findings


def _is_here(node: Node, incident: Incident) -> bool:
    """Say whether nobody has dealt with a node since."""
    return node.cordon is None and not node.left and not vouched(node, incident)
