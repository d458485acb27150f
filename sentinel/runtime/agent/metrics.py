"""The agent's `/metrics`: what it exports."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
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
    "agent_info": "Release of the agent.",
    "agent_events_total": "Events given to the spool.",
    "agent_events_dropped_total": "Events lost because the spool was full.",
    "agent_events_pending": "Events that the controller has not acknowledged.",
    "agent_connected": "Whether the controller is connected.",
    "agent_reports_total": "Reports sent.",
    "agent_ranks": "Live ranks and standbys.",
    "rank_step": "Newest completed step of a rank.",
    "rank_phase_age_seconds": "How long a rank has been in its phase.",
    "rank_collectives_entered_total": "Collectives that a rank has entered.",
    "rank_collectives_completed_total": "Collectives that have returned to a rank.",
    "rank_runs": "Whether a rank's process runs: 0 while it is stopped.",
    "check_duration_seconds": "How long each check took when it last ran.",
    "findings": "Findings that stand, by check and health.",
    "gpu_health": "The worst of a GPU's findings: 0 ok, 1 unknown, 2 warning, 3 critical.",
    "gpu_present": "Whether the GPU answers.",
    "gpu_ecc_uncorrectable_errors_total": "Volatile uncorrectable ECC errors.",
    "gpu_ecc_corrected_errors_total": "Volatile corrected ECC errors.",
    "gpu_temperature_celsius": "GPU temperature.",
    "gpu_throttle_reasons": "NVML bit mask of clock event reasons.",
    "gpu_memory_used_bytes": "GPU memory in use.",
    "gpu_utilisation_ratio": "Share of time in which a kernel ran, 0 to 1.",
    "gpu_ecc_lifetime_corrected_errors_total": "Corrected ECC errors over the GPU's life.",
    "gpu_ecc_lifetime_uncorrectable_errors_total": "Uncorrectable ECC errors over the GPU's life.",
    "gpu_dram_corrected_errors_total": "Volatile corrected errors of its DRAM.",
    "gpu_sram_corrected_errors": "Volatile corrected errors of its SRAM.",
    "gpu_sram_lifetime_uncorrectable_errors_total": "Uncorrectable errors of its SRAM over the GPU's life.",
    "gpu_remapped_rows_corrected": "Memory rows replaced for corrected errors.",
    "gpu_remapped_rows_uncorrectable": "Memory rows replaced for uncorrectable errors.",
    "gpu_remap_banks": "Memory banks by the spare rows that they have left.",
    "gpu_retired_pages_single": "Memory pages retired for single-bit errors.",
    "gpu_retired_pages_double": "Memory pages retired for double-bit errors.",
    "gpu_pcie_generation": "Generation that the PCIe link runs in now.",
    "gpu_pcie_width_lanes": "Lanes that the PCIe link runs on now.",
    "gpu_pcie_replays_total": "PCIe packets sent again since the driver was loaded.",
    "gpu_nvlinks_active": "NVLinks that are up.",
    "gpu_nvlink_replays_total": "NVLink packets sent again since the driver was loaded.",
    "gpu_nvlink_recoveries_total": "How often NVLinks were trained again since the driver was loaded.",
    "gpu_nvlink_crc_errors_total": "NVLink CRC errors since the driver was loaded.",
    "gpu_sm_clock_hertz": "Clock of the multiprocessors.",
    "gpu_sm_clock_max_hertz": "The highest clock of the multiprocessors.",
    "gpu_power_watts": "Power that the GPU takes.",
    "gpu_power_limit_watts": "Power limit in effect.",
    "gpu_power_limit_default_watts": "Power limit that the GPU comes with.",
    "gpu_memory_temperature_celsius": "Temperature of its memory.",
    "gpu_thermal_violation_seconds_total": "How long heat held the clocks down since the driver was loaded.",
    "gpu_power_violation_seconds_total": "How long the power limit held them down since then.",
    "gpu_processes": "Processes with a context on the GPU.",
    "gpu_mig_enabled": "Whether the GPU is split into instances.",
    "gpu_mig_instances": "Instances that the GPU is split into.",
    "gpu_recovery_action": "What the driver asks for, by NVML's number; 0 for nothing.",
    "gpu_fabric_state": "Registration with the NVLink fabric, by NVML's number; 3 for completed.",
    "gpu_info": "Which GPU it is, its driver and firmware.",
    "host_memory_total_bytes": "Memory of the host.",
    "host_memory_available_bytes": "Memory that can be had without swapping.",
    "host_load1": "Runnable processes, one-minute average.",
    "host_swap_used_bytes": "Swap in use.",
    "host_stuck_processes": "Processes in uninterruptible sleep.",
    "host_zombie_processes": "Processes that ended and were not taken away.",
    "host_cpu_pressure_ratio": "Share of the last 10 s in which a process waited for a processor, 0 to 1.",
    "host_memory_stalled_ratio": "Share of 5 min in which all processes waited for memory, 0 to 1.",
    "host_io_stalled_ratio": "Share of 5 min in which all processes waited for disks or mounts, 0 to 1.",
    "host_cpu_stolen_ratio": "Share of 5 min of processor time that the hypervisor gave to others, 0 to 1.",
    "rank_cpu_wait_ratio": "Share of the last 30 s in which a rank waited for a processor, 0 to 1.",
    "clock_error_seconds": "By how much the node's clock may be off at most, as the kernel says.",
    "clock_synchronised": "Whether the node's clock follows a time server.",
    "host_disk_free_bytes": "Free bytes of a watched volume.",
    "host_disk_size_bytes": "Size of a watched volume.",
    "volume_waits_seconds": "For how long a watched volume has not answered; 0 if it does.",
    "volume_write_seconds": "How long it took last to write and sync a mebibyte on a watched volume.",
    "volume_read_seconds": "How long it took last to read it again.",
    "store_waits_seconds": "For how long an object store has not answered; 0 if it does.",
    "store_put_seconds": "How long it took last to put a small object into an object store.",
    "store_get_seconds": "How long it took last to get it again.",
    "memory_uncorrectable_errors_total": "Uncorrectable errors of host memory since the machine started.",
    "memory_corrected_errors_total": "Corrected errors of host memory since the agent started.",
    "pcie_uncorrected_errors_total": "Uncorrected PCIe errors of a GPU or NIC since the agent started.",
    "service_active": "Whether an installed service is up.",
    "nic_carrier": "Whether an Ethernet port has a carrier.",
    "nic_mtu_bytes": "The MTU of an Ethernet port.",
    "nic_errors_total": "Errors and lost carriers that an Ethernet port has counted since the agent started.",
    "port_active": "Whether an InfiniBand or RoCE port is active.",
    "port_errors_total": "Errors that a network port has counted since the agent started.",
    "port_rate_bytes_per_second": "Rate of an InfiniBand or RoCE port, 0 while it is not active.",
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
        place = {"job_name": beat.job, "rank": beat.rank}
        yield series("rank_step", **place), beat.step
        yield series("rank_phase_age_seconds", **place, phase=beat.phase), beat.phase_age_s
        yield series("rank_collectives_entered_total", **place), beat.enqueued
        yield series("rank_collectives_completed_total", **place), beat.completed
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


class OwnProcess(ProcessCollector):
    """The agent's own memory, processor time and files."""

    def __init__(self, cluster: str) -> None:
        self._of = {"cluster": cluster} if cluster else {}
        super().__init__(namespace="sentinel", registry=None)

    def collect(self) -> Iterable[Metric]:
        """Give the figures of this moment."""
        for family in super().collect():
            family.samples = [each._replace(labels={**self._of, **each.labels}) for each in family.samples]
            yield family


class MetricsServer(HttpServer):
    """Serves the newest values on a thread of its own. Raises OSError when the port is taken."""

    def __init__(
        self, address: str, port: int, values: Callable[[], Values], cluster: str = "", *others: Collector
    ) -> None:
        registry = CollectorRegistry()
        registry.register(ValuesCollector(values, cluster))
        for other in others:
            registry.register(other)
        super().__init__(address, port, make_wsgi_app(registry))
