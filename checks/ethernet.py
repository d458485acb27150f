"""Ethernet ports of the machine: down, slower than they were, flapping, gone, or counting errors; bonds."""

import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from sentinel.checks._kept import Counter, counted, remembered
from sentinel.checks._links import NEVER_UP, Evidence, Link, Past, missed, remember, troubles
from sentinel.checks._sysfs import UnreadableError, entries, number, text
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

SYS = Path("/sys")
PROC = Path("/proc")
ETHERNET = 1
"""ARPHRD_ETHER: IPoIB is another type, and its ports are those of the check `ports`."""
WINDOW_S = 300.0
LIMITS: Mapping[str, int] = {"rx_crc_errors": 10, "rx_errors": 1000, "tx_errors": 1000}
"""How much a counter may grow in `WINDOW_S`. A cable in order damages no packet for days: CRC errors are the
link's own. Other errors come in bursts when drivers reset; what is only dropped says nothing of the link."""
SIBLINGS = 2
"""From so many ports of the same speed on whose MTU is another one, a port's is wrong."""


class Memory(msgspec.Struct):
    """What is remembered."""

    links: dict[str, Link] = {}
    devices: dict[str, str] = {}
    """Where in /sys the device of each port is."""
    counters: dict[str, Counter] = {}
    alike: list[str] = []
    """Ports that have had the MTU of the others of their speed."""


@dataclass(frozen=True, slots=True)
class NicSample:
    """One Ethernet port, now and in its past of this boot."""

    name: str
    """`eth0`"""
    state: str = ""
    """`operstate`, such as `up`, `down` or `lowerlayerdown`."""
    mbps: float | None = None
    """None while there is no carrier; 0 where the driver does not say, as in a virtual machine."""
    duplex: str = ""
    mtu: int = 0
    is_rdma: bool = False
    """Its link is judged as a RoCE port."""
    past: Past = NEVER_UP
    grown: Mapping[str, int] = field(default_factory=dict)
    """By counter, within `WINDOW_S`."""
    new: Mapping[str, int] = field(default_factory=dict)
    """By counter, since the last look."""
    error: str = ""
    was_alike: bool = False
    """It has had the MTU of the others of its speed; whoever looks only once takes each for such a one."""


@dataclass(frozen=True, slots=True)
class BondSample:
    """One bond and its ports: those that it uses, and those that it does not."""

    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class EthernetSample:
    """All Ethernet ports with a device, and all bonds."""

    nics: tuple[NicSample, ...]
    bonds: tuple[BondSample, ...] = ()


def measure(machine: Machine) -> EthernetSample:
    """Read every port and bond, and remember what they were."""
    with remembered(machine.kept, "ethernet", Memory) as memory:
        nics = look(SYS, memory, time.monotonic())
    if not machine.kept:
        nics = tuple(replace(each, was_alike=True) for each in nics)
    return EthernetSample(nics, bonds(PROC))


def look(root: Path, memory: Memory, now: float) -> tuple[NicSample, ...]:
    """Read every port below `root`. Raises UnreadableError where not even their names can be read."""
    found = {nic.name: nic for nic in entries(root / "class/net") if _is_physical(nic)}
    samples = [_sample(nic, memory, now) for nic in found.values()]
    now_alike = {each.name for each in samples if each.mtu == _usual_mtu(each, samples)[0]}
    memory.alike = sorted(now_alike.union(memory.alike))
    samples = [replace(each, was_alike=each.name in memory.alike) for each in samples]
    memory.devices |= {name: str((nic / "device").resolve()) for name, nic in found.items()}
    elsewhere = {name for name, device in memory.devices.items() if Path(device).exists()}
    gone = missed(memory.links, {*found, *elsewhere})  # a container may have been given the port
    return (*samples, *(NicSample(name, past=past) for name, past in gone.items()))


def _is_physical(nic: Path) -> bool:
    """Say whether it has a device of its own.

    A virtual function comes and goes with its guest, or, as its host likes, behind a port of the guest (as in
    Azure); a port on USB with the board's management controller.
    """
    device = nic / "device"
    if not device.exists() or _is_virtual(nic) or (device / "subsystem").resolve().name == "usb":
        return False
    try:
        return number(nic / "type") == ETHERNET
    except UnreadableError:
        return True


def _is_virtual(nic: Path) -> bool:
    return (nic / "device/physfn").exists() or (nic / "master/device").exists()


def _sample(nic: Path, memory: Memory, now: float) -> NicSample:
    name = nic.name
    try:
        carrier = number(nic / "carrier")
        has_carrier = carrier == 1
        mbps = float(max(0, number(nic / "speed") or 0)) if has_carrier else None
        values = {each: number(nic / "statistics" / each) for each in LIMITS}
        values["carrier_down"] = number(nic / "carrier_down_count")
        mtu = number(nic / "mtu") or 0
        state, duplex = text(nic / "operstate") or "", text(nic / "duplex") or ""
    except UnreadableError as error:
        return NicSample(name, error=str(error))
    if carrier is None:
        memory.links.pop(name, None)  # somebody switched it off: it begins anew once it is up
    new = {}
    for each, value in values.items():
        if value is not None:
            new[each] = counted(memory.counters, f"{name} {each}", value, now)[1]
    past = remember(memory.links, name, mbps, new.get("carrier_down", 0), now)
    grown = {each: memory.counters[f"{name} {each}"].within(WINDOW_S, now) for each in LIMITS if each in new}
    is_rdma = (nic / "device/infiniband").exists()
    return NicSample(name, state, mbps, duplex, mtu, is_rdma, past, grown, new)


def bonds(proc: Path) -> tuple[BondSample, ...]:
    """Read what the bonding driver says of each bond."""
    return tuple(_bond(path) for path in entries(proc / "net/bonding"))


def _bond(path: Path) -> BondSample:
    """Read one bond: a block for itself, then one for each of its ports."""
    try:
        _, *blocks = (text(path) or "").split("Slave Interface: ")
    except UnreadableError as error:
        return BondSample(path.name, (), (), str(error))
    status = {block.split("\n", 1)[0].strip(): "\nMII Status: up" in block for block in blocks}
    up = tuple(name for name, is_up in status.items() if is_up)
    return BondSample(path.name, up, tuple(name for name in status if name not in up))


def judge(sample: EthernetSample) -> Iterator[Finding]:
    """One finding for each thing that is wrong with a port or a bond; none of it takes a node away.

    What a port carries is not known here. A node that can't be reached for it is found silent.
    """
    if not sample.nics:
        yield skipped("ethernet", "no Ethernet port with a device is here")
    for nic in sample.nics:
        yield from _judge(nic, sample.nics)
    for bond in sample.bonds:
        component = f"bond:{bond.name}"
        if bond.error:
            said = f"{bond.name} can't be read: {bond.error}"
            yield Finding("ethernet", "bond-unreadable", component, Health.UNKNOWN, said)
        elif bond.up and bond.down:
            said = f"{bond.name} runs without {', '.join(bond.down)}"
            yield Finding(
                "ethernet", "bond-degraded", component, Health.WARNING, said, {"up": ", ".join(bond.up)}
            )


def _judge(nic: NicSample, nics: Sequence[NicSample]) -> Iterator[Finding]:
    if nic.error:
        yield _finding(nic, "nic-unreadable", Health.UNKNOWN, f"can't be read: {nic.error}", {})
        return
    if not nic.is_rdma:
        for trouble in troubles(nic.past, nic.mbps or None, "Mb/s", nic.state):
            code = f"nic-{trouble.code}"
            yield _finding(nic, code, Health.WARNING, trouble.said, trouble.evidence)
    if nic.mbps and nic.duplex == "half":
        yield _finding(nic, "nic-half-duplex", Health.WARNING, "runs at half duplex", {"mbps": nic.mbps})
    over = {each: nic.grown[each] for each in sorted(nic.grown) if nic.grown[each] > LIMITS[each]}
    if over:
        yield _finding(nic, "nic-errors", Health.WARNING, f"counts errors: {', '.join(over)}", over)
    yield from _judge_mtu(nic, nics)


def _judge_mtu(nic: NicSample, nics: Sequence[NicSample]) -> Iterator[Finding]:
    """Packets of the larger MTU vanish at a port with the smaller one; one that always had it is built so."""
    usual, many = _usual_mtu(nic, nics)
    if usual and nic.mtu != usual and nic.was_alike:
        evidence = {"mtu": nic.mtu, "others_mtu": usual}
        said = f"has MTU {nic.mtu}, {many} others of its speed have {usual}"
        yield _finding(nic, "mtu-differs", Health.WARNING, said, evidence)


def _usual_mtu(nic: NicSample, nics: Sequence[NicSample]) -> tuple[int, int]:
    """Give the MTU that most ports of its speed have, and how many have it; 0 where none is usual."""
    alike = Tally(each.mtu for each in nics if nic.mbps and each.mbps == nic.mbps)
    usual, many = max(alike.items(), key=lambda each: (each[1], each[0]), default=(0, 0))
    is_usual = many >= SIBLINGS and (nic.mtu == usual or alike[nic.mtu] < many)
    return (usual, many) if is_usual else (0, 0)


def _finding(nic: NicSample, code: str, health: Health, said: str, evidence: Evidence) -> Finding:
    return Finding("ethernet", code, f"nic:{nic.name}", health, f"{nic.name} {said}", evidence)


def metrics(sample: EthernetSample) -> dict[Series, float]:
    """Whether each port has a carrier, and its MTU; one that is gone has none."""
    nics = [nic for nic in sample.nics if not nic.error]
    carriers = {series("nic_carrier", nic=nic.name): float(nic.mbps is not None) for nic in nics}
    return carriers | {series("nic_mtu_bytes", nic=nic.name): float(nic.mtu) for nic in nics if nic.mtu}


def counts(sample: EthernetSample) -> dict[Series, int]:
    """Growth of each counter that a port has."""
    return {
        series("nic_errors_total", nic=nic.name, counter=name): growth
        for nic in sample.nics
        for name, growth in nic.new.items()
    }


CHECK = Check(
    "ethernet",
    every=5.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("nic-down", "port-errors"),
    metrics=metrics,
    counts=counts,
    of_this_host=True,
)
