"""Why a job makes no new step: the incident that keeps it from training, or what else if none does."""

from sentinel.core import group
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.idleness import FORMING, START, STOPPED, WAITING
from sentinel.model.incident import Incident


def keeping(job: Job, state: State) -> Incident | None:
    """Give what keeps a job from training, if that is an incident."""
    if job.stage is JobStage.STOPPED:
        return None
    if job.want is not None and (wanted := state.open_incident(job.want.incident)):
        return wanted
    about = group.job_topic(job.id)
    own = [each for each in state.open_incidents() if about == each.topic or each.job == job.id]
    return max(own, key=lambda each: each.opened, default=None)


def idle(job: Job) -> str:
    """Say why a job does not train, if nothing is wrong."""
    if job.stage is JobStage.STOPPED:
        return STOPPED
    if job.high_step < 0:
        return START
    return FORMING if job.stage is JobStage.FORMING else WAITING
