"""GPUs: whether each one is there, and its memory, temperature and clock are in order."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sentinel.checks._details import NO_GPU
from sentinel.model.check import Check, GpuSample, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

HOT_C = 90
"""Where the device names no limit of its own: data-centre GPUs slow down from 87 to 95 on, by model."""
HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, HW_POWER_BRAKE = 0x8, 0x20, 0x40, 0x80
"""NVML `nvmlClocksEventReasons`. Idle 0x1, application clocks 0x2 and software power cap 0x4 are no fault."""


LOST = re.compile(r"(?:\b|_)is[ _]lost\b|fallen off the bus", re.IGNORECASE)
NEEDS_RESET = re.compile(r"requires? (?:a )?re(?:start|set)|reset[ _](?:is )?required", re.IGNORECASE)
"""NVML_ERROR_RESET_REQUIRED (16): "GPU requires restart" in NVIDIA's binding, "reset" in others'."""
UNKNOWN_ERROR = re.compile(r"\bunknown error\b", re.IGNORECASE)
"""NVML_ERROR_UNKNOWN (999): nothing to act on, but where it lasts people have to look."""
Named = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class GpuSamples:
    """Every GPU of a node, and how many there should be."""

    gpus: Sequence[GpuSample]
    expected: int | None


def measure(machine: Machine) -> GpuSamples:
    """Touch every handle: asking for the device count says 8 while one GPU is lost."""
    return GpuSamples(machine.gpus.sample(), machine.expected_gpus)


def judge(samples: GpuSamples) -> Iterator[Finding]:
    """One finding per fault and GPU; a GPU in order gives none."""
    if not (samples.gpus or samples.expected):
        yield skipped("gpu", NO_GPU)
    seen = {gpu.index for gpu in samples.gpus}
    for index in sorted(set(range(samples.expected or 0)) - seen):
        yield _finding(index, "gpu-lost", Health.CRITICAL, f"GPU {index} was never seen", {})
    for gpu in samples.gpus:
        yield from _judge(gpu)


def _judge(gpu: GpuSample) -> Iterator[Finding]:
    named: Named = {"uuid": gpu.uuid, "pci": gpu.pci}
    if not gpu.present or LOST.search(gpu.error):
        lost = f"GPU {gpu.index} does not answer: {gpu.error or 'lost'}"
        yield _finding(gpu.index, "gpu-lost", Health.CRITICAL, lost, named)
        return
    if gpu.error:
        yield from _error(gpu, named)
    yield from _memory(gpu, named)
    yield from _clock(gpu, named)


def _error(gpu: GpuSample, named: Named) -> Iterator[Finding]:
    """Judge by the driver's words; whatever they are, what was known of this GPU stands."""
    unread = f"GPU {gpu.index} can't be read: {gpu.error}"
    yield _finding(gpu.index, "gpu-unreadable", Health.UNKNOWN, unread, named)
    if NEEDS_RESET.search(gpu.error):
        said = f"GPU {gpu.index} needs a reset: {gpu.error}"
        yield _finding(gpu.index, "gpu-reset-required", Health.CRITICAL, said, named)
    elif UNKNOWN_ERROR.search(gpu.error):
        yield _finding(gpu.index, "gpu-unknown-error", Health.WARNING, unread, named)


def _memory(gpu: GpuSample, named: Named) -> Iterator[Finding]:
    where = f"GPU {gpu.index}"
    errors = gpu.ecc_uncorrectable
    if errors is None and not gpu.error:
        said = f"{where} reports no ECC counters"
        yield _finding(gpu.index, "ecc-unsupported", Health.UNKNOWN, said, named)
    elif errors:
        evidence = {**named, "ecc_uncorrectable": errors}
        said = f"{where} has {errors} uncorrectable ECC errors"
        yield _finding(gpu.index, "ecc-uncorrectable", Health.CRITICAL, said, evidence)
    if gpu.remap_failed:
        yield _finding(gpu.index, "remap-failed", Health.CRITICAL, f"{where} failed to remap a row", named)
    if gpu.remap_pending:
        said = f"{where} remaps a memory row at its next reset"
        yield _finding(gpu.index, "remap-pending", Health.WARNING, said, named)


def _clock(gpu: GpuSample, named: Named) -> Iterator[Finding]:
    where = f"GPU {gpu.index}"
    limit = gpu.temperature_max_c or HOT_C
    if gpu.temperature_c is not None and gpu.temperature_c >= limit:
        evidence = {**named, "temperature_c": gpu.temperature_c}
        said = f"{where} is at or above {limit} °C"
        yield _finding(gpu.index, "temperature", Health.WARNING, said, evidence)
    reasons = gpu.throttle_reasons or 0
    evidence = {**named, "throttle_reasons": reasons}
    if reasons & (HW_THERMAL | HW_POWER_BRAKE):
        why = "heat" if reasons & HW_THERMAL else "power brake"
        yield _finding(
            gpu.index, "throttle", Health.CRITICAL, f"{where} slows down: hardware, {why}", evidence
        )
    elif reasons & HW_SLOWDOWN:
        yield _finding(gpu.index, "throttle", Health.WARNING, f"{where} slows down: hardware", evidence)
    elif reasons & SW_THERMAL:
        said = f"{where} slows down: the driver keeps it cool"
        yield _finding(gpu.index, "throttle-software", Health.WARNING, said, evidence)


def _finding(index: int, code: str, health: Health, summary: str, evidence: Named) -> Finding:
    return Finding("gpu", code, f"gpu-{index}", health, summary, evidence)


def metrics(samples: GpuSamples) -> dict[Series, float]:
    """Gauges per GPU; a lost GPU is exported as absent, not left out."""
    gauges: dict[Series, float] = {}
    present = {gpu.index: gpu.present for gpu in samples.gpus}
    for index in sorted(set(range(samples.expected or 0)) | set(present)):
        gauges[series("gpu_present", gpu=index)] = float(present.get(index, False))
    for gpu in samples.gpus:
        gauges |= {series(name, gpu=gpu.index): float(value) for name, value in _values(gpu)}
    return gauges


def _values(gpu: GpuSample) -> Iterable[tuple[str, float]]:
    busy = gpu.utilisation_percent
    values = (
        ("gpu_ecc_uncorrectable_errors_total", gpu.ecc_uncorrectable),
        ("gpu_ecc_corrected_errors_total", gpu.ecc_corrected),
        ("gpu_temperature_celsius", gpu.temperature_c),
        ("gpu_throttle_reasons", gpu.throttle_reasons),
        ("gpu_memory_used_bytes", gpu.memory_used_bytes),
        ("gpu_utilisation_ratio", None if busy is None else busy / 100),
    )
    return [(name, value) for name, value in values if value is not None]


CHECK = Check(
    "gpu",
    every=1.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("gpu-lost", "gpu-ecc", "gpu-remap", "gpu-reset", "gpu-unreadable", "throttle"),
    metrics=metrics,
    on_exit=True,
)
