"""Writes down what happens: the log as it comes, logbook entries and recordings once the rush is over."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import structlog

from sentinel import private
from sentinel.adapters.journal_file import JournalError
from sentinel.logbook import recording
from sentinel.logbook.book import Logbook
from sentinel.model.action import Action, StopJob
from sentinel.model.codec import to_plain
from sentinel.model.fact import Commanded, DeadlinePassed, Fact, FindingReported, Outcome
from sentinel.model.ids import IncidentId, Instant
from sentinel.model.incident import Incident, Stage
from sentinel.model.journal import Line, incident_of
from sentinel.model.judgement import JUDGEMENTS, Judgement
from sentinel.runtime.accountant import Accountant
from sentinel.runtime.judged_metrics import JudgedMetrics
from sentinel.runtime.ledger import Ledger

log = structlog.get_logger(logger_name="controller")

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
        self.accountant = Accountant(self.logbook.folder)
        self._judged: set[IncidentId] = set()
        self._uncounted: list[Commanded] = []
        self.judged = JudgedMetrics()

    def changed(self, ledger: Ledger, fact: Fact, actions: tuple[Action, ...]) -> None:
        """Log a fact with its actions, and remember whose entries they change."""
        if not isinstance(fact, DeadlinePassed | FindingReported):
            log.info("fact", fact=type(fact).__name__, text=str(fact)[:300])
        for action in actions:
            log.info("action", id=action.id, text=str(action)[:300])
        if actions or isinstance(fact, Commanded):
            self.logbook.note(ledger.journal.id, ledger.journal.last_seq)
        self.accountant.changed(ledger.state, fact)
        names = {action.incident for action in actions}
        names |= {incident_of(fact.action)} if isinstance(fact, Outcome) else set()
        if isinstance(fact, Commanded) and fact.command in JUDGEMENTS:
            names.add(IncidentId(fact.target))
            self._judged.add(IncidentId(fact.target))
            self._uncounted.append(fact)
        for incident in ledger.state.incidents.values():
            if incident.id in names or self._stages.get(incident.id) is not incident.stage:
                self._stages[incident.id] = incident.stage
                self._touched[incident.id] = incident

    async def run(self, ledger: Ledger, now: Callable[[], Instant]) -> None:
        """Write what was touched, until cancelled; first what a predecessor could not any more."""
        self._judged.update(ledger.state.judgements)
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            self.accountant.look(now())
            await self.catch_up(ledger)

    async def catch_up(self, ledger: Ledger) -> None:
        """Write what was touched, in a thread, for a long recording takes seconds."""
        touched, self._touched = self._touched, {}
        if counted := self.accountant.due():
            self.accountant.keep(await asyncio.to_thread(self.accountant.write, counted))
        names, self._judged = self._judged.difference(touched), set()
        state = ledger.state
        if touched:
            newest = [state.fresh(incident) for incident in touched.values()]
            said = {each.id: state.judgements.get(each.id, ()) for each in newest}
            await asyncio.to_thread(self.write, ledger, newest, said)
        if judged := {name: state.judgements[name] for name in names if name in state.judgements}:
            await asyncio.to_thread(self._judge, judged)
        uncounted, self._uncounted = self._uncounted, []
        for judgement, evictions in await asyncio.to_thread(self._evictions, uncounted) if uncounted else ():
            self.judged.take(judgement, evictions)

    def _evictions(self, judged: Sequence[Commanded]) -> list[tuple[str, int]]:
        """Say of each judgement how many nodes its incident has evicted."""
        rows = ((each.command, self.logbook.row(each.target)) for each in judged)
        return [(said, len(row.evicted) if row is not None else 0) for said, row in rows]

    def _judge(self, judged: Mapping[IncidentId, Sequence[Judgement]]) -> None:
        """Write what people say below entries that are written no more."""
        for name, said in judged.items():
            try:
                self.logbook.judge(name, said)
            except OSError as error:
                log.warning("not-judged-in-entry", incident=name, error=str(error))

    def write(
        self,
        ledger: Ledger,
        incidents: Sequence[Incident],
        judged: Mapping[IncidentId, Sequence[Judgement]] = MappingProxyType({}),
    ) -> None:
        """Write the incidents' entries, and the recordings of those that are over. Changes no state."""
        lines: list[Line] = []  # without them an entry lacks only when an older release decided
        try:
            lines = list(ledger.journal.lines(after=max(0, ledger.journal.last_seq - LINES)))
        except JournalError as error:
            log.warning("entries-without-lines", error=str(error))
        for incident in incidents:
            try:
                own = (line for line in lines if line.fact.at >= incident.opened)
                self._write(ledger, incident, own, judged.get(incident.id, ()))
            except (OSError, JournalError) as error:
                log.warning("no-entry", incident=incident.id, error=str(error))
            except Exception:  # a defect of ours costs an entry, not the controller
                log.exception("no-entry", incident=incident.id)

    def _write(
        self, ledger: Ledger, incident: Incident, lines: Iterable[Line], judged: Sequence[Judgement]
    ) -> None:
        cause = incident.about.cause if incident.about else None
        book = ledger.rules.runbooks.get(cause) if cause else None
        self.logbook.write(incident, lines, book, judged)
        path = self._recordings / f"{incident.id}.jsonl"
        if incident.is_over or (_stopped_the_job(incident) and not path.exists()):
            private.make_folder(self._recordings)
            text = recording.export(ledger.journal, incident, to_plain(ledger.rules.policy))
            private.write(path, text.encode())


def _stopped_the_job(incident: Incident) -> bool:
    """Say whether it stays open because only people can go on, as after an error in the job's code."""
    return any(isinstance(action, StopJob) for action in incident.actions)
