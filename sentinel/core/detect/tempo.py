"""A job's usual pace beside its recent one: when all ranks have become slow, and when that is over."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import median
from typing import NamedTuple

from sentinel.core.detect.looks import Tally
from sentinel.model.ids import Instant, Seconds
from sentinel.model.policy import Policy


class Lap(NamedTuple):
    """Some steps in a row, as many as end within a lap's time, or one."""

    seconds: Seconds
    steps: int
    outside_s: Seconds
    """The least that any rank's last step spent outside collectives."""
    tally: Tally

    @property
    def step_s(self) -> Seconds:
        """Seconds a step."""
        return self.seconds / self.steps


class Change(Enum):
    """What a lap shows."""

    SLOWED = auto()
    AT_PACE = auto()
    """As before, or it has been slow for so long that this is its pace now."""


@dataclass(slots=True)
class Tempo:
    """The pace of one job over all its generations."""

    recent: deque[Lap]
    usual: deque[Lap]
    """Laps before the recent ones, without those that were slow."""
    slow: deque[Lap]
    """Laps since it was reported to be slow."""
    world: int = 0
    warm: int | None = None
    """Step from which on this generation counts."""
    began: tuple[int, Instant] = (-1, 0.0)
    """The step that ended the last lap, and when."""
    slow_since: Instant | None = None
    """When this generation was reported to be slow."""
    before: Tally = field(default_factory=Tally)
    """Looks at the usual pace."""

    @classmethod
    def of(cls, policy: Policy) -> "Tempo":
        """Begin with nothing known."""
        usual, slow = deque[Lap](maxlen=policy.usual_laps), deque[Lap](maxlen=policy.usual_laps)
        return cls(deque(maxlen=policy.slow_laps), usual, slow)

    def new_generation(self, world: int) -> None:
        """Measure the recent pace anew; with another number of ranks, the usual one, too."""
        self.recent.clear()
        self.slow.clear()
        self.warm, self.slow_since = None, None
        if world != self.world:
            self.world, self.before = world, Tally()
            self.usual.clear()

    def expect(self, step_s: Seconds, world: int, policy: Policy) -> None:
        """Take over the usual pace of an earlier watch."""
        self.world = world
        steps = max(policy.usual_steps, int(2 * policy.slow_pace_s / step_s) + 1)
        self.usual.append(Lap(steps * step_s, steps, 0.0, Tally()))

    def pause(self) -> None:
        """Steps are not to be counted as long as the job does not really train."""
        self.warm = None

    def lap(self, step: int, now: Instant, policy: Policy) -> tuple[Seconds, int] | None:
        """Take a new step; gives (seconds, steps) of the lap that it ends, if it ends one."""
        if self.warm is None:
            self.warm = step + policy.warm_up_steps
        since, at = self.began
        if step <= self.warm:
            self.began = step, now
        elif now - at >= policy.slow_pace_s / policy.slow_laps:
            self.began = step, now
            return now - at, step - since
        return None

    def take(self, lap: Lap, now: Instant, policy: Policy, *, was_slow: bool) -> Change | None:
        """Take a lap in. `was_slow`: an earlier watch, or generation, was reported to be slow."""
        aged = self.recent[0] if len(self.recent) == policy.slow_laps else None
        self.recent.append(lap)
        if self.slow_since is not None:
            self.slow.append(lap)
        elif aged is not None and not self._is_slow(aged, policy):
            self.usual.append(aged)
            self.before.add(aged.tally)
        if len(self.recent) < policy.slow_laps or not self.known(policy):
            return None
        if self.slow_since is None and all(self._is_slow(each, policy) for each in self.recent):
            self.slow_since = now
            return Change.SLOWED
        if (self.slow_since is not None or was_slow) and self._is_back(policy):
            self.slow_since = None
            self.slow.clear()
            return Change.AT_PACE
        if self.slow_since is not None and now - self.slow_since >= policy.new_pace_s:
            self._adopt()
            return Change.AT_PACE
        return None

    def known(self, policy: Policy) -> bool:
        """Say whether enough was seen to call a pace the usual one."""
        enough_s = sum(lap.seconds for lap in self.usual) >= 2 * policy.slow_pace_s
        return enough_s and sum(lap.steps for lap in self.usual) >= policy.usual_steps

    @property
    def step_s(self) -> Seconds:
        """Median seconds a step, lately."""
        return _median(self.recent, lambda lap: lap.step_s)

    @property
    def usual_s(self) -> Seconds:
        """Median seconds a step, usually."""
        return _median(self.usual, lambda lap: lap.step_s)

    @property
    def outside_s(self) -> Seconds:
        """What even the quickest rank needs outside collectives, lately."""
        return _median(self.recent, lambda lap: lap.outside_s)

    @property
    def usual_outside_s(self) -> Seconds:
        """And usually."""
        return _median(self.usual, lambda lap: lap.outside_s)

    @property
    def tally(self) -> Tally:
        """All recent looks."""
        found = Tally()
        for lap in self.recent:
            found.add(lap.tally)
        return found

    def _is_slow(self, lap: Lap, policy: Policy) -> bool:
        return self.known(policy) and lap.step_s > policy.slow_pace_factor * self.usual_s

    def _is_back(self, policy: Policy) -> bool:
        """Say whether it is nearer to its usual pace than to a slow one: at the limit nothing flaps."""
        return self.step_s <= (1 + policy.slow_pace_factor) / 2 * self.usual_s

    def _adopt(self) -> None:
        self.usual, self.slow = self.slow, deque(maxlen=self.slow.maxlen)
        self.before, self.slow_since = Tally(), None


def _median(laps: Iterable[Lap], what: Callable[[Lap], Seconds]) -> Seconds:
    values = [what(lap) for lap in laps]
    return median(values) if values else 0.0
