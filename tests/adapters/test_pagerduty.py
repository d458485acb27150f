"""PagerDuty: whatever its API answers, an incident is one alert there, and ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_process import KEY, ApiProcess, api_process
from msgspec.structs import replace
from pagers import SENDER, Pagers
from slack_process import page

from sentinel import config
from sentinel.adapters import receivers


@pytest.fixture
def api() -> Iterator[ApiProcess]:
    with api_process() as server:
        yield server


def pagerduty(folder: Path, url: str, key: str = KEY, wait: float = 10) -> dict[str, dict[str, Any]]:
    (folder / "key").write_text(key)
    return {"pagerduty": {"routing_key_file": folder / "key", "url": url, "timeout_s": wait}}


def stands(api: ApiProcess) -> dict[str, str]:
    return dict(api.asked()["alerts"])


def test_an_alert_says_what_a_person_needs(api: ApiProcess, tmp_path: Path) -> None:
    told = replace(
        page("I-1", 1, thread="a stack", body="Asked of you: nothing"),
        cause="gpu-lost",
        severity="warning",
        job="run-7",
        nodes=("n7",),
    )
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url))
    desk.keep(told)
    desk.deliver(lambda: desk.has_all("pagerduty"))
    [event] = api.asked()["events"]
    assert event["dedup_key"] == "blue/j1/I-1"
    assert event["links"] == [
        {"href": "http://head/logbook/I-1", "text": "logbook"},
        {"href": "http://head/runbook/gpu-lost", "text": "runbook"},
    ]
    assert event["payload"] == {
        "summary": f"🔴 FIRING warning blue: {told.title}",
        "source": "n7",
        "severity": "warning",
        "component": "run-7",
        "group": "blue",
        "class": "gpu-lost",
        "custom_details": {
            "text": "Asked of you: nothing",
            "details": "a stack",
            "job": "run-7",
        },
    }


def test_an_incident_is_triggered_acknowledged_and_resolved(api: ApiProcess, tmp_path: Path) -> None:
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url))
    for told, stand in [
        (page("I-1", 1), "triggered"),
        (replace(page("I-1", 2, "mitigating"), acked_by="ada"), "acknowledged"),
        (replace(page("I-1", 3, "resolved"), acked_by="ada"), "resolved"),
    ]:
        desk.keep(told)
        desk.deliver(lambda: desk.has_all("pagerduty"))
        assert stands(api) == {"blue/j1/I-1": stand}


@pytest.mark.parametrize("trouble", [None, 503, "lost"])
def test_what_is_new_to_who_acknowledged_it_comes_anew(
    api: ApiProcess, tmp_path: Path, trouble: int | str | None
) -> None:
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url, wait=0.5))
    for told in (page("I-1", 1), replace(page("I-1", 2), acked_by="ada")):
        desk.keep(told)
        desk.deliver(lambda: desk.has_all("pagerduty"))
    assert stands(api) == {"blue/j1/I-1": "acknowledged"}
    if trouble is not None:
        api.answer(trouble)
    desk.keep(page("I-1", 3))
    if trouble is not None:
        desk.deliver(lambda: "pagerduty" in failing(desk))
        api.answer(202)
    desk.deliver(lambda: stands(api) == {"blue/j1/I-1": "triggered"})


@pytest.mark.parametrize("trouble", [429, 500, 503, "silent", "lost"])
def test_whatever_goes_wrong_each_page_is_one_alert_and_nobody_else_waits(
    api: ApiProcess, tmp_path: Path, trouble: int | str
) -> None:
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url, wait=0.5))
    api.answer(trouble)
    desk.keep(page("I-1", 1), page("I-2", 1))
    desk.deliver(desk.has_all, lambda: api.asked()["posts"] >= 1, lambda: "pagerduty" in failing(desk))
    api.answer(202)
    desk.deliver(lambda: desk.has_all("pagerduty"))
    assert stands(api) == {"blue/j1/I-1": "triggered", "blue/j1/I-2": "triggered"}
    desk.keep(page("I-1", 2, "resolved"))
    desk.deliver(lambda: desk.has_all("pagerduty"))
    assert stands(api)["blue/j1/I-1"] == "resolved"


def failing(desk: Pagers) -> list[str]:
    return [name for name, standing in desk.dispatcher.standing() if standing.failing]


def test_what_ended_while_pagerduty_was_away_wakes_nobody(api: ApiProcess, tmp_path: Path) -> None:
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url))
    api.answer(500)
    desk.keep(page("I-1", 1), replace(page("I-2", 1), acked_by="ada"))
    desk.deliver(lambda: "pagerduty" in failing(desk))
    desk.keep(page("I-1", 2, "resolved"))
    api.answer(202)
    desk.deliver(lambda: desk.has_all("pagerduty"))
    assert stands(api) == {}


def test_a_refused_key_is_told_and_tried_again(
    api: ApiProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Pagers(tmp_path, pagerduty(tmp_path, api.url, key="f" * 32))
    desk.keep(page("I-1", 1))
    desk.deliver(lambda: dict(desk.dispatcher.standing())["pagerduty"].results["failed"] == 1)
    said = capsys.readouterr().out
    assert "HTTP 400: Length of 'routing_key' is incorrect" in said
    assert "f" * 32 not in said


def test_a_key_that_is_none_is_one_line_that_does_not_hold_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not-a-key")
    settings = config.Settings(
        receivers={"night": config.Receiver(kind="pagerduty", routing_key_file=str(tmp_path / "key"))}
    )
    with pytest.raises(
        config.ConfigError, match=r"receivers.night.routing_key_file: an integration key"
    ) as no:
        receivers.load(settings, SENDER)
    assert "not-a-key" not in json.dumps(str(no.value))
