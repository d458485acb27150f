"""Alertmanager: an incident fires there until it is over; Debian's own, over a real socket."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from pagers import SENDER, Pagers
from slack_process import page

from sentinel.adapters.receivers.alertmanager import Alertmanager, Settings
from sentinel.model.action import Page

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(
        not shutil.which("prometheus-alertmanager"),
        reason="no Alertmanager: apt-get install --no-install-recommends prometheus-alertmanager",
    ),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root, address = tmp_path_factory.mktemp("alertmanager"), f"127.0.0.1:{free_port()}"
    (root / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    argv = ["prometheus-alertmanager", f"--config.file={root / 'am.yml'}", "--cluster.listen-address="]
    argv += [f"--storage.path={root / 'data'}", f"--web.listen-address={address}"]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}", trust_env=False, verify=False) as client:
                until(lambda: answers(client))
                yield client
        finally:
            process.terminate()
            process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/v2/status").is_success
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def firing(client: httpx.Client, incident: str) -> list[dict[str, Any]]:
    return list(client.get("/api/v2/alerts", params={"filter": f'incident="{incident}"'}).json())


def told(incident: str, revision: int = 1, stage: str = "open", **more: Any) -> Page:
    return replace(page(incident, revision, stage), cause="gpu-lost", severity="warning", job="run-7", **more)


def desk(folder: Path, client: httpx.Client) -> Pagers:
    return Pagers(folder, {"alertmanager": {"url": str(client.base_url), "timeout_s": 5}})


def test_an_incident_fires_with_what_routes_ask_for_and_is_resolved(
    manager: httpx.Client, tmp_path: Path
) -> None:
    pagers = desk(tmp_path, manager)
    pagers.keep(told("I-1", nodes=("n7",)))
    pagers.deliver(lambda: pagers.has_all("alertmanager"))
    [alert] = firing(manager, "I-1")
    assert alert["labels"] == {
        "alertname": "SentinelIncident",
        "cluster": "blue",
        "incident": "I-1",
        "severity": "warning",
        "cause": "gpu-lost",
        "job_name": "run-7",
        "node": "n7",
    }
    assert alert["annotations"]["runbook_url"] == "http://head/runbook/gpu-lost"
    assert alert["generatorURL"] == "http://head/logbook/I-1"
    pagers.keep(told("I-1", 2, "resolved", nodes=("n7",)))
    pagers.deliver(lambda: pagers.has_all("alertmanager"))
    assert firing(manager, "I-1") == []


def test_what_becomes_urgent_is_one_alert_with_other_labels(manager: httpx.Client, tmp_path: Path) -> None:
    pagers = desk(tmp_path, manager)
    pagers.keep(told("I-2"))
    pagers.deliver(lambda: pagers.has_all("alertmanager"))
    pagers.keep(replace(told("I-2", 2), severity="critical"))
    pagers.deliver(lambda: pagers.has_all("alertmanager"))
    assert [each["labels"]["severity"] for each in firing(manager, "I-2")] == ["critical"]


def test_an_alert_is_told_again_before_it_ends(manager: httpx.Client, tmp_path: Path) -> None:
    """Told once it stands for `lasts_s`; each refresh moves the end on, and it stays one alert."""
    pagers = desk(tmp_path, manager)
    [channel] = next(iter(pagers.dispatcher._others)).receiver.channels
    assert isinstance(channel, Alertmanager)
    assert channel.refresh_s == 100
    channel.refresh_s = 0.1
    pagers.keep(told("I-3"))
    pagers.deliver(lambda: bool(firing(manager, "I-3")))
    [first] = firing(manager, "I-3")
    pagers.deliver(lambda: firing(manager, "I-3")[0]["endsAt"] > first["endsAt"])
    [again] = firing(manager, "I-3")
    assert (again["fingerprint"], again["startsAt"]) == (first["fingerprint"], first["startsAt"])


def test_a_manager_that_is_away_gets_what_is_open_later(manager: httpx.Client, tmp_path: Path) -> None:
    away = Pagers(tmp_path, {"alertmanager": {"url": f"http://127.0.0.1:{free_port()}"}})
    away.keep(told("I-4"), told("I-5"), told("I-5", 2, "resolved"))
    away.deliver(away.has_all, lambda: dict(away.dispatcher.standing())["alertmanager"].failing)
    back = desk(tmp_path, manager)
    back.deliver(lambda: back.has_all("alertmanager"))
    assert (len(firing(manager, "I-4")), firing(manager, "I-5")) == (1, [])


def test_what_sentinel_says_of_itself_stands_without_being_told_again(manager: httpx.Client) -> None:
    """A watchdog pages once, and nobody may be left to repeat it."""
    channel = Alertmanager("am", Settings(url=str(manager.base_url)), "", SENDER)
    asyncio.run(channel.open(page("watchdog-1", 1)))
    [alert] = firing(manager, "watchdog-1")
    assert alert["labels"]["severity"] == "critical"
    assert alert["endsAt"][:10] > time.strftime("%Y-%m-%d", time.gmtime())
