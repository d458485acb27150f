"""Write recordings as they come out today: `python -m tests.incidents.fold_again [FILE …]`, or all of them.

Look at what `git diff` shows then: each difference is a change that must be meant.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sentinel import runbooks
from sentinel.core.fold import fold_together
from sentinel.core.state import Rules, State
from sentinel.logbook import recording
from sentinel.model.codec import from_plain
from sentinel.model.journal import Line, Recording
from sentinel.model.policy import Policy

HERE = Path(__file__).parent


def fold_again(kept: Recording) -> Recording:
    """Give a recording with what is decided now, by its own policy and today's runbooks."""
    books = runbooks.load()
    rules = Rules(from_plain(Policy, kept.policy) if kept.policy else Policy(), books)
    state = State.from_plain(kept.state) if kept.state else State()
    by = runbooks.hash_of(books)
    lines = [line for at_once in _turns(kept.lines) for line in _folded(at_once, state, rules, by)]
    return replace(kept, lines=tuple(lines))


def _turns(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Give the lines that were decided together."""
    turn: list[Line] = []
    for line in lines:
        turn.append(line)
        if not line.is_deferred:
            yield turn
            turn = []


def _folded(turn: Sequence[Line], state: State, rules: Rules, by: str) -> Iterator[Line]:
    folded = fold_together(state, [line.fact for line in turn], rules)
    for line, (fact, decisions) in zip(turn, folded, strict=True):
        assert fact == line.fact, "a fact is no news now"
        yield replace(line, decisions=decisions, runbooks_hash=by)


def main() -> None:
    """Write each."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.jsonl")):
        path.write_text(recording.write(fold_again(recording.read(path.read_text(), path.name))))


if __name__ == "__main__":
    main()
