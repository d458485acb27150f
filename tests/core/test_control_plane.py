"""The control plane's own failures: GCS, journal, and a controller that starts again in mid-episode."""

from collections.abc import Callable

import pytest
from simulated import Simulated, ecc

from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.model.action import Action, RestartGcs
from sentinel.model.fact import ControllerStarted, Fact, GcsBack, GcsLost, JournalBack, JournalFailed


def test_a_dead_gcs_is_paged_and_restarted_until_it_answers() -> None:
    cluster = Simulated()
    cluster.fails = {"RestartGcs"}
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "refused"))
    cluster.run(30)
    assert (cluster.causes(), len(cluster.pages())) == (["gcs-dead"], 1)
    assert len(cluster.all(RestartGcs)) == 2
    cluster.tell(GcsBack(cluster.now, "10.0.0.1:6379"))
    cluster.run(100)
    assert (cluster.stages(), len(cluster.all(RestartGcs))) == (["resolved"], 2)


@pytest.mark.parametrize("how", ["back", "restart"])
def test_a_failing_journal_freezes_actions_until_it_works(how: str) -> None:
    cluster = Simulated()
    cluster.tell(JournalFailed(cluster.now, "disk full"))
    assert (cluster.causes(), len(cluster.pages())) == (["journal-failed"], 1)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.resumed() == []
    cluster.tell(JournalBack(cluster.now) if how == "back" else started(cluster))
    cluster.run(5)
    cluster.settle()
    assert (cluster.state.frozen, cluster.going(), set(cluster.stages())) == ("", True, {"resolved"})


def started(cluster: Simulated) -> ControllerStarted:
    return ControllerStarted(cluster.now, 1, "p", "r")


def test_no_deadline_passes_just_because_the_controller_was_away() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.35)
    generation = cluster.job.generation
    cluster.now += 60
    cluster.tell(started(cluster))
    cluster.run(5)
    assert (cluster.job.generation, cluster.going()) == (generation, True)


def test_a_cut_that_heals_while_the_controller_is_away_thaws() -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)
    cluster.silence(*nodes)
    cluster.run(2)
    cluster.tell(started(cluster))
    assert cluster.state.frozen
    cluster.heard(*nodes)
    assert cluster.state.frozen == ""


def crash(cluster: Simulated) -> None:
    cluster.crash(0)
    cluster.run(10)


def bad_gpu(cluster: Simulated) -> None:
    cluster.crash(0)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(10)


def lost_node(cluster: Simulated) -> None:
    cluster.doors[cluster.node(0)] = ("refused", "refused", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(cluster.node(0))
    cluster.run(10)


def code(cluster: Simulated) -> None:
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(1)


def nan(cluster: Simulated) -> None:
    cluster.raises(0, "nan", "nan", 7, (float("nan"), 1.0))
    cluster.run(10)


def hang(cluster: Simulated) -> None:
    cluster.stall(cluster.beat(0), cluster.beat(1, state="T"))
    cluster.run(10)


EPISODES = [crash, bad_gpu, lost_node, code, nan, hang]


@pytest.mark.parametrize("episode", EPISODES)
def test_a_state_that_went_through_its_plain_form_goes_on_identically(
    episode: Callable[[Simulated], None],
) -> None:
    straight, restarting = Simulated(), Simulated()
    restarting.restarts = True
    episode(straight)
    episode(restarting)
    assert [repr(action) for action in restarting.actions] == [repr(action) for action in straight.actions]
    assert restarting.state.to_bytes() == straight.state.to_bytes()


@pytest.mark.parametrize("episode", EPISODES)
def test_the_same_facts_give_the_same_actions(episode: Callable[[Simulated], None]) -> None:
    cluster = Simulated()
    episode(cluster)
    again = refold(cluster.facts, cluster)
    assert again[-len(cluster.actions) :] == [repr(action) for action in cluster.actions]


def refold(facts: list[Fact], cluster: Simulated) -> list[str]:
    state = State()
    decided: list[Action] = []
    for fact in facts:
        decided += decide(state, fact, cluster.rules)
    return [repr(action) for action in decided]
