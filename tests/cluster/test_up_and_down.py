"""`sentinel up` and `sentinel down` on a real cluster: everything comes, everything goes, and comes again."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_http import LOCAL

from sentinel.demo.hosts import processes_below
from sentinel.demo.ray_cluster import Cluster
from sentinel.demo.sandbox import to_toml, wait
from sentinel.gang.fence import FENCE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

OURS = r"sentinel\.(runtime|backends\.ray)\.\w+|RankActor"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start(nodes=2, gpus_per_node=1) as cluster:
        _configure(cluster)
        yield cluster


def _configure(cluster: Cluster) -> None:
    root = cluster.root
    (root / "trainer.json").write_text(json.dumps({"data": str(root / "data"), "step_seconds": 0.02}))
    job = {
        "name": "moe",
        "world": 2,
        "trainer_config": str(root / "trainer.json"),
        "checkpoint_dir": str(root / "job"),
        "checkpoint_every": 10,
        "backend": "gloo",
    }
    tables = {
        "cluster": {"name": cluster.name, "state_dir": str(root / "state"), "bind": cluster.head.address},
        "ray": {"address": cluster.address},
        "job": job,
    }
    (root / "sentinel.toml").write_text(to_toml(tables))


def sentinel(cluster: Cluster, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "sentinel.cli", "--config", str(cluster.root / "sentinel.toml"), *words]
    started = cluster.head.run(
        argv, env=cluster.driver_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, errors = started.communicate(timeout=120)
    return subprocess.CompletedProcess(argv, started.returncode, out, errors)


def status(cluster: Cluster) -> dict[str, list[dict[str, object]]]:
    answer: dict[str, list[dict[str, object]]] = json.loads(sentinel(cluster, "status", "--json").stdout)
    return answer


def standbys(cluster: Cluster) -> int:
    """Count them without a process for each look, which they would be waiting for."""
    answer = LOCAL.get(f"http://{cluster.head.address}:7800/api/status").json()
    return len(answer["jobs"][0]["standbys"])


def ours(cluster: Cluster) -> list[psutil.Process]:
    """Everything of Sentinel's that lives on the cluster's hosts."""
    return _processes(cluster, OURS)


def _steps(cluster: Cluster) -> list[int]:
    log = cluster.root / "job" / "losses.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line)["step"] for line in lines]


def test_a_cluster_is_taken_up_and_down_and_up_again(cluster: Cluster) -> None:
    assert sentinel(cluster, "down").stdout == f"nothing of {cluster.name} runs here\n"

    first = sentinel(cluster, "up")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"{cluster.name} started: http://{cluster.head.address}:7800" in first.stdout
    again = sentinel(cluster, "up")
    assert (again.returncode, "runs already" in again.stdout) == (0, True), again
    wait("training", 60.0, lambda: len(_steps(cluster)) > 12)
    wait("standbys", 60.0, lambda: standbys(cluster) == 2)

    ended = sentinel(cluster, "down")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "stopped moe, stopped 2 agents" in ended.stdout
    wait("everything is gone", 10.0, lambda: not ours(cluster))
    assert not [file for node in cluster.nodes if node.memory.exists() for file in node.memory.iterdir()]
    assert (cluster.root / "state" / "journal.db").exists()
    reached = max(_steps(cluster))

    assert sentinel(cluster, "up").returncode == 0
    wait("training goes on from the last checkpoint", 60.0, lambda: max(_steps(cluster)) > reached + 10)
    answer = status(cluster)
    assert (answer["incidents"], [node["cordon"] for node in answer["nodes"]]) == ([], ["", ""])
    assert min(_steps(cluster)[-10:]) > 10
    assert sentinel(cluster, "down").returncode == 0


def test_training_goes_on_though_the_journal_is_lost(cluster: Cluster) -> None:
    """All of Sentinel's dies but the ranks, which Ray keeps: the new journal ends them, and goes on."""
    assert sentinel(cluster, "up").returncode == 0
    wait("training", 60.0, lambda: standbys(cluster) == 2)
    old = _processes(cluster, "RankActor")
    for process in _processes(cluster, r"sentinel\.runtime\.watchdog"):
        process.kill()  # first: it would start the controller again
    for process in _processes(cluster, r"sentinel\.(runtime|backends\.ray)\.\w+"):
        process.kill()
    before = _fence(cluster)
    shutil.rmtree(cluster.root / "state")
    assert sentinel(cluster, "up").returncode == 0
    wait("a newer generation", 60.0, lambda: _fence(cluster)[0] > before[0])
    reached = max(_steps(cluster))
    wait("training goes on from the newest state", 60.0, lambda: max(_steps(cluster)) > reached + 10)
    answer = status(cluster)
    assert (answer["incidents"], answer["jobs"][0]["generation"]) == ([], before[0] + 1)
    assert _fence(cluster)[1] != before[1]
    assert min(_steps(cluster)[-10:]) > 10
    assert not [process for process in old if process.is_running()]
    assert sentinel(cluster, "down").returncode == 0


def _fence(cluster: Cluster) -> tuple[int, str]:
    newest, owner = (cluster.root / "job" / FENCE).read_text().split()
    return int(newest), owner


def _processes(cluster: Cluster, pattern: str) -> list[psutil.Process]:
    found = []
    for process in processes_below([host.root for host in cluster.hosts]):
        with contextlib.suppress(psutil.Error):
            if re.search(pattern, " ".join(process.cmdline())):
                found.append(process)
    return found


def test_a_controller_that_cannot_start_leaves_nothing_behind_and_says_why(cluster: Cluster) -> None:
    journal = cluster.root / "state" / "journal.db"
    kept = journal.with_suffix(".kept")
    journal.rename(kept)
    Path(journal).write_text("this is no journal\n" * 100)
    try:
        failed = sentinel(cluster, "up")
    finally:
        kept.replace(journal)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("sentinel: the controller does not answer: sentinel controller: ")
    assert failed.stderr.count("\n") == 1
    assert not ours(cluster)
