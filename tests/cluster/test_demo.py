"""The demo's faults on a real cluster: each must come out as the issue of its name says."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from depth import tries

from sentinel.demo.hosts import processes_below
from sentinel.demo.network import available
from sentinel.demo.sandbox import json_lines, wait

EVERYWHERE = ("rank-hang", "gpu-ecc", "gpu-app-xid", "agent-dead", *tries((), ("rank-crash", "gpu-lost")))
"""The last two also happen in other tests: a rank is killed in three, GPUs are lost in two."""
WITH_NETWORK = ("control-cut",)
ENDS_WITHIN_S = 20.0
"""From Ctrl-C: the cluster has to go; a run to compare losses with would take longer."""

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """One demo with all these faults, one after the other, on one cluster."""
    faults = EVERYWHERE + (() if available() else WITH_NETWORK)
    argv = [sys.executable, "-m", "sentinel.cli", "demo", "--json", "--seed", "7"]
    argv += [word for fault in faults for word in ("--fault", fault)]
    # The coverage of the whole loop is what is tested: the demo's own exit code says the same.
    done = subprocess.run(
        argv, cwd=tmp_path_factory.mktemp("demo"), capture_output=True, text=True, timeout=800, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return {line["fault"]: line for line in lines}


FAULTS = [*EVERYWHERE, *(pytest.param(fault, marks=pytest.mark.root) for fault in WITH_NETWORK)]


@pytest.mark.soak
@pytest.mark.timeout(820)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_right_thing_comes_out(fault: str, results: dict[str, dict[str, object]]) -> None:
    if fault in WITH_NETWORK and available():
        pytest.skip(available())
    assert results[fault]["skipped"] is None
    assert results[fault]["wrong"] == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("options", "until"),
    [
        pytest.param(["--nodes", "3", "--steady"], "", id="while ranks train"),
        pytest.param(["--nodes", "3", "--fault", "rank-crash,rank-hang"], "passed", id="after a fault"),
    ],
)
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, options: list[str], until: str) -> None:
    before, output = _places(), tmp_path / "output"
    argv = [sys.executable, "-m", "sentinel.cli", "demo", "--seed", "7", *options]
    with output.open("w") as out:
        demo = subprocess.Popen(argv, cwd=tmp_path, stdout=out, stderr=out)
    try:
        root = wait("the demo's directory", 30.0, lambda: _new_root(before))
        wait("ranks train", 120.0, lambda: _trains(root), 0.2)
        wait(f"{until!r} is said", 60.0, lambda: until in output.read_text(), 0.1)
        traces = _traces(root)
        assert min(traces.values()) > 0, traces
        demo.send_signal(signal.SIGINT)
        assert demo.wait(ENDS_WITHIN_S) == 130
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(60)
    assert "comparing losses" not in output.read_text()
    assert not any(_traces(root).values()), _traces(root)
    assert not [path for path in _places() - before if root.name in path]


def _new_root(before: set[str]) -> Path | None:
    """The directory of the cluster that began since, unless a network is all that it has yet."""
    return next((Path(path) for path in _places() - before if path.startswith("/tmp/")), None)


def _trains(root: Path) -> bool:
    log = root / "job" / "losses.jsonl"
    return log.exists() and len(list(json_lines(log))) > 1


def _traces(root: Path) -> dict[str, int]:
    """Count what a cluster has beside its directory; a machine without namespaces has no links."""
    name = root.name.removeprefix("sentinel-")
    hosts = [root, *(root / host for host in ("head", "n1", "n2", "n3", "n4"))]
    found = {
        "processes": len(processes_below(hosts)),
        "shared memory": len(list(Path("/dev/shm").glob(f"sentinel-{name}*"))),
    }
    if not available():
        found["namespaces"] = len(list(Path("/run/netns").glob(f"sentinel-{name}-*")))
        found["links"] = sum(link.startswith(f"sn{name}") for link in psutil.net_if_addrs())
    return found


def _places() -> set[str]:
    """Namespaces, shared memory and directories of demo clusters."""
    places = (Path("/dev/shm"), Path("/run/netns"), Path("/tmp"))
    return {str(p) for place in places if place.exists() for p in place.glob("sentinel-*")}
