"""Nodes that join, fall silent, are looked at and are heard again."""

from sentinel.core import incidents
from sentinel.core.conclude import acted_on, conclude, resolve
from sentinel.core.diagnose import UNKNOWN
from sentinel.core.reform import retry, sweep
from sentinel.core.remedy import broken, remedy_of
from sentinel.core.rows import JobStage, Node
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action, Reach, action_id
from sentinel.model.fact import FindingReported, NodeHeard, NodeJoined, NodeLeft, NodeReached, NodeSilent
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.incident import Incident, Stage
from sentinel.model.runbook import Remedy

PLACE_S = 1.0
"""Nodes join one by one: ranks and standbys are placed on all of them together."""
LOOK_AGAIN_S = 1.0
LOOK_AT_MOST_S = 10.0
"""The longer a node is silent without harm, the less often it is looked at."""
UNHEARD_S = 120.0
"""Ray gives a node up after 65 s: one that is silent for longer is people's business, harm or not."""


def joined(state: State, fact: NodeJoined, rules: Rules) -> list[Action]:
    """An agent introduced itself."""
    node = state.nodes.get(fact.node) or state.add(Node(fact.node))
    if _kernel(node.boot) != _kernel(fact.boot):
        node = state.change(node, findings={}, recent=(), told=(), contained={}, counts={})
    state.change(
        node,
        heard=node.heard if node.boot == fact.boot else 0,
        address=fact.address,
        port=fact.port,
        gpus=fact.gpus,
        boot=fact.boot,
        left=False,
        misstarts=0,
    )
    for job in state.jobs:
        state.crew.look_again_at(job, node.id)  # it may have more GPUs now
    return heard(state, fact, rules)


def _kernel(boot: str) -> str:
    """Return the kernel's part of a boot id: with another kernel the checks say again what still holds.

    An agent that was only restarted knows what it told, and clears that itself.
    """
    return boot.rpartition("-")[0]


def left(state: State, fact: NodeLeft, rules: Rules) -> list[Action]:
    """Sentinel is taken off a node; its workers are no business of ours any more.

    With the last node all that was seen on nodes and not acted on is over, too: the checks will find again
    what still holds. What froze actions comes last, so that nothing is caught up with meanwhile.
    """
    node = state.nodes.get(fact.node)
    if node is None:
        return []
    state.change(node, left=True, silent=False, reached=None, findings={})
    for worker in [each for each in state.crew.workers.values() if each.node == fact.node]:
        state.crew.forget(worker)
    for job in state.jobs:
        state.crew.look_again_at(job, fact.node)
    if not all(each.left for each in state.nodes.values()):
        return []
    cordoned = {each.cordon.by for each in state.nodes.values() if each.cordon}
    over = [i for i in state.open_incidents() if i.id not in cordoned and _seen_on_nodes(i)]
    over.sort(key=lambda incident: remedy_of(incident.diagnosis, rules) is Remedy.FREEZE)
    return [action for incident in over for action in resolve(incident, state, rules)]


def _seen_on_nodes(incident: Incident) -> bool:
    return any(isinstance(fact, NodeSilent | FindingReported) for fact in incident.evidence)


def heard(state: State, fact: NodeHeard | NodeJoined, rules: Rules) -> list[Action]:
    """A node reports: what its silence alone made is over, and it may be what a job waits for."""
    node = state.nodes.get(fact.node)
    if node is None:
        return []
    actions = sweep(state, node.id) if node.silent else []
    node = state.change(node, silent=False, reached=None)
    for incident in list(state.open_incidents()):
        silent = {f.node for f in incident.evidence if isinstance(f, NodeSilent)}
        if fact.node in silent and not _still(silent, state) and _only_silence(incident, state, rules):
            actions += _silence_over(incident, state, rules)
    for job in state.jobs.values():
        actions += retry(state, job, rules) if job.generation else []
        timer = Timer.REFILL if state.crew.has(job.id) else Timer.PLACE
        if job.stage is not JobStage.STOPPED:
            state.set_deadline(timer.of(job.id), PLACE_S)
    return actions


def _silence_over(incident: Incident, state: State, rules: Rules) -> list[Action]:
    """Resolve, unless the job broke meanwhile: that has its own cause, hidden until now."""
    if not broken(state.job_of(incident)):
        return resolve(incident, state, rules)
    incident = state.change(incident, diagnosis=None, remedied="")
    return conclude(incident, state, rules)


def _still(names: set[NodeId], state: State) -> bool:
    return any(state.nodes[name].silent and state.nodes[name].cordon is None for name in names)


def _only_silence(incident: Incident, state: State, rules: Rules) -> bool:
    """Say whether nothing but silence was seen, and no eviction came of it; one may have been refused."""
    if remedy_of(incident.diagnosis, rules) in (Remedy.FREEZE, Remedy.RESTART_AGENT):
        return True
    unknown = incident.diagnosis is None or incident.diagnosis.cause == UNKNOWN
    return (unknown or not acted_on(incident, state)) and all(
        isinstance(fact, NodeSilent | NodeReached) for fact in incident.evidence
    )


def silent(state: State, fact: NodeSilent) -> list[Action]:
    """A timeout is not a failure: look before anything is concluded."""
    node = state.nodes.get(fact.node)
    if node is None or node.silent:
        return []
    state.change(node, silent=True)
    if node.cordon is not None:
        return []
    known, job = incidents.find_silence(state), state.job_on(fact.node)
    topic = known.topic if known else incidents.node_topic(state, fact.node)
    return [look(incidents.join(state, topic, fact, job), fact.node)]


def look(incident: Incident, node: NodeId) -> Reach:
    """Look at a silent node."""
    attempt = sum(isinstance(action, Reach) for action in incident.actions) + 1
    return Reach(action_id(incident.id, "reach", node, attempt), incident.id, node)


def reached(state: State, fact: NodeReached, rules: Rules) -> list[Action]:
    """Conclude from what the look found; look again as long as that is nothing."""
    node = state.nodes.get(fact.node)
    incident = state.incidents.get(fact.incident) if fact.incident else None
    if node is None or not node.silent:
        return []
    state.change(node, reached=fact)
    if incident is None or incident.stage is Stage.RESOLVED:
        return []
    incident = incidents.add(state, incident, fact)
    actions = conclude(incident, state, rules, certain=True)
    if state.fresh(incident).diagnosis is None and state.now > incident.opened + UNHEARD_S:
        actions += conclude(incident, state, rules)  # nobody may know of it: its ranks may be the whole job
    incident, node = state.fresh(incident), state.fresh(node)
    explained = incident.diagnosis is not None and incident.diagnosis.cause != UNKNOWN
    if node.cordon is None and (not explained or remedy_of(incident.diagnosis, rules) is Remedy.FREEZE):
        looks = sum(isinstance(action, Reach) for action in incident.actions)
        name = Timer.REACH.of(incident.id, fact.node)
        state.set_deadline(name, min(LOOK_AT_MOST_S, LOOK_AGAIN_S * max(1, looks)))
    return actions


def look_again(state: State, name: IncidentId, node: NodeId) -> list[Action]:
    """The time for another look has come."""
    incident, known = state.incidents.get(name), state.nodes.get(node)
    if incident is None or incident.stage is Stage.RESOLVED or known is None or not known.silent:
        return []
    return [look(incident, node)]
