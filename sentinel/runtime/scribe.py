"""Writes down what happens: the log as it comes, logbook entries and recordings once the rush is over."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

import structlog

from sentinel.adapters.journal_file import JournalError
from sentinel.logbook import recording
from sentinel.logbook.book import Logbook
from sentinel.model.action import Action, StopJob
from sentinel.model.fact import DeadlinePassed, Fact, FindingReported, Outcome
from sentinel.model.ids import IncidentId, Instant
from sentinel.model.incident import Incident, Stage
from sentinel.model.journal import Line, incident_of
from sentinel.model.wire import to_plain
from sentinel.runtime.ledger import Ledger

log = structlog.get_logger("controller")

WRITE_EVERY_S = 0.2
"""Entries are rewritten this often at most: recovery does not wait for prose."""
LINES = 400
"""How far back in the journal an incident's own lines are looked for."""


class Scribe:
    """Keeps the logbook of one controller."""

    def __init__(self, state_dir: Path) -> None:
        self.logbook = Logbook(state_dir / "logbook")
        self._recordings = state_dir / "recordings"
        self._touched: dict[IncidentId, Incident] = {}
        self._stages: dict[IncidentId, Stage] = {}

    def changed(self, ledger: Ledger, fact: Fact, actions: tuple[Action, ...]) -> None:
        """Log a fact with its actions, and remember whose entries they change."""
        if not isinstance(fact, DeadlinePassed | FindingReported):
            log.info("fact", fact=type(fact).__name__, text=str(fact)[:300])
        for action in actions:
            log.info("action", id=action.id, text=str(action)[:300])
        names = {action.incident for action in actions}
        names |= {incident_of(fact.action)} if isinstance(fact, Outcome) else set()
        for incident in ledger.state.incidents.values():
            if incident.id in names or self._stages.get(incident.id) is not incident.stage:
                self._stages[incident.id] = incident.stage
                self._touched[incident.id] = incident

    async def run(self, ledger: Ledger) -> None:
        """Write what was touched, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            touched, self._touched = self._touched, {}
            for incident in touched.values():
                self.write(ledger, incident)

    def write(self, ledger: Ledger, incident: Incident) -> None:
        """Write one incident's entry, and its recording when there is no more to come."""
        if incident.diagnosis is None:
            return
        book = ledger.rules.runbooks.get(incident.diagnosis.cause)
        # A full disk freezes actions through the journal, not here.
        with contextlib.suppress(OSError, JournalError):
            self.logbook.write(incident, self._lines(ledger, incident.opened), book)
            if incident.stage is Stage.RESOLVED or _is_for_people(incident):
                self._record(ledger, incident)

    @staticmethod
    def _lines(ledger: Ledger, since: Instant) -> Iterable[Line]:
        after = max(0, ledger.journal.last_seq - LINES)
        return (line for line in ledger.journal.lines(after=after) if line.fact.at >= since)

    def _record(self, ledger: Ledger, incident: Incident) -> None:
        self._recordings.mkdir(exist_ok=True)
        try:
            text = recording.export(ledger.journal, incident, to_plain(ledger.rules.policy))
        except JournalError as error:
            log.warning("no-recording", incident=incident.id, error=str(error))
            return
        (self._recordings / f"{incident.id}.jsonl").write_text(text)


def _is_for_people(incident: Incident) -> bool:
    """Whether the incident stopped its job: it stays open, and only people can go on from there."""
    return any(isinstance(action, StopJob) for action in incident.actions)
