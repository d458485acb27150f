"""The demo's faults on a real cluster: each must come out as the issue of its name says."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.demo.network import available

EVERYWHERE = ("rank-crash", "rank-hang", "gpu-ecc", "gpu-lost", "gpu-app-xid", "agent-dead")
WITH_NETWORK = ("control-cut",)

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """One demo with all these faults, one after the other, on one cluster."""
    faults = EVERYWHERE + (() if available() else WITH_NETWORK)
    argv = [sys.executable, "-m", "sentinel.cli", "demo", "--json", "--seed", "7"]
    argv += [word for fault in faults for word in ("--fault", fault)]
    # The coverage of the whole loop is what is tested: the demo's own exit code says the same.
    done = subprocess.run(
        argv, cwd=tmp_path_factory.mktemp("demo"), capture_output=True, text=True, timeout=400, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return {line["fault"]: line for line in lines}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("fault", EVERYWHERE + WITH_NETWORK)
def test_the_right_thing_comes_out(fault: str, results: dict[str, dict[str, object]]) -> None:
    if fault in WITH_NETWORK and available():
        pytest.skip(available())
    assert results[fault]["skipped"] is None
    assert results[fault]["wrong"] == []


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    before = _left_over()
    demo = subprocess.Popen(
        [sys.executable, "-m", "sentinel.cli", "demo", "--steady"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        _until(lambda: _left_over() - before, 30.0)
        demo.send_signal(signal.SIGINT)
        demo.wait(30)
    finally:
        if demo.poll() is None:
            demo.kill()
    assert _left_over() - before == set()


def _left_over() -> set[str]:
    """Namespaces, shared memory and directories of demo clusters."""
    places = (Path("/dev/shm"), Path("/run/netns"), Path("/tmp"))
    return {str(p) for place in places if place.exists() for p in place.glob("sentinel-*")}


def _until(condition: object, within_s: float) -> None:
    from sentinel.demo.stage import wait

    wait("the demo has begun", within_s, condition)  # type: ignore[arg-type]
