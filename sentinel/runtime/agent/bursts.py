"""Events that come again and again: each burst is reported at once, and then only counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from sentinel.adapters.kernel_time import dated, stamp
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Seconds

QUIET: Seconds = 10.0
"""An event after so long without its like is a new one: `policy.correlate_s`, within which lines are of one
fault. Its kernel time says so where it has one: an agent that was held up reads minutes in one go."""
LASTS: Seconds = 3600.0
"""A burst that does not end is reported as a new event so often, so that nothing that goes on is hidden."""
AGAIN: Seconds = 1.0
"""A count is reported again after this, then after twice as long each time."""
RARELY: Seconds = 60.0
"""And at least so often."""
KINDS = 256
"""Bursts kept at a time. 800,000 lines in the field were of 29 kinds; more is somebody's noise, or attack."""
OVERFLOW = "too-many-kinds"
"""Code of what is reported of events beyond that."""
PARTS = ("owner", "job", "rank", "place")
"""What else a check may say in its evidence that makes events another kind: whose process, which part."""
OURS = "ours"
"""The owner of a process that is a rank or a standby."""
_REORDERED: Seconds = 1.0
"""Processors stamp kernel lines in parallel."""
Key: TypeAlias = tuple[str, ...]
Moment = Annotated[Seconds, Meta(ge=0.0, le=1e10)]
Times = Annotated[int, Meta(ge=0, le=2**50)]
"""Bursts come from a file, too, and what they say goes into reports."""


class Burst(Struct):
    """One event and its repetitions; times are those of `now`, which go on evenly over agents."""

    finding: Finding
    """As it was reported first."""
    began: Moment
    last: Moment
    number: Times = 1
    """How many bursts of this key there were."""
    count: Times = 1
    last_line: str = ""
    reported: Times = 0
    """The count that was reported last, 0 before the first report."""
    reported_at: Moment = 0.0
    pause: Moment = AGAIN

    def goes_on(self, event: Finding, now: Seconds) -> bool:
        """Say whether an event is one more of this burst."""
        quiet = _gap(stamp, self.last_line, line_of(event))
        if quiet is None:  # a second's date only tells apart what is read in one go
            quiet = max(now - self.last, _gap(dated, self.last_line, line_of(event)) or 0.0)
        return -_REORDERED <= quiet <= QUIET and -_REORDERED <= now - self.began <= LASTS

    def is_due(self, now: Seconds) -> bool:
        """Say whether it is to be told: a new one at once, a count that grew after a while."""
        if not self.reported:
            return True
        return self.count > self.reported and (
            now >= self.reported_at + self.pause or now > self.last + QUIET
        )

    def tell(self, now: Seconds) -> Finding:
        """Give the event as it is by now."""
        if self.reported:
            self.pause = min(2 * self.pause, RARELY)
        self.reported, self.reported_at = self.count, now
        if self.count == 1:
            return self.finding
        evidence = {**self.finding.evidence, "last_line": self.last_line} if self.last_line else None
        age = round(max(0.0, now - self.last), 3)
        return replace(self.finding, evidence=evidence or self.finding.evidence, count=self.count, age_s=age)


class Bursts:
    """The bursts of a node's events, by what they have in common."""

    def __init__(self, kept: Iterable[Burst] = ()) -> None:
        self._by_key = {key_of(burst.finding): replace(burst) for burst in kept}
        self._unreported = {key: burst for key, burst in self._by_key.items() if burst.count > burst.reported}
        self.changes = 0
        """Grows whenever anything was counted or told."""
        self._forgotten = 0
        """The highest number of a burst that had to make room: its like must get another name."""

    def take(self, event: Finding, now: Seconds) -> list[Finding]:
        """Count an event in; gives the burst that it ends, if that grew since it was reported."""
        self.changes += 1
        key = key_of(event)
        if key not in self._by_key and len(self._by_key) >= KINDS and not self._make_room(event, now):
            event = _overflow(event)
            key = key_of(event)
        known = self._by_key.get(key)
        if known is not None and known.goes_on(event, now):
            known.count, known.last = known.count + 1, now
            known.last_line = line_of(event) or known.last_line
            self._unreported[key] = known
            return []
        number = 1 + (known.number if known is not None else self._forgotten)
        named = replace(event, burst=_name(key, event, number))
        self._by_key[key] = self._unreported[key] = Burst(named, now, now, number, last_line=line_of(event))
        return [known.tell(now)] if known is not None and known.count > known.reported else []

    def due(self, now: Seconds, check: str = "", *, at_once: bool = False) -> list[Finding]:
        """Give what is new, and what grew and is due, of one check or of all; `at_once`: all that grew."""
        due = {
            key: burst
            for key, burst in self._unreported.items()
            if (not check or key[0] == check) and (at_once or burst.is_due(now))
        }
        if due:
            self.changes += 1
            self._unreported = {key: burst for key, burst in self._unreported.items() if key not in due}
        return [burst.tell(now) for burst in due.values()]

    def _make_room(self, event: Finding, now: Seconds) -> bool:
        """Forget a burst that is over and told; for what is critical also one that is not critical."""
        reported = [(key, burst) for key, burst in self._by_key.items() if burst.count == burst.reported]
        over = [key for key, burst in reported if now > burst.last + QUIET]
        milder = [key for key, burst in reported if burst.finding.health is not Health.CRITICAL]
        spare = over or (milder if event.health is Health.CRITICAL else [])
        for key in spare[:1]:
            self._forgotten = max(self._forgotten, self._by_key.pop(key).number)
        return bool(spare)

    def kept(self) -> Iterator[Burst]:
        """Give all as they are now, to be written down."""
        return (replace(burst) for burst in self._by_key.values())


def _gap(when: Callable[[str], float | None], before: str, after: str) -> Seconds | None:
    """How much later one line was written than another, if both say when."""
    one, other = when(before), when(after)
    return None if one is None or other is None else other - one


def key_of(event: Finding) -> Key:
    """Give what alike events have in common: what only times, addresses and others' pids tell apart is alike.

    Of our own processes each is told of by itself: it may be why a rank is gone.
    """
    said = event.evidence
    pid = said.get("pid", "") if said.get("owner") == OURS else ""
    return event.check, event.code, event.component, *(str(said.get(part, "")) for part in PARTS), str(pid)


def line_of(event: Finding) -> str:
    """Give the kernel line that an event was read from, if it was."""
    return str(event.evidence.get("line", ""))


def _name(key: Key, event: Finding, number: int) -> str:
    """Name a burst so that another agent that reads the same line names it alike."""
    line = line_of(event)
    what: Sequence[object] = (line, 0 if stamp(line) is not None else number)
    if not line:
        what = (event.summary, sorted(event.evidence.items()), number)
    return sha256(repr((key, what)).encode(errors="replace")).hexdigest()[:16]


def _overflow(event: Finding) -> Finding:
    said = f"more kinds of {event.check} events at a time than the {KINDS} that are told apart"
    evidence = {"line": line} if (line := line_of(event)) else {}
    return Finding(event.check, OVERFLOW, event.check, Health.UNKNOWN, said, evidence, event=True)
