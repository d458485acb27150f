"""A job whose steps all became slow, and one that keeps its pace again."""

from sentinel.core import evidence, group
from sentinel.core.diagnose.predicates.paces import is_stopped_again, more_work, stands_out
from sentinel.core.learn.jobs import pace_is_back
from sentinel.core.learn.ranks import note_failure
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.model.fact import JobAtPace, JobSlowed, RankSlow
from sentinel.model.ids import JobId
from sentinel.model.incident import Due, Incident


def slowed(state: State, fact: JobSlowed, rules: Rules) -> None:
    """All ranks are slow. A rank that is stopped again and again fails as one that hangs does."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return
    job = state.change(job, usual_step_s=fact.usual_s)
    if more_work(fact, rules.policy):
        return
    suspect = stands_out(fact, rules.policy)
    stopped = suspect is not None and is_stopped_again(suspect)
    if suspect is not None and stopped:
        note_failure(state, job, (fact.at, suspect.rank, suspect.node, fact.generation), rules)
    known = next((each for each in state.open_incidents() if _explains(each, job.id)), None)
    topic = group.job_topic(job.id) if stopped else group.pace_topic(job.id)
    incident = evidence.add(state, known, fact) if known else group.join(state, topic, fact, job)
    group.ask_for(state, incident, Due.ANY)


def at_pace(state: State, fact: JobAtPace, rules: Rules) -> None:
    """What was reported of a slow pace is over, whatever else it was told with."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation:
        return
    job = state.change(job, usual_step_s=0.0, paced_s=0.0)
    pace_is_back(state, job, rules)
    for incident in state.open_incidents():
        if incident.job == job.id and JobSlowed in evidence.kinds(incident):
            evidence.add(state, incident, fact)


def _explains(incident: Incident, job: JobId) -> bool:
    """Say whether an incident is about this, or about a rank that is slow: one cause, one incident."""
    if incident.job != job:
        return False
    return evidence.is_about_pace(incident) or any(isinstance(each, RankSlow) for each in incident.evidence)
