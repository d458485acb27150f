"""What a cluster's logbook has to report, read from its files: no controller need run."""

from pathlib import Path

from sentinel.logbook import tally_file
from sentinel.logbook.book import Logbook
from sentinel.logbook.past import Past
from sentinel.model.policy import Policy


def past(state_dir: Path, journal: Path | None = None, policy: Policy | None = None) -> Past:
    """Give what is counted: of the logbook, or of a journal that is named, or where no tally is yet.

    Raises OSError, JournalError, and ValueError where there is neither.
    """
    if journal is not None:
        return _told(journal, policy)
    folder, kept = state_dir / "logbook", state_dir / "journal.db"
    if not (folder.is_dir() or kept.exists()):
        raise ValueError(f"{state_dir}: holds neither a logbook nor a journal")
    rows = Logbook(folder, read_only=True).rows() if folder.is_dir() else []
    entries = tally_file.read(folder) if folder.is_dir() else []
    if entries or not kept.exists():
        return Past(rows, entries)
    told, known = _told(kept, policy), {row.incident for row in rows}
    return Past([*rows, *(row for row in told.rows if row.incident not in known)], told.entries)


def _told(journal: Path, policy: Policy | None) -> Past:
    from sentinel import runbooks
    from sentinel.core.state import Rules
    from sentinel.runtime.past import of_journal

    return of_journal(journal, Rules(policy or Policy(), runbooks.load()))
