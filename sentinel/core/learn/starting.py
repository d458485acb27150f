"""Workers that do not become warm: nodes where that is so are left alone, and people hear of a job's."""

from msgspec.structs import replace

from sentinel.core import group
from sentinel.core.learn.nodes import look_again
from sentinel.core.recovery import MOST_DOUBLINGS
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import StartWorker
from sentinel.model.fact import Outcome, RankRaised
from sentinel.model.ids import NodeId
from sentinel.model.incident import Due


def failed(state: State, fact: Outcome, action: StartWorker, rules: Rules) -> None:
    """A node where workers do not start is left alone after a few; whoever waits is seated elsewhere.

    One that starts all the same, only late, is stopped: nobody expects it any more.
    """
    job, known = state.worker(action.job, action.worker)
    if job is None or known is None or not (known.stage is WorkerStage.STARTING or known.fell_short):
        return
    waits = known.stage is WorkerStage.STARTING
    state.change(known, unwanted=known.unwanted or waits, fell_short=False)
    _pauses(state, job, known, rules)
    if _shuns(state, known, fact.detail, rules) and not (job.is_over or job.stage is JobStage.RUNNING):
        _tell(state, job, replace(fact, detail=f"on {known.node}: {fact.detail}"))


def _pauses(state: State, job: Job, worker: Worker, rules: Rules) -> None:
    """One that could not be started is started elsewhere at once; one that ended by itself after a pause.

    That grows, for most often the next one ends by the same.
    """
    pause = rules.policy.retry_s
    if worker.spent or worker.fell_short:
        before = min(state.nodes[worker.node].misstarts, MOST_DOUBLINGS)
        pause = min(rules.policy.trust_s, pause * 2.0**before)
        state.change(job, lacking=max(1, job.lacking))
    else:
        look_again(state, job.id)
    state.set_deadline(Timer.REFILL.of(job.id), pause)


def ended(state: State, job: Job, worker: Worker) -> None:
    """Its process is gone before it was warm; who asked for it hears of that, too, and counts it."""
    if worker.stage is WorkerStage.STARTING and not worker.unwanted:
        state.change(state.workers.rows[worker.key], fell_short=True)
    else:
        look_again(state, job.id)


def _shuns(state: State, worker: Worker, why: str, rules: Rules) -> bool:
    """Count one more on its node; true if that has become one where no further one is started for a while."""
    before = state.nodes[worker.node]
    shunned = before.shunned or before.misstarts + 1 >= rules.policy.start_attempts
    why = before.start_error if worker.spent else why  # its own exception says more
    counts = {"misstarts": before.misstarts + 1, "shunned": shunned, "trusted": False, "start_error": why}
    state.change(before, **counts)
    if shunned:
        state.set_deadline(Timer.TRUST.of(before.id), rules.policy.trust_s)
    return shunned and (before.trusted or not before.shunned)


def _tell(state: State, job: Job, fact: Outcome) -> None:
    """Make it somebody's business that a job does not start."""
    incident = group.join_job(state, job, fact)
    if not state.awaits_evidence(incident.id):
        group.ask_for(state, incident, Due.ANY)


def raised(state: State, fact: RankRaised) -> None:
    """Code of the job keeps a worker from starting; of a standby nobody waits for, that stops nothing."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or worker.rank >= 0 or worker.node != fact.node:
        return
    state.change(worker, spent=True)
    state.change(state.nodes[worker.node], start_error=fact.error)
    if job.is_over or job.stage is JobStage.RUNNING:
        return
    fact = replace(fact, rank=-1, generation=-1, step=-1)
    incident = group.join_job(state, job, fact)
    if not state.awaits_evidence(incident.id):
        group.ask_for(state, incident, Due.CERTAIN)


def trust_again(state: State, name: NodeId) -> None:
    """Give a node where workers did not start one more try."""
    node = state.nodes.get(name)
    if node is not None and node.shunned:
        state.change(node, trusted=True)
        look_again(state, *state.jobs)
