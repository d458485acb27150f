"""Who is on call, who is asked next, and what a page says of it: `oncall.toml` and the plan it makes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sentinel import config
from sentinel.model.action import Page
from sentinel.model.ids import ActionId, IncidentId
from sentinel.oncall import reading
from sentinel.oncall.plan import Plan
from sentinel.oncall.rota import Level, Person, Rota, Rotation, Shift
from sentinel.oncall.routes import ON_CALL, Routes

FILE = """
timezone = "Europe/Berlin"
holidays = [2026-12-25]

[people.ada]
receivers = ["to-ada"]
away = ["2026-11-30..2026-12-06"]

[people.ben]
receivers = ["to-ben"]

[people.cyd]
receivers = ["to-cyd", "all"]

[[levels]]
name = "first"
people = ["ada", "ben"]
handover = "mon 09:00"
since = 2026-11-02
next_s = 600

[[levels]]
name = "second"
people = ["cyd"]
since = 2026-11-02
next_s = 900

[[overrides]]
level = "first"
person = "cyd"
begins = 2026-11-24T18:00:00
ends = 2026-11-25T09:00:00
"""
RECEIVERS = ["to-ada", "to-ben", "to-cyd", "all", "wall"]


def none(key: str, table: reading.LevelTable, folder: Path, names: Mapping[str, str]) -> Any:
    raise AssertionError(key)


def read(text: str, folder: Path) -> Rota:
    (folder / "oncall.toml").write_text(text)
    return reading.read(folder / "oncall.toml", RECEIVERS, none)


def at(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


def page(revision: int = 1, **more: Any) -> Page:
    told = Page(ActionId(f"I-1/{revision}"), IncidentId("I-1"), revision, "t", "b", "open", "", "gpu-lost")
    return replace(told, **more)


@pytest.mark.parametrize(
    ("moment", "asked"),
    [
        pytest.param((2026, 11, 17, 3), "ada", id="her third week"),
        pytest.param((2026, 11, 23, 7, 59), "ada", id="before the hand-over in Berlin"),
        pytest.param((2026, 11, 23, 8), "ben", id="at the hand-over"),
        pytest.param((2026, 11, 24, 17), "cyd", id="an override"),
        pytest.param((2026, 11, 25, 8), "ben", id="after it"),
        pytest.param((2026, 11, 30, 8), "ben", id="who stands in for somebody who is away"),
    ],
)
def test_the_file_says_who_is_on_call(moment: tuple[int, ...], asked: str, tmp_path: Path) -> None:
    rota = read(FILE, tmp_path)
    first = next(rota.asks(at(*moment)))
    assert (first.at, list(first.people)) == (at(*moment), [asked])
    assert [each.isoformat() for each in rota.holidays] == ["2026-12-25"]


def test_who_does_not_answer_is_followed_by_the_next_then_by_everybody(tmp_path: Path) -> None:
    plan, began = Plan(Routes(), read(FILE, tmp_path)), at(2026, 11, 23, 12)
    history = [(page(), began)]
    told = {name: plan.told_at(name, history) for name in RECEIVERS}
    assert told == {
        "to-ben": began,
        "to-cyd": began + 600,
        "all": began + 600,
        "to-ada": began + 1500,
        "wall": began,
    }
    assert [plan.asked(history, began + wait) for wait in (0, 600, 1500)] == [
        "Asked: ben 13:00 CET; next, unless somebody acknowledges: cyd 13:10 CET",
        "Asked: ben 13:00 CET, cyd 13:10 CET; next, unless somebody acknowledges: ada 13:25 CET",
        "Asked: ben 13:00 CET, cyd 13:10 CET, ada 13:25 CET",
    ]
    assert [
        plan.reminds(ON_CALL, history, began + wait - 1, began + wait) for wait in (0, 599, 600, 1500)
    ] == [
        False,
        False,
        True,
        True,
    ]


def test_an_acknowledgement_ends_it(tmp_path: Path) -> None:
    plan, began = Plan(Routes(), read(FILE, tmp_path)), at(2026, 11, 23, 12)
    history = [(page(), began), (page(2, acked_by="ben"), began + 60)]
    assert plan.stops("to-cyd", history)
    assert not plan.stops("wall", history)
    assert not plan.reminds(ON_CALL, history, began, began + 9999)
    assert plan.asked(history, began + 700).endswith("CET")
    assert "next" not in plan.asked(history, began + 60)


def test_what_becomes_urgent_later_waits_from_then_on(tmp_path: Path) -> None:
    tables = {
        "later": config.Route(severity=("warning",), tell="morning"),
        "wake": config.Route(repeat_s=300),
    }
    found = Plan(_routes(tables), read(FILE, tmp_path))
    night = at(2026, 11, 24, 2)
    calm = [(page(severity="warning"), night)]
    assert found.told_at("to-ben", calm) == at(2026, 11, 24, 9)
    urgent = [*calm, (page(2, severity="critical"), night + 1000)]
    assert (found.told_at("to-ben", urgent), found.told_at("to-cyd", urgent)) == (night + 1000, night + 1600)
    reminded = [s for s in range(1000, 2200) if found.reminds("to-ben", urgent, night + s - 1, night + s)]
    assert reminded == [1300, 1600, 1900]


def _routes(tables: Mapping[str, config.Route]) -> Routes:
    from sentinel.oncall import routes

    return routes.read(config.Settings(routes=tables))


def test_what_tells_of_sentinel_itself_is_told_to_everybody_at_once(tmp_path: Path) -> None:
    plan = Plan(Routes(), read(FILE, tmp_path))
    assert {plan.told_at(each, [(page(cause=""), 5.0)]) for each in RECEIVERS} == {5.0}


shifts = st.lists(
    st.builds(
        lambda begin, length, who: Shift(begin, begin + length, who),
        st.floats(0, 9000),
        st.floats(1, 3000),
        st.sampled_from("abc"),
    ),
    max_size=6,
)


@given(st.lists(shifts, max_size=4), st.floats(0, 10_000), st.floats(1, 2000))
def test_everybody_is_asked_in_the_end_and_nobody_before_the_page(
    calendars: Sequence[Sequence[Shift]], since: float, next_s: float
) -> None:
    people = {name: Person((f"to-{name}",)) for name in "abc"}
    levels = [Level(str(n), next_s, None, lambda each=each: each) for n, each in enumerate(calendars)]
    asks = list(Rota(people, levels).asks(since))
    assert [ask.at for ask in asks] == [since + n * next_s for n in range(len(asks))] or len(asks) < 20
    assert asks[0].at == since
    assert list(asks[-1].people) == ["a", "b", "c"]
    assert asks[-1].at <= since + next_s * len(levels) * (1 + 1e-9)
    for ask in asks[:-1]:
        [name] = ask.people
        assert any(each.covers(ask.at) and each.person == name for shifts in calendars for each in shifts)


@given(st.floats(1.7e9, 1.9e9), st.floats(0, 5000))
def test_a_restart_asks_nobody_else(began: float, later: float) -> None:
    """It is computed from when the page came alone."""
    people = {name: Person((f"to-{name}",)) for name in "abc"}
    rotation = Rotation("abc", datetime(2026, 1, 1).date(), datetime(2026, 1, 1, 9).time())
    plan = Plan(Routes(), Rota(people, [Level("1", 600, rotation), Level("2", 600, rotation)]))
    history = [(page(), began)]
    more = [*history, (page(2), began + later)]
    assert [plan.told_at(f"to-{n}", history) for n in "abc"] == [plan.told_at(f"to-{n}", more) for n in "abc"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            '"to-ben"',
            '"to-bne"',
            "people.ben.receivers: there is no receiver 'to-bne'; did you mean 'to-ben'?",
        ),
        ("Europe/Berlin", "Europe/Brlin", "timezone: there is no time zone 'Europe/Brlin'"),
        ('"ada", "ben"]', '"ada", "bob"]', "levels[0].people: there is no 'bob'"),
        ("mon 09:00", "someday 09:00", "levels[0].handover: expected one of mon, tue"),
        ("mon 09:00", "mon at nine", "levels[0].handover: expected `mon 09:00` or `09:00`"),
        ("..2026-12-06", "..2026-11-06", "people.ada.away: the last day is before the first"),
        ("..2026-12-06", "..soon", "people.ada.away: Invalid isoformat"),
        (
            'people = ["cyd"]',
            "",
            "levels[1]: expected one of people, calendar, calendar_url_file, got nothing",
        ),
        ('person = "cyd"', 'person = "bob"', "overrides[0].person: there is no 'bob'"),
        ('level = "first"', 'level = "third"', "overrides[0].level: there is no 'third'"),
        ("2026-11-25T09", "2026-11-20T09", "overrides[0].ends: is not after begins"),
        ("next_s = 600", "next_s = -1", "oncall.levels.0.next_s: input should be greater than 0"),
        ("next_s = 600", "wait = 1", "unknown key oncall.levels.0.wait"),
        ("holidays = [", "holidays = [[", "is not TOML"),
        ("since = 2026-11-02\nnext_s = 900", "next_s = 900", "levels[1].since: is missing"),
    ],
)
def test_what_can_not_work_is_one_line_with_file_and_key(
    old: str, new: str, why: str, tmp_path: Path
) -> None:
    assert old in FILE
    with pytest.raises(config.ConfigError) as refused:
        read(FILE.replace(old, new), tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}/oncall.toml: ")
    assert why in said
    assert "\n" not in said


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"pages.oncall_file: No such file or directory: /no/such"):
        reading.read(Path("/no/such"), RECEIVERS, none)
