"""Slack's Socket Mode and who may press, against the local server: what is dropped, doubled or refused."""

import threading
from typing import Any

import pytest
from slack_process import SlackProcess, until

from sentinel.adapters import slack_people, slack_socket
from sentinel.adapters.slack_api import SlackApi, SlackError
from sentinel.adapters.slack_people import People
from sentinel.adapters.slack_socket import Socket, Told


class Ear:
    """A socket in a thread, and what came of it."""

    def __init__(self, slack: SlackProcess) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.told: list[Told] = []
        socket = Socket("xapp-test", slack.api, lambda *event: self.heard.append(event), self.told.append)
        threading.Thread(target=socket.run, daemon=True).start()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "REFUSED_PAUSE"):
        monkeypatch.setattr(slack_socket, name, 0.05)


@pytest.fixture
def ear(slack: SlackProcess, quick: None) -> Ear:
    """It goes on in its thread after the test, as a process would, and finds nobody there any more."""
    ear = Ear(slack)
    until(lambda: slack.sockets()["open"] == 1 and ear.told == [Told("connected")])
    return ear


def press(number: int, at: str, **payload: Any) -> dict[str, Any]:
    pressed = {"user": {"id": "U1"}, "actions": [{"action_id": "sentinel-ack", "action_ts": at}], **payload}
    return {"type": "interactive", "envelope_id": f"E{number}", "payload": pressed}


def test_an_event_is_heard_once_however_often_it_is_sent_and_each_time_acknowledged(
    slack: SlackProcess, ear: Ear
) -> None:
    for event in (press(1, "1.1"), press(1, "1.1"), press(2, "1.1"), press(3, "1.2")):
        slack.event(event)
    slack.event({"type": "slash_commands", "envelope_id": "E4", "payload": {"text": "status"}})
    until(lambda: len(slack.sockets()["acknowledged"]) == 5)
    until(lambda: len(ear.heard) == 3)
    assert sorted(kind for kind, _ in ear.heard) == ["interactive", "interactive", "slash_commands"]


def test_a_dropped_socket_comes_back_by_itself(slack: SlackProcess, ear: Ear) -> None:
    for count in (2, 3):
        slack.control({"drop": True})
        until(lambda count=count: slack.sockets()["opened"] == count and slack.sockets()["open"] == 1)  # type: ignore[misc]
    slack.event(press(1, "1.1"))
    until(lambda: len(ear.heard) == 1)
    assert [each.state for each in ear.told] == ["connected", "down", "connected", "down", "connected"]


def test_a_socket_that_is_silent_is_opened_anew(
    slack: SlackProcess, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_socket, "PING_EVERY", 0.1)
    monkeypatch.setattr(slack_socket, "ANSWERS_WITHIN", 0.5)
    ear = Ear(slack)
    until(lambda: ear.told == [Told("connected")])
    slack.control({"mute": True})
    until(lambda: any(each.why.startswith("no answer for") for each in ear.told))
    slack.control({"mute": False})
    until(lambda: ear.told[-1] == Told("connected") and slack.sockets()["open"] == 1)
    slack.event(press(1, "1.1"))
    until(lambda: len(ear.heard) == 1)


@pytest.mark.parametrize(
    ("error", "state"),
    [("token_expired", "refused"), ("invalid_auth", "refused"), ("internal_error", "down")],
)
def test_a_token_that_is_refused_is_said_and_one_that_is_good_again_is_taken(
    slack: SlackProcess, ear: Ear, error: str, state: str
) -> None:
    slack.control({"refuse": {"apps.connections.open": error}, "drop": True})
    until(lambda: Told(state, f"apps.connections.open: {error}") in ear.told)
    slack.control({"refuse": {"apps.connections.open": ""}})
    until(lambda: ear.told[-1] == Told("connected"))


@pytest.mark.parametrize(
    "order", [{"mode": "500"}, {"mode": "drop-reply"}, {"mode": "429", "retry_after": 0}]
)
def test_a_slack_that_is_ill_is_asked_again(slack: SlackProcess, quick: None, order: dict[str, Any]) -> None:
    slack.control({**order, "times": 2})
    ear = Ear(slack)
    until(lambda: ear.told[-1:] == [Told("connected")])


@pytest.mark.parametrize(
    "event",
    [
        {"type": "interactive", "envelope_id": "E1", "payload": {"actions": "none", "user": 7}},
        {"type": "interactive", "envelope_id": "E1", "payload": {"actions": [7, {"action_ts": None}]}},
        {"type": "nonsense", "envelope_id": "E1", "payload": {}},
        {"type": "hello"},
        {"nothing": "at all"},
    ],
)
def test_nonsense_ends_nothing(slack: SlackProcess, ear: Ear, event: dict[str, Any]) -> None:
    slack.event(event)
    slack.event(press(2, "1.1"))
    until(lambda: any(payload.get("user") == {"id": "U1"} for _, payload in ear.heard))
    assert slack.sockets()["opened"] == 1


def people(slack: SlackProcess, *groups: str) -> People:
    return People(SlackApi("xoxb-test", slack.api, 0.4), groups)


def test_members_of_named_groups_may_press_by_handle_and_by_id(slack: SlackProcess) -> None:
    slack.control({"groups": {"oncall": ["U1"], "sre": ["U2"], "guests": ["U3"]}})
    asked = people(slack, "@oncall", "S-SRE")
    assert [asked.may_press(user) for user in ("U1", "U2", "U3", "")] == [True, True, False, False]
    assert len([each for each in slack.requests() if each["method"].startswith("usergroups")]) == 3


def test_who_has_left_the_group_may_press_no_more_when_it_is_asked_for_again(
    slack: SlackProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    slack.control({"groups": {"oncall": ["U1"]}})
    asked = people(slack, "oncall")
    assert asked.may_press("U1")
    slack.control({"groups": {"oncall": []}})
    assert asked.may_press("U1")
    asked._good_until = 0.0
    assert not asked.may_press("U1")


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"refuse": {"usergroups.list": "missing_scope"}}, "missing_scope"),
        ({"refuse": {"usergroups.users.list": "internal_error"}}, "internal_error"),
        ({"mode": "500"}, "HTTP 500"),
        ({"mode": "429"}, "rate limited"),
        ({"mode": "silent"}, "no answer|ReadTimeout"),
        ({"groups": {"oncall": ["U1"]}, "mode": "ok"}, "there is no user group 'sre'"),
    ],
)
def test_a_list_that_is_not_to_be_had_lets_nobody_press(
    slack: SlackProcess, order: dict[str, Any], said: str
) -> None:
    slack.control({"groups": {"oncall": ["U1"]}})
    asked = people(slack, "oncall", *(["sre"] if "groups" in order else []))
    slack.control(order)
    with pytest.raises(SlackError, match=said):
        asked.may_press("U1")


def test_the_forms_three_seconds_are_enough_for_the_list() -> None:
    assert slack_people.FOR_A_FORM < 3.0
