"""What the logbook's incidents add up to over a piece of time: pure functions over rows and the tally."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median, quantiles

from msgspec import Struct

from sentinel.logbook.evictions import Eviction, evictions
from sentinel.logbook.judgement import Judged, standing
from sentinel.logbook.poisson import interval
from sentinel.logbook.row import STAGES, Row
from sentinel.logbook.tally import TRAINING, Entry, Spent, Watched
from sentinel.logbook.window import Window
from sentinel.model.idleness import STOPPED
from sentinel.model.ids import DAY_S, HOUR_S, Instant, Seconds
from sentinel.model.incident import UNKNOWN
from sentinel.model.judgement import RIGHT

PER_GPU_DAYS = 1000.0
REPEATS = 2
"""A node that is blamed for so many incidents is a repeat offender."""
UNDIAGNOSED = "not diagnosed"


class Rate(Struct, frozen=True):
    """How often something failed, with what chance alone would allow (95%, exact Poisson)."""

    cause: str
    count: int
    per_1000_gpu_days: float | None
    """None where no GPU was watched."""
    low: float | None
    high: float | None
    interruptions: int = 0
    """Of these, how many kept a job from training."""
    gpu_hours_lost: float = 0.0
    incidents: tuple[str, ...] = ()


class Between(Struct, frozen=True):
    """Mean time between what interrupted a job's training."""

    interruptions: int
    hours: Seconds | None
    """None without one; `low` says then how long it is at least."""
    low: float
    high: float | None
    """None: nothing says that it is not longer."""


class Lost(Struct, frozen=True):
    """What a job's time was lost to."""

    to: str
    """A cause, or a word of `model.idleness`."""
    seconds: Seconds
    share: float
    incidents: int = 0


class JobTime(Struct, frozen=True):
    """What one job's time went into."""

    job: str
    elapsed_s: Seconds
    training_s: Seconds
    effective: float | None
    """Training of the elapsed time (ETTR); None without any."""
    between: Between
    lost: tuple[Lost, ...]
    """The most first."""


class StageTime(Struct, frozen=True):
    """How long incidents took from their opening to a stage, in seconds."""

    stage: str
    count: int
    median: Seconds
    p90: Seconds
    most: Seconds


class Offender(Struct, frozen=True):
    """A node that was blamed again and again."""

    node: str
    incidents: tuple[str, ...]
    causes: Mapping[str, int]
    gpus: tuple[int, ...]
    evicted: int


class Pages(Struct, frozen=True):
    """How often people were told of an incident, and how often at night."""

    count: int
    at_night: int
    nights: float
    per_night: float | None


class Day(Struct, frozen=True):
    """One day of the report."""

    day: str
    incidents: int
    pages: int


class Report(Struct, frozen=True):
    """All of it. Times are epoch seconds, durations seconds, where the name says nothing else."""

    cluster: str
    since: Instant
    until: Instant
    begins: str
    ends: str
    gpu_days: float
    watched: float
    """Share of the time of which the tally knows."""
    total: Rate
    causes: tuple[Rate, ...]
    """The most frequent first."""
    unknown: int
    still_open: int
    jobs: tuple[JobTime, ...]
    recovery: tuple[StageTime, ...]
    offenders: tuple[Offender, ...]
    pages: Pages
    evictions: tuple[Eviction, ...]
    refused: int
    """Actions that a guard refused."""
    doubted: tuple[Judged, ...]
    """Diagnoses that people called wrong."""
    days: tuple[Day, ...]
    notes: tuple[str, ...]
    """What is an estimate, and what is not known."""


def report(rows: Iterable[Row], entries: Iterable[Entry], window: Window, cluster: str = "") -> Report:
    """Add up what lies in a window: an incident counts where it was opened, time where it passed."""
    every, told = sorted(rows, key=lambda row: (row.opened, row.incident)), list(entries)
    mine = [row for row in every if row.opened in window and not row.part_of]
    watched = [each for each in told if isinstance(each, Watched)]
    spent = [each for each in told if isinstance(each, Spent)]
    gpu_days = sum(each.gpus * window.overlap(each.begin, each.end) for each in watched) / DAY_S
    known = sum(window.overlap(each.begin, each.end) for each in watched) / window.seconds
    lost = _gpu_hours(spent, window)
    broke = _interrupting(mine, spent)
    by_cause: defaultdict[str, list[Row]] = defaultdict(list)
    for row in mine:
        by_cause[row.cause or UNDIAGNOSED].append(row)
    rates = [_rate(cause, found, gpu_days, lost, broke) for cause, found in by_cause.items()]
    return Report(
        cluster=cluster,
        since=window.since,
        until=window.until,
        begins=window.say(window.since),
        ends=window.say(window.until),
        gpu_days=gpu_days,
        watched=known,
        total=_rate("all", mine, gpu_days, lost, broke),
        causes=tuple(sorted(rates, key=lambda rate: (-rate.count, rate.cause))),
        unknown=len(by_cause[UNKNOWN]) + len(by_cause[UNDIAGNOSED]),
        still_open=sum(row.stage != "resolved" for row in mine),
        jobs=tuple(_jobs(every, spent, window)),
        recovery=tuple(_recovery(mine)),
        offenders=tuple(_offenders(mine)),
        pages=_pages(every, window),
        evictions=tuple(each for each in evictions(every, told) if each.at in window),
        refused=sum(row.refused for row in mine),
        doubted=_doubted(mine, told),
        days=tuple(_days(every, window)),
        notes=tuple(_notes(mine, known)),
    )


def _rate(
    cause: str, rows: Sequence[Row], gpu_days: float, lost: Mapping[str, float], broke: set[str]
) -> Rate:
    count, exposure = len(rows), gpu_days / PER_GPU_DAYS
    low, high = interval(count)
    names = tuple(row.incident for row in rows)
    return Rate(
        cause,
        count,
        count / exposure if exposure else None,
        low / exposure if exposure else None,
        high / exposure if exposure else None,
        sum(name in broke for name in names),
        sum(lost.get(name, 0.0) for name in names),
        names,
    )


def _gpu_hours(spent: Iterable[Spent], window: Window) -> Mapping[str, float]:
    """Give the GPU-hours that were lost in the window to each incident."""
    lost: defaultdict[str, float] = defaultdict(float)
    for each in spent:
        lost[each.on] += each.ranks * window.overlap(each.begin, each.end) / HOUR_S
    return lost


def _interrupting(rows: Iterable[Row], spent: Iterable[Spent]) -> set[str]:
    """Name the incidents that kept a job from training, by the tally, or by their own stages."""
    names = {each.on for each in spent}
    return {row.incident for row in rows if row.incident in names or row.gpu_seconds_lost is not None}


def _jobs(rows: Sequence[Row], spent: Sequence[Spent], window: Window) -> Iterable[JobTime]:
    causes = {row.incident: row.cause or UNDIAGNOSED for row in rows}
    names = dict.fromkeys(each.job for each in spent if window.overlap(each.begin, each.end))
    for job in names:
        seconds: defaultdict[str, Seconds] = defaultdict(float)
        incidents: defaultdict[str, set[str]] = defaultdict(set)
        for each in spent:
            if each.job != job or not (part := window.overlap(each.begin, each.end)):
                continue
            # An incident of which the logbook has no row any more is of a cause that nobody knows.
            to = causes.get(each.on, UNKNOWN if each.on.startswith("I-") else each.on)
            seconds[to] += part
            if each.on in causes:
                incidents[to].add(each.on)
        training, elapsed = seconds.pop(TRAINING, 0.0), sum(seconds.values(), 0.0)
        elapsed += training
        lost = [Lost(to, took, took / elapsed, len(incidents[to])) for to, took in seconds.items()]
        mine = [row for row in rows if row.job == job and row.opened in window and not row.part_of]
        between = _between(len(_interrupting(mine, spent)), elapsed - seconds.get(STOPPED, 0.0))
        yield JobTime(
            job,
            elapsed,
            training,
            training / elapsed if elapsed else None,
            between,
            tuple(sorted(lost, key=lambda each: (-each.seconds, each.to))),
        )


def _between(count: int, elapsed: Seconds) -> Between:
    low, high = interval(count)
    hours = elapsed / HOUR_S
    return Between(count, hours / count if count else None, hours / high, hours / low if count else None)


def _recovery(rows: Sequence[Row]) -> Iterable[StageTime]:
    for stage, words in STAGES.items():
        named = [row for row in rows if stage != "diagnosed" or row.cause != UNKNOWN]
        values = [row.times[stage] for row in named if stage in row.times]
        if stage == "new_step":
            values = [row.times[stage] + row.unseen for row in rows if stage in row.times]
            values += [again for row in rows for again in row.again]
        if values and stage != "detected":
            p90 = quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
            yield StageTime(words, len(values), median(values), p90, max(values))


def _offenders(rows: Sequence[Row]) -> list[Offender]:
    blamed: defaultdict[str, list[Row]] = defaultdict(list)
    gpus: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        for node in dict.fromkeys(node for node, _, _ in row.suspects if node):
            blamed[node].append(row)
            gpus[node] |= {
                gpu for name, _, gpu in row.suspects if name == node and gpu is not None and gpu >= 0
            }
    found = [
        Offender(
            node,
            tuple(row.incident for row in mine),
            Counter(row.cause or UNDIAGNOSED for row in mine),
            tuple(sorted(gpus[node])),
            sum(node in row.evicted for row in mine),
        )
        for node, mine in blamed.items()
        if len(mine) >= REPEATS
    ]
    return sorted(found, key=lambda each: (-len(each.incidents), each.node))


def _paged(rows: Iterable[Row], window: Window) -> list[Instant]:
    at = (row.opened + row.times["paged"] for row in rows if "paged" in row.times)
    return [each for each in at if each in window]


def _pages(rows: Iterable[Row], window: Window) -> Pages:
    paged, nights = _paged(rows, window), window.nights
    at_night = sum(map(window.is_night, paged))
    return Pages(len(paged), at_night, nights, at_night / nights if nights else None)


def _doubted(rows: Sequence[Row], entries: Iterable[Entry]) -> tuple[Judged, ...]:
    """Give people's words that a diagnosis is wrong, as far as they stand."""
    said: defaultdict[str, list[Judged]] = defaultdict(list)
    for each in entries:
        if isinstance(each, Judged):
            said[each.incident].append(each)
    stands = (each for row in rows for each in standing(said[row.incident]))
    return tuple(each for each in stands if each.what != RIGHT)


def _days(rows: Sequence[Row], window: Window) -> Iterable[Day]:
    opened = Counter(window.day(row.opened) for row in rows if row.opened in window and not row.part_of)
    paged = Counter(map(window.day, _paged(rows, window)))
    for day in window.days():
        yield Day(day.isoformat(), opened[day], paged[day])


def _notes(rows: Sequence[Row], known: float) -> Iterable[str]:
    yield (
        "GPU-days are estimated: GPUs of the nodes that reported, times how long they did; cordoned nodes "
        "count, and what was so before a controller was away for less than two hours counts on meanwhile"
    )
    if known < 1.0 - 1e-6:
        lacks = f"for {1.0 - known:.1%} of this time nobody watched, or nothing is known of it any more"
        yield f"{lacks}: it counts nowhere"
    if any(row.cause == UNKNOWN or not row.cause for row in rows):
        yield "incidents whose cause nobody knows count as failures, too"
    yield "when people were told is when a page was opened: a receiver's routes may keep it until the morning"
