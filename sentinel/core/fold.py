"""The fold: one fact is learned, incidents are diagnosed, and what is missing is decided and recorded."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TypeAlias

from sentinel.core import diagnose, settle
from sentinel.core.detect import once
from sentinel.core.learn import learn
from sentinel.core.record import record
from sentinel.core.state import Rules, State
from sentinel.core.touched import Touched
from sentinel.model.action import Action
from sentinel.model.decision import DEFERRED, Decision, deeds
from sentinel.model.fact import Fact
from sentinel.model.incident import Due, Incident

ROUNDS = 1000
"""More than that, and two wants contradict each other: a defect, which must not turn for ever."""

Folded: TypeAlias = tuple[Fact, tuple[Decision, ...]]
"""A fact, and what is decided from it."""


class UnsettledError(RuntimeError):
    """Deciding came to no end."""


class UndecidedError(RuntimeError):
    """A defect kept a fact from being decided; it is learned, and nothing was decided."""


def decide(state: State, fact: Fact, rules: Rules) -> tuple[Action, ...]:
    """Fold one fact; gives what is to be done, and what is refused."""
    return deeds(fold(state, fact, rules))


def fold(state: State, fact: Fact, rules: Rules) -> tuple[Decision, ...]:
    """Fold one fact; the same facts give the same decisions.

    Raises UndecidedError; whatever else it raises leaves `state` as it was.
    """
    try:
        folded = fold_together(state, [fact], rules)
    except Exception as error:
        retell(state, fact, (), rules)  # raises again what kept it from being learned
        raise UndecidedError(f"{type(error).__name__}: {error}") from error
    return folded[0][1] if folded else ()


def fold_together(state: State, facts: Iterable[Fact], rules: Rules) -> list[Folded]:
    """Fold facts that come at once: nothing is decided before all are learned, so that a rack is seen whole.

    Gives each that is news with what is decided, which stands with the last one: the others have `Deferred`.
    What an agent has told before changes nothing, for no journal need hold it twice. Whatever it raises
    leaves `state` as it was.
    """
    state.begin()
    try:
        learned = [fact for fact in facts if _is_learned(state, fact, rules)]
        decided = tuple(_decided(state, rules)) if state.is_news else ()
    except BaseException:
        state.abandon()
        raise
    state.commit()
    if not learned:
        return []
    last = learned.pop()
    return [*zip(learned, repeat(DEFERRED), strict=False), (last, decided)]


def foretell(state: State, fact: Fact, rules: Rules) -> tuple[Decision, ...]:
    """Say what would be decided from a fact; `state` stays as it was. Raises what deciding raises."""
    state.begin()
    try:
        return tuple(_decided(state, rules)) if _is_learned(state, fact, rules) else ()
    finally:
        state.abandon()


def retell(state: State, fact: Fact, decisions: tuple[Decision, ...], rules: Rules) -> None:
    """Fold a fact as it was decided: nothing is decided again, so no other release can do it otherwise."""
    state.begin()
    try:
        if _is_learned(state, fact, rules) and decisions != DEFERRED:
            for incident in _due(state):
                _is_asked(state, incident)
            for decision in decisions:
                record(state, decision, rules)
    except BaseException:
        state.abandon()
        raise
    state.commit()


def _is_learned(state: State, fact: Fact, rules: Rules) -> bool:
    """Take a fact in, if it is news."""
    if not once.hear(state, fact):
        return False
    state.now = max(state.now, fact.at)
    learn(state, fact, rules)
    return True


def _decided(state: State, rules: Rules) -> Iterator[Decision]:
    """Go round until nothing is missing: what is decided may be what something else waits for."""
    touched = Touched(state, rules)
    if not touched.look():
        return
    for _ in range(ROUNDS):
        found = list(_diagnosed(state, rules))
        found += _settled(state, rules, settle.parts(state, rules, touched))
        if not found:
            for page in settle.pages(state, rules, touched):
                record(state, page, rules)
                yield page
            return
        yield from found
    raise UnsettledError(f"no end after {ROUNDS} rounds")


def _diagnosed(state: State, rules: Rules) -> Iterator[Decision]:
    """Diagnose what new evidence has come for."""
    for incident in _due(state):
        found = diagnose.decide(incident, state, rules)
        _is_asked(state, incident)
        if found is not None:
            record(state, found, rules)
            yield found


def _due(state: State) -> list[Incident]:
    """Incidents that new evidence has come for, by name."""
    due = [each for each in state.incidents.values() if each.due is not Due.NOTHING]
    return sorted(due, key=lambda each: each.id)


def _is_asked(state: State, incident: Incident) -> None:
    """Its diagnosis is up to date, whatever comes of it."""
    if incident.due is Due.ANY:
        state.await_no_evidence(incident.id)
    state.change(incident, due=Due.NOTHING)


def _settled(state: State, rules: Rules, parts: Iterable[settle.Part]) -> list[Decision]:
    """Record what each part lacks, until it lacks nothing more."""
    decided: list[Decision] = []
    for part in parts:
        for _ in range(ROUNDS):
            found = list(part())
            for decision in found:
                record(state, decision, rules)
            decided += found
            if not found:
                break
    return decided
