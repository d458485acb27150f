"""Once a week the report of the seven days before is told: its words, its hour, and that it comes once."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sentinel import config
from sentinel.adapters import receivers
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.dispatcher import Dispatcher
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.slack import Slack
from sentinel.logbook import tally_file
from sentinel.logbook.book import Logbook
from sentinel.logbook.tally import Spent, Watched
from sentinel.model.ids import DAY_S, HOUR_S, IncidentId, Instant, JobId
from sentinel.runtime.bulletins import LATEST_OF_A_WEEK_S
from sentinel.runtime.weekly import read, report
from tests.adapters.pagers import QUICK
from tests.adapters.slack_process import SlackProcess, slack_process
from tests.runtime.bulletin_life import live
from tests.web.sample_cluster import QUIET, T0, Cluster, an_incident

DUE = datetime(2026, 3, 9, 9, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
PATIENT = replace(QUICK, fallback_after=30.0)
"""A machine that is busy for a second must not make the file the place where it is told."""
PAGES: dict[str, Any] = {"weekly": "mon 09:00", "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"weekly": "09:00"}, "pages.weekly: expected a day and a time such as 'mon 09:00', got '09:00'"),
        ({"weekly": "Mo 09:00"}, "pages.weekly: expected one of mon, tue, wed, thu, fri, sat, sun, got 'Mo'"),
        ({"weekly": "mon 9"}, "pages.weekly: expected a time of day such as 09:00, got '9'"),
        ({"timezone": "Mars/Olympus"}, "pages.timezone: there is no time zone 'Mars/Olympus' here"),
        ({"weekly_to": ["hok"]}, "pages.weekly_to: there is no receiver 'hok'; did you mean 'hook'?"),
        ({"weekly_to": ["duty"]}, "pages.weekly_to: duty can only wake people, and shows no news"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_key(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    (tmp_path / "key").write_text("k" * 32)
    tables = {
        "hook": config.Receiver(kind="webhook", url="http://127.0.0.1:1/"),
        "duty": config.Receiver(kind="pagerduty", routing_key_file=str(tmp_path / "key")),
    }
    settings = config.Settings(pages=config.Pages(**{**PAGES, **keys}), receivers=tables)
    with pytest.raises(config.ConfigError) as caught:
        read(settings, receivers.load(settings, Sender("blue")))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_who_sets_nothing_gets_none() -> None:
    assert read(config.Settings(), []) is None


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackProcess]:
    with slack_process() as found:
        yield found


class Desk:
    """A controller's life as far as the weekly report goes."""

    def __init__(self, folder: Path, slack: SlackProcess, channel: str) -> None:
        settings = config.Settings(pages=config.Pages(**PAGES))
        sender = Sender("blue", "http://head")
        shown: list[PageChannel] = [
            Slack("xoxb-test", channel, base_url=slack.api, timeout=2.0, sender=sender),
            ConsolePages(folder / "pages.log", out=io.StringIO()),
        ]
        self.dispatcher = Dispatcher(folder, shown, [], lambda *_: None, PATIENT)
        times = read(settings, [])
        assert times is not None
        now = replace(QUIET, cluster="blue", url="http://head")
        self.report = report(times, self.dispatcher, Cluster(Logbook(folder / "logbook"), now))

    def lives(self, *moments: Instant) -> None:
        """Look at these moments, and deliver all that is kept."""
        live(self.dispatcher, self.report, moments)


def test_it_says_what_the_report_of_those_days_says(slack: SlackProcess, tmp_path: Path) -> None:
    book, job, incident = Logbook(tmp_path / "logbook"), JobId("moe"), IncidentId("INC-7")
    book.write(an_incident())
    spent = [Spent(T0 - HOUR_S, T0, job, "training", 8), Spent(T0, T0 + 36.0, job, incident, 8)]
    before = Spent(T0 - 8 * DAY_S, T0 - 7 * DAY_S, job, "scheduler", 8)
    tally_file.append(book.folder, [before, Watched(T0 - HOUR_S, T0, 24), *spent])
    Desk(tmp_path, slack, "C1").lives(DUE)
    (message,) = slack.messages("C1")
    title, *lines = message["text"].splitlines()
    assert title == ("Weekly report blue: moe trained 99.0% of the time; 1 incident, 0.08 GPU-hours lost")
    assert lines == [
        "From 2026-03-02 00:00 CET to 2026-03-09 00:00 CET",
        "Causes: gpu-lost 1",
        "moe: lost to gpu-lost 36 s",
        "Pages: 0, 0 at night",
        "For 99.4% of this time nobody watched",
        "http://head/report?since=2026-03-02&amp;until=2026-03-09&amp;zone=Europe%2FBerlin",
    ]


def test_it_is_told_once_a_week_also_over_restarts_missed_hours_and_a_lost_reply(
    slack: SlackProcess, tmp_path: Path
) -> None:
    slack.control({"mode": "drop-reply", "times": 1})  # it arrived, and nobody can know
    Desk(tmp_path, slack, "C2").lives(DUE - 7 * DAY_S, DUE - 1.0)
    Desk(tmp_path, slack, "C2").lives(DUE + 20 * HOUR_S, DUE + 30 * HOUR_S)  # away when it was due
    Desk(tmp_path, slack, "C2").lives(DUE + 40 * HOUR_S)
    assert [message["text"].splitlines()[1] for message in slack.messages("C2")] == [
        "From 2026-02-23 00:00 CET to 2026-03-02 00:00 CET",
        "From 2026-03-02 00:00 CET to 2026-03-09 00:00 CET",
    ]


def test_one_that_is_days_late_is_left_out(slack: SlackProcess, tmp_path: Path) -> None:
    desk = Desk(tmp_path, slack, "C3")
    desk.lives(DUE + LATEST_OF_A_WEEK_S + 1.0)
    assert slack.messages("C3") == []
    desk.lives(DUE + LATEST_OF_A_WEEK_S)
    assert len(slack.messages("C3")) == 1
