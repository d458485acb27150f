"""What a check is: `measure` touches the machine, `judge` forms the opinion."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sentinel.model.finding import Finding
from sentinel.model.ids import Seconds
from sentinel.model.report import RankBeat


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
    throttle_reasons: int | None = None
    """NVML bit mask `nvmlClocksEventReasons`."""
    memory_used_bytes: int | None = None
    utilisation_percent: int | None = None


class Gpus(Protocol):
    """The GPUs of one node, real or simulated. Calls may hang: only the prober makes them."""

    def sample(self) -> Sequence[GpuSample]:
        """Touch every handle that was ever seen, so that a lost GPU is reported, not missing."""


@dataclass(frozen=True, slots=True)
class RankProcess:
    """A rank's or standby's process, alive or ended minutes ago, as the kernel calls it."""

    pid: int
    """In the agent's namespace: another than the heartbeat record's if the rank lives in a container."""
    name: str
    """`comm`, 15 characters at most; empty when nobody could read it any more."""
    rank: int
    """-1 for a standby."""


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
    kernel_pids: bool = True
    """Whether the kernel's lines count processes as the agent does: not if the agent is in a container."""


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
    metrics: Callable[[Any], Mapping[str, float]] | None = None
    """Gauges of one sample, by their `series`."""
    on_exit: bool = False
    """Run at once when a rank of this node exits, so that speed does not outrun the cause."""
    in_agent: bool = False
    """Touches nothing that can hang: the agent runs it itself, also whenever kernel lines arrive."""
    counts: Callable[[Any], Mapping[str, int]] | None = None
    """Events to add per sample, by their `series`, which ends in `_total`; zeros name the series."""


_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
"""What Prometheus's text format writes in another way inside a label's value."""

_SERIES = re.compile(r'[a-zA-Z_:][\w:]*(\{(\w+="(\\[\\"n]|[^\\"\n])*"(,(?!\})|(?=\})))+\})?', re.ASCII)


def is_series(text: str) -> bool:
    """Say whether this is what `series` gives: anything else would spoil the page that it stands on."""
    return _SERIES.fullmatch(text) is not None


def series(name: str, **labels: object) -> str:
    """Name a series, `name{label="x"}`, without the `sentinel_` prefix; a label may hold any text."""
    inside = ",".join(f'{label}="{str(value).translate(_ESCAPED)}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name
