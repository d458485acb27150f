"""What a check is: `measure` touches the machine, `judge` forms the opinion."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sentinel.model.finding import Finding
from sentinel.model.ids import Seconds


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
    remapped_uncorrectable: int | None = None
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
class Machine:
    """What the prober hands to `measure`."""

    node: str
    gpus: Gpus
    expected_gpus: int | None
    """How many GPUs this node should have; None: as many as were first seen."""
    disks: tuple[str, ...] = ("/",)


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
    """Gauges of one sample: `name{label="x"}` without the `sentinel_` prefix → value."""
    on_exit: bool = False
    """Run at once when a rank of this node exits, so that speed does not outrun the cause."""
