"""Once a day one message says what happened: its words, its hour, and that it comes once."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sentinel import config
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.slack import Slack
from sentinel.logbook.row import Row
from sentinel.model.finding import Health
from sentinel.model.ids import HOUR_S, Instant
from sentinel.runtime.bulletins import LATEST_S, Times
from sentinel.runtime.digest import KIND, digest, read, words
from sentinel.web.view import IncidentView, JobView, NodeView, SeatView, Status
from tests.adapters.hook_process import HookProcess, hook_process
from tests.adapters.pagers import QUICK
from tests.adapters.slack_process import SlackProcess, slack_process
from tests.runtime.bulletin_life import live

BERLIN = ZoneInfo("Europe/Berlin")
DUE = datetime(2026, 11, 30, 7, 30, tzinfo=BERLIN).timestamp()
QUIET = Status(DUE, "blue", DUE - 1e6, (NodeView("n1", Health.OK, 1.0),))
LOST = Row(
    "I-0007",
    DUE - 4 * HOUR_S,
    "resolved",
    "gpu-lost",
    "A GPU fell off the bus",
    "n1 gpu-1 (rank 1)",
    "run-7",
    {"detected": 0.0, "resolved": 245.0},
    3,
    5000.0,
    ("n1",),
    (("n1", 1, 1),),
    "",
    judged=("ann: not this node: the riser",),
)


def test_a_quiet_night_is_one_short_line() -> None:
    title, body = words(QUIET, [replace(LOST, opened=DUE - 30 * HOUR_S)], DUE - 24 * HOUR_S, BERLIN)
    assert title == "Nothing happened since Sun 07:30 CET; nobody is out, and nothing waits for you"
    assert body == ""


def test_a_night_says_what_happened_what_was_lost_who_is_out_and_what_waits() -> None:
    out = NodeView("n1", Health.CRITICAL, 1.0, cordon="gpu-lost (I-0007)")
    still = IncidentView("I-0009", DUE - 60, "open", "The job stands still")
    job = JobView("run-7", "running", 2, 900, 4, seats=tuple(SeatView(n, "n2", n, f"w{n}") for n in range(4)))
    left = ("n1 is out and awaits repair",)
    status = replace(QUIET, nodes=(out,), incidents=(still,), left=left, jobs=(job,))
    title, body = words(status, [LOST], DUE - 24 * HOUR_S, BERLIN)
    assert title == (
        "1 incident since Sun 07:30 CET, 1.4 GPU-hours and 3 steps lost; 1 node out; 2 things to do"
    )
    assert body.splitlines() == [
        "Mon 03:30 I-0007 A GPU fell off the bus: n1 gpu-1 (rank 1); over after 4 min; evicted n1;"
        " judged ann: not this node: the riser",
        "Lost: 1.4 GPU-hours and 3 steps",
        "Out: n1: gpu-lost (I-0007)",
        "For you: I-0009 is open, and nobody has acknowledged it: The job stands still",
        "For you: n1 is out and awaits repair",
        "Now: run-7 is training with 4 of 4 ranks.",
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"digest": "7:30"}, "pages.digest: expected a time of day such as 09:00, got '7:30'"),
        ({"timezone": "Mars/Olympus"}, "pages.timezone: there is no time zone 'Mars/Olympus' here"),
        ({"digest_to": ["hok"]}, "pages.digest_to: there is no receiver 'hok'; did you mean 'hook'?"),
        ({"digest_to": ["duty"]}, "pages.digest_to: duty can only wake people, and shows no news"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_key(tmp_path: Path, keys: dict[str, object], said: str) -> None:
    (tmp_path / "key").write_text("k" * 32)
    tables = {
        "hook": config.Receiver(kind="webhook", url="http://127.0.0.1:1/"),
        "duty": config.Receiver(kind="pagerduty", routing_key_file=str(tmp_path / "key")),
    }
    pages = config.Pages(**{"digest": "07:30", "timezone": "Europe/Berlin", **keys})
    settings = config.Settings(pages=pages, receivers=tables)
    with pytest.raises(config.ConfigError) as caught:
        read(settings, receivers.load(settings, Sender("blue")))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("weekday", "now", "last", "before"),
    [
        (None, "2026-11-30 07:29", "2026-11-29", "2026-11-28"),
        (None, "2026-11-30 07:30", "2026-11-30", "2026-11-29"),
        (0, "2026-11-30 07:29", "2026-11-23", "2026-11-16"),
        (0, "2026-11-30 07:30", "2026-11-30", "2026-11-23"),
        (0, "2026-12-06 23:00", "2026-11-30", "2026-11-23"),
        (6, "2026-10-25 12:00", "2026-10-25", "2026-10-18"),
    ],
)
def test_the_last_time_it_was_due_by_the_clock_there(
    weekday: int | None, now: str, last: str, before: str
) -> None:
    times = Times(time(7, 30), BERLIN, ("on-call",), weekday)
    day, due, since = times.last(datetime.fromisoformat(now).replace(tzinfo=BERLIN).timestamp())
    assert str(day) == last
    for moment, shown in ((due, last), (since, before)):
        assert f"{datetime.fromtimestamp(moment, BERLIN):%Y-%m-%d %H:%M}" == f"{shown} 07:30"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[SlackProcess, HookProcess]]:
    with slack_process() as slack, hook_process() as hook:
        yield slack, hook


class Desk:
    """A controller's life as far as the digest goes."""

    def __init__(self, folder: Path, slack: SlackProcess, hook: HookProcess, channel: str) -> None:
        tables = {"hook": config.Receiver(kind="webhook", url=hook.url, causes=("nothing-*",))}
        pages = config.Pages(digest="07:30", timezone="Europe/Berlin", digest_to=("on-call", "hook"))
        settings = config.Settings(pages=pages, receivers=tables)
        sender = Sender("blue", "http://head")
        others = receivers.load(settings, sender)
        shown: Sequence[PageChannel] = [
            Slack("xoxb-test", channel, base_url=slack.api, timeout=2.0, sender=sender),
            ConsolePages(folder / "pages.log", out=io.StringIO()),
        ]
        self.told = list[str]()
        self.dispatcher = Dispatcher(folder, shown, others, lambda *each: self.told.append(each[0]), QUICK)
        times = read(settings, others)
        assert times is not None
        self.digest = digest(times, self.dispatcher, lambda: QUIET, lambda: [LOST])

    def lives(self, *moments: Instant) -> None:
        """Look at these moments, and deliver all that is kept."""
        live(self.dispatcher, self.digest, moments)


def test_it_is_told_once_a_day_to_whom_it_is_for_also_over_restarts_and_a_lost_reply(
    servers: tuple[SlackProcess, HookProcess], tmp_path: Path
) -> None:
    slack, hook = servers
    slack.control({"mode": "drop-reply", "times": 1})  # it arrived, and nobody can know
    before, after = DUE - 1.0, DUE + 60.0
    Desk(tmp_path, slack, hook, "C7").lives(DUE - 24 * HOUR_S, before, DUE, after)
    desk = Desk(tmp_path, slack, hook, "C7")
    desk.lives(after, DUE + HOUR_S)
    titles = [message["text"].splitlines()[0] for message in slack.messages("C7")]
    assert len(titles) == 2
    assert all(title.startswith(f"{KIND} blue: 1 incident since") for title in titles)
    assert [post["event"] for post in hook.posts()] == ["news", "news"]
    assert [post["incident"] for post in hook.posts()] == ["digest-2026-11-29", "digest-2026-11-30"]
    assert desk.told == [], "it is no action of the journal's"


def test_one_that_nobody_could_tell_for_hours_is_not_told_any_more(
    servers: tuple[SlackProcess, HookProcess], tmp_path: Path
) -> None:
    desk = Desk(tmp_path, *servers, "C8")
    desk.lives(DUE + LATEST_S + 1.0)
    assert servers[0].messages("C8") == []
    desk.lives(DUE + LATEST_S)
    assert len(servers[0].messages("C8")) == 1
