"""A simulated cluster whose nodes report to a real detector."""

from msgspec.structs import replace
from simulated import Simulated

from sentinel.core.detect.watch import Watch
from sentinel.model.fact import Fact
from sentinel.model.ids import NodeId
from sentinel.model.report import RankBeat, Report


class Watched(Simulated):
    """A cluster whose nodes report four times a second to a real watch."""

    def __init__(self, world: int = 3, **settings: int) -> None:
        super().__init__(nodes=world + 1, world=world, **settings)
        self.watch = Watch(self.rules.policy, self.now - 60)
        self.reported: list[Fact] = []
        self.outside = [0.1] * world
        self.states = ["S"] * world
        self.entered = [0] * world
        """Collectives that each rank has entered beyond those of its completed steps."""
        self.inside = [False] * world
        """Whether each rank is in a collective."""
        self.phase = "collective"
        self.phase_since: list[float | None] = [None] * world
        """When each rank has entered its phase; None: just now."""
        self.stopped_at: list[float | None] = [None] * world
        """When each rank's process was stopped, and with it its beats; None: it runs."""
        self.mute: set[NodeId] = set()

    def report(self, step: int, seconds: float = 0.25) -> list[Fact]:
        """Every node that is not mute reports once, then time passes."""
        self.now += seconds
        facts: list[Fact] = []
        for node in self.state.nodes:
            if node not in self.mute:
                beats = tuple(
                    self._beat(rank, step) for rank in range(self.job.world) if self.node(rank) == node
                )
                facts += self.watch.report(Report(node, "b", 0, beats, ()), self.state, self.now)
        facts += self.watch.tick(self.state, self.now)
        self.reported += facts
        return facts

    def _beat(self, rank: int, step: int) -> RankBeat:
        stopped = self.stopped_at[rank]
        beat = self.beat(rank, self.phase, state=self.states[rank] if stopped is None else "T")
        entered = 4 * (step + 1) + self.entered[rank]
        return replace(
            beat,
            step=step,
            outside_s=self.outside[rank],
            beat_age_s=beat.beat_age_s if stopped is None else self.now - stopped,
            phase_age_s=0.0 if (since := self.phase_since[rank]) is None else self.now - since,
            enqueued=entered,
            completed=entered - self.inside[rank],
        )

    def said(self, kind: type) -> list[Fact]:
        return [fact for fact in self.reported if isinstance(fact, kind)]
