"""The controller's view as Prometheus gauges; every series exists from the start, with zeros."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.model.finding import Health
from sentinel.model.incident import Stage
from sentinel.model.severity import Severity
from sentinel.web.view import JobView, Status


class _Families(Collector):
    """Metrics that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(status: Status, counters: Iterable[Metric]) -> bytes:
    """Give a status's gauges and the counters as text. Labels are bounded: healths, stages, job names."""
    families = [*counters, *_cluster(status), *_jobs(status.jobs)]
    return generate_latest(_Families(_of(status.cluster, family) for family in families))


def _of(cluster: str, family: Metric) -> Metric:
    """Give a family whose every series names the cluster: one Prometheus may scrape several."""
    named = Metric(family.name, family.documentation, family.type, family.unit)
    named.samples = [each._replace(labels={"cluster": cluster, **each.labels}) for each in family.samples]
    return named


def _cluster(status: Status) -> Iterator[Metric]:
    healths = Counter(node.health for node in status.nodes)
    yield _labelled(
        "nodes", "Nodes by the worst of their findings.", "health", {h.value: healths[h] for h in Health}
    )
    yield _gauge(
        "nodes_cordoned", "Nodes on which nothing is placed.", sum(bool(n.cordon) for n in status.nodes)
    )
    yield _gauge("nodes_silent", "Nodes that do not report.", sum(n.silent for n in status.nodes))
    yield _open(status)
    yield _gauge("actions_frozen", "1 while Sentinel takes no action by itself.", bool(status.frozen))
    yield _gauge("actions_stopped", "1 while an operator has stopped all actions.", bool(status.stopped))
    yield _gauge("ray_up", "1 while Ray can be asked.", not status.ray_trouble)
    yield _gauge("observe_only", "1 in observe-only mode.", status.observe_only)
    yield _gauge("controller_start_time_seconds", "When this controller took over.", status.started)


def _open(status: Status) -> GaugeMetricFamily:
    known = Counter((incident.stage, incident.severity) for incident in status.incidents)
    labels, text = ("stage", "severity"), "Incidents that are not resolved."
    family = GaugeMetricFamily("sentinel_open_incidents", text, labels=labels)
    for key in product((Stage.OPEN.value, Stage.MITIGATING.value), (each.value for each in Severity)):
        family.add_metric(key, float(known[key]))
    return family


def _jobs(jobs: tuple[JobView, ...]) -> Iterator[Metric]:
    def of(name: str, text: str, values: dict[str, float]) -> GaugeMetricFamily:
        return _labelled(name, text, "job", values)

    yield of("job_step", "Last step completed by all ranks.", {j.job: j.step for j in jobs})
    yield of("job_generation", "How often the gang was formed.", {j.job: j.generation for j in jobs})
    yield of("job_ranks", "Seats in the present generation.", {j.job: len(j.seats) for j in jobs})
    yield of("job_ranks_wanted", "World size asked for.", {j.job: j.wanted for j in jobs})
    yield of("job_standbys", "Warm standbys.", {j.job: len(j.standbys) for j in jobs})
    yield of("job_running", "1 while the job trains.", {j.job: j.stage == "running" for j in jobs})
    yield of(
        "job_snapshot_step", "Step of the newest memory snapshot.", {j.job: j.snapshot_step for j in jobs}
    )
    yield of(
        "job_loss", "Global mean loss of the last step.", {j.job: j.losses[-1][1] for j in jobs if j.losses}
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sentinel_{name}", text, value=float(value))


def _labelled(name: str, text: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"sentinel_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
