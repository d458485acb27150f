"""Counters: all there with zeros, and what happened is counted once."""

from pathlib import Path
from typing import Any, get_args

import pytest
from small_cluster import Cluster

from sentinel import runbooks
from sentinel.core.state import State
from sentinel.logbook.recording import read
from sentinel.model.action import KINDS, Action, Refusal
from sentinel.model.fact import Fact, FindingReported, JobSubmitted, Outcome
from sentinel.model.finding import REPLAYED, TRAINER, Finding, Health
from sentinel.model.ids import ActionId, JobId, NodeId
from sentinel.model.policy import Policy
from sentinel.model.trainable import ReplayResult, ReplayWhy
from sentinel.runtime.counters import Counters

RECORDINGS = sorted((Path(__file__).parents[1] / "incidents").glob("*.jsonl"))


def values(counters: Counters) -> dict[tuple[str, ...], float]:
    """Each series' value by its name, without prefix and suffix, and its label."""
    return {
        (family.name.removeprefix("sentinel_"), *sample.labels.values()): sample.value
        for family in counters.collect()
        for sample in family.samples
    }


def fresh() -> Counters:
    return Counters(runbooks.load(), (), lambda: (0, 0))


def test_every_series_is_there_from_the_start_with_zero() -> None:
    found = values(fresh())
    assert set(found.values()) == {0}
    assert {key[1] for key in found if key[0] == "facts"} == {noun.__name__ for noun in get_args(Fact)}
    assert {key[1] for key in found if key[0] == "incidents_diagnosed"} == set(runbooks.load())


def test_an_eviction_is_counted_from_the_finding_to_its_outcome(tmp_path: Path) -> None:
    cluster, counters = Cluster(tmp_path, Policy()), fresh()
    cluster.trains()
    cluster.ledger.changed = lambda fact, actions: counters.changed(cluster.ledger.state, fact, actions)
    cluster.breaks(cluster.home)
    found = values(counters)
    expected: dict[tuple[str, ...], float] = {
        ("facts", "FindingReported"): 1,
        ("actions", "evict"): 1,
        ("actions", "resume"): 1,
        ("actions_failed", "evict"): 0,
        ("incidents_opened",): 1,
        ("incidents_diagnosed", "gpu-ecc"): 1,
        ("evictions",): 1,
        ("refusals", "confidence"): 0,
        ("pages", "delivered"): found["actions", "page"],
    }
    assert {key: found[key] for key in expected} == expected
    assert found["actions", "page"] >= 1


@pytest.mark.parametrize(
    ("kind", "counted"),
    [("page", {("pages", "failed"): 1, ("actions_failed", "page"): 1}), ("evict", {("evictions",): 0})],
)
def test_a_failure_is_counted_as_one(kind: str, counted: dict[tuple[str, ...], float]) -> None:
    counters = fresh()
    counters.changed(State(), Outcome(1.0, ActionId(f"I-1/{kind}/x/1"), ok=False, detail="no"), ())
    found = values(counters)
    assert {key: found[key] for key in counted} == counted


def test_a_refusal_is_no_action(tmp_path: Path) -> None:
    cluster, counters = Cluster(tmp_path, Policy(observe_only=True)), fresh()
    cluster.trains()
    cluster.ledger.changed = lambda fact, actions: counters.changed(cluster.ledger.state, fact, actions)
    cluster.breaks(cluster.home)
    found = values(counters)
    assert found["refusals", "actions"] >= 1
    assert found["actions", "evict"] == 0


def replayed(check: str, **evidence: str) -> FindingReported:
    found = Finding(check, REPLAYED, "step-7", Health.OK, "step 7 was computed again", evidence)
    return FindingReported(1.0, NodeId("n1"), found)


def test_steps_that_ranks_computed_again_are_counted_by_why_and_what_came_of_it() -> None:
    counters = fresh()
    counters.changed(State(), replayed(TRAINER, why="spike", result="agreed"), ())
    counters.changed(State(), replayed(TRAINER, why="words of", result="somebody's"), ())
    counters.changed(State(), replayed("gpu", why="spike", result="agreed"), ())
    found = {key: value for key, value in values(counters).items() if key[0] == "steps_replayed"}
    assert len(found) == len(ReplayWhy) * len(ReplayResult)
    assert {key for key, value in found.items() if value} == {("steps_replayed", "spike", "agreed")}


def test_incidents_of_before_are_not_counted_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    cluster.trains()
    cluster.breaks(cluster.home)
    state = cluster.ledger.state
    assert state.incidents
    counters = Counters(runbooks.load(), state.incidents, lambda: (0, 0))
    counters.changed(state, JobSubmitted(1.0, JobId("moe"), 1, "m:t", 1, 1), ())
    assert values(counters)[("incidents_opened",)] == 0


def test_the_kinds_are_those_of_action_ids() -> None:
    lines = (line for path in RECORDINGS for line in read(path.read_text()).lines)
    decided: list[Any] = [action for line in lines for action in line.actions]
    kinds = {action.id.split("/")[1] for action in decided if not isinstance(action, Refusal)}
    assert kinds <= set(KINDS)
    assert len(KINDS) == len(get_args(Action)) - 1  # a refusal is none
