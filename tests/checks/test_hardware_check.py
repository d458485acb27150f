import shutil
from pathlib import Path

import pytest
from files import plant

from sentinel.checks import hardware
from sentinel.model.check import series
from sentinel.model.finding import Health

GPU, NIC, DISK = (
    "bus/pci/devices/0000:1b:00.0",
    "bus/pci/devices/0000:3b:00.0",
    "bus/pci/devices/0000:02:00.0",
)
NAMES = (
    "Undefined",
    "DLP",
    "SDES",
    "TLP",
    "FCP",
    "CmpltTO",
    "CmpltAbrt",
    "UnxCmplt",
    "RxOF",
    "MalfTLP",
    "ECRC",
)
"""As `aer_dev_fatal` and `aer_dev_nonfatal` list them; from the test data of prometheus/procfs."""


def errors(kind: str, count: int) -> str:
    return "\n".join([*(f"{name} 0" for name in NAMES), f"TOTAL_ERR_{kind} {count}"])


class Host:
    """A host with two memory controllers, a GPU and a NIC, whose counters a test changes between looks."""

    def __init__(self, root: Path, uncorrectable: int = 0) -> None:
        self.root, self.memory, self.now = root, hardware.Memory(), 1000.0
        for controller in ("mc0", "mc1"):
            self.controller(controller, ue=uncorrectable, ce=0)
        for device, kind in ((GPU, "0x030200"), (NIC, "0x020700"), (DISK, "0x010802")):
            plant(root, {f"{device}/class": kind})
            self.device(device)
        plant(root, {"devices/system/edac/mc/power/control": "auto"})

    def controller(self, name: str, ue: int | str, ce: int | str) -> None:
        folder = f"devices/system/edac/mc/{name}"
        plant(self.root, {f"{folder}/ue_count": str(ue), f"{folder}/ce_count": str(ce)})

    def device(self, device: str, fatal: int = 0, nonfatal: int = 0) -> None:
        files = {"aer_dev_fatal": errors("FATAL", fatal), "aer_dev_nonfatal": errors("NONFATAL", nonfatal)}
        plant(self.root, {f"{device}/{name}": text for name, text in files.items()})

    def look(self, seconds: float = 15.0) -> list[tuple[str, str, Health]]:
        self.now += seconds
        found = hardware.judge(hardware.look(self.root, self.memory, self.now))
        return [(each.component, each.code, each.health) for each in found]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    assert host.look() == []
    return host


def test_a_machine_that_counts_nothing_is_skipped(tmp_path: Path) -> None:
    (found,) = hardware.judge(hardware.look(tmp_path, hardware.Memory(), 1.0))
    assert found.health is Health.SKIPPED


def test_an_uncorrectable_error_stands_until_the_machine_starts_again(host: Host) -> None:
    host.controller("mc1", ue=1, ce=0)
    expected = [("memory:mc1", "memory-uncorrectable", Health.CRITICAL)]
    assert host.look() == expected
    assert host.look(7200.0) == expected


def test_one_from_before_anybody_looked_takes_no_node_away(tmp_path: Path) -> None:
    host = Host(tmp_path, uncorrectable=2)
    assert host.look()[0] == ("memory:mc0", "memory-uncorrectable-before", Health.WARNING)
    host.controller("mc0", ue=3, ce=0)
    assert host.look()[0] == ("memory:mc0", "memory-uncorrectable", Health.CRITICAL)


def test_a_driver_that_was_loaded_again_counts_anew(tmp_path: Path) -> None:
    host = Host(tmp_path, uncorrectable=2)
    host.look()
    host.controller("mc0", ue=0, ce=0)
    host.controller("mc1", ue=0, ce=0)
    assert host.look() == []
    host.controller("mc0", ue=1, ce=0)
    assert host.look() == [("memory:mc0", "memory-uncorrectable", Health.CRITICAL)]


@pytest.mark.parametrize(("errors_", "told"), [(100, False), (101, True)])
def test_many_corrected_errors_are_a_warning(host: Host, errors_: int, told: bool) -> None:
    host.controller("mc0", ue=0, ce=errors_)
    assert host.look() == [("memory:mc0", "memory-corrected", Health.WARNING)] * told
    assert host.look(3700.0) == []


@pytest.mark.parametrize(
    ("fatal", "nonfatal", "code"),
    [(0, 10, None), (0, 11, "pcie-nonfatal"), (1, 0, "pcie-fatal"), (1, 99, "pcie-fatal")],
)
def test_pcie_errors_of_gpus_and_nics_are_warnings(
    host: Host, fatal: int, nonfatal: int, code: str | None
) -> None:
    host.device(NIC, fatal, nonfatal)
    host.device(DISK, 5, 500)
    assert host.look() == ([("pci:0000:3b:00.0", code, Health.WARNING)] if code else [])


def test_a_device_that_is_gone_says_nothing(host: Host) -> None:
    shutil.rmtree(host.root / GPU)
    assert host.look() == []


@pytest.mark.parametrize("text", ["", "none", "-", "1 2"])
def test_a_controller_that_can_not_be_read_is_unknown(host: Host, text: str) -> None:
    host.controller("mc0", ue=text, ce=0)
    assert host.look() == [("memory:mc0", "memory-errors-unreadable", Health.UNKNOWN)]


@pytest.mark.parametrize("text", ["", "TOTAL_ERR_FATAL", "TOTAL_ERR_FATAL many", "Undefined 0\nDLP 0"])
def test_a_list_of_errors_that_is_cut_off_is_unknown(host: Host, text: str) -> None:
    plant(host.root, {f"{GPU}/aer_dev_fatal": text})
    assert host.look() == [("pci:0000:1b:00.0", "pcie-errors-unreadable", Health.UNKNOWN)]


def test_growth_is_exported(host: Host) -> None:
    host.controller("mc0", ue=1, ce=5)
    host.device(GPU, fatal=1, nonfatal=2)
    sample = hardware.look(host.root, host.memory, host.now + 15.0)
    assert hardware.counts(sample)[series("memory_corrected_errors_total", controller="mc0")] == 5
    assert hardware.counts(sample)[series("pcie_uncorrected_errors_total", pci="0000:1b:00.0")] == 3
    assert hardware.metrics(sample)[series("memory_uncorrectable_errors_total", controller="mc0")] == 1.0
