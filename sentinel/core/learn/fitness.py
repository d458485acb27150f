"""Who is seated is fit to sit: a standby that stands still is not warm until it runs again."""

from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import WorkerStage
from sentinel.model.fact import WorkerRuns, WorkerStopped


def stopped(state: State, fact: WorkerStopped, rules: Rules) -> None:
    """Seat it no more, and after a while start another one in its place."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is not None and worker is not None and worker.stage is WorkerStage.STANDBY and not worker.unfit:
        state.change(worker, unfit=True)
        look_again(state, job.id)
        state.wait_for(Timer.REFILL.of(job.id), rules.policy.start_s)


def runs(state: State, fact: WorkerRuns) -> None:
    """It is warm again: a job may have waited for just this."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is not None and worker is not None and worker.unfit:
        state.change(worker, unfit=False)
        look_again(state, job.id)
