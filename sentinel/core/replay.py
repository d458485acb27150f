"""Replaying: a recording runs through the same fold again, and what comes out differently is named."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from sentinel.model.decision import Decision, deeds
from sentinel.model.fact import Fact
from sentinel.model.journal import Line

S = TypeVar("S")
Fold: TypeAlias = Callable[[S, Sequence[Fact]], Iterable[tuple[Fact, tuple[Decision, ...]]]]
"""Folds what came at once into the state, which it changes; gives each fact with what is decided from it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of a recording, and what is decided from its fact now."""

    line: Line
    decided: tuple[Decision, ...]

    @property
    def missing(self) -> tuple[Decision, ...]:
        """What was recorded and is not decided now."""
        return _without(self.line.decisions, self._now)

    @property
    def added(self) -> tuple[Decision, ...]:
        """What is decided now and was not recorded."""
        return _without(self._now, self.line.decisions)

    @property
    def differs(self) -> bool:
        """True when anything is decided now that was not, or the other way round, or in another order."""
        return self._now != self.line.decisions

    @property
    def _now(self) -> tuple[Decision, ...]:
        """As much of it as such a line holds."""
        return self.decided if self.line.is_whole else deeds(self.decided)


def replay(lines: Iterable[Line], state: S, fold: Fold[S]) -> Iterator[Comparison]:
    """Fold the lines' facts into `state` and give each line's comparison, in order."""
    for group in together(lines):
        decided = {id(fact): decisions for fact, decisions in fold(state, [line.fact for line in group])}
        yield from (Comparison(line, decided.get(id(line.fact), ())) for line in group)


def together(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Give the lines in groups that were decided at once."""
    group: list[Line] = []
    for line in lines:
        group.append(line)
        if not line.is_deferred:
            yield group
            group = []
    if group:
        yield group


def _without(decisions: tuple[Decision, ...], others: tuple[Decision, ...]) -> tuple[Decision, ...]:
    left = Counter(others)
    kept = []
    for decision in decisions:
        if left[decision]:
            left[decision] -= 1
        else:
            kept.append(decision)
    return tuple(kept)
