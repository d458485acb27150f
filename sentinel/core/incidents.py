"""Which incident a fact belongs to: one cause, one incident, however many symptoms."""

from sentinel.core.state import Job, Rules, State
from sentinel.model.fact import Fact, FindingReported, NodeSilent
from sentinel.model.finding import Finding
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Incident, Stage
from sentinel.model.runbook import Remedy, Runbook

EVIDENCE_LIMIT = 200
"""More than this tells nobody anything new and would slow the fold."""

OWN_TOPIC = frozenset({Remedy.NONE, Remedy.FREEZE, Remedy.RESTART_AGENT, Remedy.RESTART_GCS})
"""Remedies that leave the job alone: such an incident must not absorb a later crash of the job."""


def job_topic(job: JobId) -> str:
    """Topic of everything that hurts a job."""
    return f"job:{job}"


def node_topic(state: State, node: NodeId) -> str:
    """Topic of what happens on a node: its job's, if it has ranks."""
    job = state.job_on(node)
    return job_topic(job.id) if job else f"node:{node}"


def finding_books(rules: Rules, finding: Finding) -> list[Runbook]:
    """Runbooks that match this finding by its code or Xid."""
    return [
        book
        for book in rules.runbooks.values()
        for looks in book.matches
        if looks.finding == finding.code or finding.code in {f"xid-{number}" for number in looks.xid}
    ]


def find(state: State, topic: str) -> Incident | None:
    """Return the open incident of a topic."""
    return next((incident for incident in state.open_incidents() if incident.topic == topic), None)


def find_silence(state: State) -> Incident | None:
    """Return the open incident that began with another node's silence: one cause may silence many."""
    for incident in state.open_incidents():
        if any(isinstance(fact, NodeSilent) for fact in incident.evidence):
            return incident
    return None


def reopen(state: State, rules: Rules, fact: FindingReported) -> Incident | None:
    """Return a just resolved incident of this node that the finding explains, open again."""
    explains = {cause for book in finding_books(rules, fact.finding) for cause in book.explains}
    since = state.now - rules.policy.correlate_s
    for incident in reversed(state.incidents.values()):
        diagnosis = incident.diagnosis
        if incident.stage is not Stage.RESOLVED or incident.times.get("resolved", 0.0) < since or not diagnosis:
            continue
        if diagnosis.cause in explains and any(s.node == fact.node for s in diagnosis.suspects):
            incident.stage = Stage.OPEN
            return incident
    return None


def join(state: State, topic: str, fact: Fact, job: Job | None = None) -> Incident:
    """Add evidence to the topic's open incident, or open one."""
    incident = find(state, topic)
    if incident is None:
        state.opened += 1
        name = IncidentId(f"I-{state.opened:04d}")
        incident = Incident(name, state.now, topic, job.id if job else None)
        incident.times["detected"] = state.now
        state.incidents[name] = incident
    add(incident, fact)
    return incident


def add(incident: Incident, fact: Fact) -> None:
    """Add evidence."""
    if len(incident.evidence) < EVIDENCE_LIMIT:
        incident.evidence.append(fact)


def recall(state: State, rules: Rules, incident: Incident, node: NodeId, recent: list[FindingReported]) -> None:
    """Add what the node's checks found shortly before: the cause may have come first."""
    known = {id(fact) for fact in incident.evidence}
    since = state.now - rules.policy.correlate_s
    for fact in recent:
        if fact.node == node and fact.at >= since and id(fact) not in known and fact not in incident.evidence:
            add(incident, fact)


def forget(state: State, rules: Rules) -> None:
    """Drop resolved incidents that no later cause can reopen; the journal and the logbook keep them."""
    since = state.now - rules.policy.correlate_s
    old = [
        incident.id
        for incident in state.incidents.values()
        if incident.stage is Stage.RESOLVED and incident.times.get("resolved", 0.0) < since
    ]
    for name in old:
        del state.incidents[name]
