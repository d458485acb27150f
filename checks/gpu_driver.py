"""What the driver asks for of a GPU, whether the NVLink fabric has taken it in, and which driver it is.

Since when a GPU waits for the fabric lies in `Drivers`, so in the prober, and begins anew with it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentinel.checks._details import Evidence, Said, findings, gauges
from sentinel.checks._recovery import BY_NUMBER
from sentinel.checks._window import Clock
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


class Drivers:
    """Asks the driver, and keeps since when each GPU waits for the fabric."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, Seconds] = {}

    def measure(self, machine: Machine) -> Sequence[DriverSample]:
        """Ask for every GPU."""
        return [self._sample(gpu) for gpu in machine.gpus.read(GpuDriver)]

    def _sample(self, gpu: GpuDriver) -> DriverSample:
        me, now = gpu.uuid or str(gpu.index), self._clock()
        if gpu.fabric is None or gpu.fabric.state not in (NOT_STARTED, IN_PROGRESS):
            self._since.pop(me, None)
            return DriverSample(gpu, 0.0)
        return DriverSample(gpu, now - self._since.setdefault(me, now))


def judge(samples: Sequence[DriverSample]) -> Iterator[Finding]:
    """One finding per demand and GPU."""
    return findings("gpu_driver", samples, _gpu, _judge)


def _gpu(sample: DriverSample) -> GpuDetail:
    return sample.gpu


def _judge(sample: DriverSample) -> Said:
    gpu = sample.gpu
    if gpu.recovery_action:
        yield from _recovery(gpu, gpu.recovery_action)
    if gpu.fabric and gpu.fabric.state:
        yield from _fabric(gpu, gpu.fabric, sample.waits_s)


def _recovery(gpu: GpuDriver, number: int) -> Said:
    evidence: Evidence = {"recovery_action": number, "driver": gpu.driver, "vbios": gpu.vbios}
    asked, health = BY_NUMBER.get(number, (f"action {number}", Health.UNKNOWN))
    said = f"needs what its driver calls {asked!r}"
    if number == DRAIN_AND_RESET:
        yield "gpu-drain-and-reset", Health.CRITICAL, said, evidence
    elif health is Health.CRITICAL:
        yield "gpu-recovery", health, said, evidence
    else:
        yield "recovery-action", health, said, evidence


def _fabric(gpu: GpuDriver, fabric: Fabric, waits_s: Seconds) -> Said:
    """Nothing of this evicts: whether the GPU works without the fabric, NVML does not say."""
    known = {"state": fabric.state, "status": fabric.status, "health_mask": fabric.health}
    evidence: Evidence = {**known, "driver": gpu.driver, "vbios": gpu.vbios}
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
            labels = {"uuid": gpu.uuid, "model": gpu.name, "driver": gpu.driver, "vbios": gpu.vbios}
            shown[series("gpu_info", gpu=gpu.index, **labels)] = 1.0
    return shown


CHECK = Check(
    "gpu_driver",
    every=30.0,
    deadline=5.0,
    measure=Drivers().measure,
    judge=judge,
    causes=("gpu-recovery", "gpu-reset-due", "fabric"),
    metrics=metrics,
)
