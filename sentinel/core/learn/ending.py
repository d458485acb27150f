"""How a job ends by itself: its ranks' processes end with 0, and when all have, it is finished."""

from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.timers import OF_A_JOB, Timer
from sentinel.core.state.workers import Worker
from sentinel.model.ids import JobId


def done(state: State, job: Job, worker: Worker, rules: Rules) -> None:
    """A rank's work is done. The others are waited for: ranks do not end in the same moment."""
    state.change(worker, done=True)
    if state.workers.done(job.id) == len(state.workers.seats(job.id)):
        _finished(state, job)
        return
    state.wait_for(Timer.FINISH.of(job.id), rules.policy.finish_s)
    look_again(state, job.id)


def _finished(state: State, job: Job) -> None:
    """All are done: nobody sits anywhere, its standbys are wanted no more, and its GPUs are free."""
    ranks = [worker for _, worker in state.seated(job)]
    state.workers.start_over(job.id)
    for worker in ranks:
        state.workers.forget(worker)
    for worker in state.workers.of(job.id):
        if worker.is_living:
            state.change(worker, unwanted=True)
    drop_deadlines(state, job)
    state.change(job, stage=JobStage.FINISHED, want=None, lacking=0)
    look_again(state, *state.jobs)


def has_finished(state: State, job: JobId) -> bool:
    """Say whether a job is over that nobody asks for: a controller that restarts submits none that is.

    When Sentinel was taken off all nodes since, it is asked for.
    """
    known = state.jobs.get(job)
    return known is not None and known.stage is JobStage.FINISHED and state.here_count() > 0


def drop_deadlines(state: State, job: Job) -> None:
    """Nothing of this job is waited for."""
    for name in list(state.deadlines):
        if name.split("/")[:2] in [[each, job.id] for each in OF_A_JOB]:
            state.deadlines.drop(name)
