"""The agent's `/metrics`, in the Prometheus text format."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sentinel.model.check import series
from sentinel.model.report import NOT_RUNNING, RankBeat

PREFIX = "sentinel_"
_NO_WAKING = 3600.0
"""The server's thread wakes for a scrape only, not to see whether it should stop."""
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
}


def of_ranks(beats: Iterable[RankBeat]) -> Iterator[tuple[str, float]]:
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


def render(values: Mapping[str, float]) -> str:
    """Give the exposition of `name{label="x"}` → value, names without prefix, families together."""
    return "".join(_lines(values))


def _lines(values: Mapping[str, float]) -> Iterator[str]:
    family = ""
    for each in sorted(values, key=lambda each: (each.partition("{")[0], each)):
        name = each.partition("{")[0]
        if name != family:
            family = name
            if name in HELP:
                yield f"# HELP {PREFIX}{name} {HELP[name]}\n"
            yield f"# TYPE {PREFIX}{name} {'counter' if name.endswith('_total') else 'gauge'}\n"
        yield f"{PREFIX}{each} {_number(values[each])}\n"


def _number(value: float) -> str:
    """Give every digit: a counter that is rounded moves in steps."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


class MetricsServer:
    """Serves the newest values on its own thread. Raises OSError when the port is taken."""

    def __init__(self, address: str, port: int, values: Callable[[], Mapping[str, float]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.end_headers()
                if self.path == "/metrics":
                    self.wfile.write(render(values()).encode(errors="replace"))

            def log_message(self, *_: Any) -> None:
                """A scrape is no news."""

        self._server = ThreadingHTTPServer((address, port), Handler)
        self.port: int = self._server.server_address[1]
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(_NO_WAKING,), name="metrics", daemon=True).start()

    def close(self) -> None:
        """Let go of the port; the daemon thread ends with its process."""
        self._server.server_close()
