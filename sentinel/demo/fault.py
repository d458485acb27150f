"""What a fault of the demo is: something that really happens, and what must come out of it."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from sentinel import heartbeat
from sentinel.demo.hosts import Host
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.model.ids import Instant, Seconds

PLACE = ("node", "rank", "gpu")
"""The parts of a place."""
GPU = ("node", "gpu")
"""What a diagnosis names whose cause is about a GPU, whoever computes on it."""
NODE = ("node",)
NOBODY = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where something happened, as far as it has a place."""

    node: str | None = None
    rank: int | None = None
    gpu: int | None = None

    def fits(self, suspect: "Place", names: Iterable[str] = ()) -> bool:
        """Tell whether a suspect says nothing that this place denies, and names all these parts of it."""
        parts = [(getattr(self, part), getattr(suspect, part)) for part in PLACE]
        agrees = all(mine is None or said is None or mine == said for mine, said in parts)
        return agrees and all(getattr(suspect, name) is not None for name in names)


@dataclass(frozen=True, slots=True)
class Victim:
    """A rank as the injector sees it."""

    rank: int
    node: str
    gpu: int
    worker: str
    pid: int

    @property
    def place(self) -> Place:
        """Where it sits."""
        return Place(self.node, self.rank, self.gpu)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come out. The page's cause is one of `causes`; none: no incident at all."""

    causes: frozenset[str]
    evicts: bool = False
    """The truth's node is evicted, and no rank sits there; otherwise nobody is."""
    pages: tuple[int, int] = (1, 1)
    """Least and most messages opened."""
    names: tuple[str, ...] = PLACE
    """What of the truth's place each suspect names; nothing: the diagnosis blames nobody."""
    resumes: bool = True
    """Training makes a new step without help, with as many ranks as before."""
    in_place: bool = False
    """Whoever takes over the truth's rank sits on its node."""
    advances: bool = False
    """Training goes on at its usual pace while the fault lasts."""
    moved: int = 0
    """At most this many ranks get a new process though theirs did not die and their node stays."""
    beside: frozenset[str] = frozenset()
    """Causes of further incidents that it rightly brings, each with a page of its own."""
    steps_lost: int = 1
    """At most this many completed steps are trained again: a step that completes on one rank while another
    dies has no complete snapshot yet."""
    within_s: Seconds = 60.0
    """All of it is over by then."""


@dataclass(slots=True)
class Injection:
    """What was done, to whom, when, and how to take it back."""

    at: Instant
    truth: Place
    undo: Callable[[], object] = lambda: None
    dead: tuple[int, ...] = ()
    """Pids that cannot survive it."""
    halts: bool = False
    """Training can't go on without a new generation although no process dies of it."""
    passes: Callable[[], object] | None = None
    """Ends the fault once it was paged; what it brought must then resolve by itself."""
    verify: Callable[[], list[str]] = list
    """What only this fault's table row asks for, once the rest is over: a line for each thing wrong."""
    expected: Expected | None = None
    """What must come out, where it depends on what chance chose."""
    struck: tuple[Place, ...] = ()
    """Further places where it happened: the incidents beside may blame them."""
    other_end: Place | None = None
    """Where else a suspect may be of what lies between two nodes: both look the same from within."""


class Fault(Protocol):
    """One fault. `sentinel/demo/faults/<name>.py` defines one as `FAULT`, or several as `FAULTS`."""

    @property
    def name(self) -> str:
        """What `--fault` calls it."""

    @property
    def expected(self) -> Expected:
        """What must come of it."""

    def needs(self, sandbox: Sandbox) -> str:
        """Why this fault can't happen on this sandbox; empty when it can."""

    def lead_up(self, sandbox: Sandbox, chance: random.Random) -> bool:
        """Let happen what must have happened before, until it is over; false when that is nothing."""

    def inject(self, sandbox: Sandbox, chance: random.Random) -> Injection:
        """Make it happen, and return as soon as it has. `chance` begins as that of `lead_up` did."""


@dataclass(frozen=True)
class Simple:
    """A fault that is one function, perhaps with another one before it."""

    name: str
    expected: Expected
    act: Callable[[Sandbox, random.Random], Injection]
    need: Callable[[Sandbox], str] = field(default=lambda _sandbox: "")
    sandbox: dict[str, Any] = field(default_factory=dict)
    """Options of `Sandbox.start`; with any, the fault gets a sandbox of its own."""
    first: Callable[[Sandbox, random.Random], object] | None = None
    """What must have happened before."""

    def needs(self, sandbox: Sandbox) -> str:
        """Why this fault can't happen here."""
        return self.need(sandbox)

    def lead_up(self, sandbox: Sandbox, chance: random.Random) -> bool:
        """Let happen what comes first."""
        if self.first is not None:
            self.first(sandbox, chance)
        return self.first is not None

    def inject(self, sandbox: Sandbox, chance: random.Random) -> Injection:
        """Make it happen."""
        return self.act(sandbox, chance)


def needs_network(sandbox: Sandbox) -> str:
    """Faults of the network need real links."""
    return "" if sandbox.cluster.network else "needs network namespaces (root)"


def needs_ranks(least: int, why: str) -> Callable[[Sandbox], str]:
    """Faults that only several ranks can tell from something else."""
    return lambda sandbox: (
        "" if sandbox.world >= least else f"{why} needs {least} ranks, here are {sandbox.world}"
    )


def ranks(sandbox: Sandbox) -> list[Victim]:
    """List the running ranks, read from their heartbeat records: the controller need not be there."""
    found = [(host.name, record) for host in sandbox.cluster.nodes for record in _records(host)]
    newest = max((record.generation for _, record in found), default=-1)
    victims = [
        Victim(record.rank, node, record.gpu, record.worker, record.pid)
        for node, record in found
        if record.rank >= 0 and record.generation == newest
    ]
    return sorted(victims, key=lambda victim: victim.rank)


def records(sandbox: Sandbox) -> list[heartbeat.Record]:
    """Read every living worker's heartbeat record."""
    return [record for host in sandbox.cluster.nodes for record in _records(host)]


def _records(host: Host) -> Iterator[heartbeat.Record]:
    for path in sorted((host.memory / "beats").glob(f"*{heartbeat.SUFFIX}")):
        with contextlib.suppress(heartbeat.HeartbeatError):
            record = heartbeat.read(path)
            if not heartbeat.is_stale(record):
                yield record


def pick(sandbox: Sandbox, chance: random.Random) -> Victim:
    """Choose a random rank at a random moment of its step."""
    chosen = chance.choice(ranks(sandbox))
    time.sleep(chance.uniform(0.0, 0.3))  # the moment itself is what is random here
    return chosen


def completed(sandbox: Sandbox, step: int, within_s: Seconds = 20.0) -> Instant:
    """Wait until this step is complete; returns when it was."""
    done = wait(f"step {step}", within_s, lambda: [s for s in sandbox.steps() if s["step"] >= step], 0.01)
    return float(done[0]["at"])


def kill(victim: Victim, number: int = signal.SIGKILL) -> None:
    """Send a signal to a rank."""
    os.kill(victim.pid, number)


def edit_gpu(sandbox: Sandbox, node: str, gpu: int, **values: object) -> None:
    """Change a simulated GPU's device file."""
    host = sandbox.host_of(node)
    states = host.gpu_states()
    states[gpu].update(values)
    host.write_gpus(states)


def heal_gpus(sandbox: Sandbox, node: str) -> None:
    """Make all simulated GPUs of a node healthy again."""
    from sentinel.demo.hosts import healthy_gpu

    host = sandbox.host_of(node)
    told = [state["xids"] for state in host.gpu_states()]  # what the driver has told once stays told
    host.write_gpus([healthy_gpu(node, index) | {"xids": xids} for index, xids in enumerate(told)])


def kernel_line(sandbox: Sandbox, victim: Victim, xid: int, text: str) -> None:
    """Write an Xid line as the driver words it into the node's kernel log, and have its event set tell it."""
    host = sandbox.host_of(victim.node)
    gpu = host.gpu_states()[victim.gpu]
    pci = gpu["pci"]
    edit_gpu(sandbox, victim.node, victim.gpu, xids=[*gpu["xids"], xid])
    with host.kernel_log.open("a") as log:
        what = f"Xid (PCI:{pci}): {xid}, pid={victim.pid}, name=python3, {text}"
        log.write(f"[{time.monotonic():.6f}] NVRM: {what}\n")
