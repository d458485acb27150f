"""A journal's past once more: its outside events, decided by other rules, beside what was decided then."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import msgspec

from sentinel.core.fold import fold_together
from sentinel.core.fold import retell as follow
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import JobStage
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import Action, Page, Ping, Refusal, Resume, StartWorker
from sentinel.model.decision import deeds
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    JobAdvanced,
    MembersProbed,
    NodePinged,
    Outcome,
    RankExited,
    RankRaised,
    WorkerReady,
)
from sentinel.model.ids import ActionId, IncidentId, Instant, JobId, Seconds, WorkerId
from sentinel.model.incident import Incident
from sentinel.model.journal import Line

F = TypeVar("F", bound=Fact)
LATE_S: Seconds = 0.2
"""A controller looks at the clock every 50 ms: by then it has told a deadline that the journal holds."""
SETTLED_S: Seconds = 30.0
"""All is well for so long: what comes now is an event of its own."""
START_S, FORM_S, STEP_S, OTHER_S = 5.0, 1.0, 1.0, 0.1
"""How long what was never done is taken to have lasted: it succeeds, for the journal can't know better."""


Name: TypeAlias = tuple[int, IncidentId]
"""An incident of one chapter."""


@dataclass
class Past:
    """One telling of the past: its state, every incident that it had, and what was decided for each."""

    state: State
    chapter: int = 0
    began: Instant = 0.0
    """When this chapter did: what is older belongs to the one before."""
    incidents: dict[Name, Incident] = field(default_factory=dict)
    actions: dict[Name, list[Action]] = field(default_factory=lambda: defaultdict(list))
    defects: list[str] = field(default_factory=list)

    def fold(self, facts: Sequence[Fact], rules: Rules) -> tuple[Action, ...]:
        """Fold what came at once; gives what is decided."""
        decided: tuple[Action, ...] = ()
        with self._defects_of(facts):
            folded = fold_together(self.state, facts, rules)
            decided = tuple(action for _, decisions in folded for action in deeds(decisions))
        self._note(decided)
        return decided

    def follow(self, line: Line, rules: Rules) -> None:
        """Fold a fact as it is on record."""
        with self._defects_of([line.fact]):
            if line.is_whole:
                follow(self.state, line.fact, line.decisions, rules)
            else:
                fold_together(self.state, [line.fact], rules)
        self._note(line.actions)

    @contextmanager
    def _defects_of(self, facts: Sequence[Fact]) -> Iterator[None]:
        """Collect what went wrong, where a defect of today's code should show."""
        try:
            yield
        except Exception as error:
            what = ", ".join(f"{type(fact).__name__} at {fact.at:.3f}" for fact in facts)
            self.defects.append(f"{what}: {type(error).__name__}: {error}")

    def _note(self, actions: tuple[Action, ...]) -> None:
        fresh = (each for each in self.state.incidents.values() if each.opened >= self.began)
        self.incidents |= {(self.chapter, each.id): each for each in fresh}
        for action in actions:
            self.actions[self.chapter, action.incident].append(action)

    def turn_page(self, state: State, now: Instant) -> None:
        """Go on from another state."""
        self.state, self.chapter, self.began = state, self.chapter + 1, now

    @property
    def quiet(self) -> bool:
        """Whether no job is on its way back to training."""
        return not any(job.stage in (JobStage.BROKEN, JobStage.FORMING) for job in self.state.jobs.values())


def retell(
    lines: Iterable[Line], begin: Callable[[], State], rules_of: Callable[[Line], Rules], rules: Rules
) -> tuple[Past, Past]:
    """Tell the past twice: as it was recorded, and as `rules` would have decided it.

    `begin` gives the state before the first line, a new one each time. Once all was well again for a while,
    the other telling goes on from what really was: so each event is judged by itself, and one refused remedy
    does not spoil the rest.
    """
    lines = list(lines)
    then, now = Past(begin()), Past(begin())
    other = _Other(now, rules, _answers(lines))
    quiet_since, moved = 0.0, False
    for line in lines:
        at = line.fact.at
        other.until(at)
        if then.quiet and moved and at > quiet_since + SETTLED_S:
            other.go_on_from(State.from_bytes(then.state.to_bytes()), at)
            moved = False
        before = len(then.incidents)
        other.hear(line, then.state)
        then.follow(line, rules_of(line))
        if not then.quiet or len(then.incidents) > before:
            quiet_since, moved = at, True
    if lines:
        other.until(lines[-1].fact.at + START_S)
    return then, now


Place: TypeAlias = tuple[JobId, WorkerId]
Answers = dict[ActionId, list[tuple[Seconds, Fact]]]
"""What became of each recorded action, and how long after it was decided."""


def _answers(lines: list[Line]) -> Answers:
    decided: dict[ActionId, tuple[Instant, Action]] = {}
    started: dict[Place, ActionId] = {}
    pings: dict[tuple[str, str], list[ActionId]] = defaultdict(list)
    answers: Answers = defaultdict(list)
    for line in lines:
        action: ActionId | None = None
        match line.fact:
            case Outcome(action=name) | MembersProbed(action=name):
                action = name
            case WorkerReady(job=job, worker=worker):
                action = started.get((job, worker))
            case NodePinged(node=node, incident=incident):
                known = pings[(str(incident), node)]
                action = known.pop(0) if known else None
        if action in decided:
            answers[action].append((max(0.0, line.fact.at - decided[action][0]), line.fact))
        for each in line.actions:
            decided.setdefault(each.id, (line.fact.at, each))
            if place := _started(each):
                started[place] = each.id
            if isinstance(each, Ping):
                pings[each.incident, each.node].append(each.id)
    return answers


def _started(action: Action) -> Place | None:
    return (action.job, action.worker) if isinstance(action, StartWorker) else None


class _Other:
    """The past under other rules: it hears the same from outside, and answers what it does by itself."""

    def __init__(self, past: Past, rules: Rules, answers: Answers) -> None:
        self._past, self._rules, self._answers = past, rules, answers
        self._before = dict(past.state.unfinished)
        """Actions of before: what became of them comes with the journal."""
        self._due: list[tuple[Instant, int, Callable[[], Fact | None]]] = []
        self._count = 0
        self._heard: list[Fact] = []
        """Of what came at once, until all of it is heard."""

    def go_on_from(self, state: State, now: Instant) -> None:
        """Begin a new chapter: what was under way in the old one is left to itself."""
        self._past.turn_page(state, now)
        self._before, self._due = dict(state.unfinished), []

    def until(self, now: Instant) -> None:
        """Let pass what is due by then: answers, and deadlines that the journal does not tell of."""
        while (due := self._next()) is not None and due[0] <= now:
            at, deadline = due
            if deadline:
                self._tell([DeadlinePassed(at, deadline)])
            elif (fact := heapq.heappop(self._due)[2]()) is not None:
                self._tell([fact])

    def _next(self) -> tuple[Instant, str] | None:
        known = self._past.state.next_deadline()
        deadline = [(known[0] + LATE_S, known[1])] if known else []
        answer = [(self._due[0][0], "")] if self._due else []
        return min([*deadline, *answer], default=None)

    def hear(self, line: Line, then: State) -> None:
        """Hear a recorded fact, if it came from outside; `then` is what was believed before it."""
        if (heard := self._translated(line.fact, then)) is not None:
            self._heard.append(heard)
        if not line.is_deferred:
            heard_at_once, self._heard = self._heard, []
            self._tell(heard_at_once)

    def _translated(self, fact: Fact, then: State) -> Fact | None:
        """Give the fact with the names of this telling; None when it is for nobody here, or an answer."""
        match fact:
            case DeadlinePassed(deadline=name):
                return fact if self._past.state.deadlines.get(name, fact.at + 1) <= fact.at else None
            case Outcome(action=action):
                return fact if action in self._before else None
            case WorkerReady(job=job, worker=worker):
                known = any((job, worker) == _started(action) for action in self._before.values())
                return fact if known else None
            case NodePinged() | MembersProbed():
                return None  # the answer to a look or a probe
            case RankExited() | RankRaised():
                here = _in_place(self._past.state, then, fact)
                if here is None:
                    return None
                about = {"worker": here.id, "rank": here.rank, "pid": here.pid}
                return _changed(fact, **about, generation=self._generation(fact, then))
            case _ if hasattr(fact, "generation"):
                return _changed(fact, generation=self._generation(fact, then))
            case _:
                return fact

    def _generation(self, fact: Any, then: State) -> int:
        """Give the generation that this telling has, where the fact was about the newest one then."""
        known, now = then.jobs.get(fact.job), self._past.state.jobs.get(fact.job)
        newest = known is not None and now is not None and fact.generation == known.generation
        return now.generation if newest and now is not None else int(fact.generation)

    # --- what is done ----------------------------------------------------------------------------------

    def _tell(self, facts: Sequence[Fact]) -> None:
        for action in self._past.fold(facts, self._rules):
            if isinstance(action, Refusal):
                continue
            for after, answer in self._answers.get(action.id, ()) or self._assumed(action):
                self._later(facts[-1].at + after, answer)

    def _later(self, at: Instant, fact: Fact | Callable[[Instant], Fact | None]) -> None:
        self._count += 1
        made = (lambda: fact(at)) if callable(fact) else (lambda: _changed(fact, at=at))
        heapq.heappush(self._due, (at, self._count, made))

    def _assumed(self, action: Action) -> Iterator[tuple[Seconds, Callable[[Instant], Fact | None]]]:
        """Say what became of what was never done: it went well."""
        name = action.id
        match action:
            case StartWorker(job=job, worker=worker, node=node, gpu=gpu):
                yield START_S, lambda at: WorkerReady(at, job, worker, node, gpu, 0)
                yield START_S, lambda at: Outcome(at, name, ok=True, detail="assumed")
            case Resume(job=job, generation=generation):
                yield FORM_S, lambda at: Outcome(at, name, ok=True, detail="assumed", data=self._back(job))
                yield FORM_S + STEP_S, lambda at: self._advanced(at, job, generation)
            case Ping(node=node, incident=incident):
                yield OTHER_S, lambda at: NodePinged(at, node, "timeout", "timeout", -1, incident)
            case Page():
                return
            case _:
                yield OTHER_S, lambda at: Outcome(at, name, ok=True, detail="assumed")

    def _back(self, name: JobId) -> tuple[str, ...]:
        """Say that one step has to be made again."""
        job = self._past.state.jobs.get(name)
        step = job.high_step if job is not None else -1
        return ("lost 1", f"restored step {step - 1} from memory") if step >= 0 else ()

    def _advanced(self, at: Instant, name: JobId, generation: int) -> Fact | None:
        job = self._past.state.jobs.get(name)
        if job is None or job.generation != generation:
            return None
        return JobAdvanced(at, name, generation, job.high_step + 1)


def _in_place(state: State, then: State, fact: RankExited | RankRaised) -> Worker | None:
    """Find the same process in this telling, or the one that has its place, if its end was news then."""
    same, known = state.workers.get(fact.job, fact.worker), then.workers.get(fact.job, fact.worker)
    if same is not None and same.node == fact.node:
        return same
    if known is None or known.stage is WorkerStage.GONE:
        return None
    for worker in state.workers.of(fact.job):
        here = (worker.node, worker.gpu) == (fact.node, fact.gpu) and worker.stage is not WorkerStage.GONE
        if here and (worker.rank >= 0) == (known.rank >= 0):
            return worker
    return None


def _changed(fact: F, **fields: Any) -> F:
    return msgspec.structs.replace(fact, **fields)
