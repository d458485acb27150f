"""A real Prometheus scrapes a real cluster that breaks: panels find their data, and it is true."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from prometheus_server import PROGRAM, Prometheus, as_grafana, prometheus

from sentinel.dashboards import build, lint
from sentinel.demo.faults import FAULTS
from sentinel.demo.observe import Before, observe, settle
from sentinel.demo.sandbox import FRESH_S, Sandbox, SandboxError, wait

TRIES = 3
BROKEN = ("rank-crash", "gpu-ecc")
JOB = {"tokens_per_step": 4096, "flops_per_step": 1e9, "peak_flops_per_rank": 1e12}

RUN = next(board for board in build.committed() if board["title"] == "Run")
NOT_HERE = {
    (board, panel): reason
    for reason, found in {
        "simulated GPUs have no NVML": {
            "Run": ["GPUs at work"],
            "Fleet": ["GPUs at work", "Drivers and firmware", "What nodes usually measure"],
            "Node": [
                "Utilisation",
                "Memory in use",
                "Temperature",
                "Power",
                "Clock",
                "Clocks held down",
                "Uncorrectable over life",
                "Corrected errors",
                "Rows remapped for uncorrectable errors",
                "Errors that memory corrects no more",
                "Memory banks without spare rows",
                "Retired pages",
                "NVLinks up",
                "NVLink errors",
                "Fabric",
                "PCIe lanes",
                "PCIe packets sent again",
                "GPUs, what they are",
            ],
            "Network": ["NVLinks trained again", "NVLink packets sent again"],
        },
        "no such device, service or kernel interface on every machine": {
            "Node": [
                "Waiting",
                "Errors of the host",
                "Services",
                "Ports and NICs",
                "Clock error",
                "Object stores, a small object put and got",
            ],
            "Network": ["Errors of ports", "Rate of ports", "Ports down"],
        },
        "nothing of it happened": {
            "Node": ["Xids by number"],
            "Network": ["Ports that are down"],
            "Incidents": [
                "Refused",
                "Failed",
                "Incidents judged by people",
                "Evictions judged by people",
            ],
            "Sentinel": ["Probes that failed", "Presses in Slack"],
        },
    }.items()
    for board, panels in found.items()
    for panel in panels
}
"""Panels that may be empty on a sandbox; with made-up values they are tried in tests/dashboards."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(540),
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

    def series(self, expression: str) -> list[dict[str, Any]]:
        query = as_grafana(expression, self.cluster, self.end - self.begin)
        return self.server.over(query, self.begin, self.end)

    def last(self, title: str, panel: str) -> dict[tuple[str, ...], float]:
        """Give what a panel says at the end, by the values of its labels in order of their names."""
        shown = next(
            each
            for board in build.committed()
            for each in lint.panels(board)
            if (board["title"], each["title"]) == (title, panel)
        )
        query = as_grafana(shown["targets"][0]["expr"], self.cluster, self.end - self.begin)
        found = self.server.ask(query, self.end)
        labels = (sorted(each.get("metric", {}).items()) for each in found)
        keys = (tuple(value for _, value in named) for named in labels)
        return dict(zip(keys, (float(each["value"][1]) for each in found), strict=True))


def _have_measured(sandbox: Sandbox, server: Prometheus, check: str) -> None:
    """Ask for a check of all nodes until it was done: on a crowded machine some come too late to meet."""
    measured = f'sentinel_links_measured_time_seconds{{check="{check}"}} > 0'
    for _ in range(TRIES):
        said = sandbox.command("probe", check=check, nodes=["n1", "n2", "n3"], disturb=True)
        with suppress(SandboxError):
            wait(f"{check} was measured", 50.0, partial(server.ask, measured), 0.5)
            return
    raise AssertionError(said)


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
                assert observe(sandbox, fault, 7, before, injection).wrong == []
                evicted = injection.truth.node or ""
            for check in ("pair", "all_reduce"):
                _have_measured(sandbox, server, check)
            wait("the job's pace is known", 60.0, lambda: server.ask("sentinel_job_tokens_per_second"), 0.5)
            yield Seen(server, sandbox.cluster.name, begin, time.time(), evicted)


def test_every_query_finds_data_or_it_is_known_why_not(seen: Seen) -> None:
    empty = {
        (board["title"], where): expression
        for board in build.committed()
        for where, expression in lint.queries(board)
        if not any("NaN" not in value for each in seen.series(expression) for _, value in each["values"])
    }
    assert {key: query for key, query in empty.items() if key not in NOT_HERE} == {}


def test_a_crash_appears_as_a_crash(seen: Seen) -> None:
    causes = {key: round(value) for key, value in seen.last("Incidents", "By cause").items()}
    assert causes | {("rank-crash",): 1, ("gpu-ecc",): 1} == causes  # a crowded machine may have others
    lost = seen.last("Run", "Time lost, by cause")
    assert {("rank-crash",), ("gpu-ecc",), ("start",)} <= set(lost)
    assert sum(lost.values()) < seen.end - seen.begin
    [annotation] = [expression for where, expression in lint.queries(RUN) if where == "annotation Incidents"]
    assert {each["metric"]["cause"] for each in seen.series(annotation)} >= {"rank-crash", "gpu-ecc"}


def test_who_was_evicted_is_shown_with_why(seen: Seen) -> None:
    assert round(seen.last("Incidents", "Evictions")[()]) == 1
    assert seen.last("Fleet", "Cordoned")[()] == pytest.approx(1 / 3)
    [(labels, _)] = seen.last("Fleet", "Cordoned nodes").items()
    assert seen.evicted in labels
    health = seen.last("Fleet", "Nodes")
    assert [node for (node,), value in health.items() if value == 3] == [seen.evicted]


def test_the_job_is_shown_as_it_is(seen: Seen) -> None:
    assert seen.last("Run", "Training") == {(): 1}
    assert seen.last("Run", "Ranks missing") == {(): 0}
    assert seen.last("Run", "Formed")[()] >= len(BROKEN)
    assert 0 < seen.last("Run", "Effective training time")[()] < 1
    assert seen.last("Run", "Tokens")[()] == pytest.approx(
        JOB["tokens_per_step"] / seen.last("Run", "Median step")[()], rel=0.01
    )
    assert ("new_step",) in seen.last("Incidents", "Time to each stage, median")


def test_the_network_is_shown_as_it_was_measured(seen: Seen) -> None:
    shown = seen.last("Network", "Bandwidth, pair by pair")
    assert len(shown) == 2 * 3  # each pair of three nodes, both ways round
    assert all(value > 0 for value in shown.values())
