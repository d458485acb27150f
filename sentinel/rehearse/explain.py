"""Why it came out so: each fact, what was decided, which runbooks matched, and what was waited for."""

from collections.abc import Iterator

from sentinel.core.diagnose import ask
from sentinel.core.diagnose.predicates import Case
from sentinel.core.diagnose.predicates.case import Match
from sentinel.core.page.words import whereabouts
from sentinel.core.state.timers import Timer
from sentinel.model.action import Action, Page, Refusal, Resume
from sentinel.model.counted import counted
from sentinel.model.fact import (
    Commanded,
    DeadlinePassed,
    Fact,
    FindingReported,
    JobStalled,
    NodeSilent,
    Outcome,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.ids import IncidentId, Instant
from sentinel.model.incident import Incident
from sentinel.model.runbook import Runbook
from sentinel.rehearse.controller import Controller, Decision


class Explainer:
    """Listens to a controller's decisions and writes down why."""

    def __init__(self, controller: Controller, began: Instant) -> None:
        self.lines: list[str] = []
        self._controller, self._began = controller, began
        self._known: dict[IncidentId, tuple[str, ...]] = {}
        self._waits: dict[str, Instant] = {}

    def watch(self, decision: Decision) -> None:
        """Explain one decision, if it says anything."""
        reasons = [*self._matches(), *self._waited()]
        decided = [line for action in decision.actions if (line := _action(action))]
        if decided or reasons or not isinstance(decision.fact, Outcome | DeadlinePassed):
            self._say(f"{decision.at - self._began:9.3f} s  {_fact(decision.fact)}")
            for line in decided:
                self._say(f"{'':13}decided: {line}")
            self.lines += [f"{'':13}{reason}" for reason in reasons]

    def _say(self, line: str) -> None:
        self.lines.append(line)

    def _matches(self) -> Iterator[str]:
        """Tell of each incident which runbooks match it, whenever that has changed."""
        state = self._controller.state
        books = self._controller.rules.runbooks.values()
        for incident in state.incidents.values():
            case = Case(incident, state, self._controller.rules)
            matched = [(book, match) for book in books if (match := ask(book, case))]
            tried = f"of {len(books)} runbooks {len(matched)} match" if matched else "no runbook matches"
            shown = (f"({incident.stage}, {_cause(incident)}): {tried}", *_compared(matched))
            if self._known.get(incident.id) != shown:
                self._known[incident.id] = shown
                yield f"{incident.id} {shown[0]}"
                yield from (f"  {line}" for line in shown[1:])

    def _waited(self) -> Iterator[str]:
        deadlines = self._controller.state.deadlines
        for name, at in deadlines.items():
            if self._waits.get(name) != at:
                timer, _, whom = name.partition("/")
                yield f"waits for {Timer(timer).waits} ({whom}) until {at - self._began:.3f} s"
        self._waits = dict(deadlines)


def _cause(incident: Incident) -> str:
    return f"diagnosed {incident.diagnosis.cause}" if incident.diagnosis else "not diagnosed"


def _compared(matched: list[tuple[Runbook, Match]]) -> Iterator[str]:
    """Say of each match how sure it is, whom it accuses, and which other match explains it."""
    for book, match in matched:
        explained = [other.cause for other, _ in matched if book.cause in other.explains]
        places = ", ".join(filter(None, map(whereabouts, match.suspects))) or "nobody"
        symptom = f"; only a symptom of {', '.join(explained)}" if explained else ""
        yield f"{book.cause} ({book.confidence * match.sure:.2f}) accuses {places}: {match.why}{symptom}"


def _fact(fact: Fact) -> str:
    """Say in one line what was learned."""
    name = type(fact).__name__
    match fact:
        case FindingReported(node=node, finding=found):
            return f"{name} {node}: {found.code} ({found.health}) of {found.component}: {found.summary}"
        case RankExited():
            return f"{name} rank {fact.rank} on {fact.node} (pid {fact.pid}): {fact.how}"
        case RankRaised():
            return f"{name} rank {fact.rank} on {fact.node} ({fact.kind}): {fact.error}"
        case JobStalled():
            ranks = counted(len(fact.beats), "rank")
            return f"{name} {fact.job}: no step for {fact.stalled_s:.2f} s, {ranks} reporting"
        case RankSlow():
            return (
                f"{name} rank {fact.rank} on {fact.node}: {fact.outside_s:.3f} s, peers {fact.peers_s:.3f} s"
            )
        case NodeSilent():
            return (
                f"{name} {fact.node} for {fact.silent_s:.2f} s, {fact.others_silent} others of {fact.nodes}"
            )
        case Commanded():
            return f"{name} {fact.command} {fact.target}".rstrip()
        case Outcome():
            return f"{name} of {fact.action}: {'' if fact.ok else 'failed, '}{fact.detail}"
        case _:
            about = (getattr(fact, key, "") for key in ("node", "job", "worker", "deadline", "step"))
            return " ".join([name, *(str(word) for word in about if word != "")])


def _action(action: Action) -> str:
    match action:
        case Refusal(wanted=wanted, reason=reason):
            return f"not {wanted}: {reason}"
        case Page(revision=revision, title=title):
            return f"{'page' if revision == 1 else 'edit the page'}: {title}"
        case Resume(generation=generation, seats=seats):
            places = ", ".join(f"rank {seat.rank} on {seat.node}" for seat in seats[:8])
            return f"resume generation {generation}: {places}{' …' if len(seats) > 8 else ''}"
        case _:
            return action.id
