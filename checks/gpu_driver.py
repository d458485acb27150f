"""What the driver asks for of a GPU, whether the NVLink fabric has taken it in, and which driver it is."""

from collections.abc import Iterator, Sequence

from sentinel.checks._details import Evidence, Said, findings, gauges
from sentinel.checks._recovery import BY_NUMBER
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import Fabric, GpuDriver

DRAIN_AND_RESET = 4
"""The work that is there may end first: the driver itself says drain."""
NOT_STARTED, IN_PROGRESS, COMPLETED = 1, 2, 3
"""`NVML_GPU_FABRIC_STATE_*`; 0 is a GPU without a fabric."""
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


def measure(machine: Machine) -> Sequence[GpuDriver]:
    """Ask for every GPU."""
    return machine.gpus.read(GpuDriver)


def judge(gpus: Sequence[GpuDriver]) -> Iterator[Finding]:
    """One finding per demand and GPU."""
    return findings("gpu_driver", gpus, lambda gpu: gpu, _judge)


def _judge(gpu: GpuDriver) -> Said:
    if gpu.recovery_action:
        yield from _recovery(gpu, gpu.recovery_action)
    if gpu.fabric and gpu.fabric.state:
        yield from _fabric(gpu, gpu.fabric)


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


def _fabric(gpu: GpuDriver, fabric: Fabric) -> Said:
    known = {"state": fabric.state, "status": fabric.status, "health_mask": fabric.health}
    evidence: Evidence = {**known, "driver": gpu.driver, "vbios": gpu.vbios}
    configuration = fabric.health >> _CONFIGURATION & 0xF
    if fabric.state in (NOT_STARTED, IN_PROGRESS):
        said = "is not yet part of the NVLink fabric: does the fabric manager run?"
        yield "fabric-unready", Health.WARNING, said, evidence
    elif fabric.state == COMPLETED and fabric.status:
        said = f"could not join the NVLink fabric: NVML error {fabric.status}"
        yield "fabric-failed", Health.CRITICAL, said, evidence
    elif _is(fabric, _ROUTE_BROKEN) or configuration > 1:
        why = CONFIGURATIONS.get(configuration, "its route is unhealthy")
        yield (
            "fabric-failed",
            Health.CRITICAL,
            f"has a broken place in the NVLink fabric: {why}",
            evidence,
        )
    elif any(_is(fabric, each) for each in (_DEGRADED, _ROUTE_RECOVERS, _ACCESS_RECOVERS)):
        said = "has less NVLink bandwidth than it should, or its route is being repaired"
        yield "fabric-degraded", Health.WARNING, said, evidence


def _is(fabric: Fabric, place: int) -> bool:
    return fabric.health >> place & 0x3 == _TRUE


def metrics(gpus: Sequence[GpuDriver]) -> dict[Series, float]:
    """Gauges per GPU. A fleet is compared by `count by (model, driver, vbios) (sentinel_gpu_info)`."""
    shown: dict[Series, float] = {}
    for gpu in gpus:
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
    measure=measure,
    judge=judge,
    causes=("gpu-recovery", "gpu-reset-due", "fabric"),
    metrics=metrics,
)
