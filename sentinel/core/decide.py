"""The fold: one fact changes the state and gives the actions that follow from it."""

from collections.abc import Mapping
from typing import assert_never

from sentinel.core import findings, fitness, harm, incidents, jobs, nodes, operate, outcomes, paces, reform
from sentinel.core.conclude import catch_up, conclude, resolve_topic
from sentinel.core.detect import once
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action, Refusal
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    DeadlinePassed,
    Fact,
    FindingReported,
    GcsBack,
    GcsLost,
    JobAdvanced,
    JobAtPace,
    JobPaced,
    JobSlowed,
    JobStalled,
    JobSubmitted,
    JobUnderway,
    JournalBack,
    JournalFailed,
    NodeHeard,
    NodeJoined,
    NodeLeft,
    NodeProbed,
    NodeReached,
    NodeSilent,
    Outcome,
    RankExited,
    RankRaised,
    RankSlow,
    WorkerReady,
    WorkerRuns,
    WorkerStopped,
)
from sentinel.model.ids import IncidentId, JobId, NodeId, Seconds


def decide(state: State, fact: Fact, rules: Rules) -> tuple[Action, ...]:
    """Fold one fact. `state` is changed, or, if this raises, not; the same facts give the same actions.

    What an agent has told before changes nothing, for no journal need hold it twice.
    """
    if not once.is_news(state, fact):
        return ()
    state.begin()
    try:
        once.mark(state, fact)
        state.now = max(state.now, fact.at)
        actions = tuple(_react(state, fact, rules))
        _note(state, actions)
    except BaseException:
        state.abandon()
        raise
    state.commit()
    return actions


def _note(state: State, actions: tuple[Action, ...]) -> None:
    """Keep what is to be done, and with each incident what was decided for its sake."""
    decided: dict[IncidentId, list[Action]] = {}
    for action in actions:
        if not isinstance(action, Refusal):
            state.unfinished.put(action.id, action)
        decided.setdefault(action.incident, []).append(action)
    for name, fresh in decided.items():
        if (incident := state.incidents.get(name)) is not None:
            state.change(incident, actions=(*incident.actions, *fresh))


def _react(
    state: State, fact: Fact, rules: Rules
) -> list[Action]:  # one line per fact, however many there are
    match fact:
        case NodeJoined():
            return nodes.joined(state, fact, rules)
        case NodeSilent():
            return nodes.silent(state, fact)
        case NodeLeft():
            return nodes.left(state, fact, rules)
        case NodeHeard():
            return nodes.heard(state, fact, rules)
        case NodeReached():
            return nodes.reached(state, fact, rules)
        case FindingReported():
            return findings.finding(state, fact, rules)
        case NodeProbed():
            return harm.probed(state, fact, rules)
        case WorkerReady():
            return jobs.worker_ready(state, fact, rules)
        case WorkerStopped():
            return fitness.stopped(state, fact)
        case WorkerRuns():
            return fitness.runs(state, fact, rules)
        case RankExited():
            return harm.exited(state, fact, rules)
        case RankRaised():
            return harm.raised(state, fact, rules)
        case JobStalled():
            return harm.stalled(state, fact, rules)
        case JobAdvanced():
            return jobs.advanced(state, fact, rules)
        case JobUnderway():
            return jobs.underway(state, fact, rules)
        case JobPaced():
            return jobs.paced(state, fact)
        case RankSlow():
            return harm.slow(state, fact, rules)
        case JobSlowed():
            return paces.slowed(state, fact, rules)
        case JobAtPace():
            return paces.at_pace(state, fact, rules)
        case JobSubmitted():
            return jobs.submitted(state, fact)
        case GcsLost():
            return _own(state, "gcs-dead:", fact, rules)
        case GcsBack():
            return _gcs_back(state, rules)
        case JournalFailed():
            return _own(state, "journal-failed:", fact, rules)
        case JournalBack():
            return resolve_topic(state, rules, "journal-failed:")
        case Commanded():
            return operate.command(state, fact, rules)
        case Outcome():
            return outcomes.outcome(state, fact, rules)
        case DeadlinePassed():
            return _deadline(state, fact, rules)
        case ControllerStarted():
            return _controller_started(state, fact, rules)
        case _:
            assert_never(fact)


def _own(state: State, topic: str, fact: GcsLost | JournalFailed, rules: Rules) -> list[Action]:
    """Conclude what is no job's business: its topic is its cause."""
    return conclude(incidents.join(state, topic, fact), state, rules)


def _gcs_back(state: State, rules: Rules) -> list[Action]:
    """Ray can be asked again: what could not be done without it was no attempt."""
    over = resolve_topic(state, rules, "gcs-dead:")
    for incident in state.open_incidents():
        state.change(incident, attempts=0)
    return over + catch_up(state, rules)


def _deadline(state: State, fact: DeadlinePassed, rules: Rules) -> list[Action]:
    state.deadlines.drop(fact.deadline)
    name, _, rest = fact.deadline.partition("/")
    first, _, second = rest.partition("/")
    incident, job = state.incidents.get(IncidentId(first)), state.jobs.get(JobId(first))
    match timer := Timer(name):
        case Timer.GATHER | Timer.BROKEN | Timer.STACKS:
            return harm.waited(incident, timer, state, rules) if incident else []
        case Timer.REACH:
            return nodes.look_again(state, IncidentId(first), NodeId(second))
        case Timer.AGAIN:
            return outcomes.remedy_again(state, IncidentId(first), fact, rules)
        case Timer.EVICT:
            return outcomes.evict_again(state, IncidentId(first), NodeId(second), rules)
        case Timer.STANDS:
            return findings.stands(state, NodeId(first), second, rules)
        case Timer.TRUST:
            return outcomes.trust_again(state, NodeId(first), rules)
        case Timer.PLACE:
            return jobs.place(state, job, rules) if job else []
        case Timer.REFILL:
            return reform.look_after(state, job, rules) if job else []
        case Timer.RESUME:
            awaited = job is not None and second == str(job.generation)
            return outcomes.try_again(state, job, fact, rules) if job and awaited else []
        case _:
            assert_never(timer)


def _controller_started(state: State, fact: ControllerStarted, rules: Rules) -> list[Action]:
    """What happened meanwhile is heard first: no deadline passes just because nobody was there to see."""
    state.opened = max(state.opened, fact.incidents)
    policy = rules.policy
    slack: Mapping[str, Seconds] = {
        Timer.RESUME: policy.resume_timeout_s,
        Timer.BROKEN: policy.grace_s + policy.broken_s,
        Timer.STANDS: policy.stands_s,
    }
    for name, at in state.deadlines.items():
        least = slack.get(name.partition("/")[0], policy.gather_s)
        state.deadlines.put(name, max(at, state.now + least))
    return resolve_topic(state, rules, "journal-failed:")  # its first commit has just succeeded
