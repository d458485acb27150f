"""Every query of every panel finds data in a real Prometheus, where all of docs/metrics.md is served.

The values are made up; that they are right is shown with a real cluster, in tests/cluster.
"""

import itertools
import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from prometheus_server import PROGRAM, Prometheus, as_grafana, prometheus

from sentinel.dashboards import build, lint
from sentinel.demo.sandbox import wait
from tests.listening import listening

METRICS = Path(__file__).parents[2] / "docs/metrics.md"
CLUSTER = "made-up"
VALUES = {
    "node": ("n1", "n2"),
    "peer": ("n2", "n1"),
    "stat": ("min", "median", "max"),
    "check": ("pair", "gpu"),
    "health": ("ok", "warning", "critical", "unknown"),
    "severity": ("critical", "warning"),
    "result": ("delivered", "failed"),
    "spare": ("none", "max"),
    "job_name": ("moe",),
}
"""What labels say; others say one word."""
ROW = re.compile(r"^\| `(sentinel_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
SCRAPES = 6
"""So many seconds: a rate looks back over four."""

pytestmark = pytest.mark.skipif(not PROGRAM, reason="Prometheus is not installed")


def table(title: str) -> list[tuple[str, str, list[str]]]:
    """Give name, type and labels of one of the tables."""
    _, part = METRICS.read_text().split(f"### {title}\n")
    part, _, _ = part.partition("\n### ")
    return [(name, kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in ROW.findall(part)]


def exposition(title: str, tick: float) -> str:
    """Serve each of its metrics: what only grows grows, and of other values some are 0."""
    lines = list[str]()
    for name, kind, labels in [*table(title), *table("Both")]:
        lines.append(f"# TYPE {name} {kind}")
        for number, values in enumerate(
            itertools.product(*(VALUES.get(label, (f"some-{label}",)) for label in labels))
        ):
            said = [
                f'{label}="{value}"'
                for label, value in zip(("cluster", *labels), (CLUSTER, *values), strict=True)
            ]
            if kind == "histogram":
                lines += [
                    f"{name}_bucket{{{','.join([*said, f'le={le!r}'.replace(chr(39), chr(34))])}}} {tick * n}"
                    for n, le in ((1, "0.5"), (2, "1.0"), (3, "+Inf"))
                ]
                lines += [f"{name}_{part}{{{','.join(said)}}} {tick * 3}" for part in ("sum", "count")]
            else:
                value = tick * (number + 1) if kind == "counter" else (number + int(tick)) % 2
                lines.append(f"{name}{{{','.join(said)}}} {value}")
    return "\n".join([*lines, ""])


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    begun = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            title = "Agent" if "agent" in self.path else "Controller"
            text = exposition(title, time.monotonic() - begun + 1).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with listening(Handler) as place:
        yield place


@pytest.fixture(scope="module")
def scraped(served: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    agents = [{"targets": [served], "labels": {"node": node}} for node in VALUES["node"]]
    scrapes = [
        {"job_name": "sentinel", "static_configs": [{"targets": [served]}]},
        {"job_name": "sentinel-agents", "metrics_path": "/agent", "static_configs": agents},
    ]
    with prometheus(tmp_path_factory.mktemp("prometheus"), scrapes) as server:
        every = f'min(count_over_time(sentinel_process_open_fds{{cluster="{CLUSTER}"}}[1m])) >= {SCRAPES}'
        wait("some scrapes", 60.0, lambda: server.ask(every), 0.2)
        yield server


def asked() -> list[Any]:
    return [
        pytest.param(expression, id=f"{board['title']}: {where} {number}")
        for board in build.committed()
        for number, (where, expression) in enumerate(lint.queries(board))
    ]


@pytest.mark.parametrize("expression", asked())
def test_a_query_finds_data(expression: str, scraped: Prometheus) -> None:
    now = time.time()
    query = as_grafana(expression, CLUSTER, SCRAPES)
    series = scraped.over(query, now - SCRAPES, now)
    assert any("nan" not in str(values).lower() for each in series for values in each["values"]), query
