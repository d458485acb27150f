"""A real Prometheus scrapes a real cluster that breaks: panels find their data, and it is true."""

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sentinel.dashboards import build, lint
from sentinel.demo.faults import FAULTS
from sentinel.demo.observe import Before, observe, settle
from sentinel.demo.sandbox import FRESH_S, Sandbox, wait

sys.path.append(str(Path(__file__).parents[1] / "dashboards"))
from prometheus_server import PROGRAM, Prometheus, as_grafana, prometheus

BROKEN = ("rank-crash", "gpu-ecc")
JOB = {"tokens_per_step": 4096, "flops_per_step": 1e9, "peak_flops_per_rank": 1e12}

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROGRAM, reason="Prometheus is not installed"),
]


@dataclass
class Seen:
    """What happened, and what Prometheus has of it."""

    server: Prometheus
    cluster: str
    begin: float
    end: float
    evicted: str

    def series(self, expression: str) -> list[dict[str, object]]:
        query = as_grafana(expression, self.cluster, self.end - self.begin)
        return self.server.over(query, self.begin, self.end)

    def last(self, title: str, panel: str, number: int = 0) -> dict[tuple[str, ...], float]:
        """Give what a panel's query says at the end, by the values of its labels."""
        [board] = [each for each in build.committed() if each["title"] == title]
        [shown] = [each for each in lint.panels(board) if each["title"] == panel]
        query = as_grafana(shown["targets"][number]["expr"], self.cluster, self.end - self.begin)
        found = self.server.ask(query, self.end)
        return {tuple(sorted(each.get("metric", {}).values())): float(each["value"][1]) for each in found}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with Sandbox.start(nodes=3, gpus_per_node=1, world=2, job=JOB) as sandbox:
        scrapes = [
            {
                "job_name": "sentinel",
                "http_sd_configs": [{"url": f"{sandbox.url}/sd", "refresh_interval": "1s"}],
            }
        ]
        with prometheus(tmp_path_factory.mktemp("prometheus"), scrapes) as server:
            begin = time.time()
            sandbox.wait_for_training(FRESH_S)
            wait("standbys", FRESH_S, sandbox.ready)
            wait("all are scraped", 30.0, lambda: len(server.ask("up == 1")) >= 4)
            evicted = ""
            for name in BROKEN:
                settle(sandbox)
                fault, before = FAULTS[name], Before.look(sandbox)
                injection = fault.inject(sandbox, random.Random(7))
                print(name, observe(sandbox, fault, 7, before, injection).wrong)
                evicted = injection.truth.node or ""
            settled = "count_over_time(sentinel_nodes_cordoned[10s] offset 1s) >= 5 and sentinel_nodes_cordoned == 1"
            wait("Prometheus has seen it", 30.0, lambda: server.ask(settled))
            yield Seen(server, sandbox.cluster.name, begin, time.time(), evicted)


def test_all(seen):
    for board in build.committed():
        for where, expression in lint.queries(board):
            s = seen.series(expression)
            if not any("nan" not in str(v).lower() for each in s for v in each["values"]):
                print("EMPTY", board["title"], ":", where)
    for title, panel in [
        ("Incidents", "By cause"),
        ("Incidents", "Evictions"),
        ("Incidents", "In the time shown"),
        ("Run", "Time lost, by cause"),
        ("Fleet", "Cordoned"),
        ("Fleet", "Nodes"),
        ("Incidents", "Time to each stage, median"),
        ("Incidents", "GPU-hours lost"),
        ("Run", "Training"),
        ("Run", "Formed"),
        ("Run", "Stalled"),
        ("Run", "Effective training time"),
        ("Run", "MFU"),
        ("Run", "Tokens"),
        ("Run", "Step time"),
        ("Sentinel", "Ray answers"),
        ("Start", "x"),
    ][:-1]:
        print(title, panel, seen.last(title, panel))
