"""What this controller has taken in and done since it started, as Prometheus counters."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.core.state import State
from sentinel.model.action import KINDS, Action, Refusal, kind_of
from sentinel.model.fact import Fact, Outcome
from sentinel.model.ids import Cause, IncidentId
from sentinel.runtime.replay_metrics import ReplayCounts

FACTS = tuple(noun.__name__ for noun in get_args(Fact))
RESULTS = ("delivered", "failed")
OTHER = "other"
GUARDS = (
    *("actions", "attempts", "boundary", "breaker", "common", "confidence", "place", "restart", "share"),
    OTHER,
)


class Counters(Collector):
    """Counts what is committed. Every series is there from the start, with 0; labels are bounded."""

    def __init__(
        self, causes: Iterable[Cause], known: Iterable[IncidentId], refused: Callable[[], tuple[int, int]]
    ) -> None:
        """`known` are the incidents of before; `refused` says how many reports and events can't be read."""
        self._refused = refused
        self._facts, self._actions = Counter(dict.fromkeys(FACTS, 0)), Counter(dict.fromkeys(KINDS, 0))
        self._failed, self._pages = Counter(dict.fromkeys(KINDS, 0)), Counter(dict.fromkeys(RESULTS, 0))
        self._causes = Counter[str](dict.fromkeys(causes, 0))
        self._refusals = Counter[str](dict.fromkeys(GUARDS, 0))
        self._evictions = self._opened = 0
        self._replays = ReplayCounts()
        self._seen = set(known)
        self._diagnosed = set(self._seen)

    def changed(self, state: State, fact: Fact, actions: tuple[Action, ...]) -> None:
        """Count a fact with the actions decided from it."""
        self._facts[type(fact).__name__] += 1
        for action in actions:
            if isinstance(action, Refusal):
                self._refusals[action.guard if action.guard in GUARDS else OTHER] += 1
            else:
                self._actions[kind_of(action.id)] += 1
        if isinstance(fact, Outcome):
            self._ended(fact)
        self._replays.take(fact)
        self._count_incidents(state)

    def _ended(self, outcome: Outcome) -> None:
        kind = kind_of(outcome.action)
        if not outcome.ok:
            self._failed[kind] += 1
        if kind == "page":
            self._pages["delivered" if outcome.ok else "failed"] += 1
        if kind == "evict" and outcome.ok:
            self._evictions += 1

    def _count_incidents(self, state: State) -> None:
        for incident in state.incidents.values():
            if incident.id not in self._seen:
                self._seen.add(incident.id)
                self._opened += 1
            if incident.diagnosis is not None and incident.id not in self._diagnosed:
                self._diagnosed.add(incident.id)
                self._causes[incident.diagnosis.cause] += 1

    def collect(self) -> Iterator[Metric]:
        """Give the counters of this moment."""
        yield _labelled("facts", "Facts that were journalled.", "kind", self._facts)
        yield _labelled("actions", "Actions that were decided.", "kind", self._actions)
        yield _labelled("actions_failed", "Actions whose outcome was a failure.", "kind", self._failed)
        yield _labelled("pages", "Revisions of pages, by what became of them.", "result", self._pages)
        yield _labelled("incidents_diagnosed", "Incidents by their first cause.", "cause", self._causes)
        yield _counter("incidents_opened", "Incidents that were opened.", self._opened)
        yield _counter("evictions", "Evictions that were done.", self._evictions)
        yield _labelled("refusals", "Actions that a guard refused.", "guard", self._refusals)
        yield self._replays.family()
        reports, events = self._refused()
        yield _counter("reports_refused", "Reports that could not be read.", reports)
        yield _counter("events_refused", "Events of reports that could not be read.", events)

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()


def _counter(name: str, text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"sentinel_{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"sentinel_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
