"""An operator's word: acknowledge, silence, drain, undrain, stop and resume actions."""

from collections.abc import Collection
from difflib import get_close_matches

from sentinel.core import incidents, notify, reform
from sentinel.core.conclude import catch_up, leave_cordoned, withdraw
from sentinel.core.crew import Worker, WorkerStage
from sentinel.core.evict import refuse_action
from sentinel.core.jobs import stopped_by_hand
from sentinel.core.rows import Cordon, Job, JobStage
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Readmit, StopJob, StopWorker, action_id
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Stage

LONGEST_SILENCE_S = 30 * 86_400.0
COMMANDS = ("ack", "silence", "drain", "undrain", "stop-actions", "resume-actions", "stop-job", "retire")


def refuse_command(state: State, command: str, target: str, causes: Collection[str] = ()) -> str:
    """Why a command makes no sense, before it becomes a fact; empty when it does."""
    if command not in COMMANDS:
        return f"unknown command {command!r}: {', '.join(COMMANDS)}"
    if command == "ack" and target not in state.incidents:
        return f"no incident {target!r} is open"
    if command in ("drain", "undrain") and target not in state.nodes:
        return f"no node {target!r}: known are {', '.join(sorted(state.nodes)) or 'none'}"
    if command == "silence" and target not in state.nodes and target not in causes:
        near = get_close_matches(target, [*state.nodes, *causes], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "the causes are the runbooks' names"
        return f"neither a node nor a cause: {target!r}; {hint}"
    if command == "stop-job" and target not in state.jobs:
        return f"no job {target!r}: known are {', '.join(sorted(state.jobs)) or 'none'}"
    if command == "retire":
        return _still_busy(state)
    return ""


def _still_busy(state: State) -> str:
    """Why the agents can't leave yet: they are what ends and watches a job's processes."""
    for job in state.jobs.values():
        if job.stage is not JobStage.STOPPED:
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


def command(state: State, fact: Commanded, rules: Rules) -> list[Action]:
    """Fold an operator's command."""
    match fact.command:
        case "ack":
            incident = state.incidents.get(IncidentId(fact.target))
            if incident is None:
                return []
            return list(notify.page(state.change(incident, acked_by=fact.who), state, rules))
        case "silence":
            state.silences.put(fact.target, fact.until)
        case "stop-actions":
            state.stopped = f"{fact.who}: {fact.reason}" if fact.reason else fact.who
        case "resume-actions":
            state.stopped = state.frozen = ""
            for given_up in state.incidents.values():
                state.change(given_up, attempts=0)
            return catch_up(state, rules)
        case "drain":
            return _drain(state, fact, rules)
        case "undrain":
            return _undrain(state, fact, rules)
        case "stop-job":
            job = state.jobs.get(JobId(fact.target))
            return _stop_job(state, job, fact, rules) if job else []
    return []


def _stop_job(state: State, job: Job, fact: Commanded, rules: Rules) -> list[Action]:
    """Stop a job for a human, and end the incidents that were only its own."""
    over = stopped_by_hand(job, state, rules)
    if job.stage is JobStage.STOPPED:
        return over
    state.change(job, stage=JobStage.STOPPED, pending="")
    who = IncidentId(f"operator-{job.id}")
    name = action_id(who, "stop-job", job.id, int(fact.at * 1000))
    return [StopJob(name, who, job.id, f"{fact.who}: {fact.reason}"), *over]


def _drain(state: State, fact: Commanded, rules: Rules) -> list[Action]:
    """Cordon for a human, and move what runs there at the next step boundary."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None:
        return []
    state.change(node, cordon=Cordon("operator", fact.reason or fact.who, fact.at))
    blocked, job = refuse_action(state, rules), state.job_on(node.id)
    if blocked and job is not None:
        return [reform.refuse(reform.upkeep(job, state), state, f"drain {node.id}", blocked)]
    return [] if blocked else leave_cordoned(state, rules)


def _undrain(state: State, fact: Commanded, rules: Rules) -> list[Action]:
    """Take a node back: whoever undrains it vouches for it, so its old failures count no more."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None:
        return []
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
    )
    for job in state.jobs.values():
        state.change(job, slow=tuple(each for each in job.slow if each[2] != node.id))
    if node.cordon is None:
        return withdraw(fact, node.id, state, rules)
    by = IncidentId(node.cordon.by if node.cordon.by != "operator" else f"operator-{node.id}")
    state.change(node, cordon=None)
    incident = state.incidents.get(by)
    if incident is not None and incident.stage is not Stage.RESOLVED:
        incidents.add(state, incident, fact)
    actions: list[Action] = [Readmit(action_id(by, "readmit", node.id, int(fact.at * 1000)), by, node.id)]
    for job in state.jobs.values():
        actions += reform.look_after(state, job, rules)
    return actions
