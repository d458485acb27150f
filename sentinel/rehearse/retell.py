"""Reading a real journal's past, beside the controller that may be writing it, to have it decided again."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules, State
from sentinel.model.ids import Instant
from sentinel.rehearse.compare import Pair, compare
from sentinel.rehearse.history import retell
from sentinel.rehearse.scenario import ScenarioError
from sentinel.runtime.rules import rules_of


class Comparison(NamedTuple):
    """What was decided in a journal, and what would be now."""

    begins: Instant
    """The first moment that could be told again."""
    pairs: list[Pair]
    defects: list[str]


def from_journal(path: Path, since: Instant, rules: Rules) -> Comparison:
    """Tell again what happened since a moment, as far back as the journal goes.

    Raises JournalError, and ScenarioError for a journal that holds nothing to tell.
    """
    with closing(Journal(path, read_only=True)) as journal:
        kept = [(seq, at) for seq, at in journal.snapshots() if seq + 1 >= journal.first_seq()]
        if journal.first_seq() == 1:
            kept = [(0, 0.0), *kept]
        if not kept:
            raise ScenarioError(f"{path}: holds no state from which its past could be told again")
        start = max((each for each in kept if each[1] <= since), default=min(kept))
        body = journal.snapshot(start[0])
        lines = list(journal.lines(after=start[0]))
        begin = (lambda: State.from_bytes(body)) if body else State
        then, now = retell(lines, begin, rules_of(journal, rules), rules)
    begins = max(start[1], lines[0].fact.at if lines else start[1])
    return Comparison(begins, compare(then, now, since), now.defects)


def as_text(found: Comparison, since: Instant) -> Iterator[str]:
    """Say for people what would be different."""
    if found.begins > since:
        yield f"the journal goes back to {_when(found.begins)}, and no further"
    yield from (f"a defect: {defect}" for defect in found.defects)
    for pair in found.pairs:
        if pair.differs:
            yield _when(pair.at)
            yield f"  then: {pair.then or 'no incident'}"
            yield f"  now:  {pair.now or 'no incident'}"
    different = sum(pair.differs for pair in found.pairs)
    yield f"{different} of {len(found.pairs)} incidents would be decided differently"


def as_json(found: Comparison) -> Iterator[str]:
    """Give one object a line and incident."""
    for pair in found.pairs:
        yield json.dumps(msgspec.to_builtins(pair) | {"differs": pair.differs})


def _when(at: Instant) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
