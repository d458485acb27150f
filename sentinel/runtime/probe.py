"""One run of one check, in whichever process it belongs."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from sentinel.core import baselines
from sentinel.model.check import Check, Detail, GpuSample, Machine, Series
from sentinel.model.codec import CodecError, decode, encode
from sentinel.model.collective import CollectiveCheck, Figure, Held, Meeting, MemberFinding, MemberSample
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Seconds
from sentinel.model.noun import Noun

Exported = tuple[tuple[Series, int | float], ...]
"""Values with what they are of."""
PREPARE = "prepare"
"""What a prober is asked before a collective check, whose name follows."""
_COUNTS = range(2**63)
_WHOLE = range(-(2**63), 2**64)


class ProberTask(msgspec.Struct, frozen=True):
    """What an agent starts its prober with."""

    parent: int
    """The agent's pid: the prober ends with it."""
    node: str
    gpus: str
    """`nvml`, `simulated:FILE` or `none`"""
    expected_gpus: int | None
    disks: tuple[str, ...]
    memory: str = ""
    """The node's memory directory."""
    kept: str = ""
    """Where checks keep what they remember; empty for nowhere."""


@dataclass(frozen=True, slots=True)
class NoGpus:
    """A node without GPUs."""

    def sample(self) -> Sequence[GpuSample]:
        """Nothing to touch."""
        return ()

    def read(self, kind: type[Detail]) -> Sequence[Detail]:  # noqa: ARG002 (a `Gpus`)
        """Nothing to read."""
        return ()


class Answer(Noun, frozen=True):
    """What came of one run of a check."""

    check: str
    failed: bool
    """It has no opinion, and one finding says so."""
    findings: tuple[Finding, ...]
    gauges: Exported = ()
    counts: Exported = ()
    took_s: Seconds = 0.0


class Measured(Noun, frozen=True):
    """What came of one node's part in a collective check."""

    check: str
    values: Mapping[str, float] = {}
    error: str = ""
    """Why there are none."""


class Introduction(Noun, frozen=True):
    """A prober's first words: how many GPUs there are, and at which PCI address each index answers."""

    gpus: int
    pci: Mapping[str, int]
    error: str = ""


def probe(check: Check, machine: Machine) -> Answer:
    """Run one check. One that fails, or says what can't be told, is a finding of its own, health unknown."""
    began = time.perf_counter()
    try:
        sample = check.measure(machine)
        findings = _readable(check.judge(sample))
        gauges = _exported(check.metrics(sample) if check.metrics else {}, _is_gauge)
        counts = _exported(check.counts(sample) if check.counts else {}, _is_count)
    except (Exception, SystemExit) as error:  # a check from elsewhere may raise, and give, anything
        return Answer(check.name, True, (failed(check.name, error),), took_s=time.perf_counter() - began)
    return Answer(check.name, False, findings, gauges, counts, time.perf_counter() - began)


def measure(check: CollectiveCheck, meeting: Meeting) -> Measured:
    """Take this node's part in a collective check."""
    try:
        values = {str(name): float(value) for name, value in check.measure(meeting).items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise ValueError(f"{values!r:.80} are no measurements")
    except (Exception, SystemExit) as error:
        return Measured(check.name, error=line(error))
    return Measured(check.name, values)


def prepare(check: CollectiveCheck) -> Measured:
    """Load what a collective check measures with."""
    try:
        check.prepare()
    except (Exception, SystemExit) as error:
        return Measured(check.name, error=line(error))
    return Measured(check.name)


Hold = Callable[[str, Sequence[Figure]], tuple[Held, ...]]
"""Holds a check's figures against what the fleet has measured before."""


def held_nowhere(check: str, figures: Sequence[Figure]) -> tuple[Held, ...]:  # noqa: ARG001 (a `Hold`)
    """Nothing is known of a fleet."""
    return ()


class Judged(NamedTuple):
    """What a collective check's judge says, and how figures stand beside the fleet's."""

    findings: tuple[MemberFinding, ...]
    held: tuple[Held, ...] = ()
    error: str = ""
    """Why it has no opinion."""


def judged(check: CollectiveCheck, samples: Sequence[MemberSample], hold: Hold = held_nowhere) -> Judged:
    """Have a collective check's judge see all samples, and hold its figures against the fleet's.

    What the judge has found of a component by itself is not said again.
    """
    try:
        found = decode(tuple[MemberFinding, ...], encode(list(check.judge(samples))))
        figures = decode(tuple[Figure, ...], encode(list(check.figures(samples))))
        if not all(math.isfinite(each.value) and each.value > 0 for each in figures):
            raise ValueError("a figure is a number above 0")
    except (Exception, SystemExit) as error:  # a check from elsewhere may raise, and give, anything
        return Judged((), error=line(error))
    held = hold(check.name, figures)
    said = {(each.node, each.finding.key) for each in found}
    behind = baselines.found(check.name, check.behind, held)
    return Judged((*found, *(each for each in behind if (each.node, each.finding.key) not in said)), held)


def _readable(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Give them as a reader gets them. Raises CodecError for what neither wire nor journal could take."""
    listed = list(found)
    readable: tuple[Finding, ...] = decode(tuple[Finding, ...], encode(listed)) if listed else ()
    return readable


def _exported(values: Mapping[Series, float], fits: Callable[[object], bool]) -> Exported:
    """Give values with what they are of. Raises CodecError for what can't be exported."""
    for each, value in values.items():
        if not isinstance(each, Series) or not each.is_valid():
            raise CodecError(f"{each!r:.80} is not a series")
        if not fits(value):
            raise CodecError(f"{each.name}: {value!r:.80} can't be exported")
    return tuple(values.items())


def _is_gauge(value: object) -> bool:
    return isinstance(value, float) or (_is_whole(value) and value in _WHOLE)


def _is_count(value: object) -> bool:
    """Say whether it can be added to a counter, which does not fall."""
    return _is_whole(value) and value in _COUNTS


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def failed(check: str, error: BaseException) -> Finding:
    """A probe that raised: nothing is known."""
    return Finding(check, "probe-failed", check, Health.UNKNOWN, f"the {check} check failed: {line(error)}")


def line(error: BaseException) -> str:
    """Say in one line what a check raised."""
    return f"{' '.join(f'{type(error).__name__}: {error}'.split()):.200}"


def short_pci(address: str) -> str:
    """`00000000:01:00.0` and `0000:01:00` alike become `0000:01:00`, as kernel lines have it."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
