"""The services that a training node stands on, where they are installed: whether systemd has them up."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from sentinel.checks._kept import remembered
from sentinel.checks.gpu_driver import IN_PROGRESS, NOT_STARTED
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped
from sentinel.model.gpu_sample import GpuDriver

FABRIC_MANAGER = "nvidia-fabricmanager.service"
SERVICES = (
    FABRIC_MANAGER,
    "nvidia-persistenced.service",
    "containerd.service",
    "docker.service",
    "slurmd.service",
    "kubelet.service",
)
SYSTEMD = Path("/run/systemd/system")
"""Is there where systemd is the init system: `sd_booted(3)`."""
SWITCHES = Path("/proc/driver/nvidia-nvswitch/devices")
"""The driver of NVSwitches that the host manages lists them there."""
PROC = Path("/proc")
MANAGER = "nv-fabricmanage"
"""The fabric manager's process, as the kernel cuts its name off at 15 characters."""
WITHIN_S = 3.0
LOOKS = 2
"""A service that somebody only restarts is up again at the second look; one that failed was given up."""
_FIELDS = ("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "ConditionResult")


class Memory(msgspec.Struct):
    """What is remembered."""

    was_up: list[str] = []
    down: dict[str, int] = {}
    """Service → looks in a row that found it down."""


@dataclass(frozen=True, slots=True)
class ServiceSample:
    """One installed service."""

    name: str
    active: str
    """`active`, `failed`, `inactive`, `activating` and so on."""
    sub: str = ""
    enabled: bool = False
    result: str = ""
    """Why it ended, `exit-code` or `signal`."""
    was_up: bool = False
    """At some time since the machine started."""
    down_looks: int = 0


@dataclass(frozen=True, slots=True)
class PlatformSample:
    """All installed services."""

    services: tuple[ServiceSample, ...] = ()
    has_switches: bool = False
    is_managed: bool = False
    """A fabric manager runs, also one that is no service of this systemd, such as in a driver's container."""
    skipped: str = ""
    """Why there is nothing to look at."""
    waits_for_fabric: bool = False
    """A GPU says that it is not part of the NVLink fabric yet: no CUDA program starts on it."""


def measure(machine: Machine) -> PlatformSample:
    """Ask systemd for all services at once. Raises OSError or SubprocessError where it does not answer."""
    command = shutil.which("systemctl")
    if not SYSTEMD.is_dir() or command is None:
        return PlatformSample(skipped="systemd does not run here")
    asked = [command, "show", "--property", ",".join(_FIELDS), *SERVICES]
    done = subprocess.run(asked, capture_output=True, timeout=WITHIN_S, check=True)
    with remembered(machine.kept, "platform", Memory) as memory:
        sample = look(done.stdout.decode(errors="replace"), SWITCHES, memory)
    is_down = any(each.name == FABRIC_MANAGER and _is_down(each) for each in sample.services)
    return replace(sample, waits_for_fabric=is_down and sample.has_switches and _waits_for_fabric(machine))


def _waits_for_fabric(machine: Machine) -> bool:
    """Ask the GPUs. One that can't be read, or is of before there was such a state, does not say so."""
    try:
        gpus = machine.gpus.read(GpuDriver)
    except OSError:
        return False
    return any(gpu.fabric is not None and gpu.fabric.state in (NOT_STARTED, IN_PROGRESS) for gpu in gpus)


def look(text: str, switches: Path, memory: Memory, proc: Path = PROC) -> PlatformSample:
    """Read what `systemctl show` says, a block for each service, and remember what was up."""
    found = [each for block in text.split("\n\n") if (each := _read(block)) is not None]
    memory.was_up = sorted({each.name for each in found if each.active == "active"}.union(memory.was_up))
    memory.down = {each.name: memory.down.get(each.name, 0) + 1 for each in found if _is_down(each)}
    services = tuple(
        ServiceSample(
            each.name,
            each.active,
            each.sub,
            each.enabled,
            each.result,
            each.name in memory.was_up,
            memory.down.get(each.name, 0),
        )
        for each in found
    )
    try:
        has_switches = any(switches.iterdir())
    except OSError:
        has_switches = False
    is_down = any(each.name == FABRIC_MANAGER and _is_down(each) for each in found)
    is_managed = is_down and any(map(_is_manager, proc.glob("[0-9]*/comm")))
    why_not = "" if services else "no service of the platform is installed"
    return PlatformSample(services, has_switches, is_managed, why_not)


def _is_manager(comm: Path) -> bool:
    try:
        return comm.read_bytes().strip() == MANAGER.encode()
    except OSError:  # it ended meanwhile
        return False


def _read(block: str) -> ServiceSample | None:
    """Read one service; None for one that is not installed, or masked so that it never starts."""
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if values.get("LoadState") != "loaded" or values.get("Id") not in SERVICES:
        return None
    has_to_run = values.get("ConditionResult") != "no"  # else systemd leaves it out, as where there is no GPU
    enabled = values.get("UnitFileState", "").startswith("enabled") and has_to_run
    result = values.get("Result", "")
    return ServiceSample(
        values["Id"], values.get("ActiveState", ""), values.get("SubState", ""), enabled, result
    )


def _is_down(service: ServiceSample) -> bool:
    return service.active in ("failed", "inactive")


def judge(sample: PlatformSample) -> Iterator[Finding]:
    """One finding for each service that should be up and is not.

    After a start without the fabric manager no CUDA program runs on a machine with NVSwitches (error 802,
    "system not yet initialized"), and its GPUs say that they wait for the fabric: only that is critical. GPUs
    that are part of it go on without the manager, from H100 on; before, programs end with it by default, and
    then it explains why a rank did. Where there are no switches it has nothing to do and fails
    (`NV_WARN_NOTHING_TO_DO`), wherever it came with the image.
    """
    if sample.skipped:
        yield skipped("platform", sample.skipped)
    for service in sample.services:
        is_missed = (service.enabled or service.was_up) and service.down_looks >= LOOKS
        if not (service.active == "failed" or (_is_down(service) and is_missed)):
            continue
        has_work = sample.has_switches or service.was_up
        if service.name == FABRIC_MANAGER and (sample.is_managed or not has_work):
            continue
        name = service.name.removesuffix(".service")
        evidence = {"active": service.active, "sub": service.sub, "result": service.result}
        if service.name == FABRIC_MANAGER and sample.has_switches:
            code = "fabric-manager-down"
            health = Health.CRITICAL if sample.waits_for_fabric else Health.WARNING
        else:
            code, health = "service-down", Health.WARNING
        yield Finding("platform", code, f"service:{name}", health, f"{name} is down", evidence)


def metrics(sample: PlatformSample) -> dict[Series, float]:
    """Whether each installed service is up."""
    return {
        series("service_active", service=each.name.removesuffix(".service")): float(each.active == "active")
        for each in sample.services
    }


CHECK = Check(
    "platform",
    every=60.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("fabric-manager",),
    metrics=metrics,
    of_this_host=True,
)
