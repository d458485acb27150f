"""The local Slack server: scripting it, and what it keeps."""

import json
from pathlib import Path

import pytest
from slack_process import SlackProcess, slack_process


def call(server: SlackProcess, method: str, **form: object) -> dict[str, object]:
    headers = {"Authorization": "Bearer xoxb"}
    return dict(server.http.post(server.api + method, json=form, headers=headers).json())


def test_a_script_is_followed_in_turn_and_ends_in_ok(slack: SlackProcess) -> None:
    slack.control({"mode": "error", "error": "is_archived", "times": 2}, {"mode": "500", "times": 1})
    answers = [call(slack, "auth.test").get("error") for _ in range(4)]
    assert answers == ["is_archived", "is_archived", "internal_error", None]


@pytest.mark.parametrize("order", [{"mode": "sulk"}, {"moods": 3}])
def test_an_order_that_makes_no_sense_is_refused(slack: SlackProcess, order: dict[str, object]) -> None:
    answer = slack.http.post(slack.api.replace("/api/", "/control"), json=order)
    assert answer.status_code == 400
    assert call(slack, "auth.test")["ok"]


def test_metadata_is_listed_only_when_asked_for(slack: SlackProcess) -> None:
    call(
        slack,
        "chat.postMessage",
        channel="C1",
        text="hello",
        metadata={"event_type": "x", "event_payload": {}},
    )
    (without,) = call(slack, "conversations.history", channel="C1")["messages"]  # type: ignore[misc]
    (found,) = call(slack, "conversations.history", channel="C1", include_all_metadata=True)["messages"]  # type: ignore[misc]
    assert ("metadata" in without, "metadata" in found) == (False, True)


def test_a_call_without_a_token_is_refused(slack: SlackProcess) -> None:
    assert slack.http.post(slack.api + "auth.test", json={}).json() == {"ok": False, "error": "not_authed"}


def test_every_request_is_in_the_log_file(tmp_path: Path) -> None:
    with slack_process("--log", str(tmp_path / "log")) as server:
        call(server, "chat.postMessage", channel="C1", text="hello")
        call(server, "chat.update", channel="C1", ts="1.0", text="nothing there")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["method"], line["ok"]) for line in lines] == [
        ("chat.postMessage", True),
        ("chat.update", False),
    ]
