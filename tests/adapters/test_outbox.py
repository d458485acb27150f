"""The outbox against a Slack that misbehaves, as a process of its own."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slack_process import SlackProcess, details, ids, opened, page

from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.outbox_rows import OutboxError
from sentinel.adapters.page_channel import ChannelError, PageChannel
from sentinel.adapters.slack import Slack
from sentinel.model.action import Page

QUICK = Timing(fallback_after=0.4, first_retry=0.05, longest_retry=0.2, refused_retry=0.3, poll=0.02)
PATIENT = Timing(fallback_after=60, first_retry=0.05, longest_retry=0.2, poll=0.02)


class Desk:
    """An outbox with its outcomes, driven by a test."""

    def __init__(self, path: Path, timing: Timing = PATIENT) -> None:
        self.outcomes: list[tuple[str, bool, str]] = []
        self.box = Outbox(
            path, lambda *outcome: self.outcomes.append((outcome[0], outcome[1], outcome[3])), timing
        )

    def reported(self) -> set[str]:
        return {action for action, ok, _ in self.outcomes if ok}

    def deliver(
        self, *channels: PageChannel, until: Callable[[], bool], then: Callable[[], None] = int
    ) -> None:
        """Run until the condition holds, do `then`, and run until the primary has everything."""

        async def drive() -> None:
            run = asyncio.create_task(self.box.run(channels))
            await reached(until, run)
            then()
            await reached(lambda: not self.box.waiting(channels[0].name), run)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        asyncio.run(drive())


async def reached(condition: Callable[[], bool], run: asyncio.Task[None]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            assert not run.done(), run
            await asyncio.sleep(0.02)


def channel(server: SlackProcess, name: str = "C1") -> Slack:
    return Slack("xoxb-test", name, base_url=server.api, timeout=0.4)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def always() -> bool:
    return True


def test_an_incident_is_one_message_edited_in_place_with_details_in_its_thread(
    slack: SlackProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "outbox")
    first, second = page("INC-1", 1, thread="evidence"), page("INC-1", 2, "resolved", thread="cost")
    desk.box.enqueue(first)
    desk.deliver(
        channel(slack),
        until=lambda: first.id in desk.reported(),
        then=lambda: desk.box.enqueue(second) or None,
    )
    desk.deliver(channel(slack), until=always)
    (message,) = [m for m in slack.messages() if not m["thread_ts"]]
    assert ids(message) == ("INC-1", 2)
    assert [edit["metadata"]["event_payload"]["revision"] for edit in message["edits"]] == [2]
    replies = [m for m in slack.messages() if m["thread_ts"]]
    assert [m["thread_ts"] for m in replies] == [message["ts"]] * 2
    assert [m["text"] for m in replies] == ["```\nevidence\n```", "```\ncost\n```"]
    assert desk.outcomes == [(p.id, True, "slack:C1") for p in (first, second)]


def test_enqueuing_the_same_page_again_changes_nothing(slack: SlackProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "outbox")
    assert [desk.box.enqueue(page("INC-1", 1)) for _ in range(3)] == [True, False, False]
    desk.deliver(channel(slack), until=always)
    assert not desk.box.enqueue(page("INC-1", 1))
    desk.deliver(channel(slack), until=always)
    assert opened(slack.messages()) == ["INC-1"]
    assert len(desk.outcomes) == 1


def test_a_newer_revision_supersedes_the_text_but_never_the_details(
    slack: SlackProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "outbox")
    pages = [page("INC-1", revision, thread=f"detail {revision}") for revision in range(1, 5)]
    for each in pages:
        desk.box.enqueue(each)
    desk.deliver(channel(slack), until=always)
    (message,) = [m for m in slack.messages() if not m["thread_ts"]]
    assert (ids(message), message["edits"]) == (("INC-1", 4), [])
    assert details(slack.messages()) == [("INC-1", revision) for revision in range(1, 5)]
    assert desk.reported() == {each.id for each in pages}


def test_a_429_is_waited_out_as_long_as_slack_says(slack: SlackProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "outbox")
    slack.control({"mode": "429", "times": 2, "retry_after": 1})
    desk.box.enqueue(page("INC-1", 1))
    desk.deliver(channel(slack), until=always)
    times = [(request["at"], request["mode"]) for request in slack.requests()]
    assert [mode for _, mode in times] == ["429", "429", "ok"]
    assert all(later - earlier >= 1 for (earlier, _), (later, _) in itertools.pairwise(times))


@pytest.mark.parametrize("mode", ["drop-reply", "hold-reply"])
@pytest.mark.parametrize("revisions", [1, 2])
def test_a_send_whose_reply_is_lost_is_looked_up_and_not_repeated(
    slack: SlackProcess, tmp_path: Path, mode: str, revisions: int
) -> None:
    desk = Desk(tmp_path / "outbox")
    for revision in range(1, revisions + 1):
        slack.control({"mode": mode, "times": 1}, {"mode": "ok", "times": 1}, {"mode": mode, "times": 1})
        desk.box.enqueue(page("INC-1", revision, thread=f"detail {revision}"))
        desk.deliver(channel(slack), until=always)
    assert opened(slack.messages()) == ["INC-1"]
    assert details(slack.messages()) == [("INC-1", revision) for revision in range(1, revisions + 1)]


@pytest.mark.parametrize("mode", ["500", "silent"])
def test_the_fallback_pages_while_the_primary_fails_and_the_primary_is_caught_up(
    slack: SlackProcess, tmp_path: Path, mode: str
) -> None:
    desk, file = Desk(tmp_path / "outbox", QUICK), ConsolePages(tmp_path / "pages.log")
    pages = [page("INC-1", 1, thread="one"), page("INC-2", 1), page("INC-1", 2, "resolved", thread="two")]
    slack.control({"mode": mode})
    for each in pages:
        desk.box.enqueue(each)
    desk.deliver(
        channel(slack),
        file,
        until=lambda: len(desk.reported()) == 3,
        then=lambda: slack.control({"mode": "ok"}),
    )
    written = [(line["what"], line["incident"], line["revision"]) for line in lines(tmp_path / "pages.log")]
    assert written == [
        ("message", "INC-1", 2),
        ("detail", "INC-1", 1),
        ("message", "INC-2", 1),
        ("detail", "INC-1", 2),
    ]
    assert {where for _, _, where in desk.outcomes} == {"file:pages.log"}
    assert sorted(opened(slack.messages())) == ["INC-1", "INC-2"]
    assert details(slack.messages()) == [("INC-1", 1), ("INC-1", 2)]


def test_a_message_opened_on_the_fallback_does_not_go_on_telling_an_old_stage(
    slack: SlackProcess, tmp_path: Path
) -> None:
    desk, second = Desk(tmp_path / "outbox", QUICK), channel(slack, "C2")
    slack.control({"mode": "error", "error": "channel_not_found", "times": 1})
    first = page("INC-1", 1)
    desk.box.enqueue(first)
    desk.deliver(channel(slack), second, until=lambda: first.id in desk.reported())
    desk.box.enqueue(page("INC-1", 2, "resolved"))
    desk.deliver(channel(slack), second, until=lambda: slack.messages("C2")[0]["edits"] != [])
    assert ids(slack.messages("C2")[0]) == ids(slack.messages("C1")[0]) == ("INC-1", 2)


@pytest.mark.parametrize("error", ["channel_not_found", "invalid_auth", "is_archived"])
def test_a_refusal_goes_to_the_fallback_at_once(slack: SlackProcess, tmp_path: Path, error: str) -> None:
    timing = Timing(fallback_after=3600, refused_retry=3600, poll=0.02)
    desk, file = Desk(tmp_path / "outbox", timing), ConsolePages(tmp_path / "pages.log")
    slack.control({"mode": "error", "error": error})

    async def drive() -> None:
        desk.box.enqueue(page("INC-1", 1))
        run = asyncio.create_task(desk.box.run([channel(slack), file]))
        await reached(lambda: len(desk.reported()) == 1, run)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    asyncio.run(drive())
    assert [request["method"] for request in slack.requests()] == ["chat.postMessage"]
    assert [line["incident"] for line in lines(tmp_path / "pages.log")] == ["INC-1"]


def test_a_page_that_every_channel_refuses_is_reported_and_still_tried(
    slack: SlackProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "outbox", QUICK)
    slack.control({"mode": "error", "error": "is_archived"})
    desk.box.enqueue(page("INC-1", 1))
    desk.deliver(
        channel(slack), until=lambda: bool(desk.outcomes), then=lambda: slack.control({"mode": "ok"})
    )
    assert desk.outcomes[0][1:] == (False, "")
    assert opened(slack.messages()) == ["INC-1"]


def test_a_message_that_somebody_deleted_is_opened_anew(slack: SlackProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "outbox")
    desk.box.enqueue(page("INC-1", 1))
    desk.deliver(channel(slack), until=always)
    slack.control({"mode": "error", "error": "message_not_found", "times": 1})
    desk.box.enqueue(page("INC-1", 2))
    desk.deliver(channel(slack), until=always)
    assert [ids(message) for message in slack.messages()] == [("INC-1", 1), ("INC-1", 2)]


class Pager:
    """A channel that cannot look up; its first reply is lost after the page went out."""

    name = "pager"
    looks_up = False

    def __init__(self) -> None:
        self.titles: list[str] = []

    async def open(self, page: Page) -> str:
        self.titles.append(page.title)
        if len(self.titles) == 1:
            raise ChannelError("no reply", unsure=True)
        return "1"

    async def edit(self, page: Page, ref: str) -> None: ...

    async def detail(self, page: Page, ref: str) -> None: ...

    async def find(self, page: Page, since: float) -> tuple[str, int] | None:
        raise AssertionError("asked although it cannot look up")

    async def find_detail(self, page: Page, ref: str) -> bool:
        raise AssertionError("asked although it cannot look up")


def test_only_a_channel_without_look_up_says_possible_duplicate(tmp_path: Path) -> None:
    desk, pager = Desk(tmp_path / "outbox"), Pager()
    desk.box.enqueue(page("INC-1", 1))
    desk.deliver(pager, until=always)
    assert pager.titles == ["gpu-off-bus on node-7 r1", "gpu-off-bus on node-7 r1 (possible duplicate)"]


def test_a_primary_that_is_new_is_not_flooded_with_what_was_shown_elsewhere(
    slack: SlackProcess, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "outbox")
    desk.box.enqueue(page("INC-1", 1, "resolved"))
    desk.deliver(ConsolePages(tmp_path / "pages.log"), until=always)
    desk.box.enqueue(page("INC-2", 1))
    desk.deliver(channel(slack), until=always)
    assert opened(slack.messages()) == ["INC-2"]


def test_an_outbox_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"not a database, by any means" * 100)
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    for name, why in (("garbage", "not a database"), ("newer", "version 99 is newer")):
        with pytest.raises(OutboxError, match=f"{name}.*{why}"):
            Outbox(tmp_path / name, print)
