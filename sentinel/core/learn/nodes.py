"""Nodes that join, leave, fall silent, are looked at and are heard again."""

from sentinel.core import evidence, group
from sentinel.core.learn.breaking import gone_as_announced
from sentinel.core.recovery import stays_away
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import STARTS, JobStage, Node, kernel_of
from sentinel.core.state.timers import Timer
from sentinel.model.fact import NodeHeard, NodeJoined, NodeLeft, NodePinged, NodeSilent
from sentinel.model.ids import JobId
from sentinel.model.incident import Due, Incident
from sentinel.model.runbook import Ends, Scope


def joined(state: State, fact: NodeJoined, rules: Rules) -> None:
    """An agent introduced itself."""
    node = state.nodes.get(fact.node) or state.add(Node(fact.node))
    # with another kernel the checks say again what still holds; an agent
    # that was only restarted knows what it told, and clears that itself
    if kernel_of(node.boot) != kernel_of(fact.boot):
        node = state.change(node, findings={}, recent=(), events=(), contained={}, counts={})
        node = state.change(node, preflight=None, preflight_at=0.0)
    node = state.change(
        node,
        heard=node.heard if node.boot == fact.boot else 0,
        address=fact.address,
        port=fact.port,
        gpus=fact.gpus,
        boot=fact.boot,
        left=False,
        **STARTS,
        labels=fact.labels,
    )
    _is_back(state, node, rules)


def left(state: State, fact: NodeLeft) -> None:
    """Sentinel is taken off a node; its workers are no business of ours any more."""
    node = state.nodes.get(fact.node)
    if node is None:
        return
    gone = {"left": True, "silent": False, "lives": False, "findings": {}, "preflight": None}
    state.change(node, about=None, pinged=None, **gone)
    for worker in [each for each in state.workers.rows.values() if each.node == fact.node]:
        state.workers.forget(worker)


def heard(state: State, fact: NodeHeard, rules: Rules) -> None:
    """A node reports again."""
    node = state.nodes.get(fact.node)
    if node is not None and node.silent:
        _is_back(state, node, rules)


def _is_back(state: State, node: Node, rules: Rules) -> None:
    """Whoever was told to stop meanwhile may run still, and the node may be what a job waits for.

    Of a watched job nobody was: its processes are to be ended by whoever starts it.
    """
    for job in (each for each in state.jobs.values() if not each.watched):
        for worker in state.workers.gone(job.id):
            if node.silent and worker.node == node.id:
                state.change(worker, may_run=True)
    state.change(node, silent=False, lives=False, about=None, pinged=None)
    for incident in state.open_incidents():
        if node.id not in evidence.silent_nodes(incident):
            continue
        book = rules.book_of(incident)
        if book is not None and (book.scope, book.ends) == (Scope.CLUSTER, Ends.SIGN):
            stays_away(state, incident, rules)
        if group.is_about_silent(incident, rules):
            _heard_again(state, incident)
    plan_anew(state, rules)


def plan_anew(state: State, rules: Rules) -> None:
    """A node can be used again: jobs may have waited for just this."""
    for job in list(state.jobs.values()):
        look_again(state, job.id)
        timer = Timer.REFILL if state.workers.has(job.id) else Timer.PLACE
        if not job.is_over:
            state.set_deadline(timer.of(job.id), rules.policy.place_s)


def look_again(state: State, *jobs: JobId) -> None:
    """What jobs wait for may be there: they are planned anew."""
    for job in jobs:
        if state.jobs[job].lacking:
            state.change(state.jobs[job], lacking=0)


def _heard_again(state: State, incident: Incident) -> None:
    """If the job broke meanwhile, that has its own cause, hidden until now; what was told stays as it was."""
    job = state.job_of(incident)
    still = any(state.is_unheard(node) for node in evidence.silent_nodes(incident))
    if job is None or job.stage is not JobStage.BROKEN or job.want is not None or still:
        return
    if incident.diagnosis is not None:
        hidden = [fact for fact in incident.evidence if evidence.broke(fact, job)]
        if not hidden or group.of_job(state, job) is not None:
            return
        for fact in hidden:
            incident = group.join_job(state, job, fact)
    group.ask_for(state, incident, Due.ANY)


def silent(state: State, fact: NodeSilent, rules: Rules) -> None:
    """A timeout is not a failure: the node is looked at before anything is concluded."""
    node = state.nodes.get(fact.node)
    if node is None or node.silent:
        return
    node = state.change(node, silent=True, lives=False, fell=fact, pinged_before=node.pings)
    if node.maintained is not None:
        gone_as_announced(state, node)
    elif node.cordon is None:
        fall(state, node, fact, rules)


def fall(state: State, node: Node, fact: NodeSilent, rules: Rules) -> None:
    """Put a silent node with others of the same time: one cause may make many silent."""
    known = group.find_silent(state, rules)
    topic = known.topic if known else group.node_topic(state, node.id)
    incident = group.join(state, topic, fact, state.job_on(node.id))
    state.change(node, about=incident.id)


def pinged(state: State, fact: NodePinged, rules: Rules) -> None:
    """Take in what the controller's ping found, once; the next one follows after a while."""
    node = state.nodes.get(fact.node)
    if node is None or not node.silent or node.pinged == fact:
        return
    policy, pings = rules.policy, max(1, node.pings - node.pinged_before)
    job = state.job_on(node.id)
    trains = job is not None and job.stage is JobStage.RUNNING and node.lives
    state.change(node, pinged=fact, lives=fact.step >= 0 or trains)
    state.set_deadline(Timer.PING.of(node.id), min(policy.ping_limit_s, policy.ping_s * pings))
    incident = state.open_incident(node.about) if node.about else None  # the one that asked may be over
    if incident is None:
        return
    incident = evidence.add(state, incident, fact)
    unheard = incident.diagnosis is None and state.now > incident.opened + policy.unheard_s
    # Nobody may know of it otherwise: its ranks may be the whole job.
    group.ask_for(state, incident, Due.ANY if unheard else Due.CERTAIN)
