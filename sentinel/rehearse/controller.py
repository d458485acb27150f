"""The controller without its sockets: reports and time into the real detector, facts into the real fold."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sentinel.core.detect.once import speaks
from sentinel.core.detect.watch import Watch
from sentinel.core.fold import Folded, fold_together
from sentinel.core.state import Rules, State
from sentinel.model import decision
from sentinel.model.action import Action
from sentinel.model.fact import ControllerStarted, DeadlinePassed, Fact
from sentinel.model.ids import IncidentId, Instant, Seconds
from sentinel.model.incident import Incident
from sentinel.model.report import Hello, Report


@dataclass(frozen=True, slots=True)
class Decision:
    """One fact, and what was decided from it."""

    at: Instant
    fact: Fact
    decided: tuple[decision.Decision, ...]
    actions: tuple[Action, ...]
    """What of it was to be done, or was refused."""
    causes: tuple[str, ...]
    """The cause of each action's incident as it was known then; empty for none."""


@dataclass
class Controller:
    """Learns and decides; `perform` is called with what was decided, as after a commit."""

    rules: Rules
    perform: Callable[[tuple[Action, ...]], None]
    watched: Callable[[Decision], None] = lambda _decision: None
    state: State = field(default_factory=State)
    decisions: list[Decision] = field(default_factory=list)
    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    """Every incident there was, also those that the state has let go."""
    fold_s: Seconds = 0.0
    """Real seconds that the fold has taken."""
    defects: list[str] = field(default_factory=list)
    there: bool = True
    """Its process runs."""

    def start(self, now: Instant) -> None:
        """Take over: nobody is silent before a grace period has passed."""
        self.watch = Watch(self.rules.policy, now)

    def restart(self, now: Instant) -> None:
        """Let another controller go on from what the state says."""
        self.there, self.state = True, State.from_bytes(self.state.to_bytes())
        self.start(now)
        self.learn([ControllerStarted(now, 1, "rehearsal", "rehearsal")])

    def hello(self, hello: Hello, now: Instant) -> None:
        """Hear an agent introduce itself."""
        self.learn(self.watch.hello(hello, self.state, now))

    def report(self, report: Report, now: Instant) -> None:
        """Take a report in."""
        if speaks(report, self.state):
            self.learn(self.watch.report(report, self.state, now))

    def tick(self, now: Instant) -> None:
        """See what the passing of time alone shows."""
        self.learn(self.watch.tick(self.state, now))
        while (due := self.state.next_deadline()) and due[0] <= now:
            self.learn([DeadlinePassed(now, due[1])])

    def learn(self, facts: Sequence[Fact]) -> None:
        """Fold what comes at once."""
        if not facts:
            return
        began = time.perf_counter()
        folded = self._folded(facts) if self.there else []
        self.fold_s += time.perf_counter() - began
        self.incidents |= self.state.incidents
        for fact, decided in folded:
            actions = decision.deeds(decided)
            made = Decision(fact.at, fact, decided, actions, tuple(map(self._cause, actions)))
            self.decisions.append(made)
            self.watched(made)
            self.perform(actions)

    def _folded(self, facts: Sequence[Fact]) -> list[Folded]:
        try:
            return fold_together(self.state, facts, self.rules)
        except Exception as error:  # a rehearsal is where a defect should show
            kinds = ", ".join(type(fact).__name__ for fact in facts)
            self.defects.append(f"{kinds}: {type(error).__name__}: {error}")
            return []

    def _cause(self, action: Action) -> str:
        incident = self.incidents.get(action.incident)
        return incident.diagnosis.cause if incident is not None and incident.diagnosis is not None else ""
