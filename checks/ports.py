"""InfiniBand and RoCE ports: down, slower than they were, flapping, gone, or counting errors."""

import re
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from sentinel.checks._kept import Counter, counted, remembered
from sentinel.checks._links import NEVER_UP, Link, Past, missed, remember, troubles
from sentinel.checks._sysfs import UnreadableError, entries, number, text
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

SYS = Path("/sys")
SIBLINGS = 2
"""From so many faster ports of the same kind on, a port is slower than it should be."""
ACTIVE = "ACTIVE"
ETHERNET = "Ethernet"
DOWNED = "link_downed"
IFF_UP = 0x1
"""Of the flags of a network interface: somebody has switched it on."""
_STATE = re.compile(r"\d{1,2}: ?([A-Za-z_ ]{1,40})")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,8}")
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


class Memory(msgspec.Struct):
    """What the check remembers."""

    ports: dict[str, Link] = {}
    devices: dict[str, str] = {}
    """Where in /sys the device of each port is."""
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
    past: Past = NEVER_UP
    grown: Mapping[str, int] = field(default_factory=dict)
    """By counter, within the window of its limit."""
    new: Mapping[str, int] = field(default_factory=dict)
    """By counter, since the last look."""
    bonded: bool = False
    """It is part of an Ethernet bond that goes on without it."""
    elsewhere: bool = False
    """It has another name now, or a container has it."""
    error: str = ""
    """Why it can't be judged."""
    is_only_look: bool = False
    """Somebody looks by hand: nothing is known of before."""


def measure(machine: Machine) -> tuple[PortSample, ...]:
    """Read every port, and remember what it was."""
    with remembered(machine.kept, "ports", Memory) as memory:
        samples = look(SYS, memory, time.monotonic())
    return samples if machine.kept else tuple(replace(each, is_only_look=True) for each in samples)


def look(root: Path, memory: Memory, now: float) -> tuple[PortSample, ...]:
    """Read every port below `root`. Raises UnreadableError where not even their names can be read."""
    found = {f"{port.parent.parent.name}/{port.name}": port for port in _ports(root)}
    samples = [_sample(name, port, memory, now) for name, port in found.items()]
    memory.devices |= {name: str(_device(port).resolve()) for name, port in found.items()}
    away = [
        name
        for name in sorted({*memory.ports} - {*found})
        if _is_elsewhere(Path(memory.devices.get(name, root)))
    ]
    samples += [PortSample(name, past=_begun_anew(name, memory), elsewhere=True) for name in away]
    gone = missed(memory.ports, {*found, *away})
    return (*samples, *(PortSample(name, past=past) for name, past in gone.items()))


def _ports(root: Path) -> Iterator[Path]:
    for device in entries(root / "class/infiniband"):
        # a virtual function comes and goes with its guest, or, as its host likes, behind a port of the guest
        is_virtual = (device / "device/physfn").exists()
        if not is_virtual and not any((nic / "master/device").exists() for nic in _nics(device / "device")):
            yield from entries(device / "ports")


def _device(port: Path) -> Path:
    return port.parent.parent / "device"


def _is_elsewhere(device: Path) -> bool:
    """Say whether a port that is missed has another name now, or is not to be seen from here.

    Where both Ethernet ports of an adapter form a bond, its driver gives one RDMA device for both instead of
    two; and one that a container was given exclusively is listed in its network namespace alone.
    """
    return (device / "infiniband").exists() or any((nic / "master/bonding").exists() for nic in _nics(device))


def _begun_anew(name: str, memory: Memory) -> Past:
    """Forget what became of a port, and not how fast it was: that says which ports carry the collectives."""
    memory.counters.pop(f"{name} {DOWNED}", None)
    if (link := memory.ports.get(name)) is None:
        return NEVER_UP
    memory.ports[name] = Link(link.best)
    return Past(link.best)


def _nics(device: Path) -> list[Path]:
    return entries(device / "net")


def _is_off(device: Path) -> bool:
    """Say whether somebody has switched its Ethernet ports off, as when a container gives one back."""
    flags = [text(nic / "flags") or "" for nic in _nics(device)]
    known = [int(each, 16) for each in flags if _HEX.fullmatch(each)]
    return bool(known) and not any(each & IFF_UP for each in known)


def _is_bonded(device: Path) -> bool:
    masters = [nic / "master" for nic in _nics(device) if (nic / "master/bonding").exists()]
    return any(text(master / "operstate") == "up" for master in masters)


def _sample(name: str, port: Path, memory: Memory, now: float) -> PortSample:
    try:
        state, physical = _word(port / "state"), _word(port / "phys_state")
        gbps = _gbps(port / "rate") if state == ACTIVE else None
        values = {each: number(_counter(port, each)) for each in (*_names(), DOWNED)}
        layer = text(port / "link_layer")
        kind = f"{layer} {text(port.parent.parent / 'board_id')}"
        is_roce = layer == ETHERNET  # of InfiniBand the interface is IPoIB's, on which no collective depends
        bonded = is_roce and _is_bonded(_device(port))
        off = is_roce and gbps is None and _is_off(_device(port))
    except UnreadableError as error:
        return PortSample(name, error=str(error))
    new = {}
    for each, value in values.items():
        if value is not None:
            new[each] = counted(memory.counters, f"{name} {each}", value, now)[1]
    past = (
        _begun_anew(name, memory)  # that it is down is meant so
        if off
        else remember(memory.ports, name, gbps, new.get(DOWNED, 0), now)
    )
    return PortSample(name, kind, state, physical, gbps, past, _grown(name, memory, now), new, bonded)


def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(limit.counter for limit in LIMITS))


def _counter(port: Path, name: str) -> Path:
    standard = port / "counters" / name
    return standard if standard.exists() else port / "hw_counters" / name


def _grown(name: str, memory: Memory, now: float) -> dict[str, int]:
    known = ((limit, memory.counters.get(f"{name} {limit.counter}")) for limit in LIMITS)
    return {limit.counter: counter.within(limit.window_s, now) for limit, counter in known if counter}


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
    storage or administration: their trouble has codes that no runbook knows, and stands beside the rest, as
    does that of a port whose bond goes on without it (`bond-degraded` of the check `ethernet`).
    """
    if not ports:
        yield skipped("ports", "no InfiniBand or RoCE port is here")
    best = max((port.past.best for port in ports), default=0.0)
    for port in ports:
        if port.error:
            yield _finding(port, "port-unreadable", Health.UNKNOWN, f"can't be read: {port.error}", {})
            continue
        carries = port.past.best == best and not port.bonded
        health, prefix = (Health.CRITICAL, "") if carries else (Health.WARNING, "other-")
        for trouble in troubles(port.past, port.gbps, "Gb/s", port.physical):
            yield _finding(port, f"{prefix}port-{trouble.code}", health, trouble.said, trouble.evidence)
        if port.is_only_look and port.gbps is None:
            said = f"is not active ({port.physical}): is there to be a cable in it?"
            yield _finding(port, "port-inactive", Health.WARNING, said, {"state": port.state})
        yield from _judge_counters(port)
        yield from _judge_rate(port, ports)


def _judge_counters(port: PortSample) -> Iterator[Finding]:
    for code in dict.fromkeys(limit.code for limit in LIMITS):
        over = {each.counter for each in _exceeded(port) if each.code == code}
        if over:
            what = "retransmits" if code == "port-retries" else "counts errors"
            grown = {name: port.grown[name] for name in sorted(over)}
            yield _finding(port, code, Health.WARNING, f"{what}: {', '.join(grown)}", grown)


def _judge_rate(port: PortSample, ports: Sequence[PortSample]) -> Iterator[Finding]:
    """Compare one with its likes for a person who looks: one that never was faster may be wanted so.

    A warning about it would stand for good. The rate is a metric, and one that falls is `port-slow`.
    """
    if port.gbps is None or not port.is_only_look:
        return
    rates = Tally(each.gbps for each in ports if each.kind == port.kind and each.gbps is not None)
    usual, many = max(rates.items(), key=lambda each: (each[1], each[0]))
    if many >= SIBLINGS and port.gbps < usual:
        evidence = {"gbps": port.gbps, "others_gbps": usual}
        said = f"runs at {port.gbps:g} Gb/s, {many} others of its kind at {usual:g}: is it to be so?"
        yield _finding(port, "port-slower", Health.WARNING, said, evidence)


def _exceeded(port: PortSample) -> Iterator[Limit]:
    return (limit for limit in LIMITS if port.grown.get(limit.counter, 0) > limit.most)


def _finding(port: PortSample, code: str, health: Health, said: str, evidence: Evidence) -> Finding:
    return Finding("ports", code, f"port:{port.name}", health, f"port {port.name} {said}", evidence)


def metrics(ports: Sequence[PortSample]) -> dict[Series, float]:
    """Whether each port is active, and at what rate; one that is gone is exported as down."""
    gauges: dict[Series, float] = {}
    for port in ports:
        if not port.error and not port.elsewhere:
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
