"""How often each rank, when it was looked at, was stopped or was the one that all others waited for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from sentinel.core.state.rows import Job
from sentinel.model.fact import RankLooks
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.policy import Policy
from sentinel.model.report import STOPPED, RankBeat

STANDS = STOPPED | {"D"}
"""States of a process that does not compute: stopped, or stuck in the kernel."""
RANKS_NAMED = 8
"""Ranks that a fact names: one that stands out is the first of them."""


@dataclass(slots=True)
class Tally:
    """Looks at the ranks of one job over some time."""

    looks: Counter[int] = field(default_factory=Counter)
    held: Counter[int] = field(default_factory=Counter)
    """Looks at which the rank was stopped, or all others waited for it."""
    stopped: Counter[int] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Take in another one's looks."""
        self.looks.update(other.looks)
        self.held.update(other.held)
        self.stopped.update(other.stopped)

    def share(self, rank: int) -> float:
        """Say at which share of the looks a rank was held."""
        return self.held[rank] / self.looks[rank] if self.looks[rank] else 0.0


@dataclass(slots=True)
class Looks:
    """The looks at the ranks of one generation."""

    tally: Tally = field(default_factory=Tally)
    places: dict[int, tuple[NodeId, int]] = field(default_factory=dict)
    """Node and GPU of each rank that was ever held."""
    floor: tuple[int, int, int] | None = None
    """(rank that had entered the fewest collectives, how many, how many the next); None if any is silent."""
    weighed_at: Instant = 0.0

    def new_generation(self) -> None:
        """Ranks may sit elsewhere."""
        self.tally, self.floor = Tally(), None
        self.places.clear()

    def take(self, beat: RankBeat, node: NodeId, policy: Policy) -> None:
        """Look at one rank.

        Others are known from older reports and can only be further by now: whom they have passed is behind.
        """
        self.tally.looks[beat.rank] += 1
        stopped = beat.state in STANDS or beat.beat_age_s > policy.beat_stale_s
        if stopped or self._is_last(beat):
            self.tally.held[beat.rank] += 1
            self.tally.stopped[beat.rank] += stopped
            self.places[beat.rank] = node, beat.gpu

    def due(self, now: Instant, policy: Policy) -> bool:
        """Say whether it is time to compare the ranks."""
        return now >= self.weighed_at + policy.compare_s

    def weigh(self, job: Job, beats: Sequence[tuple[RankBeat, NodeId]], now: Instant) -> None:
        """See who has entered the fewest collectives."""
        self.weighed_at, self.floor = now, None
        if len(beats) == job.world > 1:
            (lowest, rank), (second, _) = nsmallest(2, ((beat.enqueued, beat.rank) for beat, _ in beats))
            self.floor = rank, lowest, second

    def close(self) -> Tally:
        """Give the looks since the last call."""
        taken, self.tally = self.tally, Tally()
        return taken

    def named(self, tally: Tally, before: Tally) -> Iterator[RankLooks]:
        """Name the ranks that were held more than they are at the usual pace, the most held first."""
        more = {rank: tally.share(rank) - before.share(rank) for rank in tally.held}
        for rank in sorted(more, key=lambda each: (-more[each], each))[:RANKS_NAMED]:
            if more[rank] > 0 and rank in self.places:
                looks, held, stopped = tally.looks[rank], tally.held[rank], tally.stopped[rank]
                usual = round(before.share(rank), 3)
                yield RankLooks(rank, *self.places[rank], looks, held, stopped, usual)

    def _is_last(self, beat: RankBeat) -> bool:
        if self.floor is None or beat.enqueued > beat.completed:  # who is in a collective waits, too
            return False
        rank, lowest, second = self.floor
        return beat.enqueued < (second if beat.rank == rank else lowest)


def outside(beats: Sequence[tuple[RankBeat, NodeId]]) -> Seconds:
    """Give the least time that any rank needed outside collectives: all of them need as much."""
    return min((beat.outside_s for beat, _ in beats), default=0.0)
