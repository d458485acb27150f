"""What else the kernel says when hardware or storage fails: evidence of its node, which decides nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sentinel.checks import (
    _lines_cpu,
    _lines_memory,
    _lines_network,
    _lines_nvidia,
    _lines_pcie,
    _lines_storage,
)
from sentinel.checks._lines import Form
from sentinel.model.check import Check, Machine
from sentinel.model.finding import Finding, Health
from sentinel.model.kernel_line import LONGEST, said

FORMS = (
    *_lines_nvidia.FORMS,
    *_lines_memory.FORMS,
    *_lines_pcie.FORMS,
    *_lines_cpu.FORMS,
    *_lines_storage.FORMS,
    *_lines_network.FORMS,
)
"""A table for each subsystem. What corrects itself, such as a corrected error, is in none of them."""


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
        form, component = each.form, each.form.hit(each.message)
        evidence: Mapping[str, str] = {"line": each.line}
        yield Finding("kernel", form.code, component, Health.WARNING, form.what, evidence, event=True)


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
