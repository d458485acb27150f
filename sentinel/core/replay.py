"""Replaying: a recording runs through the same fold again, and what comes out differently is named."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from sentinel.model.action import Action
from sentinel.model.fact import Fact
from sentinel.model.journal import Line

S = TypeVar("S")
Decide: TypeAlias = Callable[[S, Fact], tuple[Action, ...]]
"""Folds one fact into the state, which it changes, and gives the actions decided from it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a recording, and what is decided from its fact now."""

    line: Line
    decided: tuple[Action, ...]

    @property
    def missing(self) -> tuple[Action, ...]:
        """Actions that were recorded and are not decided now."""
        return _without(self.line.actions, self.decided)

    @property
    def added(self) -> tuple[Action, ...]:
        """Actions that are decided now and were not recorded."""
        return _without(self.decided, self.line.actions)

    @property
    def differs(self) -> bool:
        """True when anything is decided now that was not, or the other way round, or in another order."""
        return self.decided != self.line.actions


def replay(lines: Iterable[Line], state: S, decide: Decide[S]) -> Iterator[Decision]:
    """Fold the lines' facts into `state` and give each line's decision, in order."""
    for line in lines:
        yield Decision(line, decide(state, line.fact))


def _without(actions: tuple[Action, ...], others: tuple[Action, ...]) -> tuple[Action, ...]:
    left = Counter(others)
    kept = []
    for action in actions:
        if left[action]:
            left[action] -= 1
        else:
            kept.append(action)
    return tuple(kept)
