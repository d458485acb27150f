"""What Sentinel itself stands on: Ray's GCS and the journal."""

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.model.fact import GcsLost, JournalFailed


def gcs_dead(case: Case) -> Match | None:
    """Ray's GCS does not answer."""
    lost = case.last(GcsLost)
    return Match((), f"the GCS at {lost.address} does not answer: {lost.detail}") if lost else None


def journal_failed(case: Case) -> Match | None:
    """The journal can't be written."""
    failed = case.last(JournalFailed)
    return Match((), f"the journal can't be written: {failed.detail}") if failed else None
