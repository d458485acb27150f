"""Facts in, decisions out, both in one commit: nothing is performed that the journal does not hold."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from sentinel.adapters.journal import Journal, Loaded
from sentinel.adapters.journal_file import JournalError
from sentinel.core.decide import decide
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Page, Refusal
from sentinel.model.fact import Fact, JournalBack, JournalFailed
from sentinel.model.wire import WireError, to_plain
from sentinel.runtime.failpoints import reach

log = structlog.get_logger("ledger")

SNAPSHOT_EVERY_LINES = 2000
"""A restart folds at most this many lines; writing a snapshot of 1,000 nodes takes tens of milliseconds."""

KEEP_LINES_S = 7 * 86400.0
"""Older lines go; recordings of incidents stay."""

Batch = list[tuple[Fact, tuple[Action, ...]]]


def policy_hash(rules: Rules) -> str:
    """Hash of the policy's numbers, journalled with each decision."""
    return hashlib.sha256(json.dumps(to_plain(rules.policy), sort_keys=True).encode()).hexdigest()[:16]


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

    def load(self) -> None:
        """Take the state from the journal. What was recorded wins over what would be decided now."""
        loaded = self.journal.load()
        self.snapshot_due = loaded.snapshot_seq + SNAPSHOT_EVERY_LINES
        if loaded.snapshot is not None:
            self.state = self._state_of(loaded)
        for _, fact, recorded in loaded.tail:
            for action in decide(self.state, fact, self.rules):
                self.state.unfinished.pop(action.id, None)
            for action in recorded:
                if not isinstance(action, Refusal):
                    self.state.unfinished[action.id] = action

    def _state_of(self, loaded: Loaded) -> State:
        try:
            return State.from_plain(loaded.snapshot)
        except (WireError, KeyError, TypeError) as error:
            where = f"{self.journal.path}, snapshot {loaded.snapshot_seq}"
            raise JournalError(f"{where}: {error}", permanent=True) from None

    def absorb(self, facts: Sequence[Fact]) -> bool:
        """Fold facts, commit them with their actions, then perform these; true when all is committed."""
        if not facts and not self.uncommitted:
            return True
        for fact in facts:
            self.uncommitted += self._decided(fact)
        return self.commit()

    def _decided(self, fact: Fact) -> Batch:
        """Fold one fact. A defect of ours freezes actions: who dies of a fact dies of it again."""
        try:
            return [(fact, decide(self.state, fact, self.rules))]
        except Exception as error:
            log.exception("defect", fact=str(fact))
            self.state.frozen = f"a defect in Sentinel: {type(error).__name__}: {error}"
            return []

    def commit(self) -> bool:
        """Commit what is decided and perform it; on failure freeze actions and keep it for later."""
        reach("before-commit")
        try:
            self.journal.append_many(self.uncommitted, policy_hash(self.rules), self.runbooks_hash)
        except JournalError as error:
            self._failed(error)
            return False
        done, self.uncommitted = self.uncommitted, []
        was_failing = any(isinstance(fact, JournalFailed) for fact, _ in done)
        reach("after-commit")
        for fact, actions in done:
            if actions:
                self.perform(actions)
            self.changed(fact, actions)
        if self.journal.last_seq > self.snapshot_due:
            self._snapshot()
        return self.absorb([JournalBack(self.state.now)]) if was_failing else True

    def _snapshot(self) -> None:
        """Keep the state, and let go of old lines that no incident's recording needs."""
        self.snapshot_due = self.journal.last_seq + SNAPSHOT_EVERY_LINES
        try:
            self.journal.save_snapshot(self.journal.last_seq, self.state.to_plain())
            self.journal.compact(self.state.incidents.values(), older_than=self.state.now - KEEP_LINES_S)
        except JournalError as error:  # only the next start takes longer; lines that don't fit freeze actions
            log.warning("no-snapshot", error=str(error))

    def _failed(self, error: JournalError) -> None:
        if any(isinstance(fact, JournalFailed) for fact, _ in self.uncommitted):
            return
        log.error("journal-failed", error=str(error))
        fact = JournalFailed(self.state.now, str(error))
        actions = decide(self.state, fact, self.rules)
        self.uncommitted.append((fact, actions))
        self.perform(tuple(action for action in actions if isinstance(action, Page)))
