"""InfiniBand and RoCE ports: down, slower than they were, flapping, gone, or counting errors."""

import re
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sentinel.checks._kept import Counter, counted, remembered
from sentinel.checks._sysfs import UnreadableError, entries, number, text
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

SYS = Path("/sys")
DOWN_S = 10.0
"""A link that heals within 7 s is not noticed by NCCL, one that stays down longer ends its connections."""
FLAP_WINDOW_S = 300.0
FLAPS = 2
"""Drops within the window from which on a port flaps; one that heals is none."""
FLAP_HOLD_S = 3600.0
"""For so long after its last flap a port counts as flapping: it is quiet between two."""
GONE_LOOKS = 3
"""A device is gone if so many looks in a row miss it (NVSentinel)."""
SIBLINGS = 2
"""From so many faster ports of the same kind on, a port is slower than it should be."""
ACTIVE = "ACTIVE"
DISABLED = "Disabled"
DOWNED = "link_downed"
_STATE = re.compile(r"\d{1,2}: ?([A-Za-z_ ]{1,40})")
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) Gb/sec\b")
_BYTES_PER_GBIT = 1e9 / 8
Evidence = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a counter may grow in a window before it says something."""

    counter: str
    most: int
    window_s: float
    code: str = "port-errors"


LIMITS = (
    Limit("symbol_error", 120, 3600.0),
    Limit("link_error_recovery", 5, 60.0),
    Limit("excessive_buffer_overrun_errors", 0, 3600.0),
    Limit("local_link_integrity_errors", 0, 3600.0),
    Limit("port_rcv_errors", 600, 60.0),
    Limit("port_xmit_discards", 6000, 60.0),
    Limit("rnr_nak_retry_err", 0, 300.0, "port-retries"),
    Limit("local_ack_timeout_err", 60, 60.0, "port-retries"),
    Limit("roce_slow_restart", 600, 60.0, "port-retries"),
)
"""The rates at which NVSentinel calls a link bad, held for a minute where they are per second. Retries are a
code of their own: they rise at a healthy port when its peer's process dies. InfiniBand's port counters are
narrow (8 bits for `link_downed`) and stay at their highest value: then they say nothing more."""


class Known(msgspec.Struct):
    """What is remembered of a port that was active in this boot; times are the monotonic clock's."""

    best_gbps: float
    down_since: float | None = None
    drops: list[float] = []
    flapped_at: float | None = None
    missed: int = 0
    """Looks in a row that did not find it."""


class Memory(msgspec.Struct):
    """What the check remembers."""

    ports: dict[str, Known] = {}
    counters: dict[str, Counter] = {}


@dataclass(frozen=True, slots=True)
class PortSample:
    """One port, now and in its past of this boot."""

    name: str
    """`mlx5_0/1`: device and port."""
    kind: str = ""
    """Link layer and board of the adapter: ports of one kind should be alike."""
    state: str = ""
    physical: str = ""
    gbps: float | None = None
    """None while it is not active."""
    best_gbps: float = 0.0
    """The most that it had in this boot; 0 if it was never active."""
    down_s: float = 0.0
    """For how long one that was active is not."""
    drops: int = 0
    """Within `FLAP_WINDOW_S`."""
    flaps: bool = False
    missed: int = 0
    grown: Mapping[str, int] = field(default_factory=dict)
    """By counter, within the window of its limit."""
    new: Mapping[str, int] = field(default_factory=dict)
    """By counter, since the last look."""
    error: str = ""
    """Why it can't be judged."""


def measure(machine: Machine) -> tuple[PortSample, ...]:
    """Read every port, and remember what it was."""
    with remembered(machine.kept, "ports", Memory) as memory:
        return look(SYS, memory, time.monotonic())


def look(root: Path, memory: Memory, now: float) -> tuple[PortSample, ...]:
    """Read every port below `root`. Raises UnreadableError where not even their names can be read."""
    found = {f"{port.parent.parent.name}/{port.name}": port for port in _ports(root)}
    samples = [_sample(name, port, memory, now) for name, port in found.items()]
    return (*samples, *(_missing(name, memory.ports[name]) for name in memory.ports if name not in found))


def _ports(root: Path) -> Iterator[Path]:
    for device in entries(root / "class/infiniband"):
        if not (device / "device/physfn").exists():  # a virtual function comes and goes with its guest
            yield from entries(device / "ports")


def _sample(name: str, port: Path, memory: Memory, now: float) -> PortSample:
    try:
        state, physical = _word(port / "state"), _word(port / "phys_state")
        gbps = _gbps(port / "rate") if state == ACTIVE else None
        values = {each: number(_counter(port, each)) for each in (*_names(), DOWNED)}
        kind = f"{text(port / 'link_layer')} {text(port.parent.parent / 'board_id')}"
    except UnreadableError as error:
        return PortSample(name, error=str(error))
    new = {}
    for each, value in values.items():
        if value is not None:
            new[each] = counted(memory.counters, f"{name} {each}", value, now)[1]
    known = _remember(name, memory, gbps, new.get(DOWNED, 0), now)
    return PortSample(
        name,
        kind,
        state,
        physical,
        gbps,
        known.best_gbps if known else 0.0,
        now - known.down_since if known and known.down_since is not None else 0.0,
        len(known.drops) if known else 0,
        flaps=known is not None and known.flapped_at is not None,
        grown=_grown(name, memory, now),
        new=new,
    )


def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(limit.counter for limit in LIMITS))


def _counter(port: Path, name: str) -> Path:
    standard = port / "counters" / name
    return standard if standard.exists() else port / "hw_counters" / name


def _grown(name: str, memory: Memory, now: float) -> dict[str, int]:
    known = ((limit, memory.counters.get(f"{name} {limit.counter}")) for limit in LIMITS)
    return {limit.counter: counter.within(limit.window_s, now) for limit, counter in known if counter}


def _remember(name: str, memory: Memory, gbps: float | None, downed: int, now: float) -> Known | None:
    """Keep what a port is; None for one that was never active: nobody may have put a cable in."""
    known = memory.ports.get(name)
    if known is None:
        if gbps is not None:
            memory.ports[name] = known = Known(gbps)
        return known
    was_down, known.missed = known.down_since is not None, 0
    if gbps is None:
        known.down_since = known.down_since if known.down_since is not None else now
    else:
        known.best_gbps, known.down_since = max(known.best_gbps, gbps), None
    # what the counter adds while the port is down is the drop that is known already
    drops = downed - 1 if was_down else max(downed, int(gbps is None))
    recent = [at for at in known.drops if at > now - FLAP_WINDOW_S]
    known.drops = [*recent, *[now] * drops][-FLAPS:]
    if drops > 0 and len(known.drops) >= FLAPS:
        known.flapped_at = now
    elif known.flapped_at is not None and known.flapped_at <= now - FLAP_HOLD_S:
        known.flapped_at = None
    return known


def _missing(name: str, known: Known) -> PortSample:
    known.missed += 1
    return PortSample(name, best_gbps=known.best_gbps, missed=known.missed)


def _word(path: Path) -> str:
    """Read a state such as `4: ACTIVE`."""
    found = text(path)
    if (said := _STATE.fullmatch(found or "")) is None:
        raise UnreadableError(f"{path}: {found!r:.40} is no state")
    return said[1].strip()


def _gbps(path: Path) -> float:
    """Read a rate such as `400 Gb/sec (4X NDR)`."""
    found = text(path)
    if (said := _RATE.match(found or "")) is None:
        raise UnreadableError(f"{path}: {found!r:.40} is no rate")
    return float(said[1])


def judge(ports: Sequence[PortSample]) -> Iterator[Finding]:
    """One finding for each thing that is wrong with a port.

    Critical is only what happens to the node's fastest ports, which carry the collectives. Others serve
    storage or administration: their trouble has codes that no runbook knows, and stands beside the rest.
    """
    if not ports:
        yield skipped("ports", "no InfiniBand or RoCE port is here")
    best = max((port.best_gbps for port in ports), default=0.0)
    for port in ports:
        if port.error:
            yield _finding(port, "port-unreadable", Health.UNKNOWN, f"can't be read: {port.error}", {})
            continue
        health, prefix = (Health.CRITICAL, "") if port.best_gbps == best else (Health.WARNING, "other-")
        for code, said, evidence in _troubles(port):
            yield _finding(port, prefix + code, health, said, evidence)
        yield from _judge_counters(port)
        yield from _judge_rate(port, ports)


def _troubles(port: PortSample) -> Iterator[tuple[str, str, Evidence]]:
    """Give what became of a port that worked: code, words and evidence."""
    if port.missed >= GONE_LOOKS:
        yield "port-gone", "was there and is gone", {"best_gbps": port.best_gbps}
    if port.down_s >= DOWN_S:
        evidence: Evidence = {
            "state": port.state,
            "physical": port.physical,
            "down_s": round(port.down_s, 1),
        }
        yield "port-down", f"is down ({port.physical})", evidence
    if port.flaps:
        said = f"goes down again and again: {FLAPS} times within {FLAP_WINDOW_S:.0f} s"
        yield "port-flapping", said, {"drops": port.drops}
    if port.gbps is not None and port.gbps < port.best_gbps:
        evidence = {"gbps": port.gbps, "before_gbps": port.best_gbps}
        yield "port-slow", f"runs at {port.gbps:g} Gb/s, it had {port.best_gbps:g}", evidence


def _judge_counters(port: PortSample) -> Iterator[Finding]:
    for code in dict.fromkeys(limit.code for limit in LIMITS):
        over = {each.counter for each in _exceeded(port) if each.code == code}
        if over:
            what = "retransmits" if code == "port-retries" else "counts errors"
            grown = {name: port.grown[name] for name in sorted(over)}
            yield _finding(port, code, Health.WARNING, f"{what}: {', '.join(grown)}", grown)


def _judge_rate(port: PortSample, ports: Sequence[PortSample]) -> Iterator[Finding]:
    """Compare one that is as fast as ever with its likes: somebody may have wanted it so."""
    if port.gbps is None or port.gbps < port.best_gbps:
        return
    rates = Tally(each.gbps for each in ports if each.kind == port.kind and each.gbps is not None)
    usual, many = max(rates.items(), key=lambda each: (each[1], each[0]))
    if many >= SIBLINGS and port.gbps < usual:
        evidence = {"gbps": port.gbps, "others_gbps": usual}
        said = f"runs at {port.gbps:g} Gb/s, {many} others of its kind at {usual:g}"
        yield _finding(port, "port-slower", Health.WARNING, said, evidence)


def _exceeded(port: PortSample) -> Iterator[Limit]:
    return (limit for limit in LIMITS if port.grown.get(limit.counter, 0) > limit.most)


def _finding(port: PortSample, code: str, health: Health, said: str, evidence: Evidence) -> Finding:
    return Finding("ports", code, f"port:{port.name}", health, f"port {port.name} {said}", evidence)


def metrics(ports: Sequence[PortSample]) -> dict[Series, float]:
    """Whether each port is active, and at what rate; one that is gone is exported as down."""
    gauges: dict[Series, float] = {}
    for port in ports:
        if not port.error:
            rate = (port.gbps or 0.0) * _BYTES_PER_GBIT
            gauges[series("port_active", port=port.name)] = float(port.gbps is not None)
            gauges[series("port_rate_bytes_per_second", port=port.name)] = rate
    return gauges


def counts(ports: Sequence[PortSample]) -> dict[Series, int]:
    """Growth of each counter that a port has."""
    return {
        series("port_errors_total", port=port.name, counter=name): growth
        for port in ports
        for name, growth in port.new.items()
    }


CHECK = Check(
    "ports",
    every=5.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("port-down", "port-errors"),
    metrics=metrics,
    counts=counts,
    of_this_host=True,
)
