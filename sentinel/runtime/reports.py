"""What a cluster's logbook has to report, read from its files: no controller need run."""

from pathlib import Path

from sentinel import runbooks
from sentinel.core.state import Rules
from sentinel.logbook.statistics import Report, report
from sentinel.logbook.window import Window
from sentinel.model.policy import Policy
from sentinel.runtime.past import Past, of_journal, of_logbook


def past(state_dir: Path, journal: Path | None = None, policy: Policy | None = None) -> Past:
    """Give what is counted: of the logbook, or of a journal that is named, or where no tally is yet.

    Raises OSError, JournalError.
    """
    rules = Rules(policy or Policy(), runbooks.load())
    if journal is not None:
        return of_journal(journal, rules)
    found, kept = of_logbook(state_dir / "logbook"), state_dir / "journal.db"
    if found.entries or not kept.exists():
        return found
    told = of_journal(kept, rules)
    known = {row.incident for row in found.rows}
    return Past([*found.rows, *(row for row in told.rows if row.incident not in known)], told.entries)


def made(past: Past, window: Window, cluster: str) -> Report:
    """Add up a window of it."""
    return report(past.rows, past.entries, window, cluster)
