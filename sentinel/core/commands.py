"""Which commands of an operator make sense, said before they become facts."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args

from sentinel.core import proofs
from sentinel.core.learn import again
from sentinel.core.state import State
from sentinel.core.state.rows import SCHEDULER
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import StopJob, StopWorker
from sentinel.model.counted import counted
from sentinel.model.ids import DAY_S, IncidentId, JobId, NodeId
from sentinel.model.judgement import JUDGEMENTS, NOT_NODE
from sentinel.model.policy import Policy

LONGEST_SILENCE_S = 30 * DAY_S
"""What is to be silent for longer is to be repaired, or its runbook changed."""
CommandName: TypeAlias = Literal[
    "ack",
    "silence",
    "unsilence",
    "maintain",
    "drain",
    "undrain",
    "prove",
    "retry",
    "grow",
    "stop-actions",
    "resume-actions",
    "stop-job",
    "right",
    "not-node",
    "not-cause",
    "retire",
]
MOST_NAMED = 5
"""Open incidents that a refusal names, the newest."""
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)


def refuse_command(state: State, command: str, target: str, causes: Collection[str] = ()) -> str:
    """Why a command makes no sense, before it becomes a fact; empty when it does."""
    if command not in COMMANDS:
        return f"unknown command {command!r}: {', '.join(COMMANDS)}"
    if command == "ack":
        return _refuse_ack(state, target)
    if command in ("maintain", "drain", "undrain", "prove") and target not in state.nodes:
        return f"no node {target!r}: known are {', '.join(sorted(state.nodes)) or 'none'}"
    if command in ("undrain", "prove") and (theirs := _cordoned_by_others(state, NodeId(target))):
        return theirs
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
    if command in JUDGEMENTS:
        return _refuse_judgement(state, command, target)
    if command == "retire":
        return _still_busy(state)
    return ""


def refuse_proof(state: State, target: str, policy: Policy) -> str:
    """Why a node can't show now that it is well; empty when it can, or is not out."""
    node = state.nodes.get(NodeId(target))
    return proofs.refuse(node, policy) if node is not None and node.cordon is not None else ""


def _cordoned_by_others(state: State, node: NodeId) -> str:
    cordon = state.nodes[node].cordon
    if cordon is None or cordon.by != SCHEDULER:
        return ""
    return f"{node} is cordoned in the scheduler ({cordon.reason}): it comes back when that ends there"


def _refuse_ack(state: State, target: str) -> str:
    """Why there is nothing to look after; a resolved incident may leave something to people."""
    incident = state.incidents.get(IncidentId(target))
    if incident is None:
        known = [each.id for each in state.open_incidents()][-MOST_NAMED:]
        return f"no incident {target!r} is open{'; open: ' if known else ''}{', '.join(known)}"
    over = incident.is_over and not incident.left
    return f"{target} is resolved: nothing of it is left to look after" if over else ""


def _refuse_judgement(state: State, command: str, target: str) -> str:
    """Why there is nothing to judge; of an incident that is forgotten here the logbook knows."""
    incident = state.incidents.get(IncidentId(target))
    if incident is None:
        return f"no incident {target!r} is known"
    if incident.about is None:
        return f"{target} has no diagnosis yet: there is nothing to judge"
    blames = any(found.nodes for found in incident.where)
    return "" if blames or command != NOT_NODE else f"{target} blames no node"


def _still_busy(state: State) -> str:
    """Why the agents can't leave yet: they are what ends and watches a job's processes."""
    for job in [each for each in state.jobs.values() if not each.watched]:
        if not job.is_over:
            return f"{job.id} is {job.stage.value}: stop it first"
        living = [worker.id for worker in state.workers.of(job.id) if _lives(state, worker)]
        if living:
            return f"{job.id} still has {counted(len(living), 'process')}: {', '.join(living)}"
    ending = [name for name, each in state.unfinished.items() if isinstance(each, StopWorker | StopJob)]
    return f"not done yet: {', '.join(ending)}" if ending else ""


def _lives(state: State, worker: Worker) -> bool:
    """Whether an agent is about to report the process's end; a silent node's agent is not."""
    node = state.nodes.get(worker.node)
    return worker.stage is not WorkerStage.GONE and node is not None and not node.silent and not node.left
