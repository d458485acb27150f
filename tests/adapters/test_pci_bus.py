"""The GPUs that the PCI bus shows, and which of them the driver does not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sentinel.adapters.pci_bus import compare, gpus


def device(
    bus: Path, address: str, vendor: str = "0x10de", kind: str = "0x030200", driver: str = "nvidia"
) -> None:
    (bus / address).mkdir()
    (bus / address / "vendor").write_text(f"{vendor}\n")
    (bus / address / "class").write_text(f"{kind}\n")
    if driver:
        (bus / address / "driver").symlink_to(bus / "drivers" / driver)


def test_gpus_are_told_from_all_else_on_the_bus(tmp_path: Path) -> None:
    device(tmp_path, "0000:3b:00.0")
    device(tmp_path, "0000:1a:00.0", kind="0x030000")
    device(tmp_path, "0000:5e:00.0", driver="")  # its driver gave it up
    device(tmp_path, "0000:1a:00.1", kind="0x040300")  # its sound
    device(tmp_path, "0000:06:00.0", kind="0x068000")  # an NVSwitch
    device(tmp_path, "0000:02:00.0", vendor="0x1a03", kind="0x030000")  # the board's own screen
    device(tmp_path, "0000:86:00.0", driver="vfio-pci")  # a virtual machine's
    (tmp_path / "0000:ff:00.0").mkdir()
    assert gpus(tmp_path) == ["0000:1a:00.0", "0000:3b:00.0", "0000:5e:00.0"]
    assert list(gpus(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("shown", "on_bus", "missing"),
    [
        pytest.param(["00000000:1A:00.0"], ["0000:1a:00.0", "0000:3b:00.0"], ["0000:3b:00.0"], id="one"),
        pytest.param(["0000:1a:00", ""], ["0000:1a:00.0", "0000:3b:00.0"], [], id="one without address"),
        pytest.param(["0000:1a:00.0"], [], [], id="a bus that is not shown"),
        pytest.param([], ["0000:1a:00.0"], ["0000:1a:00.0"], id="all"),
    ],
)
def test_what_the_driver_does_not_show_is_missing(
    shown: Sequence[str], on_bus: Sequence[str], missing: Sequence[str]
) -> None:
    found = compare(shown, on_bus)
    assert (found.found, found.on_bus, list(found.missing)) == (len(shown), len(on_bus), missing)
