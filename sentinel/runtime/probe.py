"""One run of one check, in whichever process it belongs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sentinel.model.check import Check, GpuSample, Machine, Series
from sentinel.model.codec import CodecError, Plain, decode, encode, to_plain
from sentinel.model.finding import Finding, Health

Exported = list[tuple[Series, int | float]]
"""Values with what they are of."""
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
    try:
        sample = check.measure(machine)
        findings = _findings(check.judge(sample))
        gauges = _exported(check.metrics(sample) if check.metrics else {}, _is_gauge)
        counts = _exported(check.counts(sample) if check.counts else {}, _is_count)
    except (Exception, SystemExit) as error:  # a check from elsewhere may raise, and give, anything
        return _answer(check, [to_plain(failed(check.name, error))], [], [], failed=True)
    return _answer(check, findings, gauges, counts, failed=False)


def _answer(
    check: Check, findings: Plain, gauges: Exported, counts: Exported, *, failed: bool
) -> dict[str, Any]:
    return {"check": check.name, "failed": failed, "findings": findings, "gauges": gauges, "counts": counts}


def _findings(found: Iterable[Finding]) -> Plain:
    """Give their plain form. Raises CodecError for what neither wire nor journal could take."""
    return to_plain(decode(list[Finding], encode(list(found))))


def _exported(values: Mapping[Series, float], fits: Callable[[object], bool]) -> Exported:
    """Give values with what they are of. Raises CodecError for what can't be exported."""
    for each, value in values.items():
        if not isinstance(each, Series) or not each.is_valid():
            raise CodecError(f"{each!r:.80} is not a series")
        if not fits(value):
            raise CodecError(f"{each.name}: {value!r:.80} can't be exported")
    return list(values.items())


def _is_gauge(value: object) -> bool:
    return isinstance(value, float) or (_is_whole(value) and value in _WHOLE)


def _is_count(value: object) -> bool:
    """Say whether it can be added to a counter, which does not fall."""
    return _is_whole(value) and value in _COUNTS


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_exported(plain: Plain) -> Exported:
    """Read gauges or counts that came from another process."""
    return msgspec.convert(plain, Exported)


def failed(check: str, error: BaseException) -> Finding:
    """A probe that raised: nothing is known."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Finding(check, "probe-failed", check, Health.UNKNOWN, f"the {check} check failed: {line:.200}")


def short_pci(address: str) -> str:
    """`00000000:01:00.0` and `0000:01:00` alike become `0000:01:00`, as kernel lines have it."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
