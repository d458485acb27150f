"""The GPUs of a node through NVIDIA's management library. Any call here may hang with a dead GPU."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pynvml

from sentinel.adapters.nvml_asking import TELLING, Asking, text
from sentinel.adapters.nvml_details import READERS
from sentinel.model.check import GpuSample
from sentinel.model.gpu_sample import GpuDetail

T = TypeVar("T")
Detail = TypeVar("Detail", bound=GpuDetail)

_LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_FOUND,
}


class NvmlError(OSError):
    """The management library itself does not answer; most reasons say nothing about a GPU."""

    def __init__(self, error: Any) -> None:
        super().__init__(f"NVML: {error}")
        self.code: int = error.value


class NvmlGpus:
    """Every GPU that was ever seen, and each by itself: a lost one is reported, and hides no other."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}
        self._names: dict[int, tuple[str, str]] = {}
        """(uuid, PCI address) by index; empty for a GPU that has not answered yet."""
        self._kept: dict[int, dict[str, Any]] = {}
        """What need not be read again of each GPU while it is open."""
        self._started = False

    def sample(self) -> Sequence[GpuSample]:
        """Touch every GPU. Raises NvmlError when the library can't be loaded, started or asked."""
        try:
            self._enumerate()
        except NvmlError as error:
            if not self._names or error.code not in TELLING:
                raise
            return [self._silent(index, error.__cause__) for index in sorted(self._names)]
        return [self._sample(index) for index in sorted(self._names)]

    def read(self, kind: type[Detail]) -> Sequence[Detail]:
        """Read one kind of detail of every GPU. Raises NvmlError where they can't even be counted."""
        self._enumerate()
        return [self._detail(kind, index) for index in sorted(self._names)]

    def _enumerate(self) -> None:
        """Count anew each time: it also tells that the library was shut down. A lost GPU counts, too."""
        try:
            if not self._started:
                pynvml.nvmlInit()
                self._started = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._stop()
            raise NvmlError(error) from error
        if count > len(self._names):  # more than ever: they are numbered anew
            self._names = dict.fromkeys(range(count), ("", ""))
            self._handles.clear()

    def _stop(self) -> None:
        """Let the next sample start the library again, and open each GPU again."""
        self._handles.clear()
        if self._started:
            self._started = False
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _find(self, index: int) -> None:
        """Open a GPU by its address, once that is known: the library numbers only those that it finds."""
        _, pci = self._names[index]
        handle = (
            pynvml.nvmlDeviceGetHandleByPciBusId(pci) if pci else pynvml.nvmlDeviceGetHandleByIndex(index)
        )
        uuid = text(pynvml.nvmlDeviceGetUUID(handle))
        self._names[index] = (uuid, text(pynvml.nvmlDeviceGetPciInfo(handle).busId))
        self._handles[index], self._kept[index] = handle, {}

    def _sample(self, index: int) -> GpuSample:
        return self._open(index, self._measure, self._silent)

    def _detail(self, kind: type[Detail], index: int) -> Detail:
        def measure(index: int, handle: Any) -> Detail:
            values = READERS[kind](handle, ask := Asking(self._kept[index]))
            return replace(kind(index, *self._names[index], ask.error), **values)

        return self._open(index, measure, lambda index, error: kind(index, *self._names[index], str(error)))

    def _open(self, index: int, measure: Callable[[int, Any], T], silent: Callable[[int, Any], T]) -> T:
        """Measure an open GPU, or say why it is silent."""
        try:
            if index not in self._handles:
                self._find(index)
            return measure(index, self._handles[index])
        except pynvml.NVMLError as error:
            self._handles.pop(index, None)  # after a reset it is another one
            return silent(index, error)

    def _measure(self, index: int, handle: Any) -> GpuSample:
        uuid, pci = self._names[index]
        ask = Asking(self._kept[index])
        hottest = pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX
        memory = ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        remapped = ask(lambda: pynvml.nvmlDeviceGetRemappedRows(handle)) or (None,) * 4
        return GpuSample(
            index=index,
            uuid=uuid,
            present=True,
            pci=pci,
            ecc_uncorrectable=ask(lambda: _ecc(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
            ecc_corrected=ask(lambda: _ecc(handle, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
            remap_pending=None if remapped[2] is None else bool(remapped[2]),
            remap_failed=None if remapped[3] is None else bool(remapped[3]),
            temperature_c=ask(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
            temperature_max_c=ask.once(
                "hottest", lambda: pynvml.nvmlDeviceGetTemperatureThreshold(handle, hottest)
            ),
            throttle_reasons=ask(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
            memory_used_bytes=None if memory is None else memory.used,
            utilisation_percent=ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            error=ask.error,
        )

    def _silent(self, index: int, error: Any) -> GpuSample:
        """A lost GPU is lost; any other error only means that nothing is known about it now."""
        uuid, pci = self._names[index]
        return GpuSample(index, uuid, present=error.value not in _LOST, error=str(error), pci=pci)


def _ecc(handle: Any, kind: int) -> int:
    return int(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, pynvml.NVML_VOLATILE_ECC))
