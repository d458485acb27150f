"""The checks of the machine one stands on, run once for a person, each under its deadline as by an agent."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from sentinel.adapters.kernel_log import follow
from sentinel.checks import load, load_collective
from sentinel.model.check import Check, Machine, Series
from sentinel.model.codec import to_plain
from sentinel.model.collective import PREPARE_S, CollectiveCheck, Held, Meeting, MemberSample, parted
from sentinel.model.finding import WORST, Finding, Health, skipped
from sentinel.model.ids import NodeId, Seconds
from sentinel.ready import is_ready
from sentinel.runtime.agent.prober import STARTING, Prober
from sentinel.runtime.members import planned
from sentinel.runtime.probe import (
    PREPARE,
    Answer,
    Hold,
    Introduction,
    Measured,
    NoGpus,
    held_nowhere,
    judged,
    probe,
)

LINES_WITHIN_S: Seconds = 10.0
"""A kernel log of a boot that goes on for longer is judged as far as it was read."""


@dataclass(frozen=True, slots=True)
class Here:
    """The machine, as the command line describes it."""

    node: str
    gpus: str
    """`nvml`, `simulated:FILE` or `none`"""
    expected_gpus: int | None
    xid_fatal: frozenset[int] = field(default=frozenset(), kw_only=True)
    """As the setting `checks.xid_fatal` says."""
    xid_ignored: frozenset[int] = field(default=frozenset(), kw_only=True)
    disks: tuple[str, ...] = ("/",)
    kernel_log: str = "none"
    """A file, `/dev/kmsg` or `none`"""

    @property
    def memory(self) -> Path | None:
        """Where the ranks of this node beat, only an agent knows."""
        return None

    @property
    def kept(self) -> str:
        """Nowhere: one look remembers nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check."""

    check: str
    findings: Sequence[Finding]
    """Empty where all is well."""
    measured: Mapping[Series, int | float] = field(default_factory=dict)
    held: Sequence[Held] = ()
    """How what was measured stands beside other nodes."""

    @property
    def health(self) -> Health:
        """The worst of its findings, `skipped` where it does not apply."""
        found = {each.health for each in self.findings}
        return next((each for each in (*WORST, Health.SKIPPED) if each in found), Health.OK)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a person gets to see."""

    results: Sequence[Result]
    pci: Mapping[str, int]
    """PCI address → index of each GPU that the driver shows."""
    lines: int | None = None
    """How many lines of this boot the kernel log held; None if no check that was asked reads it."""

    @property
    def worst(self) -> Health:
        """The worst health of all; `ok` where nothing asks anything of anybody."""
        found = {each.health for each in self.results}
        return next((each for each in WORST if each in found), Health.OK)


def look(
    here: Here, checks: Sequence[Check], loads: Sequence[CollectiveCheck] = (), hold: Hold = held_nowhere
) -> Looked:
    """Run checks one after the other; those of the kernel log see what it holds of this boot.

    `loads` measure alone on this node what others only measure together, and keep it busy meanwhile; `hold`
    knows what the fleet has measured.
    """
    prober = _Asked(here, hold)
    try:
        results = [prober.ask(check) for check in checks if not check.in_agent]
        results += [prober.measure(check) for check in loads]
    finally:
        prober.close()
    of_log = [check for check in checks if check.in_agent]
    if here.kernel_log == "none" and of_log:
        why = "no kernel log is to be read"
        return Looked(
            [*results, *(Result(each.name, [skipped(each.name, why)]) for each in of_log)], prober.pci
        )
    lines, error = _lines(here.kernel_log) if of_log else ((), "")
    machine = Machine(here.node, NoGpus(), here.expected_gpus, here.disks, lines, error, prober.pci)
    results += [_of_log(probe(check, _with_lists(machine, here)), error) for check in of_log]
    return Looked(results, prober.pci, len(lines) if of_log else None)


def _with_lists(machine: Machine, here: Here) -> Machine:
    return dataclasses.replace(machine, xid_fatal=here.xid_fatal, xid_ignored=here.xid_ignored)


def _of_log(answer: Answer, error: str) -> Result:
    """A log that can't be read says nothing, neither good nor bad."""
    if error and not answer.findings:
        said = f"the kernel log can't be read: {error}"
        return Result(
            answer.check, [Finding(answer.check, "kernel-log-unreadable", "kernel-log", Health.UNKNOWN, said)]
        )
    return _result(answer)


def known() -> dict[str, Check]:
    """Give the checks that a person can run: not those that judge what only an agent knows."""
    return {name: each for name, each in load().items() if each.of_kernel_log or not each.in_agent}


def known_loads() -> dict[str, CollectiveCheck]:
    """Give the collective checks that a node can do alone: their plan has it measure by itself."""
    here = NodeId("here")
    return {name: each for name, each in load_collective().items() if planned(each, [here], ())[0]}


class _Asked:
    """A prober that is asked one check after the other; another one follows one that hangs or dies."""

    def __init__(self, here: Here, hold: Hold) -> None:
        self._here, self._hold = here, hold
        self.pci: Mapping[str, int] = {}
        """PCI address → index of the GPU there."""
        self._prober = Prober(here)

    def ask(self, check: Check) -> Result:
        answer = self._said(check.name, check.deadline)
        return _result(answer) if isinstance(answer, Answer) else self._gone(check, str(answer))

    def measure(self, check: CollectiveCheck) -> Result:
        """Have this node measure alone, and the check's judge see it."""
        node = NodeId(self._here.node)
        meeting = Meeting((node,), ("127.0.0.1",), 0, 0, check.deadline)
        answer = self._said(PREPARE, PREPARE_S, check.name)
        if isinstance(answer, Measured) and not answer.error:
            answer = self._said(check.name, check.deadline, json.dumps(to_plain(meeting)))
        if not isinstance(answer, Measured):
            return self._gone(check, str(answer))
        values, words = parted(answer.values)
        sample = MemberSample(node, (node,), values, answer.error, about=words)
        found = judged(check, [sample], self._hold)
        findings = [each.finding for each in found.findings]
        if found.error or answer.error:
            said = f"not measured: {found.error or answer.error}"
            findings.append(Finding(check.name, "not-measured", check.name, Health.UNKNOWN, said))
        return Result(check.name, findings, {Series(name): each for name, each in values.items()}, found.held)

    def _said(self, asked: str, deadline: Seconds, about: str = "") -> Answer | Introduction | Measured | str:
        """Ask the prober, started if there is none; gives its answer, or what became of it."""
        if self._prober.pid == 0:
            self._prober.start(time.monotonic())
            introduced = self._answer()
            if isinstance(introduced, Introduction):
                self.pci = introduced.pci
            elif isinstance(introduced, str):
                return introduced
        self._prober.ask(asked, deadline, time.monotonic(), about)
        return self._answer()

    def close(self) -> None:
        self._prober.close()

    def _answer(self) -> Answer | Introduction | Measured | str:
        """Wait for its next answer; says what became of a prober that gives none."""
        busy, since = self._prober.busy, time.monotonic()
        while not self._prober.overdue(time.monotonic()):
            is_ready(self._prober.output, 0.1)
            answers = self._prober.answers()
            if answers is None:
                return "the prober died"
            if answers:
                return answers[0]
        what = "the prober does not start: the driver hangs" if busy == STARTING else "it hangs"
        return f"{what}, no answer in {time.monotonic() - since:.0f} s"

    def _gone(self, check: Check | CollectiveCheck, why: str) -> Result:
        """A check that hangs with a GPU is evidence against it; anything else is only unknown."""
        self._prober.close()
        self._prober = Prober(self._here)
        health = Health.CRITICAL if check.name == "gpu" and "hangs" in why else Health.UNKNOWN
        return Result(check.name, [Finding(check.name, "probe-hung", check.name, health, why)])


def _result(answer: Answer) -> Result:
    measured = dict(answer.gauges) | {of: count for of, count in answer.counts if count}
    return Result(answer.check, _once(answer.findings), measured)


def _once(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Give each kind of event once, the newest, with how often it came."""
    counted: dict[tuple[str, str, str], Finding] = {}
    for each in findings:
        before = counted[each.key].count if each.key in counted else 0
        counted[each.key] = replace(each, count=before + each.count) if each.event else each
    return list(counted.values())


def _lines(source: str) -> tuple[tuple[str, ...], str]:
    """Read what a kernel log holds of this boot, and say why it can't be read."""
    log = follow(source)
    lines: list[str] = []
    until = time.monotonic() + LINES_WITHIN_S
    try:
        while (new := log.read()) or log.behind:
            lines += new
            if time.monotonic() > until:
                break
        return tuple(lines), log.error
    finally:
        log.close()
