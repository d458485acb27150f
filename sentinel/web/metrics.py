"""The controller's view as Prometheus gauges; every series exists from the start, with zeros."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, product

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel import __version__
from sentinel.model.finding import RANKING, Health
from sentinel.model.incident import Stage
from sentinel.model.severity import Severity
from sentinel.web.families import gauge, labelled
from sentinel.web.job_metrics import of_jobs
from sentinel.web.view import Status

INCIDENTS = 100
"""Open incidents that are told one by one, the newest ones; all are counted."""
REASON = 120
"""Characters of a cordon's reason that are a label."""


class _Families(Collector):
    """Metrics that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(status: Status, counters: Iterable[Metric]) -> bytes:
    """Give a status's gauges and the counters as text. Labels are bounded, as docs/metrics.md counts."""
    families = [*counters, *_cluster(status), *_nodes(status), *_incidents(status), *of_jobs(status.jobs)]
    return generate_latest(_Families(_of(status.cluster, family) for family in families))


def _of(cluster: str, family: Metric) -> Metric:
    """Give a family whose every series names the cluster: one Prometheus may scrape several."""
    named = Metric(family.name, family.documentation, family.type, family.unit)
    named.samples = [
        each._replace(labels={"cluster": cluster, **each.labels})
        for each in family.samples
        if not each.name.endswith("_created")  # when a counter began is told by the process's start
    ]
    return named


def _cluster(status: Status) -> Iterator[Metric]:
    healths = Counter(node.health for node in status.nodes)
    yield labelled(
        "nodes", "Nodes by the worst of their findings.", "health", {h.value: healths[h] for h in Health}
    )
    yield gauge(
        "nodes_cordoned", "Nodes on which nothing is placed.", sum(bool(n.cordon) for n in status.nodes)
    )
    yield gauge("nodes_silent", "Nodes that do not report.", sum(n.silent for n in status.nodes))
    yield gauge(
        "nodes_spare",
        "Nodes that could take ranks now: they report, are not cordoned, have GPUs and no rank.",
        sum(node.spare for node in status.nodes),
    )
    yield gauge(
        "left_for_people",
        "What is left for people to do, as the status page lists it.",
        len(status.left),
    )
    yield gauge("actions_frozen", "1 while Sentinel takes no action by itself.", bool(status.frozen))
    yield gauge("actions_stopped", "1 while an operator has stopped all actions.", bool(status.stopped))
    yield gauge("ray_up", "1 while Ray can be asked.", not status.ray_trouble)
    yield gauge("observe_only", "1 in observe-only mode.", status.observe_only)
    yield gauge("controller_start_time_seconds", "When this controller took over.", status.started)
    text = "Release of the controller, and where its pages are."
    info = GaugeMetricFamily("sentinel_controller_info", text, labels=["version", "url"])
    info.add_metric([__version__, status.url], 1.0)
    yield info


def _nodes(status: Status) -> Iterator[Metric]:
    nodes = status.nodes
    ranks = Counter(seat.node for job in status.jobs for seat in job.seats)
    text = "The worst of a node's findings: 0 ok, 1 unknown, 2 warning, 3 critical."
    yield labelled("node_health", text, "node", {n.node: RANKING[n.health] for n in nodes})
    text = "1 while nothing is placed on a node."
    yield labelled("node_cordoned", text, "node", {n.node: bool(n.cordon) for n in nodes})
    ages = {n.node: n.report_age_s for n in nodes if n.report_age_s is not None}
    yield labelled("node_report_age_seconds", "Since the newest report of a node.", "node", ages)
    text = "Ranks that sit on a node."
    yield labelled("node_ranks", text, "node", {n.node: ranks[n.node] for n in nodes})
    text = "Why a node is cordoned, and who said so; only while it is."
    cordons = GaugeMetricFamily("sentinel_node_cordon_info", text, labels=["node", "reason"])
    for node in nodes:
        if node.cordon:
            cordons.add_metric([node.node, node.cordon[:REASON]], 1.0)
    yield cordons


def _incidents(status: Status) -> Iterator[Metric]:
    yield _open(status)
    text = f"An incident that is not resolved, the newest {INCIDENTS}; node is its first suspect."
    labels = ["incident", "cause", "severity", "stage", "node"]
    family = GaugeMetricFamily("sentinel_incident_info", text, labels=labels)
    for each in islice(status.incidents, INCIDENTS):
        family.add_metric([each.incident, each.cause, each.severity, each.stage, each.node], 1.0)
    yield family


def _open(status: Status) -> GaugeMetricFamily:
    known = Counter((incident.stage, incident.severity) for incident in status.incidents)
    labels, text = ("stage", "severity"), "Incidents that are not resolved."
    family = GaugeMetricFamily("sentinel_open_incidents", text, labels=labels)
    for key in product((Stage.OPEN.value, Stage.MITIGATING.value), (each.value for each in Severity)):
        family.add_metric(key, float(known[key]))
    return family
