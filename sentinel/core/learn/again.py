"""A human's word that something is tried again: what was refused, failed or given up; a job's old size."""

from collections.abc import Iterator

from sentinel.core import group
from sentinel.core.learn.jobs import start_over
from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import STARTS, Job, JobStage, Node
from sentinel.core.state.timers import Timer
from sentinel.model.action import Page
from sentinel.model.fact import Commanded, JobSubmitted
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.incident import Incident


def refuse_retry(state: State, target: str) -> str:
    """Why there is nothing to be tried again; empty when there may be."""
    incident = state.incidents.get(IncidentId(target))
    job = state.jobs.get(JobId(target))
    if incident is None and job is None and NodeId(target) not in state.nodes:
        return f"no incident, node or job {target!r} is known"
    if incident is not None and incident.is_over:
        return f"{target} is resolved: nothing more is done for its sake"
    for over in starts_over(state, target):
        if living := _living(state, over):
            return f"{over.id} is {over.stage.value}, and {', '.join(living)} are still ending: ask again"
    return ""


def starts_over(state: State, target: str) -> list[Job]:
    """Jobs that are over and that a retry submits again: it names them, or what they are stopped for."""
    over = [job for job in state.jobs.values() if job.is_over and not job.watched]
    named = {each.id for each in _incidents(state, target)}
    why = {job.id: found for job in over if (found := group.stopped(state, job))}
    return [job for job in over if job.id == target or (job.id in why and why[job.id].id in named)]


def _living(state: State, job: Job) -> list[str]:
    """Whose end is still to come: they must not train beside those that would be started."""
    return [worker.id for worker in state.workers.of(job.id) if worker.is_living or worker.may_run]


def retry(state: State, fact: Commanded, rules: Rules) -> None:
    """Forget how often it was tried and what refused it: what is still wanted is ordered once more."""
    node, job = state.nodes.get(NodeId(fact.target)), state.jobs.get(JobId(fact.target))
    jobs = {each.id for each in (*starts_over(state, fact.target), job) if each is not None}
    for incident in list(_incidents(state, fact.target)):
        _forget_refusals(state, incident.id)
        state.change(incident, attempts=0, retried=fact.at)
    if node is not None:
        _trust(state, state.change(node, forgiven=node.evicts))
        state.deadlines.drop(Timer.EVICT.of(node.id))
        if node.cordon is not None:
            state.refused.drop((IncidentId(node.cordon.by), f"evict {node.id}"))
        look_again(state, *state.jobs)
    for name in sorted(jobs):
        _retry_job(state, state.jobs[name], rules)


def _incidents(state: State, target: str) -> Iterator[Incident]:
    """Open incidents that are this one, are about this job, or blame this node."""
    for each in state.open_incidents():
        blamed = each.diagnosis.nodes if each.diagnosis else ()
        if target in (each.id, each.job, *blamed):
            yield each


def _forget_refusals(state: State, name: IncidentId) -> None:
    for key in [key for key in state.refused if key[0] == name]:
        state.refused.drop(key)


def _retry_job(state: State, job: Job, rules: Rules) -> None:
    """A job that was stopped is submitted once more, as it was; any other looks for its places again."""
    _forget_refusals(state, job.upkeep)
    job = state.change(job, lacking=0, restarted=-1)
    _trust_all(state)
    if job.is_over and not job.watched:
        # On a silent node nobody sees a process end: it keeps a row without a rank, to be stopped again.
        for worker in state.workers.gone(job.id):
            state.change(worker, rank=-1) if state.nodes[worker.node].silent else state.workers.forget(worker)
        size = job.wanted, job.trainable, job.standbys, job.min_world
        start_over(state, job, JobSubmitted(state.now, job.id, *size, job.journal, job.priority), rules)


def with_another_past(state: State, past: str, rules: Rules) -> None:
    """What was decided last is lost: begin anew with every job, by names that the lost past never gave.

    Who runs where is not what this state says, and a worker that it would number next may be there. So what
    runs is another past's, to be ended before a rank is placed, as beside a new journal; and what was ordered
    is not ordered again.
    """
    state.past = past
    for action in [each for each in state.unfinished.values() if not isinstance(each, Page)]:
        state.unfinished.drop(action.id)
    for job in [each for each in state.jobs.values() if not each.watched]:
        for worker in state.workers.of(job.id):
            state.workers.forget(worker)
        job = state.change(job, journal=past)
        if not job.is_over:
            size = job.wanted, job.trainable, job.standbys, job.min_world
            start_over(state, job, JobSubmitted(state.now, job.id, *size, past, job.priority), rules)


def refuse_grow(state: State, name: JobId) -> str:
    """Why a job can't grow; empty when it may."""
    job = state.jobs[name]
    if job.world >= job.wanted:
        return f"{name} has all of its {job.wanted} ranks"
    return "" if job.stage is JobStage.RUNNING else f"{name} is {job.stage.value}: it grows while it runs"


def grow(state: State, name: JobId) -> None:
    """Grow back now: nobody who may still come is waited for, and nodes where workers failed are tried."""
    if name not in state.jobs:
        return
    state.deadlines.drop(Timer.REFILL.of(name))
    state.change(state.jobs[name], lacking=0)
    _trust_all(state)


def _trust_all(state: State) -> None:
    """Try nodes again where workers did not start."""
    for node in [each for each in state.nodes.values() if each.usable and each.misstarts]:
        _trust(state, node)


def _trust(state: State, node: Node) -> None:
    state.deadlines.drop(Timer.TRUST.of(node.id))
    state.change(node, **STARTS)
