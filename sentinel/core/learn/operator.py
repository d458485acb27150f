"""An operator's word: acknowledge, silence, maintain, drain, try again, grow, stop and resume actions."""

from collections.abc import Collection
from difflib import get_close_matches

from sentinel.core import evidence
from sentinel.core.learn import again, maintenance, silences
from sentinel.core.learn.findings import withdraw
from sentinel.core.learn.nodes import PLACE_S, look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.crew import Worker, WorkerStage
from sentinel.core.state.rows import Cordon
from sentinel.core.state.timers import Timer
from sentinel.model.action import StopJob, StopWorker
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Stage
from sentinel.model.runbook import Remedy

LONGEST_SILENCE_S = 30 * 86_400.0
COMMANDS = (
    "ack",
    "silence",
    "unsilence",
    "maintain",
    "drain",
    "undrain",
    "retry",
    "grow",
    "stop-actions",
    "resume-actions",
    "stop-job",
    "retire",
)


def refuse_command(state: State, command: str, target: str, causes: Collection[str] = ()) -> str:
    """Why a command makes no sense, before it becomes a fact; empty when it does."""
    if command not in COMMANDS:
        return f"unknown command {command!r}: {', '.join(COMMANDS)}"
    if command == "ack" and target not in state.incidents:
        return f"no incident {target!r} is open"
    if command in ("maintain", "drain", "undrain") and target not in state.nodes:
        return f"no node {target!r}: known are {', '.join(sorted(state.nodes)) or 'none'}"
    if command == "silence" and target not in state.nodes and target not in causes:
        near = get_close_matches(target, [*state.nodes, *causes], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "the causes are the runbooks' names"
        return f"neither a node nor a cause: {target!r}; {hint}"
    if command == "unsilence" and target not in state.silences:
        return f"{target!r} is not silenced: silenced are {', '.join(sorted(state.silences)) or 'none'}"
    if command in ("stop-job", "grow") and target not in state.jobs:
        return f"no job {target!r}: known are {', '.join(sorted(state.jobs)) or 'none'}"
    if command == "grow":
        return again.refuse_grow(state, JobId(target))
    if command == "retry":
        return again.refuse_retry(state, target)
    if command == "retire":
        return _still_busy(state)
    return ""


def _still_busy(state: State) -> str:
    """Why the agents can't leave yet: they are what ends and watches a job's processes."""
    for job in state.jobs.values():
        if not job.is_over:
            return f"{job.id} is {job.stage.value}: stop it first"
        living = [worker.id for worker in state.crew.of(job.id) if _lives(state, worker)]
        if living:
            return f"{job.id} still has {len(living)} processes: {', '.join(living)}"
    ending = [name for name, each in state.unfinished.items() if isinstance(each, StopWorker | StopJob)]
    return f"not done yet: {', '.join(ending)}" if ending else ""


def _lives(state: State, worker: Worker) -> bool:
    """Whether an agent is about to report the process's end; a silent node's agent is not."""
    node = state.nodes.get(worker.node)
    return worker.stage is not WorkerStage.GONE and node is not None and not node.silent and not node.left


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
            again.retry(state, fact)
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
        cordon=None,
        readmit=node.cordon or node.readmit,
    )
    for job in list(state.jobs.values()):
        state.change(job, slow=tuple(each for each in job.slow if each[2] != node.id))
        look_again(state, job.id)
        if job.world < job.wanted and not job.is_over:  # it may not be the only one that is given back
            state.set_deadline(Timer.REFILL.of(job.id), PLACE_S)
    if node.cordon is None:
        withdraw(state, fact, node.id, rules)
    elif (by := state.incidents.get(IncidentId(node.cordon.by))) and by.stage is not Stage.RESOLVED:
        evidence.add(state, by, fact)
    maintenance.end(state, node.id, rules)
