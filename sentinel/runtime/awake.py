"""Whether the controller itself stood still: what it did not see meanwhile proves nothing about anybody."""

from collections.abc import Callable, Sequence

import structlog

from sentinel.core.detect.watch import Watch
from sentinel.model.fact import ControllerPaused, Fact
from sentinel.model.ids import Instant, Seconds

log = structlog.get_logger(logger_name="awake")


class Awake:
    """A clock for who judges by the time: if it was not looked at for long, that is said first."""

    def __init__(
        self,
        watch: Watch,
        absorb: Callable[[Sequence[Fact]], bool],
        now: Callable[[], Instant],
        within_s: Seconds,
    ) -> None:
        """Expect to be called at least each `within_s`, as long as this process runs."""
        self._watch, self._absorb, self._now, self._within_s = watch, absorb, now, within_s
        self._last: Instant | None = None

    def __call__(self) -> Instant:
        """Give the present moment. Not to be called while a fact is being absorbed."""
        now, before = self._now(), self._last
        self._last = now
        if before is not None and (gap := now - before) > self._within_s:
            log.warning("stood-still", for_s=round(gap, 3))
            self._watch.slept(now, gap)
            self._absorb([ControllerPaused(now, round(gap, 3))])
        return now
