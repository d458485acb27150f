"""People press buttons in Slack: a real controller, its slack link, and a local Slack with Socket Mode."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from slack_cluster import STARTS_WITHIN_S, Cluster, buttons, labels, shown, slack_cluster

from sentinel.adapters.journal import Journal
from sentinel.model.fact import Commanded
from tests.adapters.slack_process import until

pytestmark = pytest.mark.timeout(400)  # the first waits for processes to start

ANN, BEN = "ann (Slack U0ANN)", "ben (Slack U0BEN)"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests, in their order: what one did the next one sees. Actions are stopped at first."""
    with slack_cluster(tmp_path_factory.mktemp("slack")) as made:
        made.controller()
        made.agent()
        made.listens()
        assert made.command("stop-actions", who="zoe").is_success
        made.loses_a_gpu()
        until(lambda: bool(buttons(made.message())))
        [made.kept, *_] = buttons(made.message())
        yield made


def commands(cluster: Cluster) -> list[tuple[str, str, str]]:
    """What was journalled of people's words, by whom."""
    with closing(Journal(cluster.state / "journal.db", read_only=True)) as journal:
        facts = [line.fact for line in journal.lines()]
    return [(each.command, each.target, each.who) for each in facts if isinstance(each, Commanded)]


def carrying(cluster: Cluster, command: str, target: str = "", /, **other: Any) -> dict[str, Any]:
    """A button that the message had once, with another command."""
    button = cluster.kept
    value = json.dumps({**json.loads(button["value"]), "command": command, "target": target, **other})
    return {**button, "value": value}


def test_a_message_says_in_its_lead_what_is_asked_and_shows_what_makes_sense(cluster: Cluster) -> None:
    until(lambda: "Resume actions" in labels(cluster.message()))
    assert labels(cluster.message()) == [
        "Acknowledge",
        "Silence n1 for 1 h",
        "Resume actions",
        "Not this node…",
        "Not this cause…",
    ]
    assert "*You:* not done: evict for gpu-lost; actions are stopped: zoe" in shown(cluster.message())
    assert "Actions are stopped: zoe" in shown(cluster.message())
    node = "https://grafana.example.org/d/sentinel-node?var-cluster=blue&amp;var-node=n1"
    assert f"<{node}|dashboard>" in shown(cluster.message())


def test_another_channel_of_the_same_app_has_the_same_buttons(cluster: Cluster) -> None:
    until(lambda: bool(cluster.messages("C2")))
    [other] = cluster.messages("C2")
    assert labels(other) == labels(cluster.message())
    one, another = ([each["value"] for each in buttons(each)] for each in (cluster.message(), other))
    assert one == another


def test_who_is_in_no_group_is_told_so_alone_and_nothing_happens(cluster: Cluster) -> None:
    cluster.press("Acknowledge", user="U0EVE", name="eve")
    cluster.hears("You are in no user group that may do this")
    cluster.typed("status", user="U0EVE")
    until(lambda: len([each for each in cluster.replies() if "in no user group" in each]) == 2)
    assert cluster.presses("not-allowed") == 2
    assert [who for _, _, who in commands(cluster)] == ["zoe"]


def test_who_presses_acknowledge_is_in_the_message_and_an_event_that_comes_again_counts_once(
    cluster: Cluster,
) -> None:
    sent = cluster.press("Acknowledge")
    cluster.send(sent)
    cluster.send({**sent, "envelope_id": "E-another"})
    until(lambda: f"Acknowledged by {ANN}" in shown(cluster.message()))
    until(lambda: "Acknowledge" not in labels(cluster.message()))
    cluster.hears("Done: ack I-0001")
    until(lambda: f"Acknowledged by {ANN}" in shown(cluster.messages("C2")[0]))
    until(lambda: cluster.slack.sockets()["acknowledged"].count(sent["envelope_id"]) == 2)
    until(lambda: "E-another" in cluster.slack.sockets()["acknowledged"])
    assert ("ack", "I-0001", ANN) in commands(cluster)
    assert cluster.presses("done") == 1


def test_a_second_press_says_what_the_first_did(cluster: Cluster) -> None:
    cluster.press_of(carrying(cluster, "ack"), user="U0BEN", name="ben")
    cluster.hears(f"{ANN} has acknowledged it")
    assert [each for each in commands(cluster) if each[2] == BEN] == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"cluster": "green"}, "each cluster needs a Slack app of its own"),
        ({"journal": "gone"}, "of an earlier journal"),
        ({"command": "retire"}, "can't be pressed"),
        ({"command": "silence", "target": "n9"}, "neither a node nor a cause"),
    ],
)
def test_what_makes_no_sense_here_is_refused_with_a_reason(
    cluster: Cluster, other: dict[str, Any], said: str
) -> None:
    before = commands(cluster)
    cluster.press_of(carrying(cluster, other.get("command", "ack"), other.get("target", ""), **other))
    cluster.hears(said)
    assert commands(cluster) == before


def test_a_silence_is_said_below_the_page_also_when_slack_takes_no_edit_at_first(cluster: Cluster) -> None:
    cluster.slack.control({"refuse": {"chat.update": "internal_error"}})
    cluster.press("Silence n1 for 1 h")
    until(lambda: ("silence", "n1", ANN) in commands(cluster))
    until(
        lambda: (
            [each["ok"] for each in cluster.slack.requests() if each["method"] == "chat.update"][-1] is False
        )
    )
    cluster.slack.control({"refuse": {"chat.update": ""}})
    until(lambda: "n1 is silenced until" in shown(cluster.message()))
    assert f"by {ANN}" in shown(cluster.message())
    assert "Silence n1 for 1 h" not in labels(cluster.message())
    cluster.press_of(carrying(cluster, "silence", "n1"), user="U0BEN", name="ben")
    cluster.hears(f"{ANN} has silenced n1 until")


def test_status_is_what_the_status_page_says(cluster: Cluster) -> None:
    cluster.typed("status")
    said = cluster.get("api/answer").json()
    cluster.hears(f"blue: {said['headline']}\n")
    assert said["headline"] in cluster.get("").text


def test_a_slack_link_that_is_killed_is_started_again(cluster: Cluster) -> None:
    before = cluster.slack.sockets()["opened"]
    cluster.link().kill()
    until(lambda: cluster.slack.sockets()["opened"] > before, STARTS_WITHIN_S)
    cluster.listens()
    cluster.press_of(carrying(cluster, "ack"), user="U0BEN", name="ben")
    until(lambda: len([each for each in cluster.replies() if "has acknowledged it" in each]) == 2)


def test_a_socket_that_is_dropped_comes_back_and_hears(cluster: Cluster) -> None:
    before = cluster.slack.sockets()["opened"]
    cluster.slack.control({"drop": True})
    until(lambda: cluster.slack.sockets()["opened"] > before and cluster.slack.sockets()["open"] == 1, 30)
    cluster.press("Resume actions")
    until(lambda: "evict n1" in shown(cluster.message()) and "RESOLVED" in shown(cluster.message()))
    until(lambda: "Undrain n1" in labels(cluster.message()))
    cluster.press_of(carrying(cluster, "resume-actions"), user="U0BEN", name="ben")
    cluster.hears("actions are neither stopped nor frozen")


def test_undrain_asks_for_the_proof(cluster: Cluster) -> None:
    cluster.press("Undrain n1")
    until(lambda: ("prove", "n1", ANN) in commands(cluster))
    until(lambda: f"n1: proof failed, asked by {ANN}" in shown(cluster.message()))


def test_a_judgement_asks_why_and_is_in_message_entry_and_metric(cluster: Cluster) -> None:
    cluster.typed("status")  # so that it knows who may press, also on a crowded machine
    until(lambda: len([each for each in cluster.replies() if each.startswith("blue: ")]) == 2)
    cluster.press("Not this node…")
    until(lambda: cluster.form() is not None)
    cluster.submits(cluster.form() or {}, "the riser cable was it")
    until(lambda: f"{ANN}: not this node: the riser cable was it" in shown(cluster.message()))
    assert "Not this node…" not in labels(cluster.message())
    until(lambda: "the riser cable was it" in cluster.get("logbook/I-0001").text)
    judged = 'sentinel_evictions_judged_total{cluster="blue",judgement="not-node"}'
    until(lambda: cluster.metric(judged) == 1)
    answer = cluster.command("not-node", target="I-0001", who="zoe", reason="so do I", once=True)
    assert answer.status_code == 409
    assert f"{ANN}: not this node" in answer.json()["error"]


def test_an_expired_app_token_is_one_line_and_pages_go_out_all_the_same(cluster: Cluster) -> None:
    cluster.slack.control({"refuse": {"apps.connections.open": "token_expired"}, "drop": True})
    until(lambda: "token_expired" in cluster.status()["slack_trouble"], 30)
    assert cluster.buttons("refused") == 1
    assert "Buttons in Slack do not work: apps.connections.open: token_expired" in cluster.get("").text
    [line] = [each for each in cluster.log().splitlines() if "token_expired" in each]
    assert "slack-buttons" in line
    assert cluster.command("not-cause", target="I-0001", who="zoe", reason="a drill").is_success
    until(lambda: "zoe: not this cause: a drill" in cluster.get("logbook/I-0001").text)
    edits = len(cluster.message()["edits"])
    assert cluster.command("undrain", target="n1", who="zoe", reason="a drill").is_success
    until(lambda: len(cluster.message()["edits"]) > edits)


def test_a_new_controller_shows_and_tells_nothing_twice(cluster: Cluster) -> None:
    cluster.slack.control({"refuse": {"apps.connections.open": ""}})
    cluster.process.kill()
    cluster.process.wait()
    cluster.controller()
    cluster.listens()
    assert "zoe: not this cause: a drill" in cluster.get("logbook/I-0001").text
    until(lambda: "Actions are stopped" not in shown(cluster.message()))
    cluster.typed("help")  # so that it knows who may press, also on a crowded machine
    cluster.hears("`/sentinel status` says")
    cluster.press_of(carrying(cluster, "not-node"), user="U0BEN", name="ben")
    until(lambda: len([each for each in cluster.slack.told() if each["method"] == "views.open"]) == 2)
    cluster.submits(cluster.form() or {}, "as ann says", user="U0BEN", name="ben")
    cluster.hears(f"{ANN}: not this node: the riser cable was it")
    assert len(cluster.messages()) == 1
    [digest] = cluster.digests()
    assert digest["text"].startswith("Morning digest blue: ")
    hidden = cluster.log() + (cluster.state / "slack-link.log").read_text()
    assert not [each for each in ("xapp-test", "xoxb-test", "ticket") if each in hidden]
