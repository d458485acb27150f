"""What the journal holds becomes a state again: folded by the rules of then, and the record wins."""

from typing import NamedTuple

import structlog

from sentinel.adapters.journal import Journal, Loaded
from sentinel.adapters.journal_file import JournalError
from sentinel.core.fold import decide, retell
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, Page, Refusal
from sentinel.model.codec import CodecError
from sentinel.model.fact import Commanded
from sentinel.model.journal import Line
from sentinel.redact import redacted
from sentinel.runtime.rules import rules_of

log = structlog.get_logger(logger_name="recall")


class Recalled(NamedTuple):
    """What a controller believes when it starts."""

    state: State
    snapshot_seq: int
    doubt: str
    """Where this code decides otherwise than the record, so that the state is not to be trusted; or empty."""


def recall(journal: Journal, today: Rules) -> Recalled:
    """Fold the newest snapshot's tail. Raises JournalError when it can't be read."""
    loaded = journal.load()
    state, rules, doubt = _snapshot_of(journal, loaded), rules_of(journal, today), ""
    for line in loaded.tail:
        differs = fold_again(state, line, rules(line))
        doubt = doubt or differs
        if isinstance(line.fact, Commanded) and line.fact.command == "resume-actions":
            doubt = ""  # an operator resumed actions after it: earlier differences were accepted
    return Recalled(_without_secrets(state), loaded.snapshot_seq, doubt)


def _without_secrets(state: State) -> State:
    """An older release redacted its logbook only: what is shown from here on comes from the state."""
    plain = state.to_plain()
    clean = redacted(plain)
    return state if clean is plain else State.from_plain(clean)


def state_of(journal: Journal, seq: int) -> State:
    """Give the state after a line that a snapshot was kept of, else an empty one. Raises JournalError."""
    return _decoded(journal, journal.snapshot(seq), seq)


def _snapshot_of(journal: Journal, loaded: Loaded) -> State:
    return _decoded(journal, loaded.snapshot, loaded.snapshot_seq)


def _decoded(journal: Journal, body: bytes | None, seq: int) -> State:
    try:
        return State() if body is None else State.from_bytes(body)
    except CodecError as error:
        raise JournalError(f"{journal.path}, snapshot {seq}: {error}", permanent=True) from None


def fold_again(state: State, line: Line, rules: Rules) -> str:
    """Fold a recorded line; says why the state is not to be trusted after it, or nothing."""
    try:
        if line.is_whole:
            retell(state, line.fact, line.decisions, rules)
            return ""
        differs = _decide_again(state, line, rules)
    except Exception as error:  # as while it runs: a defect of ours freezes, and ends nobody
        log.exception("defect", seq=line.seq, fact=str(line.fact))
        differs = f"{type(error).__name__}: {error}"
        _is_unfinished(state, line)
    return f"line {line.seq} of the journal: {differs}" if differs else ""


def _decide_again(state: State, line: Line, rules: Rules) -> str:
    """Decide a line of an older release again, which kept the actions alone: these are the record's."""
    decided = decide(state, line.fact, rules)
    for action in decided:
        state.unfinished.drop(action.id)
    _is_unfinished(state, line)
    if _deeds(decided) == _deeds(line.actions):
        return ""
    log.error("decided-otherwise", seq=line.seq, now=str(decided), recorded=str(line.actions))
    return f"{type(line.fact).__name__} is decided otherwise by this release"


def _is_unfinished(state: State, line: Line) -> None:
    for action in line.actions:
        if not isinstance(action, Refusal):
            state.unfinished.put(action.id, action)


def _deeds(actions: tuple[Action, ...]) -> list[Action]:
    """Leave out pages: another wording changes nothing that is believed."""
    return [action for action in actions if not isinstance(action, Page)]
