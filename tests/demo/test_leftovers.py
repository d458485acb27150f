"""A demo that is killed outright: the next one takes away what it left, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sentinel.demo.hosts import processes_below
from sentinel.demo.leftovers import root_of, sweep
from sentinel.demo.network import available
from sentinel.demo.ray_cluster import Cluster

NO_NETNS = available()
DEMO = """
import subprocess, sys, time
from sentinel.demo.ray_cluster import Cluster
cluster = Cluster._plan(1, 1, sys.argv[1], nvml=False, stand_in=False)
for host in cluster.hosts:
    host.prepare()
    host.run(["sleep", "1000"], stdout=subprocess.DEVNULL)
if sys.argv[2:]:
    store = cluster.root / "job"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "sentinel-demo", str(store)], check=True)
print(cluster.name, flush=True)
time.sleep(1000)
"""
KINDS = [
    pytest.param("loopback", [], id="on loopback"),
    pytest.param(
        "netns",
        ["mount"],
        id="with namespaces and a mount",
        marks=[pytest.mark.root, pytest.mark.skipif(bool(NO_NETNS), reason=NO_NETNS)],
    ),
]


@pytest.fixture(autouse=True)
def _short_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clusters of its own: what other demos of this machine left is none of this test's business."""
    directory = tempfile.mkdtemp(dir="/tmp")
    monkeypatch.setenv("TMPDIR", directory)
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    shutil.rmtree(directory)


def begin(topology: str, *mount: str) -> "tuple[subprocess.Popen[str], str]":
    demo = subprocess.Popen([sys.executable, "-c", DEMO, topology, *mount], stdout=subprocess.PIPE, text=True)
    assert demo.stdout
    with demo.stdout:
        return demo, demo.stdout.readline().strip()


def traces(name: str) -> list[str]:
    """Everything that a cluster has outside its own memory."""
    root, memory = root_of(name), Path("/dev/shm") / f"sentinel-{name}"
    found = [str(path) for path in (root, memory) if path.exists()]
    found += [process.name() for process in processes_below([root / "head", root / "n1"])]
    found += [interface for interface in psutil.net_if_addrs() if name in interface]
    found += [path.name for path in Path("/run").glob("netns/*") if name in path.name]
    return found + [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line]


@pytest.mark.parametrize(("topology", "mount"), KINDS)
def test_a_killed_demo_is_swept_away_whole(topology: str, mount: list[str]) -> None:
    demo, name = begin(topology, *mount)
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    assert len(traces(name)) >= 4
    assert sweep() == [name]
    assert traces(name) == []


def test_a_demo_that_lives_is_left_alone() -> None:
    demo, name = begin("loopback")
    before = traces(name)
    assert sweep() == []
    assert traces(name) == before
    demo.kill()
    demo.wait()
    assert sweep() == [name]


@pytest.mark.root
@pytest.mark.skipif(bool(NO_NETNS), reason=NO_NETNS)
def test_an_interrupt_while_the_network_is_made_leaves_no_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def interrupt(_subnet: str, bridge: str) -> bool:
        made.append(bridge)
        assert bridge in psutil.net_if_addrs()
        raise KeyboardInterrupt

    monkeypatch.setattr("sentinel.demo.network._in_use", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Cluster._plan(1, 1, "netns", nvml=False, stand_in=False)
    assert not set(made) & set(psutil.net_if_addrs())
    assert not list(root_of("").parent.glob("sentinel-*"))
