"""Pages while the disk takes nothing: told at once, and told once, also when it takes something again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from slack_process import SlackProcess, details, ids, opened, page

from sentinel.adapters import outboxes
from sentinel.adapters.outbox import Timing
from sentinel.adapters.outboxes import Outboxes
from sentinel.adapters.slack import Slack

TIMING = Timing(fallback_after=60, first_retry=0.05, longest_retry=0.2, poll=0.02)


class Desk:
    """Both outboxes on a disk that can be full."""

    def __init__(self, folder: Path, slack: SlackProcess) -> None:
        self.reported: list[tuple[str, bool]] = []
        self.slack = slack
        self.box = Outboxes(
            folder / "outbox.db", lambda *reported: self.reported.append((reported[0], reported[1])), TIMING
        )

    def disk_is_full(self, full: bool = True) -> None:
        self.box._durable._rows._db.execute(f"PRAGMA query_only = {int(full)}")

    def during(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def drive() -> None:
            channel = Slack("xoxb-test", "C1", base_url=self.slack.api, timeout=5)
            running = asyncio.create_task(self.box.run([channel]))
            try:
                await scenario()
                assert not running.done(), running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(drive())

    async def shows(self, *messages: tuple[str, int]) -> None:
        async with asyncio.timeout(20):
            while sorted(ids(m) for m in self.slack.messages() if not m["thread_ts"]) != sorted(messages):
                await asyncio.sleep(0.02)

    async def everything_is_on_the_disk(self) -> None:
        async with asyncio.timeout(20):
            while self.box._memory.incidents() or self.box._durable.waiting("slack:C1"):
                await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "MOVE_EVERY", 0.05)


@pytest.fixture
def desk(tmp_path: Path, slack: SlackProcess) -> Desk:
    return Desk(tmp_path, slack)


def test_a_message_opened_while_the_disk_was_full_is_edited_when_it_takes_pages_again(
    desk: Desk, tmp_path: Path, slack: SlackProcess
) -> None:
    async def scenario() -> None:
        desk.disk_is_full()
        desk.box.keep(page("I-1", 1, thread="evidence"))
        await desk.shows(("I-1", 1))
        desk.disk_is_full(False)
        desk.box.keep(page("I-1", 1, thread="evidence"))  # as all that was decided meanwhile
        desk.box.keep(page("I-1", 2, "resolved"))
        await desk.shows(("I-1", 2))
        await desk.everything_is_on_the_disk()

    desk.during(scenario)
    after_a_restart = Desk(tmp_path, slack)
    after_a_restart.box.keep(page("I-1", 3, "resolved"))
    after_a_restart.during(lambda: after_a_restart.shows(("I-1", 3)))
    assert opened(slack.messages()) == ["I-1"]
    assert details(slack.messages()) == [("I-1", 1)]
    assert sorted(action for action, _ in desk.reported) == [page("I-1", n).id for n in (1, 2)]


def test_a_message_opened_before_the_disk_was_full_is_edited_meanwhile(
    desk: Desk, slack: SlackProcess
) -> None:
    async def scenario() -> None:
        desk.box.keep(page("I-1", 1))
        await desk.shows(("I-1", 1))
        await desk.everything_is_on_the_disk()
        desk.disk_is_full()
        desk.box.keep(page("I-1", 2))
        desk.box.keep(page("I-2", 1))
        await desk.shows(("I-1", 2), ("I-2", 1))

    desk.during(scenario)
    assert sorted(opened(slack.messages())) == ["I-1", "I-2"]


def test_what_waited_when_the_disk_became_full_is_told_from_memory(desk: Desk, slack: SlackProcess) -> None:
    async def scenario() -> None:
        slack.control({"mode": "500"})
        desk.box.keep(page("I-1", 1))
        await asyncio.sleep(0.3)
        desk.disk_is_full()
        slack.control({"mode": "ok"})
        await desk.shows(("I-1", 1))
        desk.disk_is_full(False)
        await desk.everything_is_on_the_disk()

    desk.during(scenario)
    assert opened(slack.messages()) == ["I-1"]


def test_a_page_whose_reply_is_lost_on_a_full_disk_is_looked_up(desk: Desk, slack: SlackProcess) -> None:
    async def scenario() -> None:
        desk.disk_is_full()
        slack.control({"mode": "drop-reply", "times": 1}, {"mode": "ok"})
        desk.box.keep(page("I-1", 1))
        await asyncio.sleep(0.02)
        desk.disk_is_full(False)
        await desk.everything_is_on_the_disk()

    desk.during(scenario)
    assert opened(slack.messages()) == ["I-1"]


def test_pages_that_were_shown_and_not_told_of_end_nobody_on_a_full_disk(
    desk: Desk, tmp_path: Path, slack: SlackProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shown() -> None:
        desk.box.keep(page("I-1", 1))
        await desk.shows(("I-1", 1))
        await desk.everything_is_on_the_disk()

    with monkeypatch.context() as killed:  # between the call and its record
        killed.setattr("sentinel.adapters.outbox_rows.Rows.reported", lambda *_: None)
        desk.during(shown)
    after = Desk(tmp_path, slack)

    async def starts_on_a_full_disk() -> None:
        after.disk_is_full()
        await asyncio.sleep(0.5)
        assert after.reported == [(page("I-1", 1).id, True)]
        after.box.keep(page("I-2", 1))
        await after.shows(("I-1", 1), ("I-2", 1))

    after.during(starts_on_a_full_disk)
