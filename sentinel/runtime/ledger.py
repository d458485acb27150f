"""Facts in, decisions out, both in one commit: nothing but a page is done that the journal does not hold."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.core.detect.once import is_news
from sentinel.core.fold import Folded, UndecidedError, fold, fold_together
from sentinel.core.learn.again import with_another_past
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Page, action_id
from sentinel.model.codec import CodecError
from sentinel.model.decision import Decision, deeds
from sentinel.model.fact import DefectMet, Fact, JournalBack, JournalFailed
from sentinel.model.ids import IncidentId, Seconds
from sentinel.model.journal import to_body
from sentinel.model.severity import Severity
from sentinel.redact import redact, redacted
from sentinel.runtime.failpoints import failpoint
from sentinel.runtime.over import NOBODY_REPAIRS
from sentinel.runtime.recall import recall
from sentinel.runtime.rules import contents, policy_hash

log = structlog.get_logger(logger_name="ledger")

SNAPSHOT_EVERY_LINES = 2000
"""A restart folds at most this many lines, or as many as there are nodes and workers, if these are more:
reading a line and writing a row cost about the same, so neither is most of the work."""

RETRY_S = 1.0
"""An attempt writes all that is kept while the journal fails: not with every report."""

KEEP_LINES_S = 7 * 86400.0
"""Older lines go; recordings of incidents stay."""

Batch = list[Folded]


@dataclass
class Ledger:
    """The fold with its journal."""

    journal: Journal
    rules: Rules
    runbooks_hash: str
    perform: Callable[[tuple[Action, ...]], None]
    """Called after the commit."""
    changed: Callable[[Fact, tuple[Action, ...]], None] = lambda _fact, _actions: None
    state: State = field(default_factory=State)
    uncommitted: Batch = field(default_factory=list)
    """Decided while the journal fails: committed, then performed, when it works again."""
    snapshot_due: int = 0
    """The line after which the next snapshot is taken."""
    job: str = ""
    """The job of the settings, of which a new journal does not know yet."""
    decided_in: Callable[[Seconds], None] = lambda _: None
    """Told how long it took to decide on facts."""
    committed_in: Callable[[Seconds], None] = lambda _: None
    """Told how long it took to write them."""

    def __post_init__(self) -> None:
        books = self.runbooks_hash
        self._failing, self._retry_at = False, 0.0
        self._warnings: tuple[Page, ...] = ()
        """Pages about Sentinel itself, sent when what they are about is committed."""
        self._by = policy_hash(self.rules), books, contents(self.rules, books)

    @property
    def is_failing(self) -> bool:
        """Whether the journal could not be written when it was last tried."""
        return self._failing

    def load(self, reported: int = 0, noted: tuple[str, int] = ("", 0)) -> tuple[Page, ...]:
        """Take the state from the journal. Freezes if it is in doubt, and gives the page that says so.

        `reported` is the highest number of an incident that anybody was told of, `noted` a journal's id and a
        line that it is known to have had.
        """
        self.state, snapshot_seq, doubt = recall(self.journal, self.rules)
        self.snapshot_due = self._next_snapshot(snapshot_seq)
        name, went_back = f"restart-{self.journal.last_seq}", self._went_back(reported, noted)
        if went_back:
            with_another_past(self.state, secrets.token_hex(3), self.rules)
            name, doubt = f"journal-{self.past}-{self.journal.last_seq}", went_back
        if not doubt:
            return ()
        page = self._freeze(name, doubt)
        # No incident's number is given twice, and the next start does not doubt the same again.
        self.state.opened = max(self.state.opened, reported)
        self.save()  # the next start folds from this state and decides nothing of the past again
        return (page,)

    @property
    def past(self) -> str:
        """Whose all that is told and ordered is: the journal's, unless its end was lost once."""
        return self.state.past or self.journal.id

    def _went_back(self, reported: int, noted: tuple[str, int]) -> str:
        """Say why the journal is not all that was written, nor so what was stopped, drained or evicted."""
        ends = f"{self.journal.path} is older than what was told from it: its newest incident is number"
        older = f"{ends} {self.state.opened}, the logbook has number {reported}"
        if noted[0] == self.journal.id and noted[1] > self.journal.last_seq:
            older = f"{self.journal.path} ends with line {self.journal.last_seq}, and had line {noted[1]}"
            return self.journal.doubt or older
        return self.journal.doubt or (older if reported > self.state.opened else "")

    def _freeze(self, name: str, reason: str) -> Page:
        """Freeze actions for what is no incident, until a human resumes them."""
        self.state.frozen = reason = redact(reason)
        incident = IncidentId(f"sentinel-{name}")
        jobs = ", ".join(self.state.jobs.keys()) or self.job
        job = f"\nJob: {jobs} goes on{NOBODY_REPAIRS}" if jobs else ""
        body = f"{reason}{job}\nAsked of you: to look at the nodes and the job, then: sentinel resume-actions"
        title = "Sentinel doubts itself: all actions are frozen"
        page = action_id(incident, "page", "on-call", 1)
        return Page(page, incident, 1, title, body, "open", severity=Severity.CRITICAL.value)

    def absorb(self, facts: Sequence[Fact]) -> bool:
        """Fold what comes at once, commit it with its actions, perform these; true when all is committed.

        What an agent has told before is held already, or is kept to be committed.
        """
        fresh = self._decided([redacted(fact) for fact in facts])
        self.uncommitted += fresh
        is_kept = self.commit()
        warnings, self._warnings = self._warnings, ()
        if warnings:
            self.perform(warnings)
        if not is_kept:
            self._page(fresh)
            return False
        if self.journal.last_seq > self.snapshot_due:
            self._snapshot()
        return True

    def _decided(self, facts: Sequence[Fact]) -> Batch:
        """Fold them together; where a defect of ours is met one by one, so that the others are heard."""
        if not facts:
            return []
        began = time.perf_counter()
        try:
            return fold_together(self.state, facts, self.rules)
        except Exception:
            return [decided for fact in facts for decided in self._decided_alone(fact)]
        finally:
            self.decided_in(time.perf_counter() - began)

    def _decided_alone(self, fact: Fact) -> Batch:
        """Fold one that is news.

        A defect of ours freezes actions. What could be learned is kept, so that nobody tells it again.
        """
        if not is_news(self.state, fact):
            return []
        try:
            return [(fact, fold(self.state, fact, self.rules))]
        except UndecidedError as error:
            log.exception("defect", fact=str(fact)[:1000])
            return [(fact, ()), *self._defect(error.__cause__ or error, fact)]
        except Exception as error:
            log.exception("defect", fact=str(fact)[:1000])
            return self._defect(error, fact)

    def _defect(self, error: BaseException, fact: Fact | None = None) -> Batch:
        """Freeze actions and tell people, once; gives what the journal is to hold."""
        known, kind = self.state.frozen, type(fact).__name__ if fact else "no fact"
        what = f"{type(error).__name__}: {error}"
        met = redacted(DefectMet(self.state.now, _where(error), kind, what))
        kept: Batch = []
        with suppress(Exception):  # folding itself may be what fails
            kept = [(met, fold(self.state, met, self.rules))]
        page = self._freeze(f"defect-{self.journal.last_seq}", f"a defect in Sentinel: {what}")
        if not kept:
            self.snapshot_due = 0  # no fact tells a next controller that actions are frozen
        if self.state.frozen != known:
            self._warnings = (*self._warnings, page)
        return kept

    def _leave_out(self, error: CodecError) -> None:
        """Go on without the facts that have no written form, and that no journal could ever take."""
        self.uncommitted, left = [each for each in self.uncommitted if _written(each)], self.uncommitted
        log.error("not-written", error=str(error), facts=len(left) - len(self.uncommitted))
        self.uncommitted += self._defect(error)

    def commit(self) -> bool:
        """Commit what is decided and perform it; on failure freeze actions and keep it for later.

        Tries once in `RETRY_S` while the journal fails; true when nothing is left.
        """
        if not self.uncommitted:
            return True
        if self._failing and time.monotonic() < self._retry_at:
            return False
        failpoint("before-commit")
        began = time.perf_counter()
        try:
            self.journal.append_many(self.uncommitted, *self._by)
        except JournalError as error:
            self._failed(error)
            return False
        except CodecError as error:
            self._leave_out(error)
            return self.commit()
        self.committed_in(time.perf_counter() - began)
        done, self.uncommitted = self.uncommitted, []
        was_failing, self._failing = self._failing, False
        failpoint("after-commit")
        for fact, decisions in done:
            if actions := deeds(decisions):
                self.perform(actions)
            self.changed(fact, actions)
        return self.absorb([JournalBack(self.state.now)]) if was_failing else True

    def _snapshot(self) -> None:
        """Keep the state, and let go of old lines that no incident's recording needs."""
        self.snapshot_due = self._next_snapshot(self.journal.last_seq)
        self.save()
        try:
            self.journal.compact(self.state.incidents.values(), older_than=self.state.now - KEEP_LINES_S)
        except JournalError as error:
            log.warning("not-compacted", error=str(error))

    def _next_snapshot(self, seq: int) -> int:
        rows = len(self.state.nodes) + len(self.state.workers.rows)
        return seq + max(SNAPSHOT_EVERY_LINES, rows)

    def save(self) -> None:
        """Keep the state, so that the next start folds nothing; what is not committed is no part of it."""
        if self.uncommitted:
            return
        try:
            self.journal.save_snapshot(self.journal.last_seq, self.state.to_bytes())
        except (JournalError, CodecError) as error:  # only the next start takes longer
            log.warning("no-snapshot", error=str(error))

    def _failed(self, error: JournalError) -> None:
        self._retry_at = time.monotonic() + RETRY_S
        if self._failing:
            return
        self._failing = True
        log.error("journal-failed", error=str(error))
        actions = self._decided([redacted(JournalFailed(self.state.now, str(error)))])
        self.uncommitted += actions
        self._page(actions)

    def _page(self, decided: Batch) -> None:
        """Tell people at once, though the journal does not hold it: it is people who mend the journal."""
        for _, decisions in decided:
            if pages := tuple(each for each in decisions if isinstance(each, Page)):
                self.perform(pages)


def _where(error: BaseException) -> str:
    """Name the innermost module of ours that an error came through."""
    names, trace = ["unknown"], error.__traceback__
    while trace is not None:
        names.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    return next((name for name in reversed(names) if name.startswith("sentinel.")), names[0])


def _written(line: tuple[Fact, tuple[Decision, ...]]) -> bool:
    try:
        return bool(to_body(*line))
    except CodecError:
        return False
