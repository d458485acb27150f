"""Facts that come at once are learned before anything is decided, and are recalled so line by line."""

import heapq
from typing import Any

from episodes import CLUSTERS, EPISODES, Checked
from hypothesis import example, given
from hypothesis import strategies as st
from killed import plain
from simulated import JOB, Simulated, ecc

from sentinel.core import diagnose
from sentinel.core.fold import fold_together, retell
from sentinel.core.settle import missing
from sentinel.core.state import State
from sentinel.model.action import Action, Evict
from sentinel.model.decision import DEFERRED, deeds
from sentinel.model.fact import (
    DeadlinePassed,
    Fact,
    FindingReported,
    NodePinged,
    NodeSilent,
    RankExited,
)
from sentinel.model.ids import NodeId


class AtOnce(Checked):
    """A cluster whose controller takes in together what comes within a moment."""

    moment = 0.3

    def __init__(self, *cluster: Any) -> None:
        self._gathered: list[Fact] = []
        self._gathers = False
        super().__init__(*cluster)

    def do(self, kind: str, number: int) -> None:
        self._gathers = True
        super().do(kind, number)
        self._give()

    def run(self, seconds: float) -> None:
        """Let time pass in such moments; a deadline passes with what else comes in its moment."""
        self._give()
        end = self.now + seconds
        while self.now < end:
            self.now, self._gathers = min(self.now + self.moment, end), True
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            for name, at in list(self.state.deadlines.items()):
                if at <= self.now:
                    self.tell(DeadlinePassed(self.now, name))
            self._give()

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        self.facts.append(fact)
        self._gathered.append(fact)
        return () if self._gathers else self._give()

    def _give(self) -> tuple[Action, ...]:
        facts, self._gathered, self._gathers = self._gathered, [], False
        if not facts:
            return ()
        recalled, out = State.from_bytes(self.state.to_bytes()), self._out()
        folded = fold_together(self.state, facts, self.rules)
        assert all(decisions == DEFERRED for _, decisions in folded[:-1])
        for fact, decisions in folded:
            retell(recalled, fact, decisions, self.rules)
        assert plain(recalled) == plain(self.state), "what was committed is what is recalled"
        assert missing(self.state, self.rules) == [], "what is settled is settled"
        self._check_the_way_back(out - self._out(), facts)
        actions = tuple(action for _, decisions in folded for action in deeds(decisions))
        self.actions += actions
        for action in actions:
            self._check(action)
            self._answer(action)
        self._check_nodes()
        return actions


@given(CLUSTERS, EPISODES, st.sampled_from([0.1, 0.3, 2.0]))
@example(([1.0], 5, 1, 1, 0), [("silence", 55)], 0.1)
@example(([1.0], 2, 1, 1, 0), [("drain", 0), ("prove", 1)], 0.1)
def test_the_invariants_hold_when_facts_come_together(
    cluster: Any, episode: list[tuple[str, int]], moment: float
) -> None:
    checked = AtOnce(*cluster)
    checked.moment = moment
    for kind, number in episode:
        checked.do(kind, number)
    checked.run(100)


def test_a_rack_that_falls_silent_is_seen_whole(monkeypatch: Any) -> None:
    cluster, asked = Simulated(nodes=12, world=12, standbys=0), []
    whole = diagnose.decide
    monkeypatch.setattr(diagnose, "decide", lambda *of: asked.append(of[0].id) or whole(*of))
    rack = [NodeId(f"n{number}") for number in range(1, 6)]
    fold_together(cluster.state, [NodeSilent(cluster.now, n, 2.6, 5, 12) for n in rack], cluster.rules)
    ports = [
        NodePinged(cluster.now, n, "timeout", "timeout", -1, next(iter(cluster.state.incidents)))
        for n in rack
    ]
    fold_together(cluster.state, ports, cluster.rules)
    assert len(asked) <= 2, "each round is diagnosed once, however many nodes it has"
    (incident,) = cluster.state.incidents.values()
    assert {fact.node for fact in incident.evidence if isinstance(fact, NodeSilent)} == set(rack)


def test_a_death_and_its_cause_that_come_together_are_one_eviction() -> None:
    cluster = Simulated(nodes=4, world=2)
    worker = cluster.worker(0)
    place = (JOB, 0, worker.id, worker.node, 0, worker.pid, 1, "signal 9")
    together = [RankExited(cluster.now, *place), FindingReported(cluster.now, worker.node, ecc(0))]
    folded = fold_together(cluster.state, together, cluster.rules)
    evicted = [each for each in folded[-1][1] if isinstance(each, Evict)]
    assert [each.node for each in evicted] == [worker.node], "no wait for what is here already"


def test_nothing_at_all_changes_nothing() -> None:
    cluster = Simulated()
    before = cluster.state.to_bytes()
    assert fold_together(cluster.state, [], cluster.rules) == []
    assert cluster.state.to_bytes() == before
