"""How urgent an incident is to people: what its runbook says, unless their hand is needed now."""

from sentinel.core.page.left import is_refused
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.model.action import StopJob, kind_of
from sentinel.model.fact import DeadlinePassed, GcsBack, JobAdvanced, JournalBack, LinkBack, Outcome
from sentinel.model.incident import Incident, Stage
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
    if incident.stage is not Stage.RESOLVED and (
        is_refused(left) or _failed(incident) or _is_given_up(incident, state)
    ):
        return Severity.CRITICAL
    book = rules.book_of(incident)
    said = book.severity if book else Severity.WARNING
    return Severity.WARNING if left and said is Severity.INFO else said


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
    stopped = job is not None and job.stage is JobStage.STOPPED and not job.halted
    return stopped and any(isinstance(action, StopJob) for action in incident.actions)
