"""GPUs described by a JSON file that a person or a fault injector edits while the agent runs."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sentinel.model.check import Detail, GpuSample
from sentinel.model.gpu_sample import GpuClocks, GpuDetail, GpuDriver, GpuLinks, GpuMemory, GpuTenants
from sentinel.model.ids import Seconds

_SETTLE: Seconds = 0.02
"""An editor that rewrites the file in place is done within this."""
KEYS: Mapping[type[GpuDetail], str] = {
    GpuMemory: "memory",
    GpuLinks: "links",
    GpuClocks: "clocks",
    GpuTenants: "tenants",
    GpuDriver: "driver",
}
"""Under which optional key of a GPU its details lie."""
Described = tuple[GpuSample, dict[str, Any]]
"""A GPU, and all that the file says of it."""


class DeviceFileError(ValueError):
    """The device file can't be read or does not describe GPUs; the message says where."""


class SimulatedGpus:
    """The GPUs of a device file. One that disappears from the file is lost, not missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good: dict[int, GpuSample] = {}

    def sample(self) -> Sequence[GpuSample]:
        """Give every GPU that was ever described; while the file is broken, each with the error.

        Raises DeviceFileError when the file has never been good.
        """
        try:
            found = self._read()
        except DeviceFileError as error:
            if not self._good:
                raise
            return [_unreadable(gpu, str(error)) for gpu in self._good.values()]
        described = {index: gpu for index, (gpu, _) in found.items()}
        gone = {
            index: dataclasses.replace(gpu, present=False, error="not in the device file any more")
            for index, gpu in self._good.items()
            if index not in described
        }
        self._good |= described
        return [gpu for _, gpu in sorted((described | gone).items())]

    def read(self, kind: type[Detail]) -> Sequence[Detail]:
        """Give one kind of detail of every GPU, as described under its key in `KEYS`.

        Raises DeviceFileError while the file is broken.
        """
        details = {index: plain for index, (_, plain) in self._read().items()}
        return [
            kind(gpu.index, gpu.uuid, gpu.pci, gpu.error)
            if gpu.error or gpu.index not in details
            else _detail(kind, gpu, details[gpu.index])
            for gpu in self.sample()
        ]

    def _read(self) -> dict[int, Described]:
        try:
            return _parse(self._path)
        except DeviceFileError:
            time.sleep(_SETTLE)
            return _parse(self._path)


def _parse(path: Path) -> dict[int, Described]:
    try:
        content = json.loads(path.read_text())
        samples = [(_sample(gpu), gpu) for gpu in content["gpus"]]
    except OSError as error:
        raise DeviceFileError(f"{path}: {error.strerror}") from None
    except KeyError as error:
        raise DeviceFileError(f"{path}: no {error}") from None
    except (TypeError, ValueError) as error:
        raise DeviceFileError(f"{path}: {error}") from None
    return {sample.index: (sample, gpu) for sample, gpu in samples}


def _sample(gpu: dict[str, Any]) -> GpuSample:
    """Build a sample; a field that is left out or null is one that the driver does not give."""
    try:
        described = msgspec.convert({"present": True, **gpu}, GpuSample)
    except msgspec.ValidationError as error:
        raise ValueError(f"gpu {gpu.get('index', 'without an index')}: {error}") from None
    return described if described.present else _unreadable(described, "GPU is lost")


def _detail(kind: type[Detail], gpu: GpuSample, plain: dict[str, Any]) -> Detail:
    """Build one kind of detail; what is left out is what the driver does not give."""
    name = KEYS[kind]
    named = {"index": gpu.index, "uuid": gpu.uuid, "pci": gpu.pci}
    try:
        return msgspec.convert({**plain.get(name, {}), **named}, kind)
    except (msgspec.ValidationError, TypeError) as error:
        raise DeviceFileError(f"gpu {gpu.index}: {name}: {error}") from None


def _unreadable(gpu: GpuSample, error: str) -> GpuSample:
    return GpuSample(gpu.index, gpu.uuid, gpu.present, error, gpu.pci)
