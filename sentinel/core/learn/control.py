"""What Sentinel itself stands on: Ray's GCS, the journal, its own process."""

from collections.abc import Mapping

from sentinel.core import evidence, group
from sentinel.core.learn.nodes import look_again
from sentinel.core.recovery import stays_away
from sentinel.core.state import Rules, State
from sentinel.core.state.timers import Timer
from sentinel.model.fact import ControllerStarted, DefectMet, GcsBack, GcsLost, JournalBack, JournalFailed
from sentinel.model.ids import Seconds
from sentinel.model.incident import Due


def lost(state: State, fact: GcsLost | JournalFailed) -> None:
    """Something that all needs is away: that is no job's incident."""
    known = group.with_fact(state, type(fact))
    incident = evidence.add(state, known, fact) if known else group.join(state, type(fact).__name__, fact)
    group.ask_for(state, incident, Due.ANY)


def defect_met(state: State, fact: DefectMet) -> None:
    """Who has a defect does nothing until a human has looked."""
    state.frozen = f"a defect in Sentinel: {fact.error}"


def gcs_back(state: State, fact: GcsBack, rules: Rules) -> None:
    """Ray can be asked again: what could not be done without it was no attempt."""
    if known := group.with_fact(state, GcsLost):
        stays_away(state, evidence.add(state, known, fact), rules)
        state.deadlines.drop(Timer.AGAIN.of(known.id, "gcs"))
    for incident in list(state.open_incidents()):
        state.change(incident, attempts=0)
    for job in state.jobs:
        look_again(state, job)


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
