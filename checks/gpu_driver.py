"""What the driver asks for of a GPU, whether the NVLink fabric has taken it in, and which driver it is."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from sentinel.checks._details import Evidence, Said, findings, gauges, recalled
from sentinel.checks._kept import Clock, remembered
from sentinel.checks._recovery import BY_NUMBER
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import Fabric, GpuDetail, GpuDriver
from sentinel.model.ids import Seconds

DRAIN_AND_RESET = 4
"""The work that is there may end first: the driver itself says drain."""
NOT_STARTED, IN_PROGRESS, COMPLETED = 1, 2, 3
"""`NVML_GPU_FABRIC_STATE_*`; 0 is a GPU without a fabric."""
STATUS_NOT_SUPPORTED = 3
"""NVML's error of that name: there is no fabric. That H100s say "completed" with an error, and work, has been
seen (an issue of torchcomms'), which is why no such state evicts."""
REGISTERED_S: Seconds = 300.0
"""A board that boots is registered within a minute or two. One whose fabric manager is gone stays "in
progress" for good, which nobody noticed for 20 days (an issue of NVSentinel's)."""
_TRUE = 1
_DEGRADED, _ROUTE_RECOVERS, _ROUTE_BROKEN, _ACCESS_RECOVERS = 0, 2, 4, 6
"""Where the two bits of each lie in `NVML_GPU_FABRIC_HEALTH_MASK`: 0 not supported, 1 true, 2 false."""
_CONFIGURATION = 8
"""Four bits: 0 not supported, 1 in order, from 2 on what is wrong."""
CONFIGURATIONS = {
    2: "wrong system GUID",
    3: "wrong chassis serial number",
    4: "no partition",
    5: "too few NVLinks",
    6: "incompatible GPU firmware",
    7: "invalid location",
    8: "invalid GPU state",
}


@dataclass(frozen=True, slots=True)
class DriverSample:
    """What the driver says of one GPU, and for how long it waits for the fabric."""

    gpu: GpuDriver
    waits_s: Seconds
    """0 where it does not."""
    is_asked_again: bool = False
    """The driver asked for the same at the look before."""


class Past(msgspec.Struct):
    """What is remembered of one GPU."""

    waits_since: Seconds | None = None
    """For the fabric; None while it does not."""
    asked: int = 0
    """The driver's recovery action at the last look."""


class Memory(msgspec.Struct):
    """What is remembered, by GPU."""

    gpus: dict[str, Past] = {}


def measure(machine: Machine, clock: Clock = time.monotonic) -> Sequence[DriverSample]:
    """Ask for every GPU."""
    gpus = machine.gpus.read(GpuDriver)
    with remembered(machine.kept, "gpu_driver", Memory, over_gaps=False) as memory:
        now = clock()
        return [_sample(gpu, past, now) for gpu, past in recalled(gpus, memory.gpus, Past)]


def _sample(gpu: GpuDriver, past: Past, now: Seconds) -> DriverSample:
    waits = gpu.fabric is not None and gpu.fabric.state in (NOT_STARTED, IN_PROGRESS)
    past.waits_since = (now if past.waits_since is None else past.waits_since) if waits else None
    before, past.asked = past.asked, gpu.recovery_action or 0
    return DriverSample(
        gpu, now - (now if past.waits_since is None else past.waits_since), before == past.asked
    )


def judge(samples: Sequence[DriverSample]) -> Iterator[Finding]:
    """One finding per demand and GPU."""
    return findings("gpu_driver", samples, _gpu, _judge)


def _gpu(sample: DriverSample) -> GpuDetail:
    return sample.gpu


def _judge(sample: DriverSample) -> Said:
    gpu = sample.gpu
    if gpu.recovery_action:
        yield from _recovery(gpu, gpu.recovery_action, sample.is_asked_again)
    if gpu.fabric and gpu.fabric.state:
        yield from _fabric(gpu, gpu.fabric, sample.waits_s)


def _recovery(gpu: GpuDriver, number: int, is_asked_again: bool) -> Said:
    """A drain has time for a second look; a GPU that is to be reset at once has none."""
    evidence: Evidence = {"recovery_action": number, **_versions(gpu)}
    asked, health = BY_NUMBER.get(number, (f"action {number}", Health.UNKNOWN))
    said = f"needs what its driver calls {asked!r}"
    if number == DRAIN_AND_RESET and is_asked_again:
        yield "gpu-drain-and-reset", Health.CRITICAL, said, evidence
    elif number == DRAIN_AND_RESET:
        yield "recovery-action", Health.WARNING, said, evidence
    elif health is Health.CRITICAL:
        yield "gpu-recovery", health, said, evidence
    else:
        yield "recovery-action", health, said, evidence


def _fabric(gpu: GpuDriver, fabric: Fabric, waits_s: Seconds) -> Said:
    """Nothing of this evicts: whether the GPU works without the fabric, NVML does not say."""
    known = {"state": fabric.state, "status": fabric.status, "health_mask": fabric.health}
    evidence: Evidence = {**known, **_versions(gpu)}
    configuration = fabric.health >> _CONFIGURATION & 0xF
    if fabric.state in (NOT_STARTED, IN_PROGRESS) and waits_s < REGISTERED_S:
        yield "fabric-unreadable", Health.UNKNOWN, "is not yet registered with the NVLink fabric", evidence
    elif fabric.state in (NOT_STARTED, IN_PROGRESS):
        said = f"waits for the NVLink fabric for over {REGISTERED_S / 60:.0f} min: does its manager run?"
        yield "fabric-unready", Health.WARNING, said, evidence
    elif fabric.status == STATUS_NOT_SUPPORTED:
        return
    elif fabric.status:
        said = f"could not join the NVLink fabric: NVML error {fabric.status}"
        yield "fabric-failed", Health.WARNING, said, evidence
    elif _is(fabric, _ROUTE_BROKEN) or configuration > 1:
        why = CONFIGURATIONS.get(configuration, "its route is unhealthy")
        yield "fabric-failed", Health.WARNING, f"has a broken place in the NVLink fabric: {why}", evidence
    elif any(_is(fabric, each) for each in (_DEGRADED, _ROUTE_RECOVERS, _ACCESS_RECOVERS)):
        said = "has less NVLink bandwidth than it should, or its route is being repaired"
        yield "fabric-degraded", Health.WARNING, said, evidence


def _is(fabric: Fabric, place: int) -> bool:
    return fabric.health >> place & 0x3 == _TRUE


def _versions(gpu: GpuDriver) -> dict[str, str]:
    known = {"driver": gpu.driver, "vbios": gpu.vbios}
    return {**known, "serial": gpu.serial} if gpu.serial else known


def metrics(samples: Sequence[DriverSample]) -> dict[Series, float]:
    """Gauges per GPU. A fleet is compared by `count by (model, driver, vbios) (sentinel_gpu_info)`."""
    shown: dict[Series, float] = {}
    for gpu in (sample.gpu for sample in samples):
        shown |= gauges(
            gpu,
            gpu_recovery_action=gpu.recovery_action,
            gpu_fabric_state=gpu.fabric.state if gpu.fabric else None,
        )
        if gpu.driver or gpu.vbios:
            labels = {"uuid": gpu.uuid, "pci": gpu.pci, "serial": gpu.serial, "model": gpu.name}
            versions = {"driver": gpu.driver, "vbios": gpu.vbios}
            shown[series("gpu_info", gpu=gpu.index, **labels, **versions)] = 1.0
    return shown


CHECK = Check(
    "gpu_driver",
    every=30.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("gpu-recovery", "gpu-reset-due", "fabric"),
    metrics=metrics,
)
