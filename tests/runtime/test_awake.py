"""A controller that stood still says so before it judges anybody by the time."""

from pathlib import Path

from small_cluster import Cluster

from sentinel.core.detect.watch import Watch
from sentinel.model.fact import ControllerPaused, Fact
from sentinel.model.policy import Policy
from sentinel.runtime.awake import Awake


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_a_gap_that_is_too_long_is_told_and_once() -> None:
    clock, learned = Clock(), list[Fact]()
    awake = Awake(Watch(Policy(), 0.0), lambda facts: bool(learned.extend(facts)), clock, 1.25)
    for gap in (0.0, 1.0, 200.0, 0.05):
        clock.now += gap
        assert awake() == clock.now
    assert learned == [ControllerPaused(301.0, 200.0)]


def test_nobody_is_silent_because_the_controller_stood_still(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    cluster.trains()
    state, clock = cluster.ledger.state, Clock()
    clock.now = state.now
    watch = Watch(Policy(), state.now - 60.0)
    awake = Awake(watch, cluster.ledger.absorb, clock, 1.25)
    awake()
    clock.now += 240.0
    assert watch.tick(state, awake()) == []
    clock.now += Policy().grace_s + 0.1
    assert {type(fact).__name__ for fact in watch.tick(state, clock.now)} == {"NodeSilent"}
