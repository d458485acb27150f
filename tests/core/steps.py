"""What a controller does with a fact, step by step, each of which may be its last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from simulated import Simulated

from sentinel.adapters.journal import Loaded
from sentinel.core.fold import fold
from sentinel.core.state import State
from sentinel.model.action import Action
from sentinel.model.decision import Decision, deeds
from sentinel.model.fact import Fact, Outcome
from sentinel.model.ids import ActionId
from sentinel.model.journal import Line

BEFORE_FOLD = "before the fold"
BEFORE_COMMIT = "after the fold, before the commit"
BEFORE_PERFORMING = "after the commit, before anything is done"
BETWEEN_ACTIONS = "between two actions"
BEFORE_ACKNOWLEDGED = "when all is begun, before the fact is acknowledged"
BEFORE_OUTCOME = "when an action is done, before its outcome is recorded"
TAKING_OVER = "while taking over: "
PLACES = (
    BEFORE_FOLD,
    BEFORE_COMMIT,
    BEFORE_PERFORMING,
    BETWEEN_ACTIONS,
    BEFORE_ACKNOWLEDGED,
    BEFORE_OUTCOME,
)


class ControllerKilledError(Exception):
    """What was folded is lost with the process."""


class PerformerGoneError(Exception):
    """The rest of an action is not done: who did it is dead."""


class Record:
    """The journal: committed lines, and the newest snapshot with those after it. What `recall` reads."""

    path, doubt = "the record", ""

    def __init__(self) -> None:
        self.seq = self.snapshot_seq = 0
        self.snapshot: bytes | None = None
        self.tail: list[Line] = []
        self.decided: set[ActionId] = set()

    def append(self, fact: Fact, decisions: tuple[Decision, ...]) -> None:
        self.seq += 1
        self.decided |= {action.id for action in deeds(decisions)}
        self.tail.append(Line(self.seq, fact, decisions, "", ""))

    def keep(self, state: State) -> None:
        self.snapshot, self.snapshot_seq, self.tail = state.to_bytes(), self.seq, []

    def load(self) -> Loaded:
        return Loaded(self.snapshot, self.snapshot_seq, iter(self.tail))

    def content(self, _name: str) -> None:
        """All was decided by today's rules."""


class Desk(Simulated):
    """What a controller does with a fact, step by step; `dies` says where it ends."""

    record: Record
    life = 1
    """Which controller it is; what an earlier one was doing is done by nobody."""
    dead = False
    by_performer = False

    def dies(self, place: str, fact: Fact) -> bool:
        raise NotImplementedError

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        place = BEFORE_OUTCOME if isinstance(fact, Outcome) and self.by_performer else BEFORE_FOLD
        if self.dies(place, fact):
            raise ControllerKilledError
        decisions = fold(self.state, fact, self.rules)
        actions = deeds(decisions)
        if self.dies(BEFORE_COMMIT, fact):
            raise ControllerKilledError
        self.record.append(fact, decisions)
        self.facts.append(fact)
        self.actions += actions
        self.begin(actions, fact)
        return actions

    def begin(self, actions: tuple[Action, ...], fact: Fact) -> None:
        """Begin to do what is decided; leaves the rest where the controller is killed."""
        self.dead = self.dies(BEFORE_PERFORMING, fact)
        for number, action in enumerate(actions):
            self.dead = self.dead or (number > 0 and self.dies(BETWEEN_ACTIONS, fact))
            if not self.dead:
                self.do_action(action)
        self.dead = self.dead or self.dies(BEFORE_ACKNOWLEDGED, fact)

    def do_action(self, action: Action) -> None:
        with self._acting(performer=True):
            self._answer(action)

    @contextmanager
    def _acting(self, *, performer: bool) -> Iterator[None]:
        before, self.by_performer = self.by_performer, performer
        try:
            yield
        finally:
            self.by_performer = before

    def later(self, after: float, what: Callable[[], Any]) -> None:
        super().later(after, partial(self._perform_on, self.life, what) if self.by_performer else what)

    def _perform_on(self, life: int, what: Callable[[], Any]) -> None:
        if life != self.life:
            return
        with self._acting(performer=True):
            try:
                what()
            except PerformerGoneError:
                return
