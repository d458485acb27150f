"""A sandbox on which Sentinel does not start says why, at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sentinel.demo.hosts import Host
from sentinel.demo.ray_cluster import Cluster
from sentinel.demo.sandbox import Sandbox, SandboxError

CONFIG = """
[cluster]
state_dir = "{state}"
"""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param("", "does not start: ModuleNotFoundError: No module named", id="an import error"),
        pytest.param("nonsense = 1", "watchdog ended: sentinel watchdog: .*nonsense", id="a wrong setting"),
    ],
)
def test_why_sentinel_does_not_start_is_told_at_once(tmp_path: Path, settings: str, said: str) -> None:
    root, state = tmp_path / "root", tmp_path / "root" / "state"
    state.mkdir(parents=True)
    head = Host("head", "127.0.0.1", root / "head", "none")
    (root / "sentinel.toml").write_text(CONFIG.format(state=state) + settings)
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text("import nothing_of_this_name")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    argv = [sys.executable, "-m", "sentinel.runtime.watchdog", "--config", str(root / "sentinel.toml")]
    with (root / "watchdog.log").open("ab") as out:
        watchdog = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": path})
    sandbox = Sandbox(Cluster("none", root, head, (), 1, {}), 1, watchdog)
    began = time.monotonic()
    try:
        with pytest.raises(SandboxError, match=said):
            sandbox.wait_for_training(60.0)
        assert time.monotonic() - began < 30.0
    finally:
        watchdog.terminate()
        watchdog.wait()
