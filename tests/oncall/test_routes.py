"""Routes: who is told at once, in the morning, or never; what can't work is one line."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import config
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId
from sentinel.oncall import routes

MONDAY_NIGHT = datetime(2026, 11, 30, 3, 0, tzinfo=UTC).timestamp()
MORNING = datetime(2026, 11, 30, 9, 0, tzinfo=UTC).timestamp()


def page(severity: str = "warning", cause: str = "gpu-lost", **more: Any) -> Page:
    return Page(ActionId("a"), IncidentId("I-1"), 1, "t", "b", "open", "", cause, severity, **more)


def read(text: str, tmp_path: Path, **more: Any) -> routes.Routes:
    file = tmp_path / "sentinel.toml"
    file.write_text(f"[receivers.pager]\nkind = 'webhook'\nurl = 'http://h/'\n{text}")
    return routes.read(config.load(file, {}), **more)


NIGHTS = """
[routes.wake]
severity = ["critical"]
repeat_s = 900

[routes.day]
severity = ["warning"]
hours = "08:00-18:00"

[routes.later]
severity = ["warning"]
receivers = ["pager"]
tell = "morning"

[routes.rest]
receivers = ["pager"]
tell = "never"
"""


def test_severity_and_time_of_day_say_when(tmp_path: Path) -> None:
    found, noon = read(NIGHTS, tmp_path), MORNING + 3 * 3600
    assert found.due(page("critical"), "pager", MONDAY_NIGHT) == MONDAY_NIGHT
    assert found.due(page("warning"), "pager", MONDAY_NIGHT) == MORNING
    assert found.due(page("warning"), "pager", noon) == noon
    assert found.due(page("info"), "pager", MONDAY_NIGHT) is None
    assert found.due(page("warning"), "other", MONDAY_NIGHT) == MONDAY_NIGHT
    assert found.repeat_s(page("critical"), "pager", MONDAY_NIGHT) == 900
    assert found.repeat_s(page("warning"), "pager", MONDAY_NIGHT) == 0


@pytest.mark.parametrize(
    ("asks", "fits", "not_"),
    [
        ("causes = ['gpu-*']", page(), page(cause="disk-full")),
        ("nodes = ['rack7-*']", page(nodes=("n1", "rack7-2")), page(nodes=("n1",))),
        ("nodes = ['*']", page(nodes=("n1",)), page()),
        ("jobs = ['run-*']", page(job="run-7"), page(job="eval")),
        ("severity = ['critical']", page("critical"), page("info")),
    ],
)
def test_a_route_is_for_what_it_asks_for(asks: str, fits: Page, not_: Page, tmp_path: Path) -> None:
    found = read(f"[routes.quiet]\n{asks}\ntell = 'never'\n", tmp_path)
    assert found.due(fits, "pager", MONDAY_NIGHT) is None
    assert found.due(not_, "pager", MONDAY_NIGHT) == MONDAY_NIGHT


def test_a_holiday_is_none_of_its_weekday_and_has_no_morning(tmp_path: Path) -> None:
    text = (
        "[routes.free]\ndays = ['holiday']\ntell = 'morning'\n[routes.no]\ndays = ['mon']\ntell = 'never'\n"
    )
    off = (datetime(2026, 11, 30).date(),)
    assert read(text, tmp_path).due(page(), "pager", MONDAY_NIGHT) is None
    assert read(text, tmp_path, off=off).due(page(), "pager", MONDAY_NIGHT) == MORNING + 86400


def test_on_call_and_what_tells_of_sentinel_itself_wait_for_no_route(tmp_path: Path) -> None:
    found = read("[routes.quiet]\ntell = 'never'\n", tmp_path)
    assert found.due(page(), routes.ON_CALL, MONDAY_NIGHT) == MONDAY_NIGHT
    assert found.due(page(cause=""), "pager", MONDAY_NIGHT) == MONDAY_NIGHT


@given(
    st.floats(1.7e9, 1.9e9),
    st.sampled_from(["critical", "warning", "info", ""]),
    st.sampled_from(["gpu-lost", "disk-full", ""]),
)
def test_nobody_is_told_before_the_page_or_much_later(
    tmp_path_factory: pytest.TempPathFactory, at: float, severity: str, cause: str
) -> None:
    found = routes.Routes(ROUTES.routes, ROUTES.mornings)
    due = found.due(page(severity, cause), "pager", at)
    assert due is None or at <= due <= at + 4 * 86400
    if severity in ("critical", "") or not cause:
        assert due == at


def _routes() -> routes.Routes:
    tables = {"wake": config.Route(severity=("critical",)), "later": config.Route(tell="morning")}
    return routes.read(config.Settings(routes=tables))


ROUTES = _routes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "[routes.a]\nreceivers = ['pagr']",
            "routes.a.receivers: there is no receiver 'pagr'; did you mean 'pager'?",
        ),
        ("[routes.a]\nseverity = []", "routes.a.severity: matches nothing: it is empty"),
        (
            "[routes.a]\ncauses = ['gpu-lst']",
            "routes.a.causes: matches nothing: no runbook's cause is like 'gpu-lst'",
        ),
        ("[routes.a]\nhours = '09:00-09:00'", "routes.a.hours: matches nothing: '09:00-09:00'"),
        ("[routes.a]\nhours = '9-17'", "routes.a.hours: expected a time of day such as 09:00, got '9'"),
        ("[routes.a]\nhours = '09:00'", "routes.a.hours: expected a span such as 22:00-07:00, got '09:00'"),
        ("[routes.a]\ndays = ['monday']", "routes.a.days: expected mon, tue"),
        (
            "[routes.a]\nreceivers = ['on-call']\ntell = 'never'",
            "routes.a.tell: on-call gets every page at once",
        ),
        (
            "[routes.a]\n[routes.b]\nseverity = ['info']",
            "routes.b: matches nothing that routes.a before it leaves",
        ),
        (
            "[routes.a]\ntell = 'soon'",
            "routes.a.tell: input should be 'now', 'morning' or 'never', got 'soon'",
        ),
        ("[routes.a]\ncolour = 1", "unknown key routes.a.colour"),
        ("[pages]\ntimezone = 'Europe/Berln'", "pages.timezone: there is no time zone 'Europe/Berln'"),
        ("[pages]\nmorning = 'nine'", "pages.morning: expected a time of day such as 09:00, got 'nine'"),
        ("[pages]\nworkdays = ['x']", "pages.workdays: expected one of mon"),
    ],
)
def test_what_can_not_work_is_one_line_with_its_key(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError) as refused:
        read(text, tmp_path, causes=["gpu-lost", "disk-full"])
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
