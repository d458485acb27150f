"""An operator's word: acknowledge, silence, maintain, drain, try again, grow, stop and resume actions."""

from sentinel.core import evidence
from sentinel.core.learn import again, maintenance, silences
from sentinel.core.learn.findings import withdraw
from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Cordon
from sentinel.core.state.timers import Timer
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Stage
from sentinel.model.runbook import Remedy


def command(state: State, fact: Commanded, rules: Rules) -> None:
    """Take in an operator's command."""
    match fact.command:
        case "ack":
            if (incident := state.incidents.get(IncidentId(fact.target))) is not None:
                state.change(incident, acked_by=fact.who)
        case "silence":
            state.silences.put(fact.target, fact.until)
            state.deadlines.put(Timer.SILENCE.of(fact.target), fact.until)
        case "unsilence":
            silences.end(state, fact.target)
        case "maintain":
            maintenance.begin(state, fact)
        case "stop-actions":
            state.stopped = f"{fact.who}: {fact.reason}" if fact.reason else fact.who
        case "resume-actions":
            _resume_actions(state, rules)
        case "drain":
            if (node := state.nodes.get(NodeId(fact.target))) is not None:
                cordon = Cordon("operator", fact.reason or fact.who, fact.at, gently=True)
                state.change(node, cordon=cordon)
        case "retry":
            again.retry(state, fact, rules)
        case "grow":
            again.grow(state, JobId(fact.target))
        case "undrain":
            _undrain(state, fact, rules)
        case "stop-job":
            if (job := state.jobs.get(JobId(fact.target))) is not None:
                halted = f"{fact.who}: {fact.reason}"
                state.change(job, halted=halted, stopped_at=fact.at, want=None, lacking=0)


def _resume_actions(state: State, rules: Rules) -> None:
    """A human allows actions: what was given up is tried again, and what froze them freezes them no more."""
    state.stopped = state.frozen = ""
    state.allow("actions")
    for incident in list(state.incidents.values()):
        state.change(incident, attempts=0)
        if incident.diagnosis is not None and rules.remedy_of(incident) is Remedy.FREEZE:
            state.change(incident, overruled=incident.diagnosis.mark)


def _undrain(state: State, fact: Commanded, rules: Rules) -> None:
    """Take a node back: whoever undrains it vouches for it, so its old failures count no more."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None:
        return
    state.change(
        node,
        failures=(),
        app_xids=(),
        link_errors=(),
        recent=(),
        told=(),
        counts={},
        vouched=fact.at,
        misstarts=0,
        shunned=False,
        cordon=None,
        readmit=node.cordon or node.readmit,
    )
    for job in list(state.jobs.values()):
        state.change(job, slow=tuple(each for each in job.slow if each[2] != node.id))
        look_again(state, job.id)
        if job.world < job.wanted and not job.is_over:  # it may not be the only one that is given back
            state.set_deadline(Timer.REFILL.of(job.id), rules.policy.place_s)
    withdraw(state, fact, node.id, rules)
    by = state.incidents.get(IncidentId(node.cordon.by)) if node.cordon else None
    if by is not None and by.stage is not Stage.RESOLVED and fact not in by.evidence:
        evidence.add(state, by, fact)
    maintenance.end(state, node.id, rules)
