"""Files of /proc and /sys, and what systemd says, from the file to the findings of the checks."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import yaml

from sentinel.checks import ethernet, hardware, host, mounts, platform, ports, processes
from sentinel.model.check import Check, Machine
from sentinel.runtime.probe import NoGpus, probe

CAPTURES = Path(__file__).parents[2] / "captures" / "sysfs"
PCI = "bus/pci/devices/0000:1b:00.0"
TREE = {
    "class/net/eth0/device/x": "",
    "class/net/eth0/type": "1",
    "class/net/eth0/carrier": "1",
    "class/net/eth0/carrier_down_count": "1",
    "class/net/eth0/speed": "25000",
    "class/net/eth0/mtu": "1500",
    "class/net/eth0/operstate": "up",
    "class/net/eth0/statistics/rx_crc_errors": "0",
    "devices/system/edac/mc/mc0/ue_count": "0",
    "devices/system/edac/mc/mc0/ce_count": "17",
    f"{PCI}/class": "0x030200",
    f"{PCI}/aer_dev_fatal": "Undefined 0\nTOTAL_ERR_FATAL 0",
    f"{PCI}/aer_dev_nonfatal": "Undefined 0\nTOTAL_ERR_NONFATAL 0",
}
SERVICES = (
    b"Id=kubelet.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\n"
)
SYSTEMCTL = "systemctl"
KEPT = "kept"


def _tree() -> dict[str, str]:
    names = ("infiniband_h100", "infiniband_others", "bond_lacp", "virtual_machine")
    captured = [yaml.safe_load((CAPTURES / f"{name}.yaml").read_text(encoding="utf-8")) for name in names]
    return {path: text for files in (TREE, *captured) for path, text in files.items()}


def seeds() -> Iterator[bytes]:
    """Each file with its name before it, what systemd says, and what the checks remember."""
    for path, text in _tree().items():
        yield f"{path}\0{text}".encode()
    yield SYSTEMCTL.encode() + b"\0" + SERVICES
    for check in CHECKS:
        yield f"{KEPT}/{check.name}.json\0boot\n{{}}".encode()


def shaped(data: bytes, chance: random.Random) -> bytes:
    """Mostly of a file that there is: a name that is none of them is nobody's to read."""
    name, _, text = data.partition(b"\0")
    known = sorted([*_tree(), SYSTEMCTL, *(f"{KEPT}/{check.name}.json" for check in CHECKS)])
    return data if name.decode(errors="replace") in known else chance.choice(known).encode() + b"\0" + text


CHECKS: tuple[Check, ...] = tuple(each.CHECK for each in (ethernet, hardware, host, mounts, ports, processes))


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Put one file in its place and probe all; accepted is what leaves every check an opinion."""
    good = {path: text.encode() + b"\n" for path, text in _tree().items()}
    for path, text in good.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text)
    machine = Machine("n", NoGpus(), None, kept=str(folder / KEPT))
    memory = platform.Memory()

    def take(data: bytes) -> bool:
        name, _, content = data.partition(b"\0")
        path = name.decode(errors="replace")
        if path == SYSTEMCTL:
            list(platform.judge(platform.look(content.decode(errors="replace"), folder, memory)))
            return True
        if path not in good and not path.startswith(f"{KEPT}/"):
            return False
        (folder / path).write_bytes(content)
        answers = [probe(check, machine) for check in CHECKS]
        (folder / path).write_bytes(good.get(path, content))
        assert not any(each.event for answer in answers for each in answer.findings)
        return not any(answer.failed for answer in answers)

    with ExitStack() as patched:
        for module in (ethernet, hardware, host, mounts, ports, processes):
            for root in ("PROC", "SYS"):
                if hasattr(module, root):
                    patched.enter_context(patch.object(module, root, folder))
        (folder / KEPT).mkdir(exist_ok=True)
        yield take
