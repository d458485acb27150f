"""What Sentinel itself stands on: Ray's GCS, the journal, its own process."""

from collections.abc import Mapping

from sentinel.core import evidence, group, waits
from sentinel.core.learn.nodes import look_again
from sentinel.core.recovery import stays_away
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.timers import Timer
from sentinel.model.action import Resume
from sentinel.model.fact import (
    ControllerPaused,
    ControllerStarted,
    DefectMet,
    GcsBack,
    GcsLost,
    JournalBack,
    JournalFailed,
    LinkBack,
    LinkLost,
)
from sentinel.model.ids import Seconds
from sentinel.model.incident import Due

PROMISES = (Timer.SILENCE, Timer.MAINTAIN)
"""Waits whose end was told to people."""


def lost(state: State, fact: GcsLost | LinkLost | JournalFailed, rules: Rules) -> None:
    """Something that all needs is away: that is no job's incident."""
    alike = (JournalFailed,) if isinstance(fact, JournalFailed) else (GcsLost, LinkLost)
    known = next(filter(None, (group.with_fact(state, kind) for kind in alike)), None)
    incident = evidence.add(state, known, fact) if known else group.join(state, type(fact).__name__, fact)
    if isinstance(fact, LinkLost):  # the controller starts another by itself, which should be there and stay
        policy = rules.policy
        state.wait_for(Timer.AGAIN.of(incident.id, "link"), policy.action_timeout_s + policy.settled_s)
    group.ask_for(state, incident, Due.ANY)


def is_ordered(state: State, job: Job) -> bool:
    """Say whether its generation is ordered, and nobody has said what became of it."""
    orders = (action for action in state.unfinished.values() if isinstance(action, Resume))
    return any((each.job, each.generation) == (job.id, job.generation) for each in orders)


def defect_met(state: State, fact: DefectMet) -> None:
    """Who has a defect does nothing until a human has looked."""
    state.frozen = f"a defect in Sentinel: {fact.error}"


def ray_back(state: State, fact: GcsBack | LinkBack, rules: Rules) -> None:
    """Ray can be asked again: what could not be done without it was no attempt, and has all its time now."""
    if known := group.with_fact(state, GcsLost if isinstance(fact, GcsBack) else LinkLost):
        known = evidence.add(state, known, fact)
        stays_away(state, known, rules)
        waits.ray_is_back(state, known)
        if isinstance(fact, GcsBack):
            state.deadlines.drop(Timer.AGAIN.of(known.id, waits.GCS))
    for incident in state.open_incidents():
        state.change(incident, attempts=0)
    for job in list(state.jobs.values()):
        look_again(state, job.id)
        if job.stage is JobStage.FORMING and is_ordered(state, job):
            ends = state.deadlines.get(job.deadline(), 0.0)
            state.deadlines.put(job.deadline(), max(ends, state.now + rules.policy.resume_timeout_s))


def journal_back(state: State, fact: JournalBack | ControllerStarted, rules: Rules) -> None:
    """The journal takes what it is given; a controller that starts has just made its first commit."""
    if known := group.with_fact(state, JournalFailed):
        stays_away(state, evidence.add(state, known, fact), rules)


def controller_started(state: State, fact: ControllerStarted, rules: Rules) -> None:
    """What happened meanwhile is heard first: no deadline passes just because nobody was there to see."""
    state.opened = max(state.opened, fact.incidents)
    policy = rules.policy
    slack: Mapping[str, Seconds] = {
        Timer.RESUME: policy.resume_timeout_s,
        Timer.BROKEN: policy.grace_s + policy.broken_s,
        Timer.STANDS: policy.stands_s,
        Timer.SETTLED: policy.settled_s,
    }
    for name, at in list(state.deadlines.items()):
        least = slack.get(name.partition("/")[0], policy.gather_s)
        state.deadlines.put(name, max(at, state.now + least))
    journal_back(state, fact, rules)
    waits.away(state, fact.away_s)


def controller_paused(state: State, fact: ControllerPaused) -> None:
    """Nobody was there to see: whatever is waited for gets that time, too."""
    waits.away(state, fact.for_s)
    for name, at in list(state.deadlines.items()):
        if Timer(name.partition("/")[0]) not in PROMISES:
            state.deadlines.put(name, at + fact.for_s)
