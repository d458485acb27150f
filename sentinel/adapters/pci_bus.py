"""Which GPUs of NVIDIA the PCI bus shows, whether their driver answers or not."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DEVICES = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
GPU_CLASSES = ("0x0300", "0x0302")
"""VGA and 3D controllers; a GPU's audio and USB functions are others."""
ELSEWHERE = ("vfio-pci", "nouveau")
"""Drivers of GPUs that were given to a virtual machine, or to another driver, on purpose."""


def gpus(devices: Path = DEVICES) -> Sequence[str]:
    """Give the address of each GPU that NVIDIA's driver should show, such as `0000:3b:00.0`, in order."""
    try:
        return sorted(entry.name for entry in devices.iterdir() if _is_gpu(entry))
    except OSError:  # no PCI bus, or none that is shown here
        return ()


def _is_gpu(device: Path) -> bool:
    with suppress(OSError, ValueError):
        if (device / "vendor").read_text().strip().lower() != NVIDIA:
            return False
        driver = device / "driver"
        if driver.is_symlink() and driver.readlink().name in ELSEWHERE:
            return False
        return (device / "class").read_text().strip().lower()[:6] in GPU_CLASSES
    return False


class Seen(NamedTuple):
    """The GPUs that the driver shows, beside those on the bus."""

    found: int
    on_bus: int
    missing: Sequence[str]
    """Addresses on the bus at which the driver shows none."""

    def __str__(self) -> str:
        where = ", ".join(self.missing)
        return (
            f"{self.on_bus} GPUs are on the PCI bus, the driver shows {self.found}: none at {where} "
            f"(in a container that has no more, say --expected-gpus {self.found})"
        )


def compare(shown: Sequence[str], on_bus: Sequence[str]) -> Seen:
    """Say which GPUs on the bus the driver does not show; `shown` are its addresses, "" for unknown."""
    known = {_place(address) for address in shown if address}
    missing = [address for address in on_bus if _place(address) not in known]
    return Seen(len(shown), len(on_bus), missing if len(shown) < len(on_bus) else ())


def _place(address: str) -> str:
    """Give `0000:3b:00` of `0000:3b:00.0`, or of `00000000:3B:00.0` as NVML writes it."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
