"""One run of one check, in whichever process it belongs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentinel.model.check import Check, GpuSample, Machine
from sentinel.model.finding import Finding, Health
from sentinel.model.wire import to_plain


@dataclass(frozen=True, slots=True)
class NoGpus:
    """A node without GPUs."""

    def sample(self) -> Sequence[GpuSample]:
        """Nothing to touch."""
        return ()


def probe(check: Check, machine: Machine) -> dict[str, Any]:
    """Run one check: its findings, gauges and event counts, in plain form.

    A check that fails has no opinion: that is a finding of its own, health unknown, and `failed` says so.
    """
    wrong = False
    try:
        sample = check.measure(machine)
        findings: Iterable[Finding] = list(check.judge(sample))
        gauges: Mapping[str, float] = check.metrics(sample) if check.metrics else {}
        counts: Mapping[str, int] = check.counts(sample) if check.counts else {}
    except Exception as error:  # a check from elsewhere may raise anything
        wrong, findings, gauges, counts = True, [failed(check.name, error)], {}, {}
    plain = to_plain(findings)
    return {"check": check.name, "findings": plain, "failed": wrong, "gauges": gauges, "counts": counts}


def failed(check: str, error: Exception) -> Finding:
    """A probe that raised: nothing is known."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Finding(check, "probe-failed", check, Health.UNKNOWN, f"the {check} check failed: {line:.200}")


def short_pci(address: str) -> str:
    """`00000000:01:00.0` and `0000:01:00` alike become `0000:01:00`, as kernel lines have it."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
