"""What a check is: `measure` touches the machine, `judge` forms the opinion."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from sentinel.model.finding import Finding
from sentinel.model.gpu_sample import GpuDetail
from sentinel.model.ids import Seconds
from sentinel.model.report import RankBeat

Detail = TypeVar("Detail", bound=GpuDetail)


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU as its driver describes it; `None` means that the driver gives no such value."""

    index: int
    uuid: str
    present: bool
    """False when the handle no longer answers: the GPU is lost."""
    error: str = ""
    """The driver's own words when it did not answer."""
    pci: str = ""
    ecc_uncorrectable: int | None = None
    """Volatile uncorrectable ECC errors since the driver was loaded, count."""
    ecc_corrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    temperature_c: int | None = None
    temperature_max_c: int | None = None
    """The device's own limit."""
    throttle_reasons: int | None = None
    """NVML bit mask `nvmlClocksEventReasons`."""
    memory_used_bytes: int | None = None
    utilisation_percent: int | None = None


class Gpus(Protocol):
    """The GPUs of one node, real or simulated. Calls may hang: only the prober makes them."""

    def sample(self) -> Sequence[GpuSample]:
        """Touch every handle that was ever seen, so that a lost GPU is reported, not missing."""

    def read(self, kind: type[Detail]) -> Sequence[Detail]:
        """Read one kind of detail of every such GPU; one that is lost has its error instead."""


@dataclass(frozen=True, slots=True)
class RankProcess:
    """A rank's or standby's process, alive or ended minutes ago, as the kernel calls it."""

    pid: int
    """In the agent's namespace: another than the heartbeat record's if the rank lives in a container."""
    name: str
    """`comm`, 15 characters at most; empty when nobody could read it any more."""
    rank: int
    """-1 for a standby."""
    job: str = ""
    """Whose rank it is: ranks of several jobs may share a node."""


@dataclass(frozen=True, slots=True)
class DriverXid:
    """An Xid that NVIDIA's management library tells of."""

    index: int
    pci: str
    xid: int


class DriverEvents(Protocol):
    """What that library tells of by itself. Calls may hang: only the prober makes them."""

    def take(self) -> Sequence[DriverXid]:
        """Give what is new since the last call."""


@dataclass(frozen=True, slots=True)
class Raylet:
    """Ray's process on a node, which starts all others of Ray there."""

    pid: int
    """In the agent's namespace; 0: there was one, and it runs no more."""
    up_s: Seconds
    """For how long it has run."""
    is_first: bool = True
    """No other one was seen here before it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the prober, or for an `in_agent` check the agent, hands to `measure`."""

    node: str
    gpus: Gpus
    expected_gpus: int | None
    """How many GPUs this node should have; None: as many as were first seen."""
    disks: tuple[str, ...] = ("/",)
    kernel_lines: tuple[str, ...] = ()
    """The kernel's lines that are new since the last probe, whole; only for `in_agent` checks.

    `sentinel.model.kernel_line.said` takes a line's time and sender off.
    """
    kernel_error: str = ""
    """Why the kernel log can't be read; empty when it can, or when there is none to follow."""
    pci: Mapping[str, int] = field(default_factory=dict)
    """PCI address `dddd:bb:dd` in lower case → index of the GPU there."""
    beats: tuple[RankBeat, ...] = ()
    """Newest heartbeat records of this node; only for `in_agent` checks."""
    processes: tuple[RankProcess, ...] = ()
    """Of the ranks and standbys that live here or lately did; only for `in_agent` checks."""
    xid_fatal: frozenset[int] = frozenset()
    """Xids that the operator calls fatal, whatever NVIDIA's table says: `checks.xid_fatal`."""
    xid_ignored: frozenset[int] = frozenset()
    """Xids that the operator calls harmless: `checks.xid_ignored`."""
    driver_events: DriverEvents | None = None
    """None where no driver of NVIDIA's is to be asked, and for `in_agent` checks."""
    raylet: Raylet | None = None
    """None where none was ever seen; only for `in_agent` checks."""
    kernel_pids: bool = True
    """Whether the kernel's lines count processes as the agent does: not if the agent is in a container."""
    memory: str = ""
    """The node's memory directory, where ranks have their heartbeat records; empty when nobody said."""
    kept: str = ""
    """Folder in which a check keeps what it has to know after its prober's end; empty for nowhere."""


_METRIC = re.compile(r"[a-zA-Z_:][\w:]*", re.ASCII)
_LABEL = re.compile(r"(?!__)[a-zA-Z_]\w*", re.ASCII)  # Prometheus keeps those with two underscores for itself


@lru_cache(512)
def _is_name(form: re.Pattern[str], name: str) -> bool:
    return form.fullmatch(name) is not None


class Series(NamedTuple):
    """What a value is exported as: a metric's name without the `sentinel_` prefix, and labels by name."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def is_valid(self) -> bool:
        """Say whether Prometheus takes it: anything else would spoil the page that it stands on."""
        labels = (_is_name(_LABEL, label) and isinstance(text, str) for label, text in self.labels)
        return _is_name(_METRIC, self.name) and all(labels)


def series(name: str, **labels: object) -> Series:
    """Name a series; a label may hold any text."""
    return Series(name, tuple(sorted((label, str(value)) for label, value in labels.items())))


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `checks/<name>.py` defines exactly one as `CHECK`."""

    name: str
    every: Seconds
    """How often the agent runs it unasked."""
    deadline: Seconds
    """Longer than this and the probe is killed; that it hung is a finding."""
    measure: Callable[[Machine], Any]
    judge: Callable[[Any], Iterable[Finding]]
    causes: tuple[str, ...]
    """Every cause that its findings can raise; each has a runbook."""
    metrics: Callable[[Any], Mapping[Series, float]] | None = None
    """Gauges of one sample."""
    on_exit: bool = False
    """Run at once when a rank of this node exits, so that speed does not outrun the cause."""
    in_agent: bool = False
    """Touches nothing that can hang: the agent runs it itself, also whenever kernel lines arrive."""
    of_this_host: bool = False
    """Reads the host's own files, not only what `Machine` gives: a rehearsal has no host."""
    of_kernel_log: bool = False
    """Judges the kernel's lines, so that a person can run it on those of this boot; other `in_agent` checks
    judge what only an agent knows."""
    counts: Callable[[Any], Mapping[Series, int]] | None = None
    """Events to add per sample; their names end in `_total`, and zeros name the series."""
