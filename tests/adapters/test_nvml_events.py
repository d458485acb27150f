"""Xids from the management library's set of events, with a library that answers as NVIDIA's does."""

import ctypes
from collections.abc import Callable
from typing import Any

import pynvml
import pytest

from sentinel.adapters.nvml import NvmlError
from sentinel.adapters.nvml_events import NvmlEvents
from sentinel.model.check import DriverXid


class Library:
    """Two GPUs; the second may be lost."""

    def __init__(self) -> None:
        self.handles = [pynvml.c_nvmlDevice_t(pynvml.struct_c_nvmlDevice_t()) for _ in range(2)]
        self.lost: set[int] = set()
        self.begun = self.ended = 0
        self.waiting: list[tuple[int, int, int]] = []
        self.fails = 0

    def begin(self) -> None:
        self.begun += 1

    def end(self) -> None:
        self.ended += 1

    def register(self, handle: Any, _types: int, _set: object) -> None:
        if self.handles.index(handle) in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    def wait(self, _set: object, _timeout_ms: int) -> Any:
        if self.fails:
            raise pynvml.NVMLError(self.fails)
        if not self.waiting:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        index, kind, code = self.waiting.pop(0)
        return pynvml.c_nvmlEventData_t(device=self.handles[index], eventType=kind, eventData=code)

    def place(self, handle: Any) -> Any:
        return type("Pci", (), {"busId": f"00000000:0{self.handles.index(handle) + 1}:00.0".encode()})


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    answers: dict[str, Callable[..., Any]] = {
        "nvmlInit": made.begin,
        "nvmlShutdown": made.end,
        "nvmlEventSetCreate": lambda: ctypes.c_void_p(1),
        "nvmlEventSetFree": lambda _: None,
        "nvmlDeviceGetCount": lambda: len(made.handles),
        "nvmlDeviceGetHandleByIndex": lambda index: made.handles[index],
        "nvmlDeviceRegisterEvents": made.register,
        "nvmlDeviceGetPciInfo": made.place,
        "nvmlEventSetWait_v2": made.wait,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    return made


XID = pynvml.nvmlEventTypeXidCriticalError


def test_each_is_given_once_with_its_gpu(library: Library) -> None:
    events = NvmlEvents()
    assert events.take() == ()
    library.waiting = [(1, XID, 31), (0, pynvml.nvmlEventTypeClock, 1), (0, XID, 79)]
    assert events.take() == (DriverXid(1, "00000000:02:00.0", 31), DriverXid(0, "00000000:01:00.0", 79))
    assert events.take() == ()
    assert library.begun == 1


def test_a_storm_is_taken_in_parts(library: Library) -> None:
    events = NvmlEvents()
    library.waiting = [(0, XID, 31)] * 100
    assert (len(events.take()), len(events.take()), len(events.take())) == (64, 36, 0)


def test_a_lost_gpu_hides_no_other(library: Library) -> None:
    library.lost = {0}
    library.waiting = [(1, XID, 31)]
    assert [each.index for each in NvmlEvents().take()] == [1]


def test_a_library_that_fails_says_so_and_is_started_again(library: Library) -> None:
    events = NvmlEvents()
    assert events.take() == ()
    library.fails = pynvml.NVML_ERROR_GPU_IS_LOST
    with pytest.raises(NvmlError, match="NVML: "):
        events.take()
    assert (library.begun, library.ended) == (1, 1)
    library.fails, library.waiting = 0, [(0, XID, 48)]
    assert [each.xid for each in events.take()] == [48]
    assert library.begun == 2
