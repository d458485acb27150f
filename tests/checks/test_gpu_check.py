from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from sentinel.checks import gpu
from sentinel.model.check import GpuSample, Machine, series
from sentinel.model.finding import Health

GOOD = GpuSample(
    index=0,
    uuid="GPU-0",
    present=True,
    pci="0000:01:00",
    ecc_uncorrectable=0,
    ecc_corrected=4,
    remap_pending=False,
    remap_failed=False,
    temperature_c=45,
    throttle_reasons=0x1 | 0x4,
)


@dataclass(frozen=True)
class Described:
    samples: Sequence[GpuSample]

    def sample(self) -> Sequence[GpuSample]:
        return self.samples


def codes(*samples: GpuSample, expected: int | None = None) -> list[tuple[str, str, Health]]:
    sample = gpu.measure(Machine("n", Described(samples), expected))
    return [(finding.component, finding.code, finding.health) for finding in gpu.judge(sample)]


@pytest.mark.parametrize(
    ("sample", "code", "health"),
    [
        (replace(GOOD, present=False, error="GPU is lost"), "gpu-lost", Health.CRITICAL),
        (replace(GOOD, error="Insufficient Permissions"), "gpu-unreadable", Health.UNKNOWN),
        (replace(GOOD, ecc_uncorrectable=1), "ecc-uncorrectable", Health.CRITICAL),
        pytest.param(replace(GOOD, ecc_uncorrectable=None), "ecc-unsupported", Health.UNKNOWN, id="no ECC"),
        (replace(GOOD, remap_failed=True), "remap-failed", Health.CRITICAL),
        (replace(GOOD, remap_pending=True), "remap-pending", Health.WARNING),
        (replace(GOOD, temperature_c=95), "temperature", Health.WARNING),
        (replace(GOOD, throttle_reasons=0x8), "throttle", Health.WARNING),
        (replace(GOOD, throttle_reasons=0x48), "throttle", Health.CRITICAL),
        (replace(GOOD, throttle_reasons=0x88), "throttle", Health.CRITICAL),
        (replace(GOOD, throttle_reasons=0x20), "throttle-software", Health.WARNING),
    ],
)
def test_each_fault_has_its_finding(sample: GpuSample, code: str, health: Health) -> None:
    assert codes(sample) == [("gpu-0", code, health)]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("GPU requires restart", [("gpu-reset-required", Health.CRITICAL)]),
        ("GPU requires reset", [("gpu-reset-required", Health.CRITICAL)]),
        ("ERROR_RESET_REQUIRED", [("gpu-reset-required", Health.CRITICAL)]),
        ("Reset required", [("gpu-reset-required", Health.CRITICAL)]),
        ("Unknown Error; GPU requires restart", [("gpu-reset-required", Health.CRITICAL)]),
        ("Unknown Error", [("gpu-unknown-error", Health.WARNING)]),
        ("Timeout", []),
        ("Insufficient Permissions", []),
    ],
)
def test_the_drivers_words_decide_and_the_rest_that_was_known_stands(
    words: str, found: list[tuple[str, Health]]
) -> None:
    unread = ("gpu-0", "gpu-unreadable", Health.UNKNOWN)
    expected = [("gpu-0", code, health) for code, health in found]
    assert codes(replace(GOOD, error=words)) == [unread, *expected]
    assert codes(gpu.GpuSample(0, "GPU-0", present=True, error=words)) == [unread, *expected], (
        "nothing else known"
    )


def test_what_a_gpu_answers_counts_though_it_does_not_answer_all() -> None:
    bad = replace(GOOD, error="Unknown Error", ecc_uncorrectable=3)
    assert ("gpu-0", "ecc-uncorrectable", Health.CRITICAL) in codes(bad)


@pytest.mark.parametrize("words", ["GPU is lost", "ERROR_GPU_IS_LOST", "GPU has fallen off the bus"])
def test_a_gpu_whose_driver_says_that_it_is_lost_is_lost(words: str) -> None:
    assert codes(replace(GOOD, error=words)) == [("gpu-0", "gpu-lost", Health.CRITICAL)]


def test_a_good_gpu_gives_none() -> None:
    assert codes(GOOD, expected=1) == []


def test_a_gpu_that_never_showed_is_lost_and_exported_as_absent() -> None:
    assert codes(GOOD, expected=2) == [("gpu-1", "gpu-lost", Health.CRITICAL)]
    gauges = gpu.metrics(gpu.GpuSamples([GOOD], 2))
    assert (gauges[series("gpu_present", gpu=0)], gauges[series("gpu_present", gpu=1)]) == (1.0, 0.0)


def test_a_share_of_time_is_exported_as_a_ratio() -> None:
    gauges = gpu.metrics(gpu.GpuSamples([replace(GOOD, utilisation_percent=97)], None))
    assert gauges[series("gpu_utilisation_ratio", gpu=0)] == 0.97


def test_summaries_do_not_flutter_with_the_temperature() -> None:
    hot, hotter = (
        next(gpu.judge(gpu.GpuSamples([replace(GOOD, temperature_c=value)], None))) for value in (92, 93)
    )
    assert hot.summary == hotter.summary
    assert hot.evidence != hotter.evidence
