"""A generation that is over, and one that only lost what was announced to go."""

from sentinel.core import evidence, group
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage, Node, Want
from sentinel.core.state.timers import Timer
from sentinel.model.incident import Due


def break_off(state: State, job: Job) -> Job:
    """The present generation is over, if there was one."""
    state.deadlines.drop(job.deadline())
    state.deadlines.drop(Timer.SETTLED.of(job.id))
    stage = JobStage.BROKEN if job.generation else JobStage.WAITING
    return state.change(job, stage=stage, paced_s=job.paced_s or job.median_step_s)


def gone_as_announced(state: State, node: Node) -> None:
    """Jobs that just broke without a culprit lost their peers on this node."""
    for job in list(state.jobs.values()):
        if job.stage is JobStage.BROKEN and state.workers.is_hosted(job.id, node.id):
            give_way(state, job)


def left_as_announced(state: State, job: Job) -> bool:
    """Say whether a rank was on a node in maintenance, and is gone with it."""
    gone = {worker.node for worker in state.workers.gone(job.id) if worker.rank >= 0}
    nodes = [node for node in state.maintained() if state.workers.is_hosted(job.id, node.id)]
    return any(node.silent or node.id in gone for node in nodes)


def give_way(state: State, job: Job) -> bool:
    """Let a job that lost ranks by a node's maintenance form anew in nobody's name.

    Echoes of that need no cause. False if it broke of something else, too.
    """
    known = group.of_job(state, job)
    if known is not None and (known.diagnosis is not None or not evidence.only_echoes(known)):
        return False
    if known is not None:
        state.await_no_evidence(known.id)
        state.change(known, due=Due.NOTHING)
    job = break_off(state, job)
    wanted = job.want if job.want is not None and not job.want.gently else Want(job.upkeep)
    state.change(job, want=wanted, lacking=0)
    return True
