"""What else the kernel says when hardware or storage fails: evidence of its node, which decides nothing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sentinel.model.check import Check, Machine
from sentinel.model.finding import Finding, Health
from sentinel.model.kernel_line import LONGEST, said


@dataclass(frozen=True, slots=True)
class Form:
    """How the kernel words one kind of trouble."""

    code: str
    component: str
    what: str
    pattern: re.Pattern[str]
    """Of a message from its first character on: what is quoted stands further back."""


def _form(code: str, component: str, what: str, *alternatives: str) -> Form:
    return Form(f"kernel-{code}", component, what, re.compile("|".join(alternatives)))


_DEVICE = r"[^)\s:\[]{1,40}"
_IN_DRIVER = r"NVRM: (?:GPU\d{1,3} )?\w{10,64}: "
"""A function of the driver: more than a process can be called."""
_PCI = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.\d"
FORMS = (
    _form(
        "nvrm-reset-required", "gpus", "the driver says that a GPU needs a reset",
        rf"{_IN_DRIVER}.{{0,200}}\[?NV_ERR_RESET_REQUIRED\b",
    ),
    _form(
        "nvrm-gpu-lost", "gpus", "the driver can't reach a GPU or can't start it",
        rf"{_IN_DRIVER}.{{0,200}}(?:\[?NV_ERR_GPU_IS_LOST|GPU lost from the bus)\b",
        r"NVRM: GPU \S{1,32} (?:RmInitAdapter|rm_init_adapter) failed",
    ),
    _form(
        "nvswitch-fatal", "nvswitch", "an NVSwitch reports a fatal error",
        r"nvidia-nvswitch\d{1,3}: SXid \(PCI:[^)]{1,32}\): \d{1,6}, Fatal\b",
    ),
    _form(
        "memory-uncorrected", "memory", "host memory has an uncorrectable error",
        r"EDAC MC\d{1,3}: (?:UE (?:row|page) |\d{1,9} UE [a-z])",
        r"Memory failure: 0x[0-9a-f]{1,16}: ",
        r"(?:\{\d{1,9}\})?\[Hardware Error\]: event severity: (?:fatal|recoverable)",
    ),
    _form(
        "pcie-uncorrected", "pcie", "a PCIe port or device reports an uncorrected error",
        rf"\S{{1,32}} {_PCI}: AER: (?:can't recover|(?:Multiple )?Uncorrect(?:ed|able) \()",
        rf"\S{{1,32}} {_PCI}: (?:AER: )?PCIe Bus Error: severity=Uncorrect",
    ),
    _form(
        "lockup", "cpu", "a processor is stuck in the kernel",
        r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#\d{1,5} stuck",
        r"(?:NMI )?(?:watchdog: )?Watchdog detected hard LOCKUP on cpu",
        r"(?:rcu: )?INFO: rcu_\w{1,16} (?:self-)?detected (?:expedited )?stall",
    ),
    _form(
        "hung-task", "cpu", "a process has slept uninterruptibly for minutes",
        r"INFO: task .{1,16}:\d{1,10} blocked for more than \d{1,6} seconds",
    ),
    _form(
        "storage", "storage", "a disk or a file system of the node fails",
        rf"XFS \({_DEVICE}\): (?:\w{{1,16}} )?(?:I/O [Ee]rror|[Cc]orruption |[Ss]hutdown received)",
        rf"XFS \({_DEVICE}\): (?:Filesystem has been shut down|xfs_do_force_shutdown\(|Internal error )",
        rf"EXT4-fs error \(device {_DEVICE}\): ", rf"EXT4-fs \({_DEVICE}\): Remounting filesystem read-only",
        r"nvme nvme\d{1,4}: (?:Disabling device|Removing after probe|Device not ready|controller is down)",
        r"(?:blk_update_request: )?(?:I/O|critical medium|critical target) error, dev \w{1,32}, sector ",
        r"Buffer I/O error on dev",
    ),
    _form(
        "network", "network", "a network adapter fails",
        rf"(?:mlx5_core {_PCI}: )?(?:\w{{1,64}}:\d{{1,6}}:\(pid \d{{1,10}}\): )?"
        r"(?:Detected insufficient power|Port module event\[error\]|device's health compromised)",
        rf"mlx5_core {_PCI}: .{{0,100}}(?:unrecoverable|firmware (?:internal )?error|health compromised)",
        r"NETDEV WATCHDOG: \S{1,32} \([^)]{1,32}\): transmit queue",
    ),
    _form(
        "nfs", "storage", "a file server does not answer",
        r"nfs4?: server \S{1,255} not responding",
    ),
)  # fmt: skip
"""From the matchers of gpud and node-problem-detector, and the kernel's own sources. What corrects itself (a
corrected error, a non-fatal SXid) is not among them."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line that is of one form."""

    form: Form
    message: str
    line: str


def measure(machine: Machine) -> tuple[Said, ...]:
    """Take the lines out of the new kernel lines that are of a known form."""
    return tuple(found for line in machine.kernel_lines if (found := _read(line)))


def _read(line: str) -> Said | None:
    message = said(line)
    if not message:
        return None
    form = next((each for each in FORMS if each.pattern.match(message)), None)
    return Said(form, message, line.strip()[:LONGEST]) if form else None


def judge(found: tuple[Said, ...]) -> Iterator[Finding]:
    """One event per line, a warning that no runbook asks for: it stands beside what else is known."""
    for each in found:
        evidence: Mapping[str, str] = {"line": each.line}
        form = each.form
        yield Finding("kernel", form.code, form.component, Health.WARNING, form.what, evidence, event=True)


CHECK = Check(
    "kernel",
    every=30.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=(),
    on_exit=True,
    in_agent=True,
    of_kernel_log=True,
)
