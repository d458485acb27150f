"""A journal with all that one can hold, made of what really happened, and all that can be read of it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import read
from sentinel.model.codec import from_plain
from sentinel.model.fact import Fact, NodeHeard
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.recall import recall
from sentinel.runtime.rules import contents, policy_hash

INCIDENTS = Path(__file__).parents[1] / "incidents"
BOOKS = runbooks.load()
BOOKS_HASH = runbooks.hash_of(BOOKS)
FILES = ("", "-wal", ".head")
"""How the names of the files end that make up a journal."""


def rules_then(name: str) -> Rules:
    """Give the rules by which a recording was decided, with today's runbooks."""
    recording = read((INCIDENTS / f"{name}.jsonl").read_text())
    return Rules(from_plain(Policy, recording.policy), BOOKS)


class Whole:
    """A real incident's lines: some dropped and copied out, some behind a snapshot, the rest after it."""

    def __init__(self, path: Path, name: str = "control-cut") -> None:
        self.rules, self.state = rules_then(name), State()
        self.hashes = (policy_hash(self.rules), BOOKS_HASH)
        self.journal = Journal(path)
        facts = [line.fact for line in read((INCIDENTS / f"{name}.jsonl").read_text()).lines]
        self._go_on(facts[:30])
        self._go_on(facts[30:60])
        self.incidents = list(self.state.incidents.values())
        self.journal.compact(self.incidents, max_lines=0)
        self._go_on(facts[60:])
        later = (NodeHeard(self.state.now + at, NodeId("n1")) for at in range(150))
        self._go_on(later, snapshot=False)

    def _go_on(self, facts: Iterable[Fact], *, snapshot: bool = True) -> None:
        batch = [(fact, decide(self.state, fact, self.rules)) for fact in facts]
        for at in range(0, len(batch), 7):
            self.journal.append_many(batch[at : at + 7], *self.hashes, contents(self.rules, BOOKS_HASH))
        if snapshot:
            self.journal.save_snapshot(self.journal.last_seq, self.state.to_bytes())

    def copy(self, path: Path, to: Path) -> None:
        """Copy the files, as a killed writer would leave them."""
        for end in FILES:
            if (source := path.with_name(path.name + end)).exists():
                shutil.copy(source, to.with_name(to.name + end))


def all_of(path: Path, whole: Whole, *, read_only: bool = False) -> list[Any]:
    """Read all that can be read. Raises JournalError."""
    journal = Journal(path, read_only=read_only)
    try:
        loaded = journal.load()
        return [
            (journal.id, journal.first_seq(), journal.last_seq, journal.since_snapshot),
            (loaded.snapshot, loaded.snapshot_seq, list(loaded.tail)),
            list(journal.lines()),
            [(seq, at, journal.snapshot(seq)) for seq, at in journal.snapshots()],
            [journal.recording(incident) for incident in whole.incidents],
            [journal.content(name) for name in whole.hashes],
            recall(journal, whole.rules),
        ]
    finally:
        journal.close()
