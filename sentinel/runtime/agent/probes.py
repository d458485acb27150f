"""When each check runs, who runs it, and what its findings become."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from sentinel import backends
from sentinel.adapters.kernel_log import LINES
from sentinel.adapters.kernel_time import age
from sentinel.heartbeat import counts_as_the_kernel
from sentinel.model.check import Check, Machine, RankProcess, Series, series
from sentinel.model.finding import RANKING, Finding, Health
from sentinel.model.ids import Seconds
from sentinel.model.report import Event, FindingSeen, ProbedSeen, RankBeat
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.prober import STARTING, Prober
from sentinel.runtime.agent.settings import AgentSettings
from sentinel.runtime.agent.told_twice import XID_EVENTS, XID_LINES, ToldTwice
from sentinel.runtime.probe import Answer, Introduction, NoGpus, probe

Beats = Callable[[], tuple[RankBeat, ...]]
"""Gives the newest heartbeat records, read only when a check looks at them."""
Processes = Callable[[], tuple[RankProcess, ...]]
"""Gives the ranks' processes, live and lately ended."""
_URGENT: Seconds = 0.25
"""An immediate probe is reported as far as it came after this, so that a hung driver delays no decision."""
_INTRODUCTION: Seconds = 3.0
"""A prober that has not said within this which GPU is at which address may hang with one of them."""

_UNNAMED = 10 * LINES
"""So many kernel lines wait for that at most; the others wait in the log."""
_SETTLE_EVERY: Seconds = 1.0
"""A storm must not have the book and the bookmark written with each acknowledgement."""
_JITTER = 0.1
"""By so much of its period a check comes sooner or later: agents that were started together would ask a
volume that they share together for good."""
_HUNG_PAUSES: tuple[Seconds, ...] = (1.0, 60.0, 300.0)
"""A check that hangs is asked again after these: once soon, for a busy host delays a prober, too, and then
rarely, for each time it keeps all others waiting until its deadline."""
_DRIVER = "gpu"
"""The check that a prober is judged by which hangs or dies before it is asked: it opens the driver."""


class KernelLog(Protocol):
    """A follower of the kernel log."""

    error: str
    longest: Seconds
    """Lines that were there before the follower began say nothing from longer ago than this."""

    @property
    def read_back(self) -> bool:
        """Whether the lines that `read` gave last were there before the follower began."""

    @property
    def behind(self) -> bool:
        """Whether there is more to read at once."""

    def read(self) -> list[str]:
        """Lines since the last call, so many that they are judged in a moment."""

    def settle(self) -> None:
        """Nothing that was read needs to be read again by the next agent."""


@dataclass(slots=True)
class _Urgent:
    """One immediate probe that waits for the prober."""

    reason: str
    since: Seconds
    within: Seconds
    """It is reported after so long, as far as it came."""
    waiting: set[str]
    done: list[str] = field(default_factory=list)
    missing: tuple[str, ...] = ()


class Probes:
    """All checks of one node."""

    def __init__(
        self,
        settings: AgentSettings,
        checks: Mapping[str, Check],
        book: FindingBook,
        kernel_log: KernelLog,
        processes: Processes = tuple,
    ) -> None:
        self.prober = Prober(settings)
        self.gauges: dict[str, Mapping[Series, float]] = {}
        self.counters = Counter({_failures(name): 0 for name in (*checks, _DRIVER)})
        self.durations: dict[str, Seconds] = {}
        """How long each check took when it last ran."""
        self.gpus: int | None = settings.expected_gpus
        """None until the prober has said how many there are."""
        self._settings = settings
        self._checks = checks
        self._book = book
        self._told_twice = ToldTwice(settings.xid_fatal, settings.xid_ignored)
        self._kernel_log = kernel_log
        self._processes = processes
        kind, was_seen = backends.load(settings.backend), book.stands("raylet", "raylet-dead")
        self._raylet = kind.daemon(settings.address, was_seen=was_seen)
        # what is simulated beside this agent counts as it does, in a container, too
        self._kernel_pids = settings.gpus.startswith("simulated:") or counts_as_the_kernel()
        self._unnamed: list[str] = []
        """Kernel lines that are not judged yet: the prober has not said which GPU is at which address."""
        self._old = 0
        """How many of them, the first ones, were there before this agent."""
        self._unnamed_until = time.monotonic() + _INTRODUCTION
        self._pci: Mapping[str, int] = {}
        self._due = dict.fromkeys(checks, 0.0)
        self._hung: Counter[str] = Counter()
        """Check → how often in a row it hung."""
        self._queue: list[str] = []
        self._urgent: list[_Urgent] = []
        self._held = False
        self._settled: Seconds = 0.0

    @property
    def behind(self) -> bool:
        """Whether kernel lines can be judged at once."""
        waits = self.gpus is None and time.monotonic() < self._unnamed_until
        return not waits and (bool(self._unnamed) or self._kernel_log.behind)

    def run_due(self, now: Seconds, beats: Beats) -> list[Event]:
        """Run or ask for everything that is due; give the events that came of it."""
        events = self._run_in_agent(now, beats)
        for name, check in self._checks.items():
            if not check.in_agent and now >= self._due[name]:
                self._due[name] = _next(check, now)
                self._enqueue(name)
        events += self._end_hung(now)
        events += self._give_up_waiting(now)
        if not self._held:
            self.prober.start(now)
        self._ask(now)
        return events + _seen(self._book.counted(now))

    def hold(self, *, held: bool) -> None:
        """Keep off the driver as long as GPUs are reset: a prober holds them, and starts anew afterwards."""
        if held and not self._held:
            self.prober.close()
        self._held = held

    def run_urgent(self, reason: str, now: Seconds, beats: Beats, within: Seconds = 0.0) -> list[Event]:
        """Run every check marked `on_exit` now; `ProbedSeen` follows when the prober's answers are in.

        With `within` all checks are run, and waited for so long.
        """
        quick = [name for name, check in self._checks.items() if check.on_exit and not self._hung[name]]
        names = list(self._checks) if within else quick
        asked = {name for name in names if not self._checks[name].in_agent}
        events = self._catch_up(now, beats, at_once=True)
        done = [name for name in names if name not in asked]
        self._urgent.append(_Urgent(reason, now, within or _URGENT, asked, done))
        for name in asked:
            self._enqueue(name, first=True)
        self._ask(now)
        return events + _seen(self._book.counted(now, at_once=True)) + self._complete()

    def take_answers(self, now: Seconds, beats: Beats) -> list[Event]:
        """Read the prober's answers; give the events in them, after what the kernel has said until then.

        A GPU's counter says less than the line about it: a contained error would look like any other.
        """
        asked_at = self.prober.since
        busy = self.prober.busy
        answers = self.prober.answers()
        if answers is None:
            return self._end_prober(
                now, "probe-died", f"the prober died while it ran the {busy or 'no'} check"
            )
        events: list[Event] = []
        for introduction in (each for each in answers if isinstance(each, Introduction)):
            events += self._introduce(introduction)
        events += self._catch_up(now, beats)
        for answer in (each for each in answers if isinstance(each, Answer)):
            events += self._take(answer, asked_at, now)
        self._ask(now)
        return events + self._complete()

    def meet(self, journal: str) -> list[Event]:
        """Give what the controller of this journal has to hear again, if the last one had another."""
        return _seen(self._book.meet(journal))

    def settle(self, now: Seconds) -> None:
        """The controller has heard everything that was told: the next agent need not tell it again.

        Book and bookmark move together: the next agent counts on from the one what it reads after the other.
        """
        if not self._unnamed and now >= self._settled + _SETTLE_EVERY:
            self._settled = now
            self._book.settle()
            self._kernel_log.settle()

    def _catch_up(self, now: Seconds, beats: Beats, *, at_once: bool = False) -> list[Event]:
        """Judge what the kernel log holds by now, within limits: its last line may be the cause."""
        until = time.monotonic() + _URGENT
        events = self._run_in_agent(now, beats, at_once)
        while self.behind and time.monotonic() < until:
            events += self._run_in_agent(now, beats)
        return events

    def _run_in_agent(self, now: Seconds, beats: Beats, at_once: bool = False) -> list[Event]:
        lines, are_old = self._kernel_lines(now)
        wanted = at_once or bool(lines)
        mine = ((name, check) for name, check in self._checks.items() if check.in_agent)
        due = [(name, check) for name, check in mine if wanted or now >= self._due[name]]
        if not due:
            return []
        machine = self._machine(lines, beats)
        events: list[Event] = []
        for name, check in due:
            self._due[name] = _next(check, now)
            events += self._take(probe(check, machine), now, now, are_old=are_old)
        return events

    def _kernel_lines(self, now: Seconds) -> tuple[tuple[str, ...], bool]:
        """Give new kernel lines, once it is known which GPU they are about, and whether they are old."""
        if len(self._unnamed) < _UNNAMED:
            new = self._kernel_log.read()
            self._unnamed += new
            self._old += len(new) if self._kernel_log.read_back else 0
        if self.gpus is None and now < self._unnamed_until:
            return (), False
        lines = tuple(self._unnamed[: min(LINES, self._old or LINES)])
        are_old = self._old > 0
        self._unnamed = self._unnamed[len(lines) :]
        self._old = max(0, self._old - len(lines))
        return lines, are_old

    def _machine(self, lines: tuple[str, ...], beats: Beats) -> Machine:
        processes = self._processes()
        return Machine(
            self._settings.node,
            NoGpus(),
            self._settings.expected_gpus,
            self._settings.disks,
            kernel_lines=lines,
            kernel_error=self._kernel_log.error,
            pci=self._pci,
            beats=beats(),
            processes=processes,
            raylet=self._raylet.look(processes),
            kernel_pids=self._kernel_pids,
            xid_fatal=self._settings.xid_fatal,
            xid_ignored=self._settings.xid_ignored,
        )

    def _introduce(self, answer: Introduction) -> list[Event]:
        """Learn how many GPUs there are, and where. One that is lost by now keeps the address it had."""
        self.gpus = answer.gpus or self.gpus or 0
        found = answer.pci
        lost = {pci: index for pci, index in self._pci.items() if index not in found.values()}
        self._pci = {**lost, **found}
        for name, check in self._checks.items():
            if check.in_agent:
                self._due[name] = 0.0  # what it counts by GPU is there with 0 before it happens
        return []

    def _take(self, answer: Answer, asked_at: Seconds, now: Seconds, *, are_old: bool = False) -> list[Event]:
        name = answer.check
        self._hung.pop(name, None)
        self.gauges[name], self.durations[name] = dict(answer.gauges), answer.took_s
        self.counters.update(dict(answer.counts))
        self.counters[_failures(name)] += answer.failed
        for urgent in self._urgent:
            if name in urgent.waiting and asked_at >= urgent.since:
                urgent.waiting.discard(name)
                urgent.done.append(name)
        findings: Sequence[Finding] = answer.findings
        if name == XID_LINES and not are_old:
            self._told_twice.hear(findings, now)
        elif name == XID_EVENTS:
            findings = tuple(self._told_twice.new(findings, now, log_is_read=self._reads_log))
        news = self._book.update(name, findings, now, blind=answer.failed)
        return _seen(self._aged(each) if are_old else each for each in news)

    @property
    def _reads_log(self) -> bool:
        """Whether lines of the kernel log are read here."""
        return self._settings.kernel_log != "none" and not self._kernel_log.error

    def _aged(self, found: Finding) -> Finding:
        """Say how long ago an event was that this agent did not see happen."""
        line = found.evidence.get("last_line") or found.evidence.get("line")
        return replace(found, age_s=round(age(str(line), self._kernel_log.longest), 3)) if line else found

    def _enqueue(self, name: str, first: bool = False) -> None:
        if name in self._queue:
            self._queue.remove(name)
        self._queue.insert(0 if first else len(self._queue), name)

    def _ask(self, now: Seconds) -> None:
        if self._queue and self.prober.pid and not self.prober.busy:
            name = self._queue.pop(0)
            self.prober.ask(name, self._checks[name].deadline, now)

    def _end_hung(self, now: Seconds) -> list[Event]:
        if not self.prober.overdue(now):
            return []
        seconds = now - self.prober.since
        what = "did not start" if self.prober.busy == STARTING else f"hung in the {self.prober.busy} check"
        return self._end_prober(now, "probe-hung", f"the prober {what} for over {seconds:.0f} s")

    def _end_prober(self, now: Seconds, code: str, summary: str) -> list[Event]:
        """A prober that hangs with a GPU is evidence against the GPU; anything else is only unknown.

        A busy host delays one once: only if a fresh one hangs as well does it say enough by itself.
        """
        name = self.prober.busy if self.prober.busy in self._checks else _DRIVER
        name = _DRIVER if name == XID_EVENTS else name  # it asks the same driver
        health = Health.UNKNOWN
        if code == "probe-hung" and name == _DRIVER:
            code = "gpu-probe-hung"
            health = Health.CRITICAL if self._book.stands(name, code) else Health.WARNING
        elif code == "probe-hung":
            self._due[name] = now + _HUNG_PAUSES[min(self._hung[name], len(_HUNG_PAUSES) - 1)]
            self._hung[name] += 1
            self._queue = [each for each in self._queue if each != name]
        self.prober.stop(now)
        self.counters[_failures(name)] += 1
        failed = Finding(name, code, name, health, summary)
        return _seen(self._book.update(name, [failed], now, blind=True))

    def _give_up_waiting(self, now: Seconds) -> list[Event]:
        for urgent in self._urgent:
            if now - urgent.since > urgent.within:
                urgent.missing = tuple(sorted(urgent.waiting))
                urgent.waiting.clear()
        return self._complete()

    def _complete(self) -> list[Event]:
        complete = [urgent for urgent in self._urgent if not urgent.waiting]
        self._urgent = [urgent for urgent in self._urgent if urgent.waiting]
        return [ProbedSeen(tuple(sorted(each.done)), each.reason, each.missing) for each in complete]

    def standing(self) -> dict[Series, float]:
        """How many findings stand per check and health, zeros included, and what they say of each GPU."""
        shown = (Health.WARNING, Health.CRITICAL, Health.UNKNOWN)
        findings = list(self._book.standing())
        counts = Counter((each.check, each.health) for each in findings)
        return {
            series("findings", check=check, health=health): float(counts[(check, health)])
            for check in self._checks
            for health in shown
        } | {
            series("gpu_health", gpu=gpu): float(
                max((RANKING[each.health] for each in findings if each.component == f"gpu-{gpu}"), default=0)
            )
            for gpu in range(self.gpus or 0)
        }

    def close(self) -> None:
        """End the prober."""
        self.prober.close()


def _next(check: Check, now: Seconds) -> Seconds:
    """Say when it runs again. What the agent judges of its own goes together: it is read once for all."""
    if check.in_agent:
        return (now // check.every + 1) * check.every
    return now + check.every * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - nobody guesses it


def _seen(findings: Iterable[Finding]) -> list[Event]:
    return [FindingSeen(finding) for finding in findings]


def _failures(check: str) -> Series:
    return series("probes_failed_total", check=check)
