"""The GPUs of a node through NVIDIA's management library. Any call here may hang with a dead GPU."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pynvml

from sentinel.model.check import GpuSample

T = TypeVar("T")

_LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_FOUND,
}


class NvmlError(OSError):
    """The management library itself does not answer; says nothing about a GPU."""


class NvmlGpus:
    """Every GPU that was ever seen; handles are kept, so that a lost one is touched and reported."""

    def __init__(self) -> None:
        self._handles: dict[int, Any] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._opened = False

    def sample(self) -> Sequence[GpuSample]:
        """Touch every GPU. Raises NvmlError when the library can't be loaded or started."""
        if not self._opened:
            self._open()
        return [self._sample(index) for index in sorted(self._names)]

    def _open(self) -> None:
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise NvmlError(f"NVML: {error}") from None
        for index in range(count):
            self._names[index] = ("", "")
            self._find(index)
        self._opened = True

    def _find(self, index: int) -> None:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        pci = _text(pynvml.nvmlDeviceGetPciInfo(handle).busId)
        self._handles[index], self._names[index] = handle, (uuid, pci)

    def _sample(self, index: int) -> GpuSample:
        try:
            if index not in self._handles:
                self._find(index)
            handle = self._handles[index]
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError as error:
            return self._silent(index, error)
        uuid, pci = self._names[index]
        remapped = _optional(lambda: pynvml.nvmlDeviceGetRemappedRows(handle)) or (None,) * 4
        return GpuSample(
            index=index,
            uuid=uuid,
            present=True,
            pci=pci,
            ecc_uncorrectable=_ecc(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
            ecc_corrected=_ecc(handle, pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            remap_pending=None if remapped[2] is None else bool(remapped[2]),
            remap_failed=None if remapped[3] is None else bool(remapped[3]),
            temperature_c=_optional(
                lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
            ),
            throttle_reasons=_optional(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
            memory_used_bytes=memory.used,
            utilisation_percent=_optional(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        )

    def _silent(self, index: int, error: Any) -> GpuSample:
        """A lost GPU is lost; any other error only means that nothing is known about it now."""
        uuid, pci = self._names[index]
        return GpuSample(index, uuid, present=error.value not in _LOST, error=str(error), pci=pci)


def _ecc(handle: Any, kind: int) -> int | None:
    return _optional(lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, pynvml.NVML_VOLATILE_ECC)))


def _optional(ask: Callable[[], T]) -> T | None:
    """Give None for a value that this GPU or driver does not have."""
    try:
        return ask()
    except pynvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
