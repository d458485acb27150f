"""What the provider of a node is told: which machine, what it did, with raw evidence, and what is asked."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import median

from msgspec import Struct, field
from msgspec.structs import replace

from sentinel.logbook.markdown import template, utc
from sentinel.logbook.masking import Mask
from sentinel.logbook.row import Row
from sentinel.logbook.tally import Entry, Evicted, Proved
from sentinel.model.action import kind_of
from sentinel.model.collective import Figure, Held
from sentinel.model.counted import counted
from sentinel.model.fact import (
    Fact,
    FindingReported,
    MembersProbed,
    NodeHeard,
    NodeJoined,
    NodePinged,
    NodeSilent,
    Outcome,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.finding import Finding, Health, gpu_of
from sentinel.model.ids import Instant, NodeId

THEIRS = frozenset({"gpu_tenants", "processes", "contention", "trainer", "heartbeat", "raylet", "oom"})
"""Checks whose findings tell of who uses the node, and not of the machine."""
IDENTITY = ("uuid", "serial", "pci", "model", "driver", "vbios")
MOST_LINES = 400
"""Of one incident: the rest says the same again."""


class Device(Struct, frozen=True):
    """One GPU, as far as it has been told."""

    gpu: int
    known: Mapping[str, str]
    """Of `IDENTITY`."""


class Machine(Struct, frozen=True):
    """Which machine it is."""

    node: str
    address: str = ""
    gpus: int = 0
    boot: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()


class Line(Struct, frozen=True):
    """One thing that was seen."""

    at: Instant
    utc: str
    what: str
    raw: Mapping[str, str | int | float] = field(default_factory=dict)


class Told(Struct, frozen=True):
    """One incident."""

    incident: str
    opened: Instant
    utc: str
    cause: str
    title: str
    gpus: tuple[int, ...]
    evicted: bool
    lines: tuple[Line, ...]
    left_out: int = 0
    """Lines that are about processes and jobs, or beyond `MOST_LINES`."""


class Measured(Struct, frozen=True):
    """One value that the node measured, beside the other nodes' at the same time and before."""

    at: Instant
    utc: str
    check: str
    what: str
    value: float
    fleet: float
    """Median of the others that measured together with it; 0 if none did."""
    others: int
    usual: float = 0.0
    """Median of what other nodes of its kind had measured before; 0 if they were too few."""
    nodes: int = 0
    """How many these were."""
    standing: str = ""
    """How it stands beside them; empty where that was not compared."""


class Ticket(Struct, frozen=True):
    """All of it. Times are epoch seconds and UTC."""

    machine: Machine
    made: Instant
    utc: str
    incidents: tuple[Told, ...]
    measured: tuple[Measured, ...]
    proofs: tuple[Line, ...]
    asked: tuple[str, ...]
    notes: tuple[str, ...]


def ticket(
    node: NodeId,
    now: Instant,
    rows: Sequence[Row],
    facts: Mapping[str, Sequence[Fact]],
    entries: Sequence[Entry],
    live: Mapping[int, Mapping[str, str]],
    hardware: Collection[str],
) -> Ticket:
    """Write it.

    `facts` are those on record by incident, `live` what the node's agent says of its GPUs now, `hardware` the
    causes that accuse a machine.
    """
    mine = sorted((row for row in rows if is_about(row, node)), key=lambda row: row.opened)
    every = [fact for told in facts.values() for fact in told]
    mask = _mask(node, rows, every)
    told = tuple(_told(row, node, facts.get(row.incident, ()), mask) for row in mine)
    machine = _machine(node, every, live)
    proofs = tuple(_proofs(node, entries, mask))
    return Ticket(
        machine,
        now,
        utc(now),
        told,
        tuple(_measured(node, every)),
        proofs,
        tuple(_asked(machine, [each for each in told if each.cause in hardware], entries)),
        tuple(_notes(machine, mine, facts, told)),
    )


def is_about(row: Row, node: str) -> bool:
    """Say whether an incident blames a node, or took it out."""
    return node in row.evicted or any(name == node for name, _, _ in row.suspects)


def markdown(found: Ticket) -> str:
    """Write it for people."""
    text = template("ticket.md.j2").render(ticket=found, identity=IDENTITY)
    lines = list[str]()
    for line in text.splitlines():
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).rstrip() + "\n"


def _mask(node: NodeId, rows: Sequence[Row], facts: Sequence[Fact]) -> Mask:
    """Know all names that are not to be told."""
    joined = [fact for fact in facts if isinstance(fact, NodeJoined)]
    nodes = {fact.node for fact in joined} | {name for row in rows for name, _, _ in row.suspects if name}
    nodes |= {str(getattr(fact, "node", "")) for fact in facts} | {
        name for row in rows for name in row.evicted
    }
    jobs = {row.job for row in rows} | {str(getattr(fact, "job", "")) for fact in facts}
    return Mask(node, map(str, nodes), jobs, (fact.address for fact in joined if fact.node == node))


def _told(row: Row, node: NodeId, facts: Sequence[Fact], mask: Mask) -> Told:
    of_node = [fact for fact in facts if _node_of(fact) == node]
    found = {(line.at, line.what): line for fact in of_node if (line := _line(fact, mask)) is not None}
    lines = sorted(found.values(), key=lambda line: line.at)
    left = sum(isinstance(fact, RankRaised) or _is_theirs(fact) for fact in of_node)
    gpus = {gpu for name, _, gpu in row.suspects if name == node and gpu is not None and gpu >= 0}
    return Told(
        row.incident,
        row.opened,
        utc(row.opened),
        row.cause,
        mask.text(row.title),
        tuple(sorted(gpus)),
        node in row.evicted,
        tuple(lines[:MOST_LINES]),
        left + max(0, len(lines) - MOST_LINES),
    )


def _node_of(fact: Fact) -> str:
    if isinstance(fact, Outcome):
        target = fact.action.split("/")[2:3]
        return target[0] if target and kind_of(fact.action) in ("repair", "evict", "prove") else ""
    return str(getattr(fact, "node", ""))


def _is_theirs(fact: Fact) -> bool:
    return isinstance(fact, FindingReported) and fact.finding.check in THEIRS


def _line(fact: Fact, mask: Mask) -> Line | None:
    """Say what was seen; None for what is not the provider's business, or says nothing of the machine."""
    raw: dict[str, str | int | float] = {}
    at = fact.at
    match fact:
        case FindingReported(finding=finding) if finding.check not in THEIRS and _says(finding):
            what = f"{finding.component}: {finding.check}/{finding.code} {finding.health.value}: "
            what += mask.text(finding.summary)
            at, raw = fact.happened, mask.evidence(finding.evidence)
            if finding.count > 1:
                raw["times"] = finding.count
        case NodeJoined():
            what = f"its agent started, boot {fact.boot}, {counted(fact.gpus, 'GPU')}"
        case NodeSilent():
            others = f"{fact.others_silent} of {fact.nodes - 1} others silent too"
            what = f"silent for {fact.silent_s:.1f} s, {others}"
        case NodeHeard():
            what = "reports again"
        case NodePinged():
            what = f"looked at over the network: agent {fact.agent}"
        case RankExited():
            where = f"gpu-{fact.gpu}: " if fact.gpu >= 0 else ""  # a standby may have none
            what = f"{where}a process of the job ended: {mask.text(fact.how)}"
        case RankSlow():
            what = f"gpu-{fact.gpu}: {fact.outside_s:.3f} s a step outside collectives, "
            what += f"its peers {fact.peers_s:.3f} s"
        case Outcome():
            done = "done" if fact.ok else "failed"
            what = f"{kind_of(fact.action)}: {done} {mask.text(fact.detail)}".rstrip()
        case _:
            return None
    return Line(at, utc(at), what, raw)


def _says(finding: Finding) -> bool:
    return finding.health is not Health.SKIPPED


def _machine(node: NodeId, facts: Sequence[Fact], live: Mapping[int, Mapping[str, str]]) -> Machine:
    """Say which machine it is: what was told last counts, what its agent says now most."""
    known: defaultdict[int, dict[str, str]] = defaultdict(dict)
    joined: NodeJoined | None = None
    for fact in sorted(facts, key=lambda each: each.at):
        if isinstance(fact, NodeJoined) and fact.node == node:
            joined = fact
        elif isinstance(fact, FindingReported) and fact.node == node:
            gpu = gpu_of(fact.finding.component)
            if gpu is not None:
                evidence = fact.finding.evidence
                known[gpu] |= {key: str(evidence[key]) for key in IDENTITY if evidence.get(key)}
    for gpu, labels in live.items():
        known[gpu] |= {key: labels[key] for key in IDENTITY if labels.get(key)}
    devices = tuple(Device(gpu, known[gpu]) for gpu in sorted(known))
    if joined is None:
        return Machine(node, devices=devices)
    return Machine(node, joined.address, joined.gpus, joined.boot, joined.labels, devices)


def _measured(node: NodeId, facts: Iterable[Fact]) -> Iterator[Measured]:
    """Give each value that the node measured in a collective probe, the least of all rounds, and others'."""
    probes = {fact.action: fact for fact in facts if isinstance(fact, MembersProbed)}
    for fact in sorted(probes.values(), key=lambda each: each.at):
        values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for sample in fact.samples:
            for what, value in sample.values.items():
                values[what][sample.node].append(value)
        held = {_named(each.figure): each for each in fact.held if each.figure.node == node}
        for what, by_node in values.items():
            others = [min(each) for name, each in by_node.items() if name != node]
            beside = held.pop(what, None)
            if node in by_node and (others or beside):
                of = what.replace("|", " "), min(by_node[node]), median(others or [0.0]), len(others)
                yield _beside(Measured(fact.at, utc(fact.at), fact.check, *of), beside)
        for each in held.values():
            of = _named(each.figure).replace("|", " "), each.figure.value, 0.0, 0
            yield _beside(Measured(fact.at, utc(fact.at), fact.check, *of), each)


def _named(figure: Figure) -> str:
    """Name a figure as samples name what was measured of a device."""
    return f"{figure.component}|{figure.kind}|{figure.what}"


def _beside(measured: Measured, held: Held | None) -> Measured:
    if held is None:
        return measured
    known = held.nodes if held.usual else 0
    return replace(measured, usual=held.usual, nodes=known, standing=held.standing.value)


def _proofs(node: NodeId, entries: Iterable[Entry], mask: Mask) -> Iterator[Line]:
    for each in entries:
        if isinstance(each, Proved) and each.node == node:
            after = f" after {', '.join(each.repairs)}" if each.repairs else ""
            said = f": {mask.text(each.said)}" if each.said else ""
            yield Line(each.at, utc(each.at), f"all tests{after}: {each.result}{said}")


def _asked(machine: Machine, told: Sequence[Told], entries: Sequence[Entry]) -> Iterator[str]:
    """Say what the provider is to do about the incidents of which the machine is accused."""
    node = machine.node
    ids = {device.gpu: device.known for device in machine.devices}
    causes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for each in told:
        for gpu in each.gpus:
            causes[gpu][each.cause or "cause not known"] += 1
    for gpu, found in sorted(causes.items()):
        named = ids.get(gpu, {})
        which = ", ".join(f"{key} {named[key]}" for key in ("serial", "uuid", "pci") if key in named)
        what = ", ".join(f"{cause} {counted(times, 'time')}" for cause, times in found.items())
        yield f"Inspect, and repair or replace, GPU {gpu}{f' ({which})' if which else ''}: {what}"
    whole = Counter(each.cause or "cause not known" for each in told if not each.gpus)
    if whole:
        what = ", ".join(f"{cause} {counted(times, 'time')}" for cause, times in whole.items())
        yield f"Inspect the machine: {what}"
    failed = [each for each in entries if isinstance(each, Proved) and each.node == node]
    if failed and failed[-1].result == "failed":
        yield "It fails its tests now, below: it is to pass them"
    evicted = sum(isinstance(each, Evicted) and each.node == node for each in entries)
    if evicted > 1:
        yield f"It was taken out of use {counted(evicted, 'time')}: a reset or a reboot alone has not helped"
    if not (told or evicted):
        yield "Nothing: no incident accuses the machine"
        return
    yield "Say what was found and done, and the serial numbers of what was replaced"


def _notes(
    machine: Machine, rows: Sequence[Row], facts: Mapping[str, Sequence[Fact]], told: Sequence[Told]
) -> Iterator[str]:
    unknown = {key for key in IDENTITY for each in machine.devices if key not in each.known}
    if not machine.devices:
        yield "Nothing told its GPUs' serials and UUIDs: its agent does not answer, and no finding named them"
    elif unknown:
        yield f"Not known of every GPU: {', '.join(key for key in IDENTITY if key in unknown)}"
    gone = [row.incident for row in rows if row.incident not in facts]
    if gone:
        yield f"No raw evidence is kept any more of {', '.join(gone)}"
    left = sum(each.left_out for each in told)
    yield (
        "Other nodes, jobs, processes, addresses and secrets are hidden, and stacks and exceptions left out"
        + (f" ({counted(left, 'line')})" if left else "")
    )
