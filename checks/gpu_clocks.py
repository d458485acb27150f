"""A GPU's clocks, heat and power over the last minutes: what holds it back again and again."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from sentinel.checks._details import Said, findings, gauges, recalled
from sentinel.checks._kept import MINUTE_S, Clock, Readings, Rise, minutes, remembered, rises
from sentinel.checks.gpu import HW_POWER_BRAKE, HW_SLOWDOWN, HW_THERMAL
from sentinel.model.check import Check, Machine, Series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import GpuClocks, GpuDetail
from sentinel.model.ids import Seconds

MINUTES = 10
SLOW_MINUTES = 6
"""gpud looks once a minute, and asks for an inspection from 6 looks in 10 minutes on that saw a slowdown."""
HARDWARE = HW_SLOWDOWN | HW_THERMAL | HW_POWER_BRAKE
FAULTS = HW_THERMAL | HW_POWER_BRAKE
"""A slowdown for none of these may be the protection from power peaks of heavy work, or a change of clocks
(nvml.h): it takes no node away by itself."""
THERMAL_SPAN_S: Seconds = 300.0
"""As long as a heat wave of fans that regulate, of which none is a fault."""
THERMAL_SHARE = 0.05
"""Of the time slowed by heat: SuperBench calls a machine defective from 5% below its peers on."""


@dataclass(frozen=True, slots=True)
class ClocksSample:
    """One GPU's clocks now, and how often they were held down."""

    gpu: GpuClocks
    slow_minutes: int
    """Of the last ten, those in which a look saw hardware slow it down."""
    fault_minutes: int
    """Of these, those in which heat or a power brake was why."""
    thermal_ns: Rise | None
    """How long heat held the clocks down within `THERMAL_SPAN_S`."""


class Past(msgspec.Struct):
    """The last minutes of one GPU."""

    slow: dict[str, list[int]] = {}
    """Kind of slowdown → the minutes that saw one."""
    thermal: dict[str, Readings] = {}


class Memory(msgspec.Struct):
    """What is remembered, by GPU."""

    gpus: dict[str, Past] = {}


def measure(machine: Machine, clock: Clock = time.monotonic) -> Sequence[ClocksSample]:
    """Read the clocks of every GPU."""
    gpus = machine.gpus.read(GpuClocks)
    with remembered(machine.kept, "gpu_clocks", Memory, over_gaps=False) as memory:
        now = clock()
        return [_sample(gpu, past, now) for gpu, past in recalled(gpus, memory.gpus, Past)]


def _sample(gpu: GpuClocks, past: Past, now: Seconds) -> ClocksSample:
    kinds = {"slow": HARDWARE, "fault": FAULTS}
    seen = [kind for kind, reasons in kinds.items() if (gpu.throttle_reasons or 0) & reasons]
    slow = minutes(past.slow, seen, MINUTES, now)
    rose = rises(past.thermal, {"heat": gpu.thermal_violation_ns}, THERMAL_SPAN_S, now)
    return ClocksSample(gpu, slow.get("slow", 0), slow.get("fault", 0), rose.get("heat"))


def judge(samples: Sequence[ClocksSample]) -> Iterator[Finding]:
    """One finding per fault and GPU. What holds it back at this moment the gpu check says."""
    return findings("gpu_clocks", samples, _gpu, _judge)


def _gpu(sample: ClocksSample) -> GpuDetail:
    return sample.gpu


def _judge(sample: ClocksSample) -> Said:
    if sample.slow_minutes >= SLOW_MINUTES:
        said = f"was slowed down by hardware in {SLOW_MINUTES} of the last {MINUTES} minutes or more"
        health = Health.CRITICAL if sample.fault_minutes >= SLOW_MINUTES else Health.WARNING
        yield "throttle-repeated", health, said, {"minutes": sample.slow_minutes}
    heat = sample.thermal_ns
    if heat and heat.seconds >= MINUTE_S and heat.per_second / 1e9 >= THERMAL_SHARE:
        said = f"is slowed down by heat for {THERMAL_SHARE:.0%} of the time or more: look at its cooling"
        yield "thermal-violation", Health.WARNING, said, {"share": round(heat.per_second / 1e9, 3)}
    now, limit = sample.gpu.memory_temperature_c, sample.gpu.memory_temperature_max_c
    if now is not None and limit and now >= limit:
        said = f"has memory at or above its limit of {limit} °C"
        yield "memory-temperature", Health.WARNING, said, {"memory_temperature_c": now}


def metrics(samples: Sequence[ClocksSample]) -> dict[Series, float]:
    """Gauges per GPU; the times are the driver's own, and begin anew with it."""
    shown: dict[Series, float] = {}
    for gpu in (sample.gpu for sample in samples):
        shown |= gauges(
            gpu,
            gpu_sm_clock_hertz=_scaled(gpu.sm_clock_mhz, 1e6),
            gpu_sm_clock_max_hertz=_scaled(gpu.sm_clock_max_mhz, 1e6),
            gpu_power_watts=gpu.power_w,
            gpu_power_limit_watts=gpu.power_limit_w,
            gpu_power_limit_default_watts=gpu.power_default_w,
            gpu_memory_temperature_celsius=gpu.memory_temperature_c,
            gpu_thermal_violation_seconds_total=_scaled(gpu.thermal_violation_ns, 1e-9),
            gpu_power_violation_seconds_total=_scaled(gpu.power_violation_ns, 1e-9),
        )
    return shown


def _scaled(value: int | None, by: float) -> float | None:
    return None if value is None else value * by


CHECK = Check(
    "gpu_clocks",
    every=10.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("throttle",),
    metrics=metrics,
)
