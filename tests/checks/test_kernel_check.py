"""Lines about other hardware and storage: evidence of their node, under codes that no runbook knows."""

import pytest

from sentinel import runbooks
from sentinel.checks import kernel
from sentinel.model.check import Machine
from sentinel.model.finding import Finding, Health
from sentinel.runtime.probe import NoGpus


def findings(*lines: str) -> list[Finding]:
    return list(kernel.judge(kernel.measure(Machine("n", NoGpus(), None, kernel_lines=lines))))


LINES = [
    ("nvrm-reset-required", "gpus", "NVRM: nvAssertOkFailedNoLog: Reset required [NV_ERR_RESET_REQUIRED]"),
    ("nvrm-reset-required", "gpus:GPU0",
     "NVRM: GPU0 _kgspRpcRecvPoll: failed with NV_ERR_RESET_REQUIRED (0x62)"),
    ("nvrm-gpu-lost", "gpus:GPU5", "NVRM: GPU5 nvCheckOkFailedNoLog: Check failed: GPU lost from the bus"),
    ("nvrm-gpu-lost", "gpus:0000:0a:00", "NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)"),
    ("memory-uncorrected", "memory:CPU_SrcID#1_MC#1_Chan#2_DIMM#0",
     "EDAC MC3: 1 UE memory read error on CPU_SrcID#1_MC#1_Chan#2_DIMM#0 (channel:2)"),
    ("memory-uncorrected", "memory:MC0", "EDAC MC0: UE row 0, channel-a= 0 channel-b= 1 labels"),
    ("memory-uncorrected", "memory", "Memory failure: 0xb757589: Sending SIGBUS to python3:101"),
    ("machine-check", "cpu", "{1}[Hardware Error]: event severity: fatal"),
    ("pcie-uncorrected", "pcie:0000:01:00.0",
     "nvidia 0000:01:00.0: AER: can't recover (no error_detected callback)"),
    ("pcie-fatal", "pcie:0000:00:03.0",
     "pcieport 0000:00:03.0: AER: Multiple Uncorrected (Fatal) error received"),
    ("pcie-fatal", "pcie:0000:05:00.0",
     "pcieport 0000:00:03.0: AER: Uncorrected (Fatal) error received: 0000:05:00.0"),
    ("pcie-uncorrected", "pcie:0000:05:00.0",
     "pcieport 0000:00:03.0: AER: Uncorrectable (Non-Fatal) error message received from 0000:05:00.0"),
    ("pcie-fatal", "pcie:0000:00:03.0",
     "pcieport 0000:00:03.0: PCIe Bus Error: severity=Uncorrected (Fatal)"),
    ("lockup", "cpu", "watchdog: BUG: soft lockup - CPU#18 stuck for 27s! [python3:2254956]"),
    ("lockup", "cpu", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3"),
    ("lockup", "cpu", "rcu: INFO: rcu_sched self-detected stall on CPU"),
    ("hung-task", "cpu", "INFO: task python3:136986 blocked for more than 120 seconds."),
    ("hung-task", "cpu", "INFO: task a b (c):7 blocked for more than 241 seconds."),
    ("filesystem", "storage:dm-4", "XFS (dm-4): I/O Error Detected. Shutting down filesystem"),
    ("filesystem", "storage:nvme0n1", "XFS (nvme0n1): Metadata corruption detected at xfs_dinode_verify"),
    ("disk", "storage:nvme4", "nvme nvme4: Disabling device after reset failure: -19"),
    ("filesystem", "storage:md0", "EXT4-fs (md0): Remounting filesystem read-only"),
    ("filesystem", "storage:sda1",
     "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm python3:  x"),
    ("disk", "storage:nvme0n1", "blk_update_request: I/O error, dev nvme0n1, sector 7"),
    ("network", "network:0000:5c:00.0",
     "mlx5_core 0000:5c:00.0: mlx5_pcie_event:299:(pid 268269): Detected insufficient power"),
    ("network", "network:0000:5c:00.0",
     "mlx5_core 0000:5c:00.0: Port module event[error]: module 0, Cable error, High Temperature"),
    ("network", "network",
     "mlx5_port_module_event:1131:(pid 0): Port module event[error]: module 0, Cable error"),
    ("network", "network:eth0", "NETDEV WATCHDOG: eth0 (mlx5_core): transmit queue 3 timed out"),
    ("file-server", "storage:10.0.0.16", "nfs: server 10.0.0.16 not responding, timed out"),
    ("file-server", "storage:fs.example", "nfs: server fs.example not responding, still trying"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "component", "line"), LINES)
@pytest.mark.parametrize(
    "form", ["{}", "[Sun Jan 11 09:52:01 2026] {}", "Mar 03 07:00:00 n1 kernel: [ 1.5] {}"]
)
def test_each_kind_is_an_event_that_keeps_its_line(form: str, code: str, component: str, line: str) -> None:
    (found,) = findings(form.format(line))
    assert (found.code, found.component) == (f"kernel-{code}", component)
    assert (found.health, found.event) == (Health.WARNING, True)
    assert found.evidence == {"line": form.format(line)}


@pytest.mark.parametrize(
    "line",
    [
        "nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 22013, Non-fatal, Link 44 Minion Link DLREQ interrupt",
        "nvidia-nvswitch3: SXid (PCI:0000:04:00.0): 20034, Severity 1 Engine instance 62",
        "EDAC MC3: 1 CE memory read error on CPU_SrcID#1",
        "pcieport 0000:00:03.0: AER: Corrected error received: 0000:01:00.0",
        "mlx5_core 0000:5c:00.0: Port module event: module 1, Cable plugged",
        "nfs: server 10.0.0.16 OK",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "XFS (dm-4): Ending clean mount",
        "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05",
        "Nov 29 13:00:01 n1 app[7]: nfs: server 10.0.0.16 not responding, timed out",
        "app said: INFO: task python3:136986 blocked for more than 120 seconds.",
    ],
)
def test_what_mended_itself_or_is_quoted_says_nothing(line: str) -> None:
    assert findings(line) == []


def test_no_runbook_asks_for_any_of_them() -> None:
    asked = {match.finding for book in runbooks.load().values() for match in book.matches}
    assert not asked & {form.code for form in kernel.FORMS}
