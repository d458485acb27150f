"""A virtual node: its GPUs, host, kernel log and ports, and the real reading and judging of its agent."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks.host import HostSample
from sentinel.model.check import Check, Detail, GpuSample, Machine, RankProcess, Raylet
from sentinel.model.finding import Finding
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.report import Event, FindingSeen, Hello, ProbedSeen, RankBeat, Report
from sentinel.rehearse.gang import Process
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.probe import probe, short_pci

REPORT_EVERY_S: Seconds = 0.25
TURN_EVERY_S: Seconds = 0.1
"""As an agent looks at a kernel log that can't wake it."""
PROBE_S: Seconds = 0.05
"""How long the prober takes for an immediate probe."""

RAYLET_PID = 100
COMM = "python3"
"""What the kernel calls every rank."""
ENDED_KNOWN = 64
"""Ended processes that an agent still knows: their errors may come after them."""

HOST = HostSample(
    memory_total=1 << 40,
    memory_available=1 << 39,
    load=1.0,
    processors=64,
    cpu_pressure=0.0,
)


def gpu(index: int, node: str) -> GpuSample:
    """Give a GPU in order."""
    return GpuSample(
        index,
        f"GPU-{node}-{index}",
        present=True,
        pci=f"00000000:{index + 1:02x}:00.0",
        ecc_uncorrectable=0,
        ecc_corrected=0,
        remap_pending=False,
        remap_failed=False,
        temperature_c=50,
        throttle_reasons=0,
        memory_used_bytes=1 << 30,
        utilisation_percent=95,
    )


@dataclass(slots=True)
class Node:
    """What lies on a node, whoever looks at it."""

    name: NodeId
    address: str
    log: Path
    gpus: list[GpuSample]
    host: HostSample = HOST
    labels: Mapping[str, str] = field(default_factory=dict)
    reports: bool = True
    """Its reports reach the controller."""
    ports: tuple[str, str] = ("ok", "ok")
    """What a look at its agent and its raylet finds."""
    raylet_since: Instant | None = 0.0
    """When its raylet was started; None while there is none."""
    agent: "Agent | None" = None
    processes: list[Process] = field(default_factory=list)
    """Those that live."""
    left: list[Event] = field(default_factory=list)
    """What its processes have left for its next agent."""

    def sample(self) -> Sequence[GpuSample]:
        """Give the GPUs as the driver would."""
        return tuple(self.gpus)

    def read(self, kind: type[Detail]) -> Sequence[Detail]:
        """Give what the driver would say beyond that: no scenario describes it."""
        return [kind(each.index, each.uuid, each.pci, each.error) for each in self.gpus]

    def set_gpu(self, index: int, fields: Mapping[str, Any]) -> None:
        """Change fields of a GPU's sample. Raises ValidationError for a value of another type."""
        self.gpus[index] = msgspec.convert({**dataclasses.asdict(self.gpus[index]), **fields}, GpuSample)

    def set_host(self, fields: Mapping[str, Any]) -> None:
        """Change fields of the host's sample. Raises ValidationError for a value of another type."""
        self.host = msgspec.convert({**dataclasses.asdict(self.host), **fields}, HostSample)

    def say(self, lines: Sequence[str]) -> None:
        """Append lines to the kernel log."""
        with self.log.open("a", encoding="utf-8", errors="replace") as file:
            file.writelines(f"{line}\n" for line in lines)


@dataclass
class Agent:
    """A node's agent without its sockets: it reads, judges, and keeps what the controller has not heard."""

    node: Node
    boot: str
    checks: Mapping[str, Check]
    folder: Path
    """Where it keeps what its successor must know."""
    beats: Callable[[], tuple[RankBeat, ...]]
    now: Callable[[], Instant]
    spool: Spool = field(default_factory=Spool)
    heard: bool = False
    """It has said hello."""
    sent: int = 0
    _due: dict[str, Instant] = field(default_factory=dict)
    _next: Instant = 0.0
    """When the next check is due."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ended: list[Process] = []
        self._book = FindingBook(self.folder / "findings.json")
        self._follower = FileFollower(self.node.log, self.folder / "kernel-log")
        told = {name: check for name, check in self.checks.items() if not check.of_this_host}
        checks = {**told, "host": replace(self.checks["host"], measure=lambda _: self.node.host)}
        self._checks = dict(sorted(checks.items(), key=lambda each: not each[1].in_agent))

    def hello(self) -> Hello:
        """Introduce itself."""
        node = self.node
        return Hello(node.name, self.boot, node.address, 1, len(node.gpus), labels=node.labels)

    def turn(self, now: Instant) -> bool:
        """Read the kernel log and run what is due; true if there is something to tell."""
        before = self.spool.added
        lines = tuple(self._follower.read())
        if lines or now >= self._next:
            machine = self._machine(lines)
            blind = replace(machine, kernel_lines=()) if lines else machine
            for name, check in self._checks.items():
                if now >= self._due.get(name, 0.0) or (check.in_agent and lines):
                    self._run(name, machine if check.in_agent else blind, now)
            self._next = min(self._due.values())
        self._tell(self._book.counted(now))
        if not self.spool:
            self._book.settle()
            self._follower.settle()
        return self.spool.added > before

    def look(self, now: Instant, *, in_agent: bool, everything: bool = False) -> None:
        """Run the checks of an immediate probe, or all: first the agent's own, then the prober's."""
        lines = tuple(self._follower.read()) if in_agent else ()
        while in_agent and self._follower.behind:
            lines += tuple(self._follower.read())
        machine = self._machine(lines)
        for name, check in self._checks.items():
            if (check.on_exit or everything) and check.in_agent is in_agent:
                self._run(name, machine, now)
        self._tell(self._book.counted(now, at_once=True))

    def probed(self, reason: str, *, everything: bool = False) -> None:
        """Say that an immediate probe is complete."""
        names = tuple(sorted(name for name, check in self._checks.items() if check.on_exit or everything))
        self.spool.add(ProbedSeen(names, reason))

    def ended(self, process: Process, how: str) -> None:
        """Tell the end of a process."""
        self._ended = [*self._ended[1 - ENDED_KNOWN :], process]
        self.spool.add(process.end(how))

    def tell(self, event: Event) -> None:
        """Tell of a process's end, or what a rank has left as a note."""
        self.spool.add(event)

    def report(self) -> Report:
        """Give the next report."""
        self.sent += 1
        return Report(self.node.name, self.boot, self.sent, self.beats(), self.spool.pending())

    def close(self) -> None:
        """Let go of the log."""
        self._follower.close()

    def _run(self, name: str, machine: Machine, now: Instant) -> None:
        check = self._checks[name]
        self._due[name] = now + check.every
        answer = probe(check, machine)
        self._tell(self._book.update(name, answer.findings, now, blind=answer.failed))

    def _tell(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self.spool.add(FindingSeen(finding))

    def _machine(self, lines: tuple[str, ...]) -> Machine:
        return Machine(
            self.node.name,
            self.node,
            len(self.node.gpus),
            kernel_lines=lines,
            pci=dict(self._addresses()),
            beats=self.beats(),
            processes=tuple(
                RankProcess(each.pid, COMM, each.rank, each.job)
                for each in (*self.node.processes, *self._ended)
            ),
            raylet=self._raylet(),
        )

    def _raylet(self) -> Raylet:
        since = self.node.raylet_since
        if since is None:
            return Raylet(0, 0.0)
        return Raylet(RAYLET_PID, self.now() - since, is_first=not since)

    def _addresses(self) -> Iterator[tuple[str, int]]:
        return ((short_pci(each.pci), each.index) for each in self.node.gpus)
