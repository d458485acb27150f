"""A controller that may be killed between any two steps, on a cluster that goes on without it."""

import json
import random
from collections import Counter
from typing import Any

from episodes import KINDS, Checked
from msgspec.structs import replace
from simulated import JOB
from steps import PLACES, TAKING_OVER, ControllerKilledError, Desk, PerformerGoneError, Record

from sentinel.core.learn.ending import has_finished
from sentinel.core.state import State
from sentinel.model.action import Action, Evict, Page, Probe, Resume, StartWorker, StopWorker
from sentinel.model.fact import (
    ControllerStarted,
    DeadlinePassed,
    Fact,
    FindingReported,
    GangSeen,
    JobSubmitted,
    NodePinged,
    NodeProbed,
    Origin,
    Outcome,
    RankExited,
    RankRaised,
    WorkerReady,
)
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, WorkerId
from sentinel.model.incident import Stage
from sentinel.runtime.recall import recall

AGENTS = (FindingReported, NodeProbed, RankExited, RankRaised)
"""An agent tells these until they are acknowledged, in order."""
OWN = (Outcome, DeadlinePassed, ControllerStarted, WorkerReady, NodePinged)
"""Nobody tells these again: who performs or waits anew finds them out anew."""


class Killed(Checked, Desk):
    """Dies at some of its steps; another controller recalls the record, takes over and does what is open."""

    def __init__(self, cluster: tuple[Any, ...], seed: int, *, kills: int = 30) -> None:
        self.record, self.chance, self.killed = Record(), random.Random(seed), Counter[str]()
        self._left, self._share = 0, self.chance.choice((0.01, 0.03, 0.1))
        self._often = self.chance.choice(PLACES)
        self._taking_over = ""
        self._numbers = Counter[NodeId]()
        self._alive: dict[tuple[JobId, WorkerId], int] = {}
        """The processes that there are, whoever knows of them."""
        self._begun: dict[ActionId, Action] = {}
        self._shown = Counter[str]()
        self._opened: set[IncidentId] = set()
        self._evicted: dict[tuple[IncidentId, NodeId], ActionId] = {}
        self._failed: set[ActionId] = set()
        self._asked: list[JobSubmitted] = []
        super().__init__(*cluster)
        self._left = kills

    # --- death and recovery ----------------------------------------------------------------------------

    def dies(self, place: str, fact: Fact) -> bool:
        share = self._share * (5 if place == self._often else 1) * (4 if isinstance(fact, AGENTS) else 1)
        if self._left <= 0 or self.chance.random() >= share:
            return False
        self._left -= 1
        self.killed[self._taking_over + place] += 1
        return True

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        fact = self._numbered(fact)
        actions, lost = (), False
        try:
            actions = super().tell(fact)
        except ControllerKilledError:
            lost = True
        if not (lost or self.dead):
            self._committed(fact, actions)
            return actions
        if not lost:
            self._committed(fact, actions)
        with self._acting(performer=False):
            self._take_over(None if lost else self.state)
            self._tell_again(fact, lost=lost)
        if self.by_performer:
            raise PerformerGoneError
        return actions

    def _tell_again(self, fact: Fact, *, lost: bool) -> None:
        """What was not acknowledged is told again by its agent, what was lost by whoever still sees it."""
        again = replace(fact, at=self.now)
        if lost and not isinstance(fact, OWN):
            self.tell(again)
        elif isinstance(fact, AGENTS) and self._speaks(fact):
            life, before = self.life, plain(self.state, now=0.0)
            self.tell(again)
            assert life != self.life or before == plain(self.state, now=0.0), (
                "an event that was heard is no news"
            )

    def _speaks(self, fact: Fact) -> bool:
        """Say whether it is an event of the agent that said hello last: nobody listens to an earlier one."""
        origin = getattr(fact, "origin", None)
        return origin is None or origin.epoch == self.state.nodes[origin.source].boot

    def _numbered(self, fact: Fact) -> Fact:
        """Agents number what they tell."""
        if isinstance(fact, RankExited):
            self._alive.pop((fact.job, fact.worker), None)
        if isinstance(fact, JobSubmitted) and fact.job == JOB:
            self._asked = [fact]
        if isinstance(fact, GangSeen):
            self._alive |= {(fact.job, each.worker): each.pid for each in fact.ranks}
        if not isinstance(fact, AGENTS) or fact.origin is not None:
            return fact
        self._numbers[fact.node] += 1
        return replace(
            fact, origin=Origin(fact.node, self.state.nodes[fact.node].boot, self._numbers[fact.node])
        )

    def _take_over(self, believed: State | None) -> None:
        """Start controllers until one lives long enough to have taken over."""
        while True:
            self.life, self.dead = self.life + 1, False
            self.now += self.chance.choice((0.0, 0.3, 2.0))
            self.state = self._recalled(believed)
            self._taking_over = TAKING_OVER
            try:
                believed = self._started_anew()
            except ControllerKilledError:
                believed = None
            self._taking_over = ""
            if not self.dead and believed is not None:
                return

    def _recalled(self, believed: State | None) -> State:
        recalled = recall(self.record, self.rules)  # type: ignore[arg-type]
        assert not recalled.doubt
        if believed is not None:
            assert plain(recalled.state) == plain(believed), "what was committed is what is recalled"
        assert self._opened <= set(recalled.state.incidents), "no incident is forgotten"
        return recalled.state

    def _started_anew(self) -> State:
        """Do as a controller that starts; gives what it believes, to the end of its life if it is killed."""
        unfinished = tuple(self.state.unfinished.values())
        started = ControllerStarted(self.now, self.life, "p", "r")
        asked = () if has_finished(self.state, JOB) else self._asked
        for fact in (started, *(replace(each, at=self.now) for each in asked)):
            self._committed(fact, super().tell(fact))
            if self.dead:
                return self.state
        self._go_on(unfinished, started)
        return self.state

    def _go_on(self, unfinished: tuple[Action, ...], started: Fact) -> None:
        self.begin(unfinished, started)

    def run(self, seconds: float) -> None:
        super().run(seconds)
        self.now = max(self.now, self.state.now)

    # --- what is done twice ----------------------------------------------------------------------------

    def do_action(self, action: Action) -> None:
        assert self._begun.setdefault(action.id, action) == action, "done again it is the same deed"
        assert action.id in self.record.decided, "nothing is done that the record does not hold"
        if isinstance(action, Page):
            self._shown[action.incident] = max(action.revision, self._shown[action.incident])
        if isinstance(action, StopWorker):
            self._alive.pop((action.job, action.worker), None)
        super().do_action(action)
        if isinstance(action, Probe):
            with self._acting(performer=True):
                self.later(0.2, lambda: self.outcome(action))

    def _started(self, action: StartWorker) -> None:
        """A process that is there already is found, not started."""
        if action.node in self.never_starts:
            self.tell(Outcome(self.now, action.id, ok=False, detail="no room"))
            return
        process = action.job, action.worker
        if process not in self._alive:
            self.pid += 1
            self._alive[process] = self.pid
        pid = self._alive[process]
        self.tell(WorkerReady(self.now, action.job, action.worker, action.node, action.gpu, pid))
        self.outcome(action)

    def _formed(self, action: Resume) -> None:
        """The ranks go on, whoever hears of it."""
        if "Resume" not in self.fails:
            with self._acting(performer=False):
                self.later(0.5, lambda: self._advanced(action))
        step = self.state.jobs[action.job].high_step - 1
        self.outcome(action, data=("lost 1", f"restored step {step} from memory"))

    # --- invariants ------------------------------------------------------------------------------------

    def _committed(self, fact: Fact, actions: tuple[Action, ...]) -> None:
        if isinstance(fact, Outcome) and not fact.ok:
            self._failed.add(fact.action)
        out = {node.id for node in self.state.cordoned()}
        self._evicted = {each: done for each, done in self._evicted.items() if each[1] in out}
        for action in actions:
            if isinstance(action, Evict):
                earlier = self._evicted.get((action.incident, action.node))
                assert earlier is None or earlier in self._failed, "no node is evicted twice for one incident"
                self._evicted[action.incident, action.node] = action.id
        assert self._opened <= set(self.state.incidents), "no incident is forgotten"
        self._opened = {each.id for each in self.state.incidents.values() if each.stage is not Stage.RESOLVED}
        if not self.dead and self.chance.random() < 0.08:
            self.record.keep(self.state)

    def all_is_well(self) -> None:
        self._left = 0
        super().all_is_well()
        self.record.keep(self.state)  # findings were wiped by hand

    def live(self, episode: list[tuple[str, int]]) -> None:
        """Live through an episode with its deaths, and a calm time after it."""
        for kind, number in episode:
            self.do(kind, number)
        self.run(100)
        self.all_is_well()
        self.run(700)
        assert self.job.stage.value in ("running", "stopped", "finished"), self.job.stage
        assert not self.state.unfinished, "whatever was begun was done"
        assert self.knows_outside(), "no cordon of ours is left behind"
        if self.going():
            assert {(JOB, worker) for worker in self.seats} <= set(self._alive), "nobody dead is seated"
        assert self._shown == self.revisions, "each page's newest revision is shown"


def plain(state: State, **other: float) -> str:
    """Give a state's plain form, whatever order its tables have; numbers that are none are equal."""
    return json.dumps({**state.to_plain(), **other}, sort_keys=True)


def drawn(seed: int) -> tuple[tuple[Any, ...], list[tuple[str, int]]]:
    """Draw a cluster and an episode, as `episodes` describes them."""
    chance = random.Random(seed)
    kinds = [*KINDS, "wait", "wait", "crash", "finding"]
    nodes, gpus = chance.randint(1, 6), chance.randint(1, 2)
    delays = [chance.uniform(0.1, 6.0) for _ in range(chance.randint(1, 7))]
    cluster = delays, nodes, gpus, chance.randint(1, min(5, nodes * gpus)), chance.randint(0, 2)
    episode = [(chance.choice(kinds), chance.randrange(60)) for _ in range(chance.randint(1, 25))]
    return cluster, episode
