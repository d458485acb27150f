"""A process may be called anything, 15 characters long, and often stands where a kernel's line begins."""

import re
import time
from pathlib import Path
from types import ModuleType

import pytest

from sentinel.adapters import kernel_past
from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import _nvlink, _nvlink5, _nvrm, _recovery, kernel, oom, sxid, xid
from sentinel.model import kernel_line
from sentinel.model.check import Machine, RankProcess
from sentinel.model.finding import Finding
from sentinel.model.kernel_line import LONGEST, said
from sentinel.runtime.probe import NoGpus

NAMES = [
    "NVRM: Xid (PCI:",
    "NVRM: Xid",
    "NVRM:",
    "NVRM: GPU 0: ",
    "NVRM: GPU at ",
    "NVRM: fallen of",
    "NVRM: GPU has f",
    "NVRM: a: ",
    "kernel: NVRM:",
    "a kernel: NVRM:",
    "Out of memory: ",
    "Killed process ",
    "Kill process 12",
    "oom-kill:constr",
    "nvidia-nvswitch",
    "EDAC MC0: UE ",
    "EDAC MC0: 1 UE ",
    "Memory failure:",
    "AER: 0000:01:00",
    "BUG: soft locku",
    "INFO: task a",
    "XFS (a): ",
    "XFS (",
    "EXT4-fs error (",
    "EXT4-fs (a): ",
    "I/O error, dev ",
    "Buffer I/O erro",
    "mlx5_core 0000:",
    "NETDEV WATCHDOG",
    "nfs: server a",
    "nvme nvme0: Dev",
    "\nNVRM: Xid (PCI",
]
FILES = [
    "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
    "GPU 0000:01:00.0 has fallen off the bus",
    "fallen off the bus",
    "0000:01:00): 79, ",
    "(python3) total-vm:1kB) score 5 or sacrifice child",
    ",task=python3,pid=101,uid=0",
    "x: [NV_ERR_RESET_REQUIRED] NV_ERR_GPU_IS_LOST GPU lost from the bus",
    "a:1 blocked for more than 120 seconds",
    "): Shutting down filesystem has been shut down corruption I/O Error",
    "(a): transmit queue not responding",
    "): Remounting filesystem read-only",
    "UE memory read error on row page",
    ": AER: Multiple Uncorrected (Fatal) unrecoverable firmware error health compromised",
]
LED = [
    "{name}[4242]: segfault at 0 ip 00000000 sp 00000000 error 4 in {file}[400000+1000]",
    "{name}[4242]: segfault at 0 ip 0 sp 0 error 4 in {file}",
    "{name} (4242): attempted to duplicate a private mapping",
    "{name}: page allocation failure: order:0, mode:0xcc0, nodemask=(null),cpuset={file},mems_allowed=0",
    "{name} invoked oom-killer: gfp_mask=0xcc0, order=0, oom_score_adj=0",
    "{name}[4242] vsyscall attempted with vsyscall=none ip:0 cs:33 sp:0",
    "traps: {name}[4242] trap int3 ip:0 sp:0 error:0 in {file}[0+1]",
    "process '{file}' started with executable stack",
    "{file}: loading out-of-tree module taints kernel."[7:],
    "Tainted: G {name} {file}",
]


def findings(*lines: str) -> list[Finding]:
    machine = Machine(
        "n",
        NoGpus(),
        None,
        kernel_lines=lines,
        pci={"0000:01:00": 0},
        processes=(RankProcess(101, "python3", 0),),
    )
    return [found for check in (xid, sxid, oom, kernel) for found in check.judge(check.measure(machine))]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_message_whatever_it_and_its_file_are_called(name: str) -> None:
    assert len(name) <= 15, "the kernel keeps no more (TASK_COMM_LEN)"
    for form in LED:
        for file in FILES:
            line = form.format(name=name, file=file)
            for prefix in ("", "[   12.345678] ", "Nov 29 13:00:01 n1 kernel: [   12.345678] "):
                assert findings(prefix + line) == [], prefix + line


@pytest.mark.parametrize(
    "summary",
    [
        "task_memcg=/a,task=python3,pid=101,uid=0/b,task=x,pid=4242,uid=1000",
        "task_memcg=/a,task=a,pid=101,uid=0,pid=4242,uid=1000",
        "task_memcg=/a,task=python3,pid=101,uid=0,task=b,pid=4242,uid=1000",
    ],
)
def test_the_victim_is_whom_the_end_of_the_line_names(summary: str) -> None:
    (found,) = findings(f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,{summary}")
    assert found.evidence["pid"] == 4242


def test_a_victims_name_changes_no_more_than_the_name() -> None:
    name = "a) total-vm:1kB"
    (found,) = findings(f"Out of memory: Killed process 4242 ({name}) total-vm:1kB, anon-rss:1kB")
    assert found.evidence["pid"] == 4242


MODULES = (_nvrm, _nvlink, _nvlink5, _recovery, sxid, oom, kernel, kernel_line, kernel_past)


def patterns(module: ModuleType) -> list[re.Pattern[str]]:
    tables = kernel.FORMS if module is kernel else ()
    forms = [each for form in tables for each in (form.pattern, form.device)]
    found = [each for each in (*vars(module).values(), *forms) if isinstance(each, re.Pattern)]
    return [each for each in found if isinstance(each.pattern, str)]


BEGINNINGS = [
    "",
    "NVRM: Xid (PCI:0000:01:00): 74, ",
    "NVRM: Xid (PCI:0000:01:00): 149, NETIR_LINK_EVT Fatal ",
    "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from ",
    "NVRM: GPU0 nvCheckOkFailedNoLog: ",
    "NVRM: GPU 0000:01:00",
    "Out of memory: Killed process 1 (",
    "oom-kill:constraint=",
    "INFO: task ",
    "XFS (",
    "mlx5_core 0000:5c:00.0: ",
    "pcieport 0000:00:03.0: AER: Uncorrected (Fatal) error received",
    "nfs: server ",
    "Lustre: a: Connection to ",
    "LustreError: 11-0: ",
    "EDAC MC0: 1 UE ",
    "Nov 29 13:00:01 ",
    "<4>1 2026-03-03T07:00:00Z n kernel - - [",
    "pid=",
    "link 1(",
]
FILLERS = [
    "a",
    " ",
    "0x0, ",
    "link 1(0x0, ",
    ",task=a,pid=1",
    "[",
    "\\",
    "(",
    ": ",
    "1",
    " to ",
    "A Fatal Link 1 (",
    "é",
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
@pytest.mark.timeout(60)
def test_twice_as_long_a_line_takes_no_pattern_four_times_as_long(module: ModuleType) -> None:
    """As long as a line that counts, and twice: a generous limit, which what is quadratic in 60 kB misses."""
    worst = 0.0
    for pattern in patterns(module):
        for beginning in BEGINNINGS:
            for filler in FILLERS:
                line = (beginning + filler * LONGEST)[:LONGEST]
                began = time.process_time()
                pattern.match(line)
                pattern.search(line)
                worst = max(worst, time.process_time() - began)
    assert worst < 0.5


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.timeout(60)
def test_a_megabyte_of_a_line_is_read_as_its_beginning(filler: str) -> None:
    for beginning in BEGINNINGS:
        line = beginning + filler * (1_000_000 // len(filler))
        assert len(said(line) or "") <= LONGEST + 1
        findings(line)


@pytest.mark.parametrize(
    "words", [" to 0x0", "Linux version ", "Command line: ", "NVRM: loading NVIDIA UNIX ", "[1.0]"]
)
@pytest.mark.timeout(60)
def test_a_log_that_is_one_long_line_is_looked_through_once(tmp_path: Path, words: str) -> None:
    log = tmp_path / "kern.log"
    log.write_text(words * (8_000_000 // len(words)) + "\n")
    follower = FileFollower(log)
    while follower.behind:
        follower.read()
    assert not follower.error
