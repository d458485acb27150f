"""A real Prometheus for a test, and a panel's queries as Grafana would send them to it."""

import json
import math
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sentinel.demo.sandbox import wait

PROGRAM = shutil.which("prometheus") or ""
EVERY_S = 1
RATE_INTERVAL_S = 4 * EVERY_S
"""As Grafana's `$__rate_interval`: four scrapes."""


class Prometheus:
    """One that runs and scrapes every second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False, verify=False, timeout=30.0)

    def ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Give the series of an expression at a moment. Raises AssertionError with what Prometheus says."""
        return self._data("query", {"query": expression, "time": at or time.time()})

    def over(self, expression: str, begin: float, end: float) -> list[dict[str, Any]]:
        """Give the series of an expression from begin to end, which is looked at, too."""
        looks = math.ceil((end - begin) / EVERY_S)
        step = {"start": end - looks * EVERY_S, "end": end, "step": EVERY_S}
        return self._data("query_range", {"query": expression, **step})

    def _data(self, what: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self._client.post(f"/api/v1/{what}", data=query).json()
        assert answer["status"] == "success", (query["query"], answer)
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] in ("vector", "matrix") else [{"value": result}]


def as_grafana(expression: str, cluster: str, range_s: float) -> str:
    """Put in what Grafana puts in for variables, where all of everything is chosen."""
    for name, value in (
        ("$__rate_interval", f"{RATE_INTERVAL_S}s"),
        ("$__range", f"{int(range_s)}s"),
        ("$cluster", cluster),
        *((f"${name}", ".+") for name in ("job", "instance", "run", "node")),
    ):
        expression = expression.replace(name, value)
    return expression


@contextmanager
def prometheus(directory: Path, scrapes: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """Run one with these scrape configurations."""
    config = directory / "prometheus.yml"
    document = {"global": {"scrape_interval": f"{EVERY_S}s"}, "scrape_configs": scrapes}
    config.write_text(json.dumps(document))  # which is YAML, too
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    argv = [PROGRAM, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
    with (directory / "prometheus.log").open("w") as log:
        running = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        server = Prometheus(f"http://{address}")
        wait("Prometheus is ready", 30.0, server.ready)
        yield server
    finally:
        running.terminate()
        running.wait(30)
