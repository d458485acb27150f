"""Xids as NVIDIA's management library tells of them, without right to read the kernel log."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import pynvml

from sentinel.adapters.nvml import NvmlError
from sentinel.model.check import DriverXid

_MOST = 64
"""Taken at a time: a program with a bad address makes thousands, and each is alike."""


class NvmlEvents:
    """One set of events for all GPUs; what happened before it was made it does not know.

    The library counts who has started it, so that this one and `NvmlGpus` need not know of each other.
    """

    def __init__(self) -> None:
        self._started = False
        self._set: Any = None
        self._gpus: dict[int, tuple[int, str]] = {}
        """(index, PCI address) by the handle's address, as an event names its device."""

    def take(self) -> Sequence[DriverXid]:
        """Give what is new, without waiting. Raises NvmlError when the library does not answer."""
        try:
            if self._set is None:
                self._begin()
            return tuple(self._new())
        except pynvml.NVMLError as error:
            self._stop()
            raise NvmlError(error) from error

    def _begin(self) -> None:
        pynvml.nvmlInit()
        self._started = True
        self._set = pynvml.nvmlEventSetCreate()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(
                pynvml.NVMLError
            ):  # a lost one, or one that has no events, hides no other
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
                address = pynvml.nvmlDeviceGetPciInfo(handle).busId
                self._gpus[_pointer(handle)] = (
                    index,
                    address.decode() if isinstance(address, bytes) else address,
                )

    def _new(self) -> Iterator[DriverXid]:
        for _ in range(_MOST):
            try:
                event = pynvml.nvmlEventSetWait_v2(self._set, 0)
            except pynvml.NVMLError as error:
                if error.value != pynvml.NVML_ERROR_TIMEOUT:
                    raise
                return
            index, pci = self._gpus.get(_pointer(event.device), (-1, ""))
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError and index >= 0:
                yield DriverXid(index, pci, int(event.eventData))

    def _stop(self) -> None:
        """Let the next call begin anew, with the GPUs that are there then."""
        kept, self._set = self._set, None
        self._gpus.clear()
        if kept is not None:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(kept)
        if self._started:
            self._started = False
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _pointer(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
