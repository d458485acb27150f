"""Desks that decide as the controller does, and keep the time of each part."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sentinel import runbooks
from sentinel.adapters.journal import Journal

try:
    from sentinel.core.fold import decide
except ImportError:  # an older release
    from sentinel.core.decide import decide  # type: ignore[import-not-found,no-redef]
from sentinel.core.state import Rules, State
from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.journal import to_body
from sentinel.model.policy import Policy
from sentinel.runtime import ledger


@dataclass(slots=True)
class Times:
    """Seconds of processor time, as far as not said otherwise."""

    folds: list[tuple[str, float]] = field(default_factory=list)
    """Each fact's name and fold."""
    encoded: float = 0.0
    committed: float = 0.0
    """Encoding is part of it."""
    blocks: list[float] = field(default_factory=list)
    """What was absorbed at once, all that it took; snapshots are part of it."""
    waited: float = 0.0
    """All of it by the clock on the wall: the disk is waited for, and others use the machine."""

    @property
    def folded(self) -> float:
        """All folds together."""
        return sum(took for _, took in self.folds)


class Desk(Protocol):
    """Decides, and keeps the times."""

    times: Times

    @property
    def state(self) -> State:
        """What is believed."""
        ...

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Take in what comes at once; gives what is decided."""
        ...


class FoldAlone:
    """Folds, and writes nothing down."""

    def __init__(self) -> None:
        self._rules, self._state, self.times = Rules(Policy(), runbooks.load()), State(), Times()

    @property
    def state(self) -> State:
        """What is believed."""
        return self._state

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Fold one after the other."""
        decided: list[Action] = []
        for fact in facts:
            begun = time.thread_time()
            decided += decide(self._state, fact, self._rules)
            self.times.folds.append((type(fact).__name__, time.thread_time() - begun))
        return decided


class Committed:
    """The controller's own ledger with a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        books = runbooks.load()
        self._due: list[Action] = []
        self.times = Times()
        self._journal = Journal(folder / "journal.db")
        self._append, self._journal.append_many = self._journal.append_many, self._timed_append  # type: ignore[method-assign,assignment]
        folds = {"decide", "fold"} if "fold_together" not in vars(ledger) else {"fold_together"}
        for name in folds & set(vars(ledger)):  # by the release, where the ledger looks for it
            setattr(ledger, name, self._timed(vars(ledger)[name]))
        rules, name = Rules(Policy(), books), runbooks.hash_of(books)
        self._ledger = ledger.Ledger(self._journal, rules, name, self._due.extend)

    @property
    def state(self) -> State:
        """What the ledger believes."""
        return self._ledger.state

    def absorb(self, facts: Sequence[Fact]) -> Sequence[Action]:
        """Decide, commit and give what would be performed."""
        encoded, wall, begun = self.times.encoded, time.perf_counter(), time.thread_time()
        assert self._ledger.absorb(facts)
        self.times.blocks.append(time.thread_time() - begun - (self.times.encoded - encoded))
        self.times.waited += time.perf_counter() - wall - (self.times.encoded - encoded)
        decided = list(self._due)
        self._due.clear()
        return decided

    def _timed(self, fold: Callable[..., Any]) -> Callable[..., Any]:
        """Keep the time of each fact: those that are folded together share it."""

        def timed(state: State, facts: Any, rules: Rules) -> Any:
            begun = time.thread_time()
            decided = fold(state, facts, rules)
            took, folded = time.thread_time() - begun, facts if isinstance(facts, list) else [facts]
            self.times.folds += [(type(fact).__name__, took / len(folded)) for fact in folded]
            return decided

        return timed

    def _timed_append(self, batch: Sequence[tuple[Fact, Sequence[Action]]], *by: Any) -> list[int]:
        """Encode once more than needed, to know what that costs."""
        begun = time.thread_time()
        for fact, actions in batch:
            to_body(fact, actions)
        encoded = time.thread_time()
        self.times.encoded += encoded - begun
        written = self._append(batch, *by)
        self.times.committed += time.thread_time() - encoded
        return written

    def close(self) -> None:
        """Release the file."""
        self._journal.close()
