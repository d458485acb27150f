"""NVIDIA's management library when a GPU, or the driver, goes away under it."""
# ruff: noqa: N802 (the names are the library's)

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from sentinel.adapters import nvml
from sentinel.adapters.nvml import NvmlError, NvmlGpus
from sentinel.checks import gpu
from sentinel.model.check import Machine
from sentinel.model.finding import Health
from sentinel.runtime.probe import Introduction
from sentinel.runtime.prober import introduction

GIB = 1024**3


class Driver:
    """The library's functions, with the errors that it gives for GPUs that are lost or not there."""

    def __init__(self, *places: str) -> None:
        self.places = list(places)
        """The GPUs that it finds when it starts, in the order of their numbers."""
        self.lost: set[str] = set()
        self.errors: dict[str, int] = {}
        """What a function answers instead, by its name."""
        self._found: list[str] = []
        self._session = 0
        self._up = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("nvmlDeviceGet"):
            return lambda handle, *_: self._answer(name, handle)
        return getattr(pynvml, name)

    def nvmlInit(self) -> None:
        self._found, self._up = list(self.places), True
        self._session += 1

    def nvmlShutdown(self) -> None:
        self._up = False

    def nvmlDeviceGetCount(self) -> int:
        self._check_up()
        return len(self._found)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[int, str]:
        self._check_up()
        if index >= len(self._found):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self._handle(self._found[index])

    def nvmlDeviceGetHandleByPciBusId(self, place: str) -> tuple[int, str]:
        self._check_up()
        if place not in self._found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self._handle(place)

    def _handle(self, place: str) -> tuple[int, str]:
        self._check_there(place)
        return self._session, place

    def _answer(self, name: str, handle: tuple[int, str]) -> Any:
        session, place = handle
        self._check_up()
        if session != self._session:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        if name in self.errors:
            raise pynvml.NVMLError(self.errors[name])
        self._check_there(place)
        return self.answers(place)[name]

    def answers(self, place: str) -> dict[str, Any]:
        return {
            "nvmlDeviceGetUUID": f"GPU-{place}",
            "nvmlDeviceGetPciInfo": SimpleNamespace(busId=place.encode()),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=GIB),
            "nvmlDeviceGetRemappedRows": (0, 0, 0, 0),
            "nvmlDeviceGetTotalEccErrors": 0,
            "nvmlDeviceGetTemperatureThreshold": 87,
            "nvmlDeviceGetTemperature": 45,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97),
        }

    def _check_up(self) -> None:
        if not self._up:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)

    def _check_there(self, place: str) -> None:
        if place in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


A, B, C = (f"00000000:{bus}:00.0" for bus in ("01", "02", "03"))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(A, B, C)
    monkeypatch.setattr(nvml, "pynvml", driver)
    return driver


def seen(gpus: NvmlGpus) -> list[tuple[int, str, bool, str]]:
    return [(each.index, each.pci, each.present, each.error) for each in gpus.sample()]


FINE = [(0, A, True, ""), (1, B, True, ""), (2, C, True, "")]


def test_every_gpu_is_measured(driver: Driver) -> None:
    gpus = NvmlGpus()
    assert seen(gpus) == FINE
    (first, *_) = gpus.sample()
    assert (first.uuid, first.memory_used_bytes, first.temperature_c) == (f"GPU-{A}", GIB, 45)
    assert (first.ecc_uncorrectable, first.remap_pending, first.utilisation_percent) == (0, False, 97)


def test_a_gpu_that_was_lost_before_the_first_look_is_reported_and_the_others_are_measured(
    driver: Driver,
) -> None:
    driver.lost.add(B)
    gpus = NvmlGpus()
    assert seen(gpus) == [(0, A, True, ""), (1, "", False, "GPU is lost"), (2, C, True, "")]
    found = list(gpu.judge(gpu.measure(Machine("n", gpus, None))))
    assert [(each.component, each.code, each.health) for each in found] == [
        ("gpu-1", "gpu-lost", Health.CRITICAL)
    ]


def test_a_prober_that_starts_after_a_gpu_was_lost_counts_it_and_knows_the_others_addresses(
    driver: Driver,
) -> None:
    driver.lost.add(B)
    pci = {"0000:01:00": 0, "0000:03:00": 2}
    assert introduction(Machine("n", NvmlGpus(), None)) == Introduction(3, pci)


def test_a_gpu_that_is_lost_while_it_is_watched_keeps_its_name_and_is_measured_again_after_a_reset(
    driver: Driver,
) -> None:
    gpus = NvmlGpus()
    gpus.sample()
    driver.lost.add(B)
    for _ in range(2):
        assert seen(gpus) == [(0, A, True, ""), (1, B, False, "GPU is lost"), (2, C, True, "")]
    driver.lost.clear()
    assert seen(gpus) == FINE


def test_a_gpu_that_is_lost_in_the_middle_of_a_look_is_lost_and_not_without_values(driver: Driver) -> None:
    driver.errors["nvmlDeviceGetTotalEccErrors"] = pynvml.NVML_ERROR_GPU_IS_LOST
    assert [present for _, _, present, _ in seen(NvmlGpus())] == [False, False, False]


def test_a_value_that_a_gpu_does_not_have_is_none_and_the_others_are_there(driver: Driver) -> None:
    driver.errors["nvmlDeviceGetTotalEccErrors"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    (first, *_) = NvmlGpus().sample()
    assert (first.present, first.ecc_uncorrectable, first.temperature_c) == (True, None, 45)


def test_any_other_error_of_a_gpu_says_nothing_about_it(driver: Driver) -> None:
    driver.errors["nvmlDeviceGetMemoryInfo"] = pynvml.NVML_ERROR_UNKNOWN
    assert seen(NvmlGpus())[0] == (0, A, True, "Unknown Error")


def test_an_error_that_tells_is_kept_from_whichever_call_it_comes_and_the_other_answers_count(
    driver: Driver,
) -> None:
    # these are asked once, when it is opened
    quiet = "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo", "nvmlDeviceGetTemperatureThreshold"
    calls = [name for name in driver.answers("x") if name not in quiet]
    for call in calls:
        for code, words in ((16, "GPU requires restart"), (999, "Unknown Error")):
            driver.errors = {call: code}
            (first, *_) = NvmlGpus().sample()
            assert (first.present, first.error) == (True, words), call
            assert call == "nvmlDeviceGetTemperature" or first.temperature_c == 45
    driver.errors = dict(zip(calls, [999, 999, 16, 999, 999, 999], strict=True))
    (first, *_) = NvmlGpus().sample()
    assert set(first.error.split("; ")) == {"GPU requires restart", "Unknown Error"}


def test_a_library_that_cannot_count_any_more_says_so_of_each_gpu_that_was_seen(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    gpus = NvmlGpus()
    gpus.sample()
    with monkeypatch.context() as broken:
        broken.setattr(driver, "nvmlDeviceGetCount", fails)
        for _ in range(2):
            assert [(each.index, each.present, each.error) for each in gpus.sample()] == [
                (index, True, "Unknown Error") for index in range(3)
            ]
        with pytest.raises(NvmlError, match="Unknown Error"):
            NvmlGpus().sample()
    assert seen(gpus) == FINE


def test_a_library_that_was_shut_down_is_said_once_and_started_again(driver: Driver) -> None:
    gpus = NvmlGpus()
    gpus.sample()
    driver.nvmlShutdown()
    with pytest.raises(NvmlError, match="Uninitialized"):
        gpus.sample()
    assert seen(gpus) == FINE


def test_a_gpu_that_the_driver_no_longer_finds_is_lost_and_the_others_keep_their_numbers(
    driver: Driver,
) -> None:
    gpus = NvmlGpus()
    gpus.sample()
    driver.nvmlShutdown()
    driver.places.remove(B)
    with pytest.raises(NvmlError):
        gpus.sample()
    assert seen(gpus) == [(0, A, True, ""), (1, B, False, "Not Found"), (2, C, True, "")]


def test_gpus_that_come_with_a_new_driver_are_numbered_as_it_numbers_them(driver: Driver) -> None:
    driver.places.remove(B)
    gpus = NvmlGpus()
    assert seen(gpus) == [(0, A, True, ""), (1, C, True, "")]
    driver.nvmlShutdown()
    driver.places.insert(1, B)
    with pytest.raises(NvmlError):
        gpus.sample()
    assert seen(gpus) == FINE


def test_a_machine_without_a_driver_says_so_in_one_line(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(driver, "nvmlInit", missing)
    gpus = NvmlGpus()
    for _ in range(2):
        with pytest.raises(NvmlError, match="NVML Shared Library Not Found"):
            gpus.sample()
