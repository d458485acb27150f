"""What a controller and an agent serve to Prometheus is what `docs/metrics.md` says, no less and no more."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_node import NODE, Node
from local_http import LOCAL
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sentinel.runtime.agent.metrics import HELP
from tests.enrolled import keys_with

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
DEADLINE_S = 60.0
JOB = "job"
RANK = f"""
import time, sentinel.heartbeat
beats, step = sentinel.heartbeat.start(job="{JOB}", rank=0, world=1), 0
while True:
    with beats.phase("data"):
        time.sleep(0.02)
    beats.step_done(step, loss=1.5, outside_s=0.01)
    beats.checkpoint_done(step)
    step += 1
"""


@dataclass(frozen=True)
class Row:
    kind: str
    labels: frozenset[str]
    text: str


def tables() -> dict[str, dict[str, Row]]:
    """Part of the page → name → row."""
    found: dict[str, dict[str, Row]] = {}
    for part in DOCS.read_text(encoding="utf-8").split("\n### ")[1:]:
        rows = found[part.partition("\n")[0]] = {}
        for line in part.splitlines():
            if line.startswith("| `sentinel_"):
                name, kind, labels, unit, text = (cell.strip() for cell in line.strip("|").split("|"))
                assert unit
                rows[name.strip("`")] = Row(kind, frozenset(re.findall(r"`(\w+)`", labels)), text)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def answer(url: str) -> str:
    try:
        return LOCAL.get(url).text
    except httpx.TransportError:
        return ""


def families(text: str) -> dict[str, Metric]:
    """By the names that the table has: a counter's ends in `_total`."""
    named = text_string_to_metric_families(text)
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in named}


@dataclass
class Cluster:
    url: str
    node: Node

    def scrape(self) -> dict[str, Metric]:
        return families(answer(f"{self.url}/metrics"))

    def sd(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = LOCAL.get(f"{self.url}/sd").json()
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A controller, an agent and a rank, each a process of its own."""
    root = tmp_path_factory.mktemp("scrape")
    web, reports = free_port(), free_port()
    file = root / "sentinel.toml"
    file.write_text(
        f"[cluster]\nstate_dir = '{root}/state'\nreport_port = {reports}\nweb_port = {web}\n"
        "[ray]\naddress = '127.0.0.1:1'\n"
        f"[job]\nname = '{JOB}'\nworld = 0\ntokens_per_step = 512\n"
        "flops_per_step = 1e9\npeak_flops_per_rank = 1e12\nrestart_command = 'true'\n"
    )
    node = Node(root / "n")
    keys_with(root / "state" / "keys", NODE)
    with (root / "log").open("w") as log:
        argv = [sys.executable, "-m", "sentinel.runtime.controller", "--config", str(file)]
        controller = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{web}"
            until(lambda: answer(f"{url}/healthz"), (root / "log").read_text())
            node.agent(f"tcp://127.0.0.1:{reports}", root / "state" / "keys", **{"metrics-port": "0"})
            environment = {**os.environ, "SENTINEL_MEMORY": str(node.memory)}
            rank = subprocess.Popen([sys.executable, "-c", RANK], env=environment)
            node.processes.append(rank)  # type: ignore[arg-type]
            found = Cluster(url, node)
            until(lambda: steps(found), "the job is seen to train")
            yield found
        finally:
            node.close()
            controller.terminate()
            controller.wait()


def steps(cluster: Cluster) -> bool:
    served = cluster.scrape()
    goes = (served[f"sentinel_job_{name}"] for name in ("new_steps_total", "effective_training_time_ratio"))
    return all(any(sample.value > 0 for sample in each.samples) for each in goes)


def agrees(name: str, family: Metric, row: Row) -> None:
    assert (family.type, family.documentation) == (row.kind, row.text), name
    for sample in family.samples:
        assert sample.labels.keys() - {"cluster", "le"} == row.labels, sample


def test_a_controller_serves_what_the_page_says(cluster: Cluster) -> None:
    served, page = cluster.scrape(), tables()
    rows = page["Controller"] | page["Both"]
    assert served.keys() == rows.keys()
    for name, family in served.items():
        agrees(name, family, rows[name])


def test_an_agent_serves_what_the_page_says(cluster: Cluster) -> None:
    page = tables()
    rows = page["Agent"] | page["Both"]
    assert page["Agent"].keys() == {f"sentinel_{name}" for name in HELP}
    (target,) = [each["targets"][0] for each in cluster.sd() if each["labels"]["component"] == "agent"]
    has_both = {"sentinel_rank_step", "sentinel_gpu_health"}
    served = until(lambda: whole(families(answer(f"http://{target}/metrics")), has_both), "the agent serves")
    assert served.keys() <= rows.keys()
    for name, family in served.items():
        agrees(name, family, rows[name])


@pytest.mark.prometheus
@pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool: apt-get install --no-install-recommends prometheus"
)
def test_promtool_finds_nothing_wrong_with_names_and_types(cluster: Cluster) -> None:
    for target in cluster.sd():
        text = answer(f"http://{target['targets'][0]}/metrics")
        argv = ["promtool", "check", "metrics"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def whole(served: dict[str, Metric], has: set[str]) -> dict[str, Metric]:
    return served if has <= served.keys() else {}


def test_what_trains_is_told(cluster: Cluster) -> None:
    served = cluster.scrape()

    def value(name: str, **labels: str) -> float:
        wanted = {"cluster": "sentinel", "job_name": JOB, **labels}
        (found,) = [each for each in served[f"sentinel_{name}"].samples if each.labels == wanted]
        return found.value

    assert value("job_ranks_heard") == 1
    assert value("job_heartbeat_age_seconds") < DEADLINE_S
    assert value("job_ranks_in_phase", phase="data") + value("job_ranks_in_phase", phase="compute") == 1
    assert value("job_step_outside_collectives_seconds", stat="max") == pytest.approx(0.01)
    assert value("job_checkpoint_step") >= 0
    assert value("job_tokens_per_second") == pytest.approx(512 / value("job_step_duration_seconds"))
    assert 0 < value("job_effective_training_time_ratio") <= 1


def test_discovery_tells_whom_to_scrape_and_nothing_that_a_series_says_itself(cluster: Cluster) -> None:
    web = cluster.url.removeprefix("http://")
    here, agent = cluster.sd()
    assert here == {"targets": [web], "labels": {"component": "controller"}}
    assert agent["labels"] == {"component": "agent", "node": NODE}
    with urllib.request.urlopen(f"{cluster.url}/sd") as answered:
        assert answered.headers["Content-Type"] == "application/json"
    for target in (here, agent):
        [address] = target["targets"]
        said = families(answer(f"http://{address}/metrics"))
        labels = {label for family in said.values() for sample in family.samples for label in sample.labels}
        assert not labels & {"job", "instance", *target["labels"]} - {"node"} or target is here
