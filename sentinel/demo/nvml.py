"""A stand-in for NVIDIA's management library: GPUs of a text file, behind the calls that real ones answer.

`nvml.c` beside this says how the file is read. A process meets it when LD_LIBRARY_PATH leads to it and
NVML_STANDIN names the file.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentinel import private

SOURCE = Path(__file__).with_suffix(".c")
LIBRARY = "libnvidia-ml.so.1"
FILE = "NVML_STANDIN"
"""The environment variable that names the file."""
Keys = Mapping[str, Any]

GIB = 1024**3
LINKS = 18
HEALTHY: Keys = {
    "driver": "580.65.06",
    "name": "NVIDIA H200",
    "vbios": "96.00.99.00.01",
    "serial": "1650000000000",
    "memory.total": 141 * GIB,
    "memory.reserved": GIB // 2,
    "memory.used": 0,
    "utilisation": 0,
    "pstate": 0,
    "temperature": 40,
    "temperature.threshold.3": 87,
    "temperature.threshold.2": 95,
    "memory_temperature": 45,
    "throttle_reasons": 0,
    "violation_ns.0": 0,
    "violation_ns.1": 0,
    "clock.1": 1980,
    "clock_max.1": 1980,
    "power_mw": 120_000,
    "power_limit_mw": 700_000,
    "power_default_mw": 700_000,
    "pcie.generation": 5,
    "pcie.generation_max": 5,
    "pcie.width": 16,
    "pcie.width_max": 16,
    "pcie.replays": 0,
    "ecc.volatile.corrected": 0,
    "ecc.volatile.uncorrected": 0,
    "ecc.aggregate.corrected": 0,
    "ecc.aggregate.uncorrected": 0,
    "ecc.volatile.corrected.2": 0,
    "sram.threshold_exceeded": 0,
    "remap.pending": 0,
    "remap.histogram": "6144,0,0,0,0",
    "processes": "",
    "graphics_processes": "",
    "mig": 0,
    "fabric.state": 3,
    "recovery_action": 0,
    "nvlink.count": LINKS,
    "nvlink.totals": 1,
    **{f"nvlink.{link}.active": 1 for link in range(LINKS)},
    **{f"nvlink.{link}.{what}": 0 for link in range(LINKS) for what in ("replays", "recoveries", "crc")},
}
"""An H200 of an HGX board with nothing to do, in order; units as NVML gives them."""


class StandInError(RuntimeError):
    """The stand-in can't be built; the message says why."""


def address(index: int) -> str:
    """Give the PCI address of a described GPU, as NVML writes it."""
    return f"00000000:{index + 1:02x}:00.0"


def _compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def no_compiler() -> str:
    """Say why the stand-in can't be built; empty if it can."""
    return "" if _compiler() else "no C compiler: the stand-in driver is built with gcc"


def build(folder: Path) -> Path:
    """Compile the library into a folder. Raises StandInError without a compiler."""
    compiler = _compiler()
    if compiler is None:
        raise StandInError(no_compiler())
    library = folder / LIBRARY
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}"]
    command = [compiler, *flags, "-o", str(library), str(SOURCE)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise StandInError(f"{SOURCE}: {built.stderr.strip()}")
    return library


def environment(library: Path, file: Path) -> dict[str, str]:
    """Give what a process needs in its environment to meet the stand-in."""
    paths = [str(library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": ":".join(paths), FILE: str(file)}


def keys_of(gpu: Keys) -> Keys:
    """Say of a simulated GPU, an entry of a device file, what the stand-in's file says of one."""
    return {
        "uuid": gpu["uuid"],
        "lost": int(not gpu["present"]),
        "ecc.volatile.uncorrected": gpu["ecc_uncorrectable"],
        "ecc.volatile.corrected": gpu["ecc_corrected"],
        "remap.pending": int(gpu["remap_pending"]),
        "remap.failed": int(gpu["remap_failed"]),
        "temperature": gpu["temperature_c"],
        "throttle_reasons": gpu["throttle_reasons"],
        "xids": ",".join(map(str, gpu["xids"])),
    }


class StandIn:
    """The file of some GPUs, all healthy until something is said of one."""

    def __init__(self, file: Path, gpus: int, said: Sequence[Keys] = ()) -> None:
        """`said`: what is said of each of them from the beginning."""
        self.file = file
        self._all: dict[str, Any] = dict(HEALTHY)
        self._gpus: dict[int, dict[str, Any]] = {index: {"uuid": f"GPU-{index:08x}"} for index in range(gpus)}
        for index, keys in enumerate(said):
            self._gpus[index] |= keys
        self._write()

    @property
    def described(self) -> Sequence[str]:
        """What is said of all GPUs."""
        return list(self._all)

    def put(self, keys: Keys, index: int | None = None) -> None:
        """Say something of one GPU, or of all; a key with `None` is not supported any more."""
        described = self._all if index is None else self._gpus[index]
        described |= {key: "N/A" if value is None else value for key, value in keys.items()}
        self._write()

    def remove(self, index: int) -> None:
        """Take a GPU off the bus."""
        del self._gpus[index]
        self._write()

    def _write(self) -> None:
        """Replace the file at once: a reader sees the old or the new one."""
        lines = [f"{key}={value}" for key, value in self._all.items()]
        for index, keys in self._gpus.items():
            lines += [f"[{address(index)}]", *(f"{key}={value}" for key, value in keys.items())]
        private.write(self.file, "\n".join([*lines, ""]).encode())
