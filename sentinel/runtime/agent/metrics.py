"""The agent's `/metrics`: what it exports."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.model.check import Series, series
from sentinel.model.report import NOT_RUNNING, RankBeat
from sentinel.runtime.agent.metrics_server import HttpServer

Values = Mapping[Series, float]
PREFIX = "sentinel_"
COUNTED = "_total"
"""How the name of a counter ends."""
ELSEWHERE = "Exported by a check of another package."
HELP: Mapping[str, str] = {
    "agent_events_total": "Events given to the spool.",
    "agent_events_dropped_total": "Events lost because the spool was full.",
    "agent_events_pending": "Events that the controller has not acknowledged.",
    "agent_connected": "Whether the controller is connected.",
    "agent_reports_total": "Reports sent.",
    "agent_ranks": "Live ranks and standbys.",
    "rank_step": "Newest completed step of a rank.",
    "rank_phase_age_seconds": "How long a rank has been in its phase.",
    "rank_collectives_entered": "Collectives that a rank has entered.",
    "rank_collectives_completed": "Collectives that have returned to a rank.",
    "rank_runs": "Whether a rank's process runs: 0 while it is stopped.",
    "findings": "Findings that stand, by check and health.",
    "gpu_present": "Whether the GPU answers.",
    "gpu_ecc_uncorrectable_errors": "Volatile uncorrectable ECC errors.",
    "gpu_ecc_corrected_errors": "Volatile corrected ECC errors.",
    "gpu_temperature_celsius": "GPU temperature.",
    "gpu_throttle_reasons": "NVML bit mask of clock event reasons.",
    "gpu_memory_used_bytes": "GPU memory in use.",
    "gpu_utilisation_ratio": "Share of time in which a kernel ran, 0 to 1.",
    "host_memory_total_bytes": "Memory of the host.",
    "host_memory_available_bytes": "Memory that can be had without swapping.",
    "host_load1": "Runnable processes, one-minute average.",
    "host_stuck_processes": "Processes in uninterruptible sleep.",
    "host_cpu_pressure_ratio": "Share of the last 10 s in which a process waited for a processor, 0 to 1.",
    "host_disk_free_bytes": "Free bytes of a watched volume.",
    "host_disk_size_bytes": "Size of a watched volume.",
    "oom_kills_total": "Processes killed because memory ran out, since the agent started.",
    "probes_failed_total": "Probes that hung, died or raised, by check.",
    "xid_events_total": "Xids in the kernel log since the agent started.",
    "sxid_events_total": "SXids in the kernel log since the agent started, by the driver's severity.",
}


def of_ranks(beats: Iterable[RankBeat]) -> Iterator[tuple[Series, float]]:
    """Say what the node's ranks are doing, whoever started them."""
    for beat in beats:
        if beat.rank < 0:
            continue
        place = {"job": beat.job, "rank": beat.rank}
        yield series("rank_step", **place), beat.step
        yield series("rank_phase_age_seconds", **place, phase=beat.phase), beat.phase_age_s
        yield series("rank_collectives_entered", **place), beat.enqueued
        yield series("rank_collectives_completed", **place), beat.completed
        yield series("rank_runs", **place), beat.state not in NOT_RUNNING


class ValuesCollector(Collector):
    """Asks for the newest values on every scrape."""

    def __init__(self, values: Callable[[], Values], cluster: str = "") -> None:
        """`cluster` is a label of every series, unless it is empty."""
        self._values = values
        self._of = {"cluster": cluster} if cluster else {}

    def collect(self) -> Iterator[Metric]:
        """Give the families by name, each with its series in order."""
        families: dict[str, Metric] = {}
        for (name, labels), value in sorted(self._values().items()):
            family = families.get(name) or families.setdefault(name, _family(name))
            named = {**self._of, **{label: _text(text) for label, text in labels}}
            family.add_sample(PREFIX + name, named, float(value))
        yield from families.values()

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()


def _family(name: str) -> Metric:
    kind = CounterMetricFamily if name.endswith(COUNTED) else GaugeMetricFamily
    return kind(PREFIX + name, HELP.get(name, ELSEWHERE))


def _text(label: str) -> str:
    """Give what a page in UTF-8 can hold: a volume's name may be any bytes."""
    return label.encode(errors="replace").decode()


class MetricsServer(HttpServer):
    """Serves the newest values on a thread of its own. Raises OSError when the port is taken."""

    def __init__(self, address: str, port: int, values: Callable[[], Values], cluster: str = "") -> None:
        registry = CollectorRegistry()
        registry.register(ValuesCollector(values, cluster))
        super().__init__(address, port, make_wsgi_app(registry))
