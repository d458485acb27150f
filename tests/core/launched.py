"""Random episodes of a job that somebody else starts: a launcher, a command, and people."""

import random
from collections.abc import Collection
from typing import Any

import episodes
from episodes import Checked
from hypothesis import strategies as st
from killed import Killed, drawn
from msgspec.structs import replace
from simulated import JOB

from sentinel.core.commands import refuse_command
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Action, RestartJob, Resume, StartWorker, StopWorker
from sentinel.model.fact import Fact, GangSeen, JobSubmitted, NodeLeft, RankExited, RankSeen
from sentinel.model.ids import NodeId, WorkerId

OURS = (Resume, StartWorker, StopWorker)
"""What Sentinel orders only for ranks that it started itself."""
ASKED = "signal 15"


class Launched(Checked):
    """The same mishaps, to a watched job. Who starts it may not know what Sentinel knows of the nodes."""

    has_command = True
    """There is a command that starts it again; else only people do."""
    size = born = 0
    living: dict[WorkerId, RankSeen]
    """Its processes that there are, whoever knows of them."""
    gang: tuple[RankSeen, ...]
    """Who was started together last."""
    ran: set[str]
    """Actions for which the command was run."""

    def __init__(self, *cluster: Any, **more: Any) -> None:
        self.living, self.gang, self.ran = {}, (), set()
        super().__init__(*cluster, **more)

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        if isinstance(fact, JobSubmitted) and fact.job == JOB and not fact.watched:
            self.size = fact.world
            fact = replace(fact, world=0, standbys=0, watched=True, restarts=self.has_command)
            self.later(0.5, self.launch)
        if isinstance(fact, RankExited) and fact.job == JOB:
            self._peers_follow(fact)
        actions = super().tell(fact)
        ours = [a for a in actions if isinstance(a, OURS) and a.job == JOB]
        assert not ours, "whoever started it seats its ranks"
        assert self.has_command or not any(isinstance(a, RestartJob) for a in actions), "there is no command"
        return actions

    def _answer(self, action: Action) -> None:
        if isinstance(action, RestartJob) and "RestartJob" not in self.fails:
            self.later(0.1, lambda: self.run_command(action))
        super()._answer(action)

    def run_command(self, action: RestartJob) -> None:
        """Start it again, unless it is back: what is left of it is ended."""
        job = self.job
        waits = job.generation == action.generation and job.stage is JobStage.FORMING
        if waits and action.id not in self.ran:
            self.ran.add(action.id)
            self.launch(action.avoid)

    def launch(self, avoid: Collection[NodeId] = ()) -> None:
        """Start its ranks in new processes, as many as there is room for, where the launcher can."""
        there = [each for each in self.state.nodes.values() if not (each.silent or each.left)]
        slots = [(gpu, node.id) for node in there if node.id not in avoid for gpu in range(node.gpus)]
        for worker in list(self.living):
            self.ends(worker, ASKED)
        self.born += 1
        self.pid += self.size
        self.gang = tuple(
            RankSeen(rank, WorkerId(f"r{rank}-{self.born}"), node, gpu, self.pid - rank)
            for rank, (gpu, node) in enumerate(sorted(slots)[: self.size])
        )
        self.living |= {each.worker: each for each in self.gang}
        self.later(0.2, lambda gang=self.gang: self._looks(gang))  # type: ignore[misc]

    def _looks(self, gang: tuple[RankSeen, ...]) -> None:
        """The watch sees a gang whose ranks all beat, and that is not the one that it knows."""
        if gang is not self.gang or not all(each.worker in self.living for each in gang):
            return
        known = [self.state.workers.get(JOB, each.worker) for each in gang]
        news = any(each is None or each.rank < 0 for each in known)
        gone = any(each is not None and not each.is_living for each in known)
        if gang and news and not gone and not any(self._is_unseen(each.node) for each in gang):
            self.tell(GangSeen(self.now, JOB, gang))
            generation = self.job.generation
            self.later(0.3, lambda: self._steps(generation, gang))
        self.later(0.5, lambda: self._looks(gang))

    def _steps(self, generation: int, gang: tuple[RankSeen, ...]) -> None:
        """The gang has made a step, if nothing keeps it from that."""
        if not self.advances or not all(each.worker in self.living for each in gang):
            return
        if self.job.generation == generation and self.job.stage is JobStage.FORMING:
            self.advance()

    def _is_unseen(self, node: NodeId) -> bool:
        return self.state.nodes[node].silent or self.state.nodes[node].left

    def ends(self, worker: WorkerId, how: str) -> None:
        """A process ends; its agent tells so, if it is heard and Sentinel knows of the process."""
        seen = self.living.pop(worker, None)
        known = self.state.workers.get(JOB, worker)
        if seen is not None and known is not None and not self._is_unseen(seen.node):
            place = seen.rank, worker, seen.node, seen.gpu, seen.pid
            self.tell(RankExited(self.now, JOB, *place, self.job.generation, how))

    def _peers_follow(self, fact: RankExited) -> None:
        """The launcher ends the peers of a rank that failed."""
        if self.living.pop(fact.worker, None) is not None and fact.how != "exit 0":
            for peer in [each.worker for each in self.gang if each.worker in self.living]:
                self.later(0.2, lambda peer=peer: self.ends(peer, ASKED))  # type: ignore[misc]

    # --- what goes wrong -------------------------------------------------------------------------------

    def do(self, kind: str, number: int) -> None:
        """While nobody sits anywhere, time passes, or people start it."""
        if self.seats:
            super().do(kind, number)
        elif number % 3 == 0:
            self.launch()
            self.run(1)
        else:
            self._do_wait(0, NodeId("n1"), number)

    def raises(self, rank: int, *args: Any, **more: Any) -> None:
        """Nobody catches it: the process ends."""
        self.crash(rank, "exit 1")

    def _do_down(self, rank: int, node: NodeId, number: int) -> None:
        """Sentinel is taken down and brought up again beside a job that goes on."""
        if "other" in self.state.jobs:
            self.command("stop-job", "other")
        self.run(5)
        nodes = sorted(self.state.nodes)
        if not refuse_command(self.state, "retire", ""):
            for each in nodes:
                self.tell(NodeLeft(self.now, each))
            self.run(3)
            for each in nodes[: len(nodes) - (number % 4 == 0)]:
                self._joins(each, number)
            self.run(20)

    def _do_launched(self, rank: int, node: NodeId, number: int) -> None:
        """Somebody ends it, starts it again, or both; its nodes may be others."""
        if number % 3 != 1:
            for worker in list(self.living):
                self.ends(worker, (ASKED, "signal 2", "unknown")[number % 3])
        if number % 3 != 2:
            self.launch([node] if number % 2 else ())
            self.run(1)

    def _do_unseen(self, rank: int, node: NodeId, number: int) -> None:
        """All ends at once, and nobody can tell how."""
        for worker in list(self.living):
            self.ends(worker, "unknown")

    def all_is_well(self) -> None:
        """People have read what is asked of them: they start it again, on what is there."""
        super().all_is_well()
        self.run(30)
        whole = len(self.gang) == self.size and all(each.worker in self.living for each in self.gang)
        if not (whole and self.going()):
            self.launch()


class WithoutCommand(Launched):
    """Only people start it again."""

    has_command = False


class KilledLaunched(Launched, Killed):
    """A controller that may be killed between any two steps, and a job that is not its own."""

    def run_command(self, action: RestartJob) -> None:
        with self._acting(performer=False):  # it goes on, whoever hears of it
            super().run_command(action)


class KilledWithoutCommand(KilledLaunched):
    """The same where only people start it again."""

    has_command = False


KINDS = (*episodes.KINDS, "launched", "unseen")
"""All that may happen to it."""
EPISODES = st.lists(
    st.tuples(st.sampled_from([*KINDS, "wait", "wait", "launched", "crash"]), st.integers(0, 59)),
    min_size=1,
    max_size=25,
)


def of_seed(seed: int) -> tuple[Killed, list[tuple[str, int]]]:
    """Draw a controller that may be killed, of a job of its own or of somebody else's, and its episode."""
    cluster, episode = drawn(seed)
    kind = (Killed, KilledLaunched, KilledWithoutCommand)[seed % 3]
    if kind is not Killed:
        chance = random.Random(seed)
        episode = [(chance.choice((each, each, each, *KINDS[-2:])), number) for each, number in episode]
    return kind(cluster, seed), episode
