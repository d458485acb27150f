"""How long incidents take from their opening to each stage of their life, as a histogram."""

from collections.abc import Iterable, Iterator

from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.core.state import State
from sentinel.logbook.row import STAGES
from sentinel.model.ids import IncidentId
from sentinel.model.incident import Incident

_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""A crash is over within a second, a hang within three; a person's repair takes an hour."""


class StageTimes(Collector):
    """Observes each stage of each incident once."""

    def __init__(self, known: Iterable[Incident]) -> None:
        """`known` are the incidents of before, whose stages an earlier controller has observed."""
        text = "Time from an incident's opening to each stage of its life."
        labels = ["stage"]
        self._times = Histogram(
            "sentinel_incident_stage_seconds", text, labels, registry=None, buckets=_BUCKETS_S
        )
        for stage in STAGES:
            self._times.labels(stage)
        self._seen: dict[IncidentId, set[str]] = {each.id: set(each.times) for each in known}

    def changed(self, state: State) -> None:
        """Take in what was committed."""
        for incident in state.incidents.values():
            seen = self._seen.setdefault(incident.id, set())
            for stage in incident.times.keys() - seen:
                seen.add(stage)
                if stage in STAGES:
                    self._times.labels(stage).observe(max(0.0, incident.times[stage] - incident.opened))
        for name in self._seen.keys() - state.incidents.keys():
            del self._seen[name]

    def collect(self) -> Iterator[Metric]:
        """Give the histogram."""
        yield from self._times.collect()

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()
