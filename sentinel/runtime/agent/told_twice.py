"""Xids that the management library tells of, beside the kernel's lines about the same: each counts once."""

from collections.abc import Iterable, Iterator

from sentinel.checks.xid import as_called
from sentinel.model.finding import Finding
from sentinel.model.ids import Seconds
from sentinel.runtime.probe import short_pci

XID_EVENTS = "xid_event"
"""The check whose events may be told twice."""
XID_LINES = "xid"
"""The check that reads the kernel's lines about them."""
WITHIN: Seconds = 30.0
"""An event is of a line that was read so long before it: the library is asked every few seconds, or later
where another check hangs."""
_Xid = tuple[str, int]
"""PCI address and number."""


class ToldTwice:
    """Holds each event back until the library is asked again: a syslog daemon may write its line later."""

    def __init__(self, fatal: frozenset[int] = frozenset(), ignored: frozenset[int] = frozenset()) -> None:
        self._fatal, self._ignored = fatal, ignored
        """What the operator calls fatal, and what he ignores."""
        self._read: dict[_Xid, Seconds] = {}
        """When a line about it was read last."""
        self._held: list[Finding] = []

    def hear(self, found: Iterable[Finding], now: Seconds) -> None:
        """Take in what the kernel's lines said just now."""
        self._forget(now)
        self._read |= {_of(each): now for each in found if each.event}

    def _forget(self, now: Seconds) -> None:
        self._read = {each: at for each, at in self._read.items() if now - at <= WITHIN}

    def new(self, told: Iterable[Finding], now: Seconds, *, log_is_read: bool) -> Iterator[Finding]:
        """Give events that no line was about, and whatever is no event."""
        self._forget(now)
        held, self._held = self._held, []
        for each in told:
            if not each.event:
                yield each
            elif log_is_read:
                self._held.append(each)
            else:
                held.append(each)
        for each in held:
            if _of(each) not in self._read:
                yield as_called(each, _of(each)[1], self._fatal, self._ignored)


def _of(found: Finding) -> _Xid:
    pci, number = found.evidence.get("pci", ""), found.evidence.get("xid", 0)
    return short_pci(str(pci)), number if isinstance(number, int) else 0
