"""The example of an Alertmanager, run for real: what belongs together is one message, what follows none."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sentinel.demo import monitoring

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(
        not shutil.which(monitoring.ALERTMANAGER),
        reason="no Alertmanager: apt-get install --no-install-recommends prometheus-alertmanager",
    ),
]
DEADLINE_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root, address = tmp_path_factory.mktemp("alertmanager"), f"127.0.0.1:{free_port()}"
    config = root / "alertmanager.yml"
    config.write_text(yaml.safe_dump(monitoring.alertmanager_config()))
    with (root / "log").open("w") as log:
        argv = monitoring.alertmanager_argv(config, root / "data", address)
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://{address}/api/v2", trust_env=False, verify=False) as client:
                until(lambda: answers(client), (root / "log").read_text())
                yield client
        finally:
            process.terminate()
            process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/status").is_success
    except httpx.TransportError:
        return False


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def told(client: httpx.Client, *alerts: dict[str, str]) -> None:
    assert client.post("/alerts", json=[{"labels": alert} for alert in alerts]).is_success


def standing(client: httpx.Client, cluster: str) -> dict[str, str]:
    """Alert → `active`, or `suppressed` while another one inhibits it."""
    found = client.get("/alerts", params={"filter": f'site="{cluster}"'}).json()
    return {each["labels"]["alertname"]: each["status"]["state"] for each in found}


def alert(name: str, site: str, severity: str = "warning", **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, "site": site, **labels}


CASES = [
    pytest.param(
        [
            alert("SentinelDown", "a", "critical", cluster="a"),
            alert("SentinelAgentCutOff", "a", cluster="a", node="n1"),
        ],
        {"SentinelDown": "active", "SentinelAgentCutOff": "suppressed"},
        id="a controller that is down cuts agents off",
    ),
    pytest.param(
        [
            alert("SentinelDown", "b", "critical", cluster="b"),
            alert("SentinelJournalSlow", "b", cluster="elsewhere"),
        ],
        {"SentinelDown": "active", "SentinelJournalSlow": "active"},
        id="another cluster is another matter",
    ),
    pytest.param(
        [
            alert("SentinelJournalFailing", "c", "critical", cluster="c"),
            alert("SentinelActionsFrozen", "c", "critical", cluster="c"),
        ],
        {"SentinelJournalFailing": "active", "SentinelActionsFrozen": "suppressed"},
        id="a journal that fails freezes",
    ),
    pytest.param(
        [
            alert("SentinelNoHeartbeat", "d", "critical", cluster="d", job_name="moe"),
            alert("SentinelCheckpointOld", "d", cluster="d", job_name="moe"),
            alert("SentinelTrainingTimeLost", "d", cluster="d", job_name="other"),
        ],
        {
            "SentinelNoHeartbeat": "active",
            "SentinelCheckpointOld": "suppressed",
            "SentinelTrainingTimeLost": "active",
        },
        id="a job that nobody hears, and another one",
    ),
    pytest.param(
        [
            alert("SentinelAgentUnscraped", "e", cluster="e", node="n1"),
            alert("SentinelGpuSeriesAbsent", "e", cluster="e", node="n1"),
        ],
        {"SentinelAgentUnscraped": "active", "SentinelGpuSeriesAbsent": "suppressed"},
        id="a node that can't be scraped",
    ),
]


@pytest.mark.parametrize(("alerts", "states"), CASES)
def test_what_follows_from_something_else_is_not_told(
    alertmanager: httpx.Client, alerts: list[dict[str, str]], states: dict[str, str]
) -> None:
    told(alertmanager, *alerts)
    until(lambda: standing(alertmanager, alerts[0]["site"]) == states, f"{states}")


def test_what_belongs_together_is_one_message_to_who_has_to_know(alertmanager: httpx.Client) -> None:
    nodes = [alert("SentinelCheckFails", "g", cluster="g", node=f"n{n}", check="gpu") for n in range(5)]
    told(
        alertmanager,
        *nodes,
        alert("SentinelPagesUndelivered", "g", "critical", cluster="g", receiver="on-call"),
    )

    def groups() -> list[tuple[str, str, int]]:
        found = alertmanager.get("/alerts/groups", params={"filter": 'site="g"'}).json()
        return sorted(
            (each["receiver"]["name"], each["labels"]["alertname"], len(each["alerts"])) for each in found
        )

    wanted = [("daytime", "SentinelCheckFails", 5), ("on-call", "SentinelPagesUndelivered", 1)]
    until(lambda: groups() == wanted, f"{wanted}")


def test_what_a_demo_lacks_is_said_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert monitoring.missing() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
    assert monitoring.missing() == f"not installed here: {wanted}"
