"""Jobs that somebody else starts: who sits where is seen, in the one seat table."""

from sentinel.core.learn.ending import drop_deadlines
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import ANEW, Job, JobStage
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import Seat
from sentinel.model.fact import GangSeen, JobSubmitted


def submitted(state: State, fact: JobSubmitted) -> None:
    """A job is to be watched; whether it can be started again may have changed."""
    job = state.jobs.get(fact.job) or state.add(Job(fact.job, world=0, min_world=0, standbys=0, watched=True))
    if job.watched:
        state.change(job, restarts=fact.restarts)


def seen(state: State, fact: GangSeen, rules: Rules) -> None:
    """A gang is there: a generation that nobody ordered. Of a job that Sentinel runs it says nothing."""
    job = state.jobs.get(fact.job) or state.add(Job(fact.job, world=0, min_world=0, standbys=0, watched=True))
    if not job.watched or any(seen.node not in state.nodes for seen in fact.ranks):
        return
    if job.is_over:
        job = state.change(job, wanted=0, **ANEW)
    drop_deadlines(state, job)
    _sit(state, job, fact)
    size = len(fact.ranks)
    job = state.change(
        job,
        generation=job.generation + 1,
        stage=JobStage.FORMING,
        want=None,
        world=size,
        wanted=max(size, job.wanted),
        min_world=1,
    )
    _asks_no_more(state, job)
    first = job.high_step < 0
    state.set_deadline(job.deadline(), rules.policy.slow_phase_s if first else rules.policy.resume_timeout_s)


def _sit(state: State, job: Job, fact: GangSeen) -> None:
    """Seat who is there, and let go of whoever was there before and is not."""
    there = {seen.worker for seen in fact.ranks}
    for _, worker in list(state.seated(job)):
        if worker.id not in there and worker.is_living:
            state.workers.dismiss(worker, state.now)
    for seen in fact.ranks:
        if state.workers.get(job.id, seen.worker) is None:
            stage, since = WorkerStage.STANDBY, state.now
            state.add(Worker(seen.worker, seen.node, stage, seen.pid, seen.gpu, since=since, job=job.id))
    seats = [Seat(seen.rank, seen.worker, seen.node, seen.gpu) for seen in fact.ranks]
    state.workers.form(job.id, job.generation + 1, seats)


def _asks_no_more(state: State, job: Job) -> None:
    """It was started again: nobody is asked to."""
    for key in [key for key in state.refused if key[1] == f"resume {job.id}"]:
        state.refused.drop(key)
