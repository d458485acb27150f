"""A job whose steps all became slow, and one that keeps its pace again."""

from sentinel.core import incidents
from sentinel.core.conclude import acted_on, conclude, resolve
from sentinel.core.harm import FAILED_LIMIT, MEMORY_S, RECENT_FAILURES
from sentinel.core.predicates.paces import is_stopped_again, more_work, stands_out
from sentinel.core.rows import Job, JobStage
from sentinel.core.state import Rules, State
from sentinel.model.action import Action
from sentinel.model.fact import JobAtPace, JobSlowed, RankLooks, RankSlow
from sentinel.model.ids import JobId
from sentinel.model.incident import Incident


def slowed(state: State, fact: JobSlowed, rules: Rules) -> list[Action]:
    """All ranks are slow. A rank that is stopped again and again fails as one that hangs does."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return []
    job = state.change(job, usual_step_s=fact.usual_s)
    if more_work(fact, rules.policy):
        return []
    suspect = stands_out(fact, rules.policy)
    stopped = suspect is not None and is_stopped_again(suspect)
    if suspect is not None and stopped:
        _count_failure(state, job, fact, suspect)
    known = next((each for each in state.open_incidents() if _explains(each, job.id)), None)
    topic = incidents.job_topic(job.id) if stopped else f"pace:{job.id}"
    incident = incidents.add(state, known, fact) if known else incidents.join(state, topic, fact, job)
    return conclude(incident, state, rules)


def at_pace(state: State, fact: JobAtPace, rules: Rules) -> list[Action]:
    """What was told of a slow pace is over, unless something was done about it that is to bring a step."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation:
        return []
    state.change(job, usual_step_s=0.0)
    about = [incident for incident in state.open_incidents() if _is_about(incident, job.id)]
    over = [incidents.add(state, incident, fact) for incident in about if not acted_on(incident, state)]
    return [action for incident in over for action in resolve(incident, state, rules)]


def awaits_pace(incident: Incident, job: Job) -> bool:
    """Say whether an incident is about a slow pace, of which no new step is the end."""
    return not incident.attempts and _is_about(incident, job.id)


def _explains(incident: Incident, job: JobId) -> bool:
    """Say whether an incident is about this, or about a rank that is slow: one cause, one incident."""
    slow = any(isinstance(each, RankSlow) and each.job == job for each in incident.evidence)
    return slow or _is_about(incident, job)


def _is_about(incident: Incident, job: JobId) -> bool:
    """Say whether an incident is about this job's pace and no other harm."""
    harms = [each for each in incident.evidence if isinstance(each, tuple(incidents.SYMPTOMS))]
    return bool(harms) and all(isinstance(each, JobSlowed) and each.job == job for each in harms)


def _count_failure(state: State, job: Job, fact: JobSlowed, suspect: RankLooks) -> None:
    node = state.nodes[suspect.node]
    state.change(node, failures=(*node.failures[-RECENT_FAILURES:], fact.at))
    lately = [each for each in job.failed if each[0] > state.now - MEMORY_S]
    failed = (fact.at, suspect.rank, suspect.node, fact.generation)
    state.change(job, failed=(*lately[-FAILED_LIMIT:], failed))
