"""What incidents add up to: rates with intervals, lost time, who was woken, which evictions were right."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from depth import tries
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel import runbooks
from sentinel.core.state import Rules, State
from sentinel.logbook import recording, tally_file
from sentinel.logbook.evictions import Verdict, evictions
from sentinel.logbook.judgement import Judged
from sentinel.logbook.past import Past
from sentinel.logbook.poisson import interval
from sentinel.logbook.report_text import headline, markdown, short
from sentinel.logbook.row import Row
from sentinel.logbook.statistics import Report, report
from sentinel.logbook.tally import Entry, Evicted, Proved, Spent, Watched, merged
from sentinel.logbook.window import Window, WindowError, last_week, moment, zone_of
from sentinel.model.codec import from_plain
from sentinel.model.ids import DAY_S, HOUR_S, IncidentId, JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.past import of_lines

T0 = 1_772_600_767.25
"""2026-03-04 05:06:07.25 UTC"""
ZURICH = ZoneInfo("Europe/Zurich")
RECORDED = sorted((Path(__file__).parents[1] / "incidents").glob("*.jsonl"))
BOOKS = runbooks.load()
MOE = JobId("moe")
QUICK = settings(max_examples=tries(30, 300))


def a_row(number: int, at: float, cause: str = "gpu-lost", node: str = "n1", **rest: object) -> Row:
    fields: dict[str, object] = {
        "stage": "resolved",
        "title": cause,
        "where": node,
        "job": "moe",
        "times": {},
        "steps_lost": None,
        "gpu_seconds_lost": None,
        "evicted": (),
        "suspects": ((node, 0, 0),),
        "words": "",
    }
    return Row(f"I-{number:04}", at, cause=cause, **{**fields, **rest})  # type: ignore[arg-type]


def told_again(path: Path) -> tuple[Past, Window]:
    """Fold a recording; gives what is counted of it, and a window around it."""
    kept = recording.read(path.read_text(), path.name)
    rules = Rules(from_plain(Policy, kept.policy) if kept.policy else Policy(), BOOKS)
    state = State.from_plain(kept.state) if kept.state else State()
    past = of_lines(state, ((line, rules) for line in kept.lines), rules)
    return past, Window(kept.lines[0].fact.at - 1.0, kept.lines[-1].fact.at + 1.0)


# --- of recordings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_each_second_of_a_recorded_job_is_counted_once(path: Path) -> None:
    past, window = told_again(path)
    (job,) = report(past.rows, past.entries, window).jobs
    assert job.training_s + sum(each.seconds for each in job.lost) == pytest.approx(job.elapsed_s)
    spans = [each for each in past.entries if isinstance(each, Spent)]
    assert all(one.end == other.begin for one, other in itertools.pairwise(spans))
    watched = sum(each.end - each.begin for each in past.entries if isinstance(each, Watched))
    assert spans[-1].end - spans[0].begin == pytest.approx(job.elapsed_s)
    assert watched >= job.elapsed_s


@pytest.mark.parametrize("name", ["rank-crash", "rank-hang", "gpu-ecc", "node-cut", "node-lost", "straggler"])
def test_what_an_incident_cost_is_what_its_logbook_entry_says(name: str) -> None:
    (path,) = (path for path in RECORDED if path.stem == name)
    past, window = told_again(path)
    (row,) = (row for row in past.rows if row.cause == name)
    (rate,) = (each for each in report(past.rows, past.entries, window).causes if each.cause == name)
    assert row.gpu_seconds_lost
    assert rate.gpu_hours_lost * HOUR_S == pytest.approx(row.gpu_seconds_lost, rel=0.01)
    assert (rate.count, rate.interruptions) == (1, 1)


def test_an_eviction_is_known_with_its_node_and_its_moment() -> None:
    (path,) = (path for path in RECORDED if path.stem == "gpu-ecc")
    past, window = told_again(path)
    (found,) = report(past.rows, past.entries, window).evictions
    (row,) = past.rows
    assert (found.node, found.incident, found.verdict) == (row.evicted[0], row.incident, Verdict.OPEN)
    assert found.at == pytest.approx(row.opened + row.times["evicted"], abs=0.01)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_tally_that_was_written_is_read_as_it_was(path: Path, tmp_path: Path) -> None:
    past, _ = told_again(path)
    half = len(past.entries) // 2
    tally_file.append(tmp_path, past.entries[:half])
    with (tmp_path / tally_file.NAME).open("ab") as file:
        file.write(b'{"is":"Watched","begin":1,')  # torn by a crash
    tally_file.append(tmp_path, past.entries[half:])
    assert tally_file.read(tmp_path) == past.entries
    assert tally_file.end_of(tmp_path) == max(getattr(each, "end", 0.0) for each in past.entries)


# --- intervals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904), (100, 81.3640, 121.6268)],
)
def test_intervals_are_those_of_garwoods_table(count: int, low: float, high: float) -> None:
    assert interval(count) == pytest.approx((low, high), abs=6e-5)


@QUICK
@given(st.integers(0, 2000), st.floats(0.5, 0.999))
def test_an_interval_holds_its_count_and_is_wider_for_more_confidence(count: int, sure: float) -> None:
    low, high = interval(count, sure)
    assert 0.0 <= low <= count < high
    wide_low, wide_high = interval(count, sure + (1 - sure) / 2)
    assert wide_low <= low
    assert wide_high > high


@QUICK
@given(st.integers(0, 2000))
def test_who_fails_more_often_has_a_higher_interval(count: int) -> None:
    assert all(one < other for one, other in zip(interval(count), interval(count + 1), strict=True))


# --- windows ---------------------------------------------------------------------------------------------

MOMENTS = st.floats(T0 - 400 * DAY_S, T0 + 400 * DAY_S)
ZONES = st.sampled_from(
    [UTC, ZURICH, *map(ZoneInfo, ("America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"))]
)


@st.composite
def cut_windows(draw: st.DrawFn) -> tuple[Window, Window, Window]:
    """A window, and the two into which a moment cuts it."""
    begin, zone = draw(MOMENTS), draw(ZONES)
    length = draw(st.floats(HOUR_S, 60 * DAY_S))
    middle = begin + length * draw(st.floats(0.01, 0.99))
    return (
        Window(begin, begin + length, zone),
        Window(begin, middle, zone),
        Window(middle, begin + length, zone),
    )


@st.composite
def pasts(draw: st.DrawFn, begin: float, cut: float, end: float) -> tuple[list[Row], list[Entry]]:
    """Incidents and spans of one job that lie one after the other; some begin where a window does."""
    edges = st.sampled_from([begin, cut, end])
    moments = draw(st.lists(st.floats(begin - DAY_S, end + DAY_S) | edges, min_size=2, max_size=12))
    moments.sort()
    rows = [
        a_row(
            number, at, draw(st.sampled_from(["gpu-lost", "rank-crash", "unknown"])),
            times={"paged": draw(st.floats(0.0, 9000.0))} if draw(st.booleans()) else {},
        )
        for number, at in enumerate(moments)
    ]  # fmt: skip
    whats = ["training", "start", *(row.incident for row in rows)]
    entries: list[Entry] = []
    for since, until in itertools.pairwise(moments):
        entries.append(Watched(since, until, draw(st.integers(0, 64))))
        entries.append(Spent(since, until, MOE, draw(st.sampled_from(whats)), draw(st.integers(1, 64))))
    return rows, entries


@QUICK
@given(st.data(), cut_windows())
def test_windows_add_up(data: st.DataObject, windows: tuple[Window, Window, Window]) -> None:
    whole, *parts = windows
    rows, entries = data.draw(pasts(whole.since, parts[0].until, whole.until))
    every, halves = report(rows, entries, whole), [report(rows, entries, part) for part in parts]

    def add(what: str) -> float:
        return sum(_number(each, what) for each in halves)

    for what in ("total.count", "pages.count", "pages.at_night", "unknown", "still_open"):
        assert add(what) == _number(every, what)
    for what in ("gpu_days", "pages.nights"):
        assert add(what) == pytest.approx(_number(every, what), abs=1e-6)
    for what in ("training_s", "elapsed_s"):
        of_jobs = [getattr(job, what) for each in halves for job in each.jobs]
        assert sum(of_jobs) == pytest.approx(sum(getattr(job, what) for job in every.jobs), abs=1e-3)
    assert sum(day.incidents for day in every.days) == every.total.count
    assert sum(day.pages for day in every.days) == every.pages.count
    assert sum(each.count for each in every.causes) == every.total.count


def _number(found: object, path: str) -> float:
    for name in path.split("."):
        found = getattr(found, name)
    assert isinstance(found, int | float)
    return found


@QUICK
@given(st.data(), cut_windows())
def test_an_estimate_lies_in_its_interval(
    data: st.DataObject, windows: tuple[Window, Window, Window]
) -> None:
    whole, part, _ = windows
    found = report(*data.draw(pasts(whole.since, part.until, whole.until)), whole)
    for each in (found.total, *found.causes):
        if each.per_1000_gpu_days is not None:
            assert each.low is not None
            assert each.high is not None
            assert each.low <= each.per_1000_gpu_days < each.high
    for job in found.jobs:
        if job.between.hours is not None:
            assert job.between.high is not None
            assert job.between.low <= job.between.hours <= job.between.high
        assert job.training_s + sum(each.seconds for each in job.lost) == pytest.approx(job.elapsed_s)


@given(cut_windows())
def test_a_night_is_counted_where_people_sleep(windows: tuple[Window, Window, Window]) -> None:
    whole = windows[0]
    assert whole.nights == pytest.approx(whole.seconds / DAY_S, abs=1.1)
    days = list(whole.days())
    assert days[0] == datetime.fromtimestamp(whole.since, whole.zone).date()
    assert len(set(days)) == len(days)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-01"])
def test_a_day_on_which_clocks_change_has_a_whole_night(day: str) -> None:
    """From noon to noon there is one, whether it takes eight, nine or ten hours."""
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZURICH)
    before = noon.replace(day=noon.day - 1) if noon.day > 1 else noon.replace(month=5, day=31)
    assert Window(before.timestamp(), noon.timestamp(), ZURICH).nights == pytest.approx(1.0)


@given(MOMENTS, ZONES)
def test_the_last_week_is_from_monday_to_monday_and_over(now: float, zone: ZoneInfo) -> None:
    week = last_week(now, zone)
    ends = [datetime.fromtimestamp(at, zone) for at in (week.since, week.until)]
    assert [(at.weekday(), at.hour) for at in ends] == [(0, 0), (0, 0)]
    assert week.until <= now < week.until + 7 * DAY_S + HOUR_S
    assert len(list(week.days())) == 7
    assert week.nights == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("7d", T0 - 7 * DAY_S),
        ("90m", T0 - 5400.0),
        ("2w", T0 - 14 * DAY_S),
        ("now", T0),
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=ZURICH).timestamp()),
        ("2026-03-04 05:06", datetime(2026, 3, 4, 5, 6, tzinfo=ZURICH).timestamp()),
        ("2026-03-04T05:06Z", datetime(2026, 3, 4, 5, 6, tzinfo=UTC).timestamp()),
    ],
)
def test_a_moment_is_read_where_people_are(text: str, at: float) -> None:
    assert moment(text, T0, ZURICH) == pytest.approx(at)


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-3d", "2026-13-01", "2026-02-30", "99999999d"])
def test_a_time_without_sense_is_one_line(text: str) -> None:
    with pytest.raises(WindowError, match=r"^expected [^\n]+$"):
        moment(text, T0, UTC)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "\0", "x" * 5000])
def test_a_zone_that_does_not_exist_is_one_line(name: str) -> None:
    with pytest.raises(WindowError, match=r"^no time zone [^\n]{,200}$"):
        zone_of(name)


def test_a_window_ends_after_it_begins() -> None:
    with pytest.raises(WindowError, match="before it begins"):
        Window(T0, T0)


# --- evictions -------------------------------------------------------------------------------------------

ID, NODE = IncidentId("I-0001"), NodeId("n1")
OUT = Evicted(T0, NODE, ID)


def proved(result: str, *repairs: str, after: float = 1.0) -> Proved:
    return Proved(T0 + after, NODE, ID, result, repairs)


def says(what: str, after: float = 1.0) -> Judged:
    return Judged(T0 + after, ID, what, "ann", "its twin did it")


@pytest.mark.parametrize(
    ("then", "verdict"),
    [
        pytest.param([], Verdict.OPEN, id="nobody knows"),
        pytest.param([proved("passed")], Verdict.WRONG, id="it passes every test: that counts against us"),
        pytest.param([proved("failed")], Verdict.RIGHT, id="it fails"),
        pytest.param([proved("failed"), proved("passed")], Verdict.RIGHT, id="it failed before it passed"),
        pytest.param([proved("passed", "gpu-reset")], Verdict.RIGHT, id="it passes after a repair"),
        pytest.param([proved("could not be run")], Verdict.OPEN, id="nothing was proved"),
        pytest.param([says("not-node"), proved("failed")], Verdict.WRONG, id="people know better"),
        pytest.param([proved("passed"), says("right")], Verdict.RIGHT, id="people know better, either way"),
        pytest.param([says("right"), says("not-node")], Verdict.WRONG, id="people's newest word"),
        pytest.param([says("not-node"), says("not-cause")], Verdict.WRONG, id="both stand"),
        pytest.param([says("not-node"), says("right")], Verdict.RIGHT, id="taken back"),
        pytest.param([says("not-cause")], Verdict.OPEN, id="another cause may be that node's, too"),
    ],
)
def test_an_eviction_is_judged(then: list[Entry], verdict: Verdict) -> None:
    (found,) = evictions([a_row(1, T0, evicted=("n1",))], [OUT, *then])
    assert (found.node, found.cause, found.verdict) == ("n1", "gpu-lost", verdict)
    assert bool(found.why) == (verdict is not Verdict.OPEN)


def test_an_older_releases_eviction_is_known_by_its_row() -> None:
    (found,) = evictions([a_row(1, T0, evicted=("n1",), times={"evicted": 2.0})], [])
    assert (found.at, found.node) == (T0 + 2.0, "n1")


# --- words -----------------------------------------------------------------------------------------------


def a_week() -> Report:
    rows = [
        a_row(1, T0, times={"paged": 0.1, "new_step": 1.5}, evicted=("n1",), refused=1),
        a_row(2, T0 + DAY_S, times={"paged": 0.1, "new_step": 2.5}, again=(9.0,)),
        a_row(3, T0 + 2 * DAY_S, "rank-crash", "n2", part_of="I-0001"),
        a_row(4, T0 + 3 * DAY_S, "unknown", "n2", stage="open"),
    ]
    entries: list[Entry] = [
        Watched(T0 - DAY_S, T0 + 6 * DAY_S, 16),
        Spent(T0 - DAY_S, T0, MOE, "training", 8),
        Spent(T0, T0 + HOUR_S, MOE, "I-0001", 8),
        Spent(T0 + HOUR_S, T0 + 6 * DAY_S, MOE, "training", 8),
        OUT,
        proved("passed"),
        Judged(T0 + 5.0, IncidentId("I-0002"), "not-cause", "bob", "a cable"),
    ]
    return report(rows, entries, Window(T0 - DAY_S, T0 + 6 * DAY_S, ZURICH), "blue")


def test_a_report_says_all_of_it() -> None:
    text = markdown(a_week())
    for part in (
        "# Report of blue",
        "2026-03-03 06:06 CET to 2026-03-10 06:06 CET",
        "| Incidents | 3, 1 not resolved |",
        "| GPU-days watched | 112 |",
        "| Failures per 1,000 GPU-days | 26.8 (5.52 to 78.3) |",
        "| GPU-hours lost to incidents | 8 |",
        "| Cause not known | 1 |",
        "| Pages | 2, 2 at night, 0.29 a night |",
        "| Evictions | 1: 0 right, 1 wrong, 0 not known; 1 actions refused |",
        "| `gpu-lost` | 2 | 17.9 (2.16 to 64.5) | 1 | 8 |",
        "**moe** trained 99.4% of 7 d 0 h (effective training time).",
        "| `gpu-lost` | 1 h 00 min | 0.6% | 1 |",
        "| first new step | 3 | 2.50 s | 7.70 s | 9.00 s |",
        "| n1 | I-0001, I-0002 | gpu-lost 2 times | 0 | 1 |",
        "| wrong | passed every test, and nothing had been repaired |",
        "- I-0002: not this cause, says bob: a cable",
    ):
        assert part in text
    assert "\n\n\n" not in text


def test_a_short_report_fits_a_channel() -> None:
    lines = short(a_week(), "http://head:7800/report").splitlines()
    assert lines[0].endswith(f": {headline(a_week())}")
    assert "Causes: gpu-lost 2, unknown 1" in lines
    assert lines[-1] == "http://head:7800/report"
    assert len("\n".join(lines)) < 1000


def test_a_week_without_anything_is_said_to_be_one() -> None:
    text = markdown(report([], [], Window(T0, T0 + DAY_S), "blue"))
    assert "**no incident**" in text
    assert "No job ran." in text
    assert "for 100.0% of this time nobody watched" in text


@QUICK
@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.integers(0, 2)), max_size=20))
def test_joining_spans_changes_no_sum(parts: Sequence[tuple[float, int]]) -> None:
    at, spans = T0, list[Entry]()
    for length, gpus in parts:
        spans.append(Watched(at, at + length, gpus))
        at += length
    joined = merged(spans)
    window = Window(T0 - 1, T0 + 3000.0)
    assert report([], joined, window).gpu_days == pytest.approx(report([], spans, window).gpu_days)
    assert all(
        one.gpus != other.gpus
        for one, other in itertools.pairwise(joined)
        if isinstance(one, Watched) and isinstance(other, Watched)
    )
