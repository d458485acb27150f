"""`sentinel up --apply` ends nothing before it has seen that the successors can start from here."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentinel import config
from sentinel.backends.ray import gcs
from sentinel.runtime import running, up
from sentinel.runtime.running import CONTROLLER

SLEEPS = "import os, time; print(flush=True); time.sleep(60)"


@pytest.fixture
def controller(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", SLEEPS, "-m", CONTROLLER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    running.write(tmp_path / "controller.pid", running.child(process.pid))
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door


def given(
    tmp_path: Path, bind: str = "127.0.0.1", web_port: int = 0, ray: int = 1, world: int = 1
) -> config.Settings:
    os.chmod(tmp_path, 0o700)  # noqa: PTH101
    path = tmp_path / "sentinel.toml"
    path.write_text(
        f'[cluster]\nstate_dir = "{tmp_path}"\nbind = "{bind}"\nweb_port = {web_port or free()}\n'
        f'report_port = {free()}\n[ray]\naddress = "127.0.0.1:{ray}"\n[job]\nworld = {world}\n'
    )
    return config.load(path)


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def refused(settings: config.Settings, controller: "subprocess.Popen[bytes]") -> str:
    with pytest.raises(up.UpError) as error:
        up.up(settings, apply=True)
    said = str(error.value)
    assert controller.poll() is None, "what runs goes on"
    assert said.startswith(up.GOES_ON)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("[pages]\ndigest = '7.30'\n", "pages.digest: expected a time of day"),
        ("[pages]\nweekly = 'mon'\n", "pages.weekly: expected a day and a time"),
        ("[pages]\ntimezone = 'Mars/Base'\n", "pages.timezone: there is no time zone 'Mars/Base'"),
        ("[pages]\nslack_token_file = 'none'\n", "pages.slack_token_file: No such file"),
        ("[pages]\noncall_file = 'none.toml'\n", "pages.oncall_file: No such file"),
        ("[receivers.x]\nkind = 'teams'\n", "receivers.x: there is no kind 'teams'"),
        (
            "[receivers.pagerduty]\nrouting_kye_file = 'f'\n",
            "unknown key receivers.pagerduty.routing_kye_file",
        ),
        ("[routes.a]\nreceivers = ['nobody']\n", "routes.a.receivers: there is no receiver 'nobody'"),
        ("[policy]\npreflight = ['nosuch']\n", "policy.preflight: no collective check 'nosuch'"),
    ],
)
def test_settings_with_which_no_controller_starts_end_none(
    tmp_path: Path, controller: "subprocess.Popen[bytes]", more: str, says: str
) -> None:
    given(tmp_path)
    path = tmp_path / "sentinel.toml"
    before = path.read_text().count("\n")
    path.write_text(path.read_text() + more)
    with pytest.raises(config.ConfigError) as error:
        up.up(config.load(path), path, apply=True)
    said = str(error.value)
    assert said.startswith(f"{up.GOES_ON}: {path}:{before + 2}: ")
    assert says in said
    assert "\n" not in said
    assert controller.poll() is None


def test_an_address_that_is_not_here(tmp_path: Path, controller: "subprocess.Popen[bytes]") -> None:
    said = refused(given(tmp_path, bind="192.0.2.1"), controller)
    assert "192.0.2.1" in said
    assert "Cannot assign requested address" in said


def test_a_port_that_somebody_else_has(
    tmp_path: Path, controller: "subprocess.Popen[bytes]", door: socket.socket
) -> None:
    said = refused(given(tmp_path, web_port=door.getsockname()[1]), controller)
    assert "web_port" in said
    assert "Address already in use" in said


def test_a_ray_that_does_not_answer(tmp_path: Path, controller: "subprocess.Popen[bytes]") -> None:
    assert "no Ray answers at ray.address 127.0.0.1:1" in refused(given(tmp_path), controller)


def test_a_ray_that_refuses_the_token(
    tmp_path: Path,
    controller: "subprocess.Popen[bytes]",
    door: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gcs, "_ASKS", f"print({gcs.REFUSED!r}, flush=True); import time; time.sleep(60)")
    monkeypatch.setattr(gcs, "ASKS_WITHIN_S", 2.0)
    said = refused(given(tmp_path, ray=door.getsockname()[1]), controller)
    assert "refuses the token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH" in said


@pytest.mark.parametrize(
    "asks", ["import time; time.sleep(60)", "print('ok')", "raise SystemExit(1)"], ids=["slow", "ok", "fails"]
)
def test_only_a_refusal_is_one(asks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "_ASKS", asks)
    monkeypatch.setattr(gcs, "ASKS_WITHIN_S", 1.0)
    assert gcs.refuses_token("127.0.0.1:1") == ""


def test_the_running_ones_own_port_is_free_once_it_has_ended(door: socket.socket) -> None:
    own = running.child(os.getpid())
    port = door.getsockname()[1]
    assert up._cannot_bind("127.0.0.1", port, own) == ""
    assert up._cannot_bind("127.0.0.1", port, None) == "Address already in use"


def test_another_network_namespace_is_named(
    tmp_path: Path, controller: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere: Callable[[running.Running], bool] = lambda process: process.pid == controller.pid  # noqa: E731
    monkeypatch.setattr(up, "_is_elsewhere", elsewhere)
    said = refused(given(tmp_path), controller)
    assert f"nsenter --net=/proc/{controller.pid}/ns/net sentinel up --apply" in said
