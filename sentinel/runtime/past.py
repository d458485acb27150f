"""A journal's past as the logbook counts it: its incidents' rows, and the tally, folded as it was decided."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules, State
from sentinel.logbook.counting import Tally
from sentinel.logbook.entry import row
from sentinel.logbook.past import Past
from sentinel.logbook.tally import Entry, merged
from sentinel.model.ids import Cause, IncidentId
from sentinel.model.incident import Incident
from sentinel.model.journal import Line
from sentinel.model.runbook import Runbook
from sentinel.runtime.recall import fold_again, state_of
from sentinel.runtime.rules import rules_of


def of_journal(path: Path, today: Rules) -> Past:
    """Fold all that a journal still holds, also one that is being written. Raises JournalError."""
    with closing(Journal(path, read_only=True)) as journal:
        kept = [seq for seq, _ in journal.snapshots() if seq + 1 >= journal.first_seq()]
        first = 0 if journal.first_seq() == 1 else min(kept, default=journal.snapshot_seq)
        state = state_of(journal, first)
        rules = rules_of(journal, today)
        lines = journal.lines(after=first)
        return of_lines(state, ((line, rules(line)) for line in lines), today)


def of_lines(state: State, lines: Iterable[tuple[Line, Rules]], today: Rules) -> Past:
    """Fold recorded lines, each by its rules, on a state that this changes."""
    incidents: dict[IncidentId, Incident] = {each.id: each for each in state.incidents.values()}
    tally, entries = None, list[Entry]()
    for line, rules in lines:
        if tally is None:
            tally = Tally(state, line.fact.at)
        fold_again(state, line, rules)
        entries += tally.take(state, line.fact)
        incidents |= {each.id: each for each in state.incidents.values()}
    entries += tally.flush(state.now) if tally is not None else []
    return Past([row(each, _book(each, today)) for each in incidents.values()], merged(entries))


def _book(incident: Incident, rules: Rules) -> Runbook | None:
    return rules.runbooks.get(Cause(incident.about.cause)) if incident.about else None
