"""Write recordings as they come out today: `python -m tests.incidents.fold_again [FILE …]`, or all of them.

Look at what `git diff` shows then: each difference is a change that must be meant.
"""

import sys
from dataclasses import replace
from pathlib import Path

from sentinel import runbooks
from sentinel.core.fold import fold_together
from sentinel.core.replay import replay
from sentinel.core.state import Rules, State
from sentinel.logbook import recording
from sentinel.model.codec import from_plain
from sentinel.model.journal import Recording
from sentinel.model.policy import Policy

HERE = Path(__file__).parent


def fold_again(kept: Recording) -> Recording:
    """Give a recording with what is decided now, by its own policy and today's runbooks."""
    books = runbooks.load()
    rules = Rules(from_plain(Policy, kept.policy) if kept.policy else Policy(), books)
    state, by = State.from_plain(kept.state) if kept.state else State(), runbooks.hash_of(books)
    again = replay(kept.lines, state, lambda state, facts: fold_together(state, facts, rules))
    lines = (replace(each.line, decisions=each.decided, runbooks_hash=by) for each in again)
    return replace(kept, lines=tuple(lines))


def main() -> None:
    """Write each."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.jsonl")):
        path.write_text(recording.write(fold_again(recording.read(path.read_text(), path.name))))


if __name__ == "__main__":
    main()
