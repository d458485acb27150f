"""Whatever goes wrong with a job that somebody else starts, in whatever order: the same invariants hold."""

import pytest
from episodes import CLUSTERS
from hypothesis import example, given
from hypothesis import strategies as st
from launched import EPISODES, KilledLaunched, KilledWithoutCommand, Launched, WithoutCommand
from test_episodes import Drawn

from sentinel.core.fold import decide
from sentinel.core.state import State

Episode = list[tuple[str, int]]
STARTED = pytest.mark.parametrize("kind", [Launched, WithoutCommand])


def live(kind: type[Launched], cluster: Drawn, episode: Episode) -> Launched:
    launched = kind(*cluster)
    for what, number in episode:
        launched.do(what, number)
    launched.run(100)
    return launched


@STARTED
@given(CLUSTERS, EPISODES)
@example(([1.0], 2, 1, 2, 0), [("launched", 0), ("wait", 2)])
@example(([1.0], 2, 1, 1, 0), [("silence", 0), ("crash", 0), ("joined", 0)])
@example(([1.0], 3, 1, 3, 0), [("ends", 0), ("wait", 3)])
def test_when_all_is_well_again_it_runs_and_no_incident_is_left(
    kind: type[Launched], cluster: Drawn, episode: Episode
) -> None:
    lived = live(kind, cluster, episode)
    lived.all_is_well()
    lived.run(700)
    assert lived.job.stage.value in ("running", "stopped", "finished"), lived.job.stage
    assert lived.job.stage.value == "stopped" or not list(lived.state.open_incidents())


@STARTED
@given(CLUSTERS, EPISODES)
def test_the_same_facts_give_the_same_actions(kind: type[Launched], cluster: Drawn, episode: Episode) -> None:
    lived = live(kind, cluster, episode)
    state, again = State(), []
    for fact in lived.facts:
        again += decide(state, fact, lived.rules)
    assert [repr(action) for action in again] == [repr(action) for action in lived.decided]
    assert state.to_bytes() == lived.state.to_bytes()


@pytest.mark.parametrize("kind", [KilledLaunched, KilledWithoutCommand])
@given(CLUSTERS, EPISODES, st.integers(0, 2**32))
def test_the_next_controller_goes_on(
    kind: type[KilledLaunched], cluster: Drawn, episode: Episode, seed: int
) -> None:
    kind(cluster, seed).live(episode)
