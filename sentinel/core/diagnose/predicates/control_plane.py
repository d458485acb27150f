"""What Sentinel itself stands on: Ray's GCS, the link to it, the journal."""

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.model.fact import GcsLost, JournalFailed, LinkLost


def gcs_dead(case: Case) -> Match | None:
    """Ray's GCS does not answer."""
    lost = case.last(GcsLost)
    return Match((), f"the GCS at {lost.address} does not answer: {lost.detail}") if lost else None


def link_lost(case: Case) -> Match | None:
    """The controller's link to Ray has ended or hangs."""
    lost = case.last(LinkLost)
    return Match((), f"Ray can't be asked: {lost.detail}") if lost else None


def journal_failed(case: Case) -> Match | None:
    """The journal can't be written."""
    failed = case.last(JournalFailed)
    return Match((), f"the journal can't be written: {failed.detail}") if failed else None
