"""What was decided or said lately, in the order in which it was, each with its own time and outcome."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sentinel.core.settle.why import keeps_full
from sentinel.core.state import State
from sentinel.core.state.rows import Job
from sentinel.logbook.words import action_line
from sentinel.model.action import Action, Ping, Refusal, StartWorker, StopWorker
from sentinel.model.decision import deeds
from sentinel.model.fact import Commanded, Fact, Outcome
from sentinel.model.ids import ActionId, Instant, NodeId
from sentinel.model.journal import Line
from sentinel.web.view import DecisionView

KEPT = 200
LINES = 2_000
"""Lines of the journal that a new controller looks back over."""
WITH_INCIDENT = (StartWorker, StopWorker)
"""Shown if an incident asked for it: a job's upkeep starts and stops workers all the time."""


@dataclass(slots=True)
class _Made:
    """One row, and what became of it."""

    at: Instant
    what: str
    incident: str = ""
    action: ActionId | None = None
    drained: NodeId | None = None
    refused: bool = False
    outcome: str = ""


class Recent:
    """Keeps the newest decisions, and people's words among them."""

    def __init__(self) -> None:
        self._made: deque[_Made] = deque(maxlen=KEPT)

    def recall(self, lines: Iterable[Line]) -> None:
        """Take in what an earlier controller journalled."""
        for line in lines:
            self.changed(line.fact, deeds(line.decisions))

    def changed(self, fact: Fact, actions: Iterable[Action]) -> None:
        """Take a fact in, with what was decided from it."""
        if isinstance(fact, Commanded):
            drained = NodeId(fact.target) if fact.command == "drain" else None
            said = f"{fact.command} {fact.target}".strip()
            self._made.append(_Made(fact.at, f"{said}, said by {fact.who}", drained=drained))
        elif isinstance(fact, Outcome):
            self._ended(fact)
        for action in actions:
            ours = isinstance(action, WITH_INCIDENT) and action.incident.startswith("upkeep-")
            if not (ours or isinstance(action, Ping)):
                refused = isinstance(action, Refusal)
                made = _Made(fact.at, action_line(action), action.incident, action.id, refused=refused)
                self._made.append(made)

    def _ended(self, fact: Outcome) -> None:
        for made in reversed(self._made):
            if made.action == fact.action:
                after = f"{fact.at - made.at:.1f} s later"
                made.outcome = f"done {after}" if fact.ok else f"failed {after}: {fact.detail}"
                return

    def views(self, state: State, leaving: Callable[[Job], str]) -> Iterator[DecisionView]:
        """Give all, newest first; `leaving` as `core.settle.why.leaves` says it."""
        for made in reversed(self._made):
            outcome = made.outcome or _outcome(made, state, leaving)
            yield DecisionView(made.at, made.what, made.incident, made.refused, outcome)


def _outcome(made: _Made, state: State, leaving: Callable[[Job], str]) -> str:
    """Say what became of what has no outcome on record: a drain's is how the node is by now."""
    if made.action:
        return "" if made.action in state.unfinished else "done"
    node = state.nodes.get(made.drained) if made.drained else None
    if node is None or node.cordon is None or node.cordon.is_ours:
        return "done"
    full = keeps_full(node, state, leaving)
    return f"under way: {full}" if full else "done: no process of a job is left there"
