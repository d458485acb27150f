"""Several receivers of pages: each gets its own, whatever becomes of the others."""

import asyncio
import hmac
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hook_process import HookProcess, hook_process
from msgspec.structs import replace
from slack_process import SlackProcess, page, until

from sentinel import config
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher, Standing
from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.slack import Slack
from sentinel.model.action import Page

QUICK = Timing(fallback_after=0.4, first_retry=0.05, longest_retry=0.2, refused_retry=0.1, poll=0.02)
SENDER = Sender("blue", "http://head", "j1")


@pytest.fixture
def hook() -> Iterator[HookProcess]:
    with hook_process() as server:
        yield server


class Desk:
    """A dispatcher in a folder, driven by a test."""

    def __init__(self, folder: Path, tables: Mapping[str, Mapping[str, Any]], *on_call: PageChannel) -> None:
        self.reported: list[tuple[str, bool]] = []
        found = {name: config.Receiver(**table) for name, table in tables.items()}
        others = receivers.load(config.Settings(receivers=found), SENDER)
        channels = on_call or [ConsolePages(folder / "pages.log", out=io.StringIO())]
        self.dispatcher = Dispatcher(
            folder, channels, others, lambda name, ok, *_: self.reported.append((name, ok)), QUICK
        )

    def keep(self, *pages: Page) -> None:
        for each in pages:
            self.dispatcher.keep(each)

    def standing(self, name: str = "webhook") -> Standing:
        return dict(self.dispatcher.standing())[name]

    def deliver(self, *conditions: Callable[[], bool]) -> None:
        """Run until each of the conditions has come true, one after the other."""

        async def drive() -> None:
            run = asyncio.create_task(self.dispatcher.run())
            async with asyncio.timeout(20):
                for condition in conditions:
                    while not condition():
                        assert not run.done(), run
                        await asyncio.sleep(0.02)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        asyncio.run(drive())

    def has_all(self, name: str = "webhook") -> bool:
        return self.standing(name).undelivered == 0


def of(hook: HookProcess, **more: Any) -> dict[str, dict[str, Any]]:
    return {"webhook": {"url": hook.url, "timeout_s": 0.5, **more}}


def caused(cause: str, incident: str, revision: int = 1, stage: str = "open") -> Page:
    return replace(page(incident, revision, stage), cause=cause)


def test_a_post_says_what_a_person_needs(hook: HookProcess, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-s3cret\n")
    body = "Job: run-7 is running, with 6 of 8 ranks\nAsked of you: nothing, while Sentinel repairs it"
    reported = replace(page("I-0001", 1, thread="a stack", body=body), cause="gpu-lost", severity="warning")
    reported = replace(reported, job="run-7", nodes=("n7",))
    desk = Desk(tmp_path, of(hook, token_file=tmp_path / "token", timeout_s=10))
    desk.keep(reported)
    desk.deliver(desk.has_all)
    first, second = hook.posts()
    headers = first.pop("headers")
    assert headers["Authorization"] == "Bearer s3cret-s3cret"
    assert headers["Idempotency-Key"] == f'"{first["id"]}"'
    assert first == {
        "version": 1,
        "id": f"blue/j1/{reported.id}",
        "event": "page",
        "cluster": "blue",
        "incident": "I-0001",
        "key": "blue/j1/I-0001",
        "revision": 1,
        "stage": "open",
        "cause": "gpu-lost",
        "severity": "warning",
        "job": "run-7",
        "nodes": ["n7"],
        "acknowledged_by": "",
        "asked": "",
        "title": f"🔴 FIRING warning blue: {reported.title}",
        "text": body,
        "logbook": "http://head/logbook/I-0001",
        "runbook": "http://head/runbook/gpu-lost",
    }
    assert (second["event"], second["text"], second["id"]) == ("details", "a stack", f"{first['id']}/details")


def test_a_post_is_signed_by_who_knows_the_secret(hook: HookProcess, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s1gned-s1gned\n")
    desk = Desk(tmp_path, of(hook, secret_file=tmp_path / "secret", timeout_s=10))
    desk.keep(page("I-1", 1))
    desk.deliver(desk.has_all)
    [post] = hook.posts()
    headers = post.pop("headers")
    at, mac = (part.split("=")[1] for part in headers["Sentinel-Signature"].split(","))
    signed = f"{at}.".encode() + json.dumps(post).encode()
    assert mac == hmac.new(b"s1gned-s1gned", signed, "sha256").hexdigest()


NEEDED = (
    "blue: gpu-off-bus on node-7",
    "Job: run-7 is running, with 6 of 8 ranks",
    "Asked of you: what is left, above",
    "http://head/logbook/I-0001",
    "http://head/runbook/gpu-lost",
)
"""Cluster and place, job and ranks left, what is asked of the reader, and where to read on."""


def test_wherever_a_page_is_read_it_says_what_a_person_needs(
    hook: HookProcess, slack: SlackProcess, tmp_path: Path
) -> None:
    reported = replace(page("I-0001", 1, body="\n".join(NEEDED[1:3])), cause="gpu-lost")
    out = io.StringIO()
    (tmp_path / "file").mkdir(0o700)
    on_slack = Desk(tmp_path, of(hook), Slack("xoxb-test", "C1", base_url=slack.api, sender=SENDER))
    in_file = Desk(tmp_path / "file", {}, ConsolePages(tmp_path / "pages.log", sender=SENDER, out=out))
    for desk in (on_slack, in_file):
        desk.keep(reported)
        desk.deliver(*(partial(desk.has_all, name) for name, _ in desk.dispatcher.standing()))
    [post], [message] = hook.posts(), slack.messages()
    shown = {
        "webhook": json.dumps(post),
        "Slack": json.dumps(message["blocks"]),
        "file": (tmp_path / "pages.log").read_text(),
        "console": out.getvalue(),
    }
    shown["Slack"] = shown["Slack"].replace("*You:*", "Asked of you:")
    assert [(place, said) for place, text in shown.items() for said in NEEDED if said not in text] == []


def test_an_incident_is_a_page_then_updates_then_a_resolve(hook: HookProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, of(hook))
    for revision, stage in enumerate(("open", "mitigating", "resolved"), start=1):
        desk.keep(page("I-1", revision, stage))
        desk.deliver(desk.has_all)
    assert hook.known() == [("page", 1), ("update", 2), ("resolve", 3)]
    assert len({post["key"] for post in hook.posts()}) == 1


@pytest.mark.parametrize("trouble", [500, 503, 429, "hold", "silent"])
def test_a_receiver_in_trouble_delays_no_other_and_gets_everything_later(
    hook: HookProcess, slack: SlackProcess, tmp_path: Path, trouble: int | str
) -> None:
    desk = Desk(tmp_path, of(hook), Slack("xoxb-test", "C1", base_url=slack.api))
    hook.answer(trouble)
    pages = [page("I-1", 1), page("I-2", 1), page("I-1", 2, "resolved")]
    desk.keep(*pages)
    desk.deliver(lambda: len(desk.reported) == 3, lambda: desk.standing().failing)
    assert desk.standing("on-call") == Standing(0, False, {"delivered": 3, "failed": 0})
    assert desk.standing().undelivered == 3
    hook.answer(200)
    desk.deliver(desk.has_all)
    assert desk.standing() == Standing(0, False, {"delivered": 3, "failed": 0})
    newest = {post["incident"]: post["revision"] for post in hook.posts()}
    assert newest == {"I-1": 2, "I-2": 1}
    assert sorted(desk.reported) == sorted((each.id, True) for each in pages)


def test_on_call_in_trouble_delays_no_receiver(
    hook: HookProcess, slack: SlackProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, of(hook), Slack("xoxb-test", "C1", base_url=slack.api))
    slack.control({"mode": "500"})
    desk.keep(page("I-1", 1))
    desk.deliver(desk.has_all)
    assert (hook.known(), desk.reported) == ([("page", 1)], [])


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_refusal_is_counted_once_and_tried_again(hook: HookProcess, tmp_path: Path, status: int) -> None:
    desk = Desk(tmp_path, of(hook))
    hook.answer(status)
    desk.keep(page("I-1", 1))
    desk.deliver(lambda: desk.standing().results["failed"] == 1)
    assert desk.standing().failing
    hook.answer(200)
    desk.deliver(desk.has_all)
    assert desk.standing() == Standing(0, False, {"delivered": 1, "failed": 1})


@contextmanager
def dispatching(folder: Path, url: str) -> Iterator[None]:
    script = Path(__file__).with_name("dispatch.py")
    process = subprocess.Popen([sys.executable, str(script), str(folder), url])
    try:
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("before", [0, 1], ids=["page", "details"])
def test_a_kill_between_post_and_record_repeats_only_what_is_known_by_its_id(
    hook: HookProcess, tmp_path: Path, before: int
) -> None:
    desk = Desk(tmp_path, of(hook))
    desk.keep(page("I-1", 1, thread="a stack"))
    hook.answer(*[200] * before, "hold")
    with dispatching(tmp_path, hook.url):
        until(lambda: len(hook.posts()) == before + 1)
    hook.answer(200)
    with dispatching(tmp_path, hook.url):
        until(lambda: desk.standing().undelivered == 0)
    assert hook.known() == [("page", 1), ("details", 1)]
    assert len(hook.posts()) == 3


def test_what_was_kept_before_a_kill_is_delivered_after_it(hook: HookProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, of(hook))
    hook.answer(500)
    with dispatching(tmp_path, hook.url):
        desk.keep(page("I-1", 1), page("I-2", 1))
    hook.answer(200)
    with dispatching(tmp_path, hook.url):
        until(lambda: len(hook.posts()) == 2)
    assert {post["incident"] for post in hook.posts()} == {"I-1", "I-2"}


def test_a_receiver_gets_the_pages_of_its_causes_to_the_end(hook: HookProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, of(hook, causes=("gpu-*",)))
    desk.keep(caused("gpu-lost", "I-1"), caused("disk-full", "I-2"), page("watchdog-1", 1))
    desk.keep(caused("disk-full", "I-1", 2, "resolved"), caused("gpu-lost", "I-2", 2))
    desk.deliver(desk.has_all)
    newest = {post["incident"]: post["revision"] for post in hook.posts()}
    assert newest == {"I-1": 2, "I-2": 2, "watchdog-1": 1}


def graded(severity: str, incident: str, revision: int = 1, stage: str = "open") -> Page:
    return replace(caused("gpu-lost", incident, revision, stage), severity=severity)


def test_a_receiver_gets_the_pages_of_its_severities_to_the_end(hook: HookProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, of(hook, severity=("critical",)))
    desk.keep(graded("warning", "I-1"), graded("critical", "I-2"), graded("info", "I-3"))
    desk.keep(graded("critical", "I-1", 2), graded("info", "I-1", 3, "resolved"))
    desk.deliver(desk.has_all)
    assert [(post["incident"], post["severity"]) for post in hook.posts() if post["incident"] == "I-2"]
    assert {(post["incident"], post["severity"]) for post in hook.posts()} <= {
        ("I-1", "critical"),
        ("I-1", "info"),
        ("I-2", "critical"),
    }
    newest = {post["incident"]: post["revision"] for post in hook.posts()}
    assert newest == {"I-1": 3, "I-2": 1}


def test_what_has_no_severity_or_tells_of_sentinel_itself_is_for_everybody(
    hook: HookProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, of(hook, severity=("info",)))
    desk.keep(caused("gpu-lost", "I-1"), replace(page("watchdog-1", 1), severity="critical"))
    desk.deliver(desk.has_all)
    assert {post["incident"] for post in hook.posts()} == {"I-1", "watchdog-1"}


def test_both_filters_have_to_fit(hook: HookProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, of(hook, severity=("critical",), causes=("disk-*",)))
    desk.keep(graded("critical", "I-1"), replace(graded("critical", "I-2"), cause="disk-full"))
    desk.deliver(desk.has_all)
    assert [post["incident"] for post in hook.posts()] == ["I-2"]


def test_a_new_receiver_gets_what_is_open(hook: HookProcess, tmp_path: Path) -> None:
    old = Desk(tmp_path, {})
    old.keep(page("I-1", 1), page("I-1", 2, "mitigating"), page("I-2", 1, "resolved"), page("I-3", 1))
    old.deliver(lambda: old.has_all("on-call"))
    for _ in range(2):  # a restart repeats none of it
        desk = Desk(tmp_path, of(hook))
        desk.deliver(desk.has_all)
    assert [(post["incident"], post["revision"]) for post in hook.posts()] == [("I-1", 2), ("I-3", 1)]


def test_a_receiver_that_is_removed_has_its_pages_told_once_and_dropped(
    hook: HookProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, of(hook))
    hook.answer(500)
    desk.keep(page("I-1", 1), page("I-2", 1))
    desk.deliver(lambda: desk.standing().failing)
    capsys.readouterr()
    Desk(tmp_path, {})
    said = capsys.readouterr().out
    assert "receiver-removed" in said
    assert "I-1" in said
    assert "I-2" in said
    assert not [*tmp_path.glob("outbox-*")]
    Desk(tmp_path, {})
    assert "receiver-removed" not in capsys.readouterr().out


def test_an_outbox_of_the_release_before_is_on_calls(hook: HookProcess, tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", lambda *_: None)
    box.enqueue(page("I-1", 1))
    box.close()
    desk = Desk(tmp_path, of(hook))
    desk.deliver(desk.has_all, lambda: desk.has_all("on-call"))
    assert hook.known() == [("page", 1)]
    assert desk.reported == [(page("I-1", 1).id, True)]


def test_a_damaged_outbox_of_one_receiver_costs_no_other_and_nothing_that_is_open(
    hook: HookProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, of(hook))
    desk.keep(page("I-1", 1))
    (tmp_path / "outbox-webhook.db").write_bytes(b"no database" * 100)
    (tmp_path / "outbox-webhook.db-wal").unlink(missing_ok=True)
    after = Desk(tmp_path, of(hook))
    after.deliver(after.has_all, lambda: after.has_all("on-call"))
    assert hook.known() == [("page", 1)]


def test_a_second_slack_channel_is_a_receiver(slack: SlackProcess, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xoxb-test")
    table = {"kind": "slack", "channel": "C2", "token_file": tmp_path / "token", "base_url": slack.api}
    desk = Desk(tmp_path, {"storage-team": table}, Slack("xoxb-test", "C1", base_url=slack.api))
    desk.keep(page("I-1", 1))
    desk.deliver(lambda: desk.has_all("storage-team"), lambda: desk.has_all("on-call"))
    assert [len(slack.messages(name)) for name in ("C1", "C2")] == [1, 1]


@pytest.mark.parametrize(
    ("name", "table", "why"),
    [
        ("pager", {}, "receivers.pager: there is no kind 'pager'; known are .*webhook"),
        ("webhook", {}, "receivers.webhook.url: is missing"),
        ("webhook", {"url": "example.org"}, "receivers.webhook.url: expected something like https://"),
        ("webhook", {"url": "http://h/", "colour": 1}, "unknown key receivers.webhook.colour"),
        ("webhook", {"url": "http://h/", "token_file": "/no/such"}, "receivers.webhook.token_file: No such"),
        ("on-call", {"kind": "webhook", "url": "http://h/"}, "receivers.on-call: is the name of .pages."),
    ],
)
def test_settings_that_can_not_work_are_one_line(name: str, table: dict[str, Any], why: str) -> None:
    settings = config.Settings(receivers={name: config.Receiver(**table)})
    with pytest.raises(config.ConfigError, match=why) as refused:
        receivers.load(settings, SENDER)
    assert "\n" not in str(refused.value)
