"""Which rank of a job needs a multiple of its peers' time outside collectives, step after step."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sentinel.core.state.rows import Job, Node
from sentinel.model.fact import RankAtPace, RankSlow
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat

CONTENTION = "cpu-contention"
"""What the host check calls it."""


@dataclass(slots=True)
class Stragglers:
    """The slow ranks of one job's generation, until one is reported; then how long that one keeps up."""

    slow: dict[int, tuple[int, Instant, int]] = field(default_factory=dict)
    """Rank → (first step at which it was slow, when, samples since)."""
    reported: int = -1
    """The rank that was reported, until it keeps up."""
    keeps_up: tuple[int, int] | None = None
    """Since which step the one that was reported is not slow, and samples since."""
    weighed_at: Instant = 0.0
    """When the ranks were last compared."""

    def new_generation(self) -> None:
        """Ranks may sit elsewhere: count anew."""
        self.slow.clear()
        self.reported, self.keeps_up = -1, None

    def due(self, world: int, policy: Policy, now: Instant) -> bool:
        """Say whether there is somebody to compare, and it is time to."""
        enough = world >= policy.straggler_peers
        return enough and now >= self.weighed_at + policy.compare_s

    def weigh(
        self,
        job: Job,
        beats: Sequence[tuple[RankBeat, NodeId]],
        nodes: Mapping[NodeId, Node],
        policy: Policy,
        now: Instant,
    ) -> Iterator[RankSlow | RankAtPace]:
        """Compare the ranks once, if all of them beat; tell the first that has been slow for long enough."""
        self.weighed_at = now
        if len(beats) < job.world:
            return
        times = sorted(beat.outside_s for beat, _ in beats)
        slow = max(self.reported, job.straggler)  # the controller before this one may have reported it
        if slow >= 0:
            for seen in (each for each in beats if each[0].rank == slow):
                yield from self._caught_up(job, seen, times, policy, now)
            return
        for beat, node in beats:
            peers = _median_without(times, beat.outside_s)
            if self._counts_as_slow(beat, peers, policy, now):
                since, when, _ = self.slow[beat.rank]
                if _alone_contended(node, beats, nodes) and now - when < policy.stands_s:
                    continue  # on a busy host it mostly passes
                steps = beat.step - since
                self.reported, self.keeps_up = beat.rank, None
                place = (beat.rank, node, beat.gpu, job.generation)
                yield RankSlow(now, job.id, *place, beat.outside_s, peers, steps)
                return

    def _caught_up(
        self, job: Job, seen: tuple[RankBeat, NodeId], times: Sequence[Seconds], policy: Policy, now: Instant
    ) -> Iterator[RankAtPace]:
        """Tell when the slow rank has not been so for as long as made it slow."""
        (beat, node), peers = seen, _median_without(times, seen[0].outside_s)
        if peers <= 0 or beat.outside_s >= policy.straggler_factor * peers:
            self.keeps_up = None
            return
        since, looks = self.keeps_up or (beat.step, 0)
        self.keeps_up = since, looks + 1
        if beat.step - since >= policy.straggler_steps and looks + 1 >= policy.straggler_looks:
            self.new_generation()
            yield RankAtPace(now, job.id, beat.rank, node, job.generation, beat.step - since)

    def _counts_as_slow(self, beat: RankBeat, peers: Seconds, policy: Policy, now: Instant) -> bool:
        if peers <= 0 or beat.outside_s < policy.straggler_factor * peers:
            self.slow.pop(beat.rank, None)
            return False
        since, when, samples = self.slow.get(beat.rank, (beat.step, now, 0))
        self.slow[beat.rank] = since, when, samples + 1
        return beat.step - since >= policy.straggler_steps and samples + 1 >= policy.straggler_looks


def _alone_contended(
    name: NodeId, beats: Sequence[tuple[RankBeat, NodeId]], nodes: Mapping[NodeId, Node]
) -> bool:
    """Say whether others want this host's processors, and not those of all the job's hosts."""
    return _contended(nodes[name]) and not all(_contended(nodes[node]) for _, node in beats)


def _contended(node: Node) -> bool:
    return any(finding.code == CONTENTION for finding in node.findings.values())


def _median_without(times: Sequence[Seconds], own: Seconds) -> Seconds:
    """Median of sorted `times` with one occurrence of `own` left out.

    The greater one of two: else one peer of two, by its word alone, would make the slower of the others slow.
    """
    mine, middle = bisect_left(times, own), (len(times) - 1) // 2
    return times[middle + (middle >= mine)]
