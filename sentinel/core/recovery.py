"""When a job has recovered, with all its ranks at its pace, and how long it pauses if it breaks again."""

from typing import NamedTuple

from sentinel.core import group
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.timers import Timer
from sentinel.model.fact import JobAdvanced
from sentinel.model.ids import Instant, Seconds
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy

MOST_DOUBLINGS = 30


def begins(state: State, job: Job, rules: Rules) -> None:
    """The job steps, or is at its pace, again: from now on it has to stay so."""
    if wait := _settles_s(state, job, rules):
        state.set_deadline(Timer.SETTLED.of(job.id), wait)
    else:
        ends(state, job, rules)


def ends(state: State, job: Job, rules: Rules) -> None:
    """It has stayed so for long enough, if it still is: whatever breaks it next is another incident."""
    if job.stage is not JobStage.RUNNING:
        return
    if is_at_pace(job, rules.policy):
        state.change(job, paced_s=0.0)
    for incident in state.open_incidents():
        if incident.topic == group.job_topic(job.id) and "new_step" in incident.times:
            group.rest(state, incident)


def stays_away(state: State, incident: Incident, rules: Rules) -> None:
    """What an incident without a job had lost is back, and has to stay."""
    if incident.diagnosis is not None and rules.policy.settled_s:
        state.set_deadline(Timer.SETTLED.of(incident.id), rules.policy.settled_s)


def has_settled(state: State, job: Job, rules: Rules) -> bool:
    """Say whether the job trains as before, and has done so for long enough."""
    waits = job.stage is not JobStage.RUNNING or Timer.SETTLED.of(job.id) in state.deadlines
    return not waits and job.world >= job.wanted and is_at_pace(job, rules.policy)


class End(NamedTuple):
    """What an incident waits for to be over."""

    what: str = ""
    """After `over when`; empty if nothing is promised."""
    until: Instant = 0.0
    """Until when that has to stay so; 0 where no time is set."""


def awaits(incident: Incident, state: State, rules: Rules) -> End:
    """Say what an incident waits for whose job trains again, or for whose sake what was lost is back."""
    own, job = state.deadlines.get(Timer.SETTLED.of(incident.id), 0.0), state.job_of(incident)
    if incident.is_over or job is None or not group.has_recovered(state, incident):
        back = own > 0 and not incident.is_over
        return End("what was lost has stayed back for a while", own) if back else End()
    if (until := max(own, state.deadlines.get(Timer.SETTLED.of(job.id), 0.0))) > 0:
        stepped = next(fact.at for fact in reversed(incident.evidence) if isinstance(fact, JobAdvanced))
        again = ", the longer the more often it broke" if job.flaps > 1 else ""
        return End(f"{job.id} has kept its pace for {until - stepped:.0f} s{again}", until)
    if job.world < job.wanted:
        return End(f"{job.id} has all of its ranks")
    well = is_at_pace(job, rules.policy)
    return End() if well else End(f"the steps of {job.id} are as short as before")


def is_at_pace(job: Job, policy: Policy) -> bool:
    """Say whether its steps take no longer than before it broke, as far as anybody knows."""
    slower = job.paced_s > 0 and job.median_step_s > policy.slow_pace_factor * job.paced_s
    return not (slower or job.usual_step_s)


def flaps(state: State, job: Job, rules: Rules) -> int:
    """Count the breaks in a row that nobody was to blame for."""
    return job.flaps if state.now - job.flapped <= rules.policy.quiet_s else 0


def pause_s(state: State, job: Job, rules: Rules) -> Seconds:
    """How long it pauses before it forms after one more of these; 0 for the first."""
    policy, before = rules.policy, flaps(state, job, rules)
    return min(policy.flap_pause_limit_s, policy.flap_pause_s * _doubled(before - 1)) if before else 0.0


def _settles_s(state: State, job: Job, rules: Rules) -> Seconds:
    """How long it has to stay well: for longer if it broke again and again."""
    policy, again = rules.policy, max(0, flaps(state, job, rules) - 1)
    return min(policy.settled_s * _doubled(again), max(policy.settled_s, policy.quiet_s))


def _doubled(times: int) -> float:
    return 2.0 ** min(times, MOST_DOUBLINGS)
