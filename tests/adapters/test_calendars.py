"""Who is on call by a calendar: a file, or an address over a real socket that may be away."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sentinel import config
from sentinel.adapters.calendars import Calendars
from sentinel.oncall import reading
from sentinel.oncall.rota import Rota

pytest.importorskip("recurring_ical_events")

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def event(summary: str, begin: datetime, hours: int, more: str = "") -> str:
    written = (f"{each:%Y%m%dT%H%M%SZ}" for each in (begin, begin + timedelta(hours=hours)))
    first, last = written
    return (
        f"BEGIN:VEVENT\nUID:{summary}{first}\nDTSTAMP:{first}\nSUMMARY:{summary}\nDTSTART:{first}\nDTEND:{last}\n"
        f"{more}END:VEVENT\n"
    )


def calendar(*events: str) -> str:
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{''.join(events)}END:VCALENDAR\n".replace("\n", "\r\n")


WEEKLY = calendar(
    event("Ada, on call - GPU team", NOW - timedelta(days=14), 168, "RRULE:FREQ=WEEKLY;INTERVAL=2\n"),
    event("On Call", NOW - timedelta(days=7), 168, "RRULE:FREQ=WEEKLY;INTERVAL=2\nATTENDEE:mailto:b@x.org\n"),
    event("Cyd stands in", NOW + timedelta(days=1), 4),
    event("lunch", NOW, 1),
)


def read(folder: Path, source: str) -> Rota:
    people = "\n".join(
        f"[people.{name}]\nreceivers = ['r']\nnames = ['{name[0]}@x.org']" for name in ("ada", "ben", "cyd")
    )
    (folder / "oncall.toml").write_text(f"{people}\n[[levels]]\nname = 'first'\n{source}\n")
    return reading.read(folder / "oncall.toml", ["r"], Calendars(folder))


def who(rota: Rota, at: datetime) -> str:
    return rota.levels[0].who(at.timestamp(), rota.people, rota.where)


def test_events_recur_and_one_that_begins_later_stands_in(tmp_path: Path) -> None:
    (tmp_path / "team.ics").write_text(WEEKLY)
    rota = read(tmp_path, "calendar = 'team.ics'")
    later = [timedelta(hours=1), timedelta(days=1, hours=1), timedelta(days=1, hours=5), timedelta(days=8)]
    assert [who(rota, NOW + each) for each in later] == ["ada", "cyd", "ada", "ben"]
    assert who(rota, NOW - timedelta(days=30)) == ""


def test_where_nobody_is_named_everybody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "team.ics").write_text(calendar(event("ada", NOW, 1)))
    [ask] = read(tmp_path, "calendar = 'team.ics'").asks((NOW + timedelta(days=2)).timestamp())
    assert list(ask.people) == ["ada", "ben", "cyd"]


class Server(HTTPServer):
    said: bytes | None = WEEKLY.encode()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.send_response(200 if self.server.said else 503)
        self.end_headers()
        self.wfile.write(self.server.said or b"")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_an_address_that_is_away_leaves_what_was_read_last_also_after_a_restart(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(f"http://127.0.0.1:{server.server_port}/s3cret.ics")
    source = "calendar_url_file = 'url'"
    assert who(read(tmp_path, source), NOW + timedelta(hours=1)) == "ada"
    for said in (None, b"<html>log in</html>"):
        server.said = said
        assert who(read(tmp_path, source), NOW + timedelta(hours=1)) == "ada"


def test_an_address_that_was_never_read_keeps_nobody_from_starting(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.said = None
    (tmp_path / "url").write_text(f"http://127.0.0.1:{server.server_port}/s3cret.ics")
    assert who(read(tmp_path, "calendar_url_file = 'url'"), NOW) == ""
    said = capsys.readouterr().out
    assert "HTTP 503" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no calendar", "is no calendar that can be read"),
        (calendar(event("lunch", NOW, 1)), "none of its events names one of ada, ben, cyd"),
    ],
)
def test_a_file_that_says_nothing_of_anybody_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "team.ics").write_text(text)
    with pytest.raises(config.ConfigError) as refused:
        read(tmp_path, "calendar = 'team.ics'")
    assert f"{tmp_path}/oncall.toml: levels[0]: {why}" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("calendar = 'no.ics'", "levels[0]: No such file or directory"),
        ("calendar_url_file = 'oncall.toml'", "levels[0].calendar_url_file: expected one https:// address"),
    ],
)
def test_a_source_that_is_none_is_one_line(source: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError) as refused:
        read(tmp_path, source)
    assert why in str(refused.value)
