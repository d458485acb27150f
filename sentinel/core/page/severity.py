"""How urgent an incident is to people: what its runbook says, unless their hand is needed now."""

from collections.abc import Iterable
from functools import partial

from sentinel.core import group
from sentinel.core.page.left import is_refused
from sentinel.core.state import Rules, State
from sentinel.model.action import kind_of
from sentinel.model.fact import DeadlinePassed, GcsBack, JobAdvanced, JournalBack, LinkBack, Outcome
from sentinel.model.incident import Diagnosis, Incident
from sentinel.model.runbook import Remedy
from sentinel.model.severity import Severity

HELPED = (JobAdvanced, GcsBack, LinkBack, JournalBack)
"""What shows that what was tried has helped."""
LOOKS = ("stacks", "probe", "reach")
"""Kinds of actions that repair nothing: one that fails leaves nothing undone."""


def severity(incident: Incident, left: tuple[str, ...], state: State, rules: Rules) -> Severity:
    """Say how urgent an incident is; `left` is what it leaves to people.

    Critical while it is not over and what would repair it was refused, failed, or is that people start the
    job again. Otherwise it is as its runbook says, but no mere information while something is left to do.
    """
    if not incident.is_over and (is_refused(left) or _failed(incident) or _is_given_up(incident, state)):
        return Severity.CRITICAL
    said = rules.severity_of(incident.about)
    return Severity.WARNING if left and said is Severity.INFO else said


def worst(found: Diagnosis, acted: Iterable[Diagnosis], rules: Rules) -> Diagnosis:
    """Of what is found now and what something was done for before, give what matters most to people.

    Of equals that is the first. What the newest explains was its symptom.
    """
    book = rules.runbooks.get(found.cause)
    apart = [each for each in acted if book is None or each.cause not in book.explains]
    known = (found if each.cause == found.cause else each for each in apart)
    return max([*known, found], key=partial(_weight, rules=rules))


def _weight(found: Diagnosis, rules: Rules) -> tuple[bool, int, bool]:
    """Say how much it matters: whether it is known, how urgent it is, whether a node is to be repaired."""
    book = rules.runbooks.get(found.cause)
    urgent = -[*Severity].index(rules.severity_of(found))
    return found.is_known, urgent, book is not None and book.remedy in (Remedy.EVICT, Remedy.DRAIN)


def _failed(incident: Incident) -> bool:
    """Say whether the last that is known of something that was tried is that it did not help."""
    failed: set[str] = set()
    for fact in incident.evidence:
        match fact:
            case Outcome(action=action, ok=ok) if kind_of(action) not in LOOKS:
                deed = action.rpartition("/")[0]
                failed = failed - {deed} if ok else failed | {deed}
            case DeadlinePassed(deadline=deadline):
                failed.add(deadline)
            case _ if isinstance(fact, HELPED):
                failed.clear()
    return bool(failed)


def _is_given_up(incident: Incident, state: State) -> bool:
    """Say whether its job was stopped for its sake: nobody but people starts it again."""
    job = state.job_of(incident)
    return job is not None and group.stopped(state, job) == incident
