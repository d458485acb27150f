"""What `demo --steady` tells before anybody has to wait."""

import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentinel import config
from sentinel.console import console
from sentinel.demo import steady
from sentinel.demo.hosts import Host
from sentinel.demo.ray_cluster import Cluster
from sentinel.demo.sandbox import Sandbox, slack_channels, to_toml
from sentinel.model.policy import Policy


def test_it_says_at_once_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()

    def started(**options: Any) -> Sandbox:
        assert options["policy"] == {"settled_s": Policy().settled_s}
        assert "a head, 4 nodes and 3 ranks" in out.getvalue()
        raise KeyboardInterrupt

    monkeypatch.setattr(Sandbox, "start", started)
    with pytest.raises(KeyboardInterrupt):
        steady.keep_running(console(file=out), {"nodes": 4, "world": 3})
    assert "until Ctrl-C" in out.getvalue()


def test_it_says_where_settings_pages_and_slack_are() -> None:
    out = io.StringIO()
    sandbox: Any = SimpleNamespace(
        url="http://h:1",
        config=Path("/tmp/x/sentinel.toml"),
        slack_url="http://h:2",
        write_command=lambda: Path("/tmp/x/sentinel"),
    )
    steady._where(console(file=out), sandbox)
    assert out.getvalue().splitlines() == [
        "pages:    http://h:1/ (logbook: http://h:1/logbook)",
        "commands: /tmp/x/sentinel status",
        "          /tmp/x/sentinel page-test",
        "          /tmp/x/sentinel up --apply (settings: /tmp/x/sentinel.toml)",
        "Slack:    http://h:2/messages, what arrived at the local server",
    ]


def test_its_command_is_sentinel_on_the_head(tmp_path: Path) -> None:
    """What it starts has the head's name and token, so it works, and ends with the cluster."""
    head = Host("head", "127.0.0.1", tmp_path / "head", "x")
    (tmp_path / "sentinel.toml").write_text('[cluster]\nname = "printed"\n')
    cluster: Any = SimpleNamespace(root=tmp_path, head=head)
    script = Sandbox(cluster, 1, None, {"RAY_AUTH_TOKEN_PATH": "t"}).write_command()  # type: ignore[arg-type]
    assert f"SENTINEL_HOST_ROOT={head.root} " in script.read_text()
    assert "RAY_AUTH_TOKEN_PATH=t " in script.read_text()
    done = subprocess.run([script, "config"], capture_output=True, text=True, check=False)
    assert (done.returncode, "printed" in done.stdout) == (0, True), done.stderr


class EnoughError(Exception):
    """The test has seen enough."""


class Broken:
    """A sandbox with a node whose raylet is dead: not all is ready, whatever else changes."""

    def __init__(self, looks: list[list[tuple[int, str]] | None]) -> None:
        self.looks, self.url, self.config, self.slack_url = looks, "u", Path("c"), "s"
        self.write_command = lambda: Path("s")
        self.cluster: Any = SimpleNamespace(hosts=[self], nodes=[])
        self.name, self.now = "n1", looks[0]

    def __enter__(self) -> "Broken":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for_training(self, _: float) -> None:
        pass

    def ready(self) -> bool:
        return True

    def job(self) -> dict[str, Any] | None:
        if not self.looks:
            raise EnoughError
        self.now = self.looks.pop(0)
        return None if self.now is None else {"seats": []}

    def processes(self) -> list[Any]:
        return [SimpleNamespace(pid=pid, cmdline=lambda c=c: [c]) for pid, c in self.now or []]


def test_it_lists_anew_whatever_took_a_place_once_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, gone = [(1, "raylet"), (2, "runtime.agent"), (9, "vim")], [(2, "runtime.agent")]
    again = [(3, "raylet"), (2, "runtime.agent")]
    looks = [first, first, first, None, gone, gone, gone, again, again]
    sandbox, listed = Broken(looks), []
    monkeypatch.setattr(Sandbox, "start", lambda **_: sandbox)
    monkeypatch.setattr(steady, "records", lambda _: [])
    monkeypatch.setattr(steady.time, "sleep", lambda _: None)
    monkeypatch.setattr(steady, "_describe", lambda _console, _sandbox, found: listed.append(found))
    with pytest.raises(EnoughError):
        steady.keep_running(console(file=io.StringIO()), {"nodes": 1, "world": 1})
    agent = ("n1", 2, "agent")
    assert listed == [[("n1", 1, "raylet"), agent], [agent], [agent, ("n1", 3, "raylet")]]


def test_a_script_starts_ray_on_a_node_again_as_it_was_started(tmp_path: Path) -> None:
    head, node = (Host(name, "127.0.0.1", tmp_path, "none") for name in ("head", "n1"))
    cluster = Cluster("none", tmp_path, head, (node,), 1, {})
    script = cluster.write_start(node)
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert f"RAY_AUTH_TOKEN_PATH={cluster.token_file}" in script.read_text()
    order = json.loads((tmp_path / "start-ray.json").read_text())
    assert (order["name"], order["wait"]) == (node.name, True)
    assert f"--address={cluster.address}" in order["argv"]
    assert order["env"]["SENTINEL_NODE"] == node.name


def test_whoever_has_its_settings_pages_as_its_controller_does(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text(
        to_toml({"pages": slack_channels("http://127.0.0.1:1", tmp_path)})
    )
    assert config.load(tmp_path / "sentinel.toml", env={}).pages.token() == "xoxb-demo"
