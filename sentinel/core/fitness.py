"""Who is seated is fit to sit: a standby that stands still is not warm until it runs again."""

from sentinel.core import reform
from sentinel.core.crew import WorkerStage
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action
from sentinel.model.fact import WorkerRuns, WorkerStopped

REPLACED_AFTER_S = 5.0
"""A standby that stands still for less is worth waiting for: starting another takes about as long."""


def stopped(state: State, fact: WorkerStopped) -> list[Action]:
    """Seat it no more, and after a while start another one in its place."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is not None and worker is not None and worker.stage is WorkerStage.STANDBY and not worker.unfit:
        state.change(worker, unfit=True)
        state.wait_for(Timer.REFILL.of(job.id), REPLACED_AFTER_S)
    return []


def runs(state: State, fact: WorkerRuns, rules: Rules) -> list[Action]:
    """It is warm again: a job may have waited for just this."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or not worker.unfit:
        return []
    state.change(worker, unfit=False)
    return reform.retry(state, job, rules)
