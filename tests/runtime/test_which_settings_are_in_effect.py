"""Settings count from a start on: `sentinel up` says which do not, and applies them; `down` stays down."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_controller_process import free_port

from sentinel import config
from sentinel.demo.sandbox import wait
from sentinel.runtime import in_effect, running
from sentinel.runtime.running import CONTROLLER, WATCHDOG, Running

REPOSITORY = Path(__file__).parents[2]


class Here:
    """Sentinel on this machine, without a job, so that it needs no scheduler to begin with."""

    def __init__(self, root: Path) -> None:
        self.state, self.file = root / "state", root / "sentinel.toml"
        self._cluster = f"[cluster]\nstate_dir = '{self.state}'\nname = 'blue'\n"
        self._cluster += f"report_port = {free_port()}\nweb_port = {free_port()}\n"
        self.set()

    def set(self, more: str = "") -> None:
        ray = "[ray]\naddress = '127.0.0.1:1'\n"
        self.file.write_text(f"{self._cluster}{ray}[job]\nworld = 0\n{more}")

    def says(self, *words: str, **more: str) -> list[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTINEL_")}
        argv = [sys.executable, "-m", "sentinel.cli", *words, "--config", str(self.file)]
        ended = subprocess.run(argv, env={**kept, **more}, capture_output=True, text=True, check=False)
        return [*ended.stdout.splitlines(), *ended.stderr.splitlines()]

    def watchdog(self) -> Running | None:
        return running.find(self.state / "watchdog.lock", WATCHDOG)

    def controller(self) -> Running | None:
        return running.find(self.state / "controller.pid", CONTROLLER)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    found = Here(tmp_path)
    yield found
    for process in filter(None, (found.watchdog(), found.controller())):
        process.send(signal.SIGKILL)


def test_up_says_which_settings_are_not_in_effect_and_apply_puts_them_into_effect(here: Here) -> None:
    assert "blue started" in here.says("up")[0]
    first = here.watchdog()
    [again] = here.says("up")
    assert "runs already, with the settings of its start" in again
    here.set("[policy]\nobserve_only = true\n")
    line = here.file.read_text().splitlines().index("observe_only = true") + 1
    assert here.says("up", SENTINEL_PAGES__SLACK_TOKEN="xoxb-1")[1:] == [
        "not in effect:",
        "  pages.slack_token: [hidden] (SENTINEL_PAGES__SLACK_TOKEN), in effect is nothing",
        f"  policy.observe_only: true ({here.file}:{line}), in effect is false",
        "to apply them: sentinel up --apply (ranks and agents go on)",
    ]
    assert here.watchdog() == first
    [applied] = here.says("up", "--apply")
    assert "goes on with these settings" in applied
    assert here.watchdog() not in (first, None)
    [again] = here.says("up")
    assert "runs already" in again
    [down] = here.says("down")
    assert "blue is down" in down
    assert here.watchdog() is here.controller() is None


def test_apply_where_nothing_runs_starts_it(here: Here) -> None:
    assert "blue started" in here.says("up", "--apply")[0]


def test_a_watchdog_that_was_sent_away_exits_as_one_that_systemd_does_not_start_again(here: Here) -> None:
    argv = [sys.executable, "-m", WATCHDOG, "--config", str(here.file)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as watchdog:
        wait("a controller", 30, here.controller)
        assert "runs already" in here.says("up")[0]
        assert "blue is down" in here.says("down")[0]
        assert watchdog.wait(10) == 0
    manual = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
    unit = manual.partition("# /etc/systemd/system/sentinel.service")[2].partition("```")[0]
    assert "Restart=on-failure\n" in unit


@pytest.mark.parametrize(
    ("environment", "unit"),
    [
        pytest.param({"SYSTEMD_EXEC_PID": "itself"}, True, id="systemd's own"),
        pytest.param({"SYSTEMD_EXEC_PID": "1"}, False, id="a child of such a one"),
        pytest.param({}, False, id="from a shell"),
    ],
)
def test_a_watchdog_that_systemd_keeps_is_left_to_systemd(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], unit: bool
) -> None:
    line = "0::/system.slice/sentinel.service\n"
    monkeypatch.setattr(running.Path, "read_text", lambda *_, **__: line)
    code = "import os, sys; os.environ.pop('SYSTEMD_EXEC_PID', 0);" * (not environment)
    code += "os.environ['SYSTEMD_EXEC_PID'] = str(os.getpid());" * ("itself" in environment.values())
    program = f"import os, sys; {code} os.execv('/bin/sh', ['sh', '-c', 'echo ready; read line'])"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert running.unit(running.child(process.pid)) == ("sentinel.service" if unit else "")
        process.communicate(b"\n")


ROW = config.Effective.of("job.world", 3, "a.toml:3", secret=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, [], id="none was written"),
        pytest.param(b"{", [], id="cut"),
        pytest.param(json.dumps({"controller": [8, 1], "settings": {}}).encode(), [], id="another's"),
        pytest.param(
            json.dumps({"controller": [7, 1], "settings": {"a.b": ["x", "d"]}}).encode(),
            ["job.world: 3 (a.toml:3), in effect is nothing", "a.b: given no more, in effect is x"],
            id="others are set",
        ),
    ],
)
def test_what_a_file_does_not_tell_is_not_guessed(
    tmp_path: Path, text: bytes | None, says: list[str]
) -> None:
    if text is not None:
        (tmp_path / in_effect.FILE).write_bytes(text)
    assert list(in_effect.differences(tmp_path, Running(7, 1), [ROW])) == says


def test_a_secret_that_changed_is_told_without_its_value(tmp_path: Path) -> None:
    before, after = (
        config.Effective.of("pages.slack_token", value, "x", secret=True) for value in ("old", "new")
    )
    in_effect.write(tmp_path, Running(7, 1), [before])
    assert list(in_effect.differences(tmp_path, Running(7, 1), [before])) == []
    assert list(in_effect.differences(tmp_path, Running(7, 1), [after])) == [
        "pages.slack_token: [hidden] (x), in effect is another"
    ]
