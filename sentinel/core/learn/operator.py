"""An operator's word: acknowledge, silence, maintain, drain, try again, grow, stop and resume, judge."""

from sentinel.core import waits
from sentinel.core.learn import again, cordons, judgements, maintenance, proofs, silences
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Silence
from sentinel.core.state.timers import Timer
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, JobId
from sentinel.model.runbook import Remedy


def command(state: State, fact: Commanded, rules: Rules) -> None:
    """Take in an operator's command."""
    match fact.command:
        case "ack":
            if (incident := state.incidents.get(IncidentId(fact.target))) is not None:
                state.change(incident, acked_by=fact.who, acked_why=fact.reason)
        case "silence":
            state.silences.put(fact.target, Silence(fact.until, fact.who, fact.reason))
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
            cordons.drain(state, fact)
        case "retry":
            again.retry(state, fact, rules)
        case "grow":
            again.grow(state, JobId(fact.target))
        case "undrain":
            proofs.vouch(state, fact, rules)
        case "prove":
            proofs.ask(state, fact, rules)
        case "right" | "not-node" | "not-cause":
            judgements.judge(state, fact)
        case "stop-job":
            if (job := state.jobs.get(JobId(fact.target))) is not None:
                halted = f"{fact.who}: {fact.reason}"
                state.change(job, halted=halted, stopped_at=fact.at, want=None, lacking=0)


def _resume_actions(state: State, rules: Rules) -> None:
    """A human allows actions: what was given up is tried again, and what froze them freezes them no more."""
    waits.allow(state)
    state.stopped = state.frozen = ""
    for incident in list(state.incidents.values()):
        state.change(incident, attempts=0)
        if incident.diagnosis is not None and rules.remedy_of(incident) is Remedy.FREEZE:
            state.change(incident, overruled=incident.diagnosis.mark)
