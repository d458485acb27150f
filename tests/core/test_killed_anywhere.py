"""A controller may be killed between any two steps: the next one goes on as if it had always been there."""

from typing import Any

import pytest
from episodes import CLUSTERS, EPISODES
from hypothesis import given
from hypothesis import strategies as st
from killed import AGENTS, Killed, drawn
from launched import of_seed
from msgspec.structs import replace

from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.model.action import Action
from sentinel.model.fact import Fact

EPISODES_ENOUGH = 200
"""Within so many each planted defect shows."""


@given(CLUSTERS, EPISODES, st.integers(0, 2**32))
def test_the_next_controller_goes_on(
    cluster: tuple[Any, ...], episode: list[tuple[str, int]], seed: int
) -> None:
    Killed(cluster, seed).live(episode)


class ActsFirst(Killed):
    """Performs before it commits."""

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        if not self.by_performer and self._left:
            ahead = decide(State.from_bytes(self.state.to_bytes()), fact, self.rules)
            for action in ahead:
                self.do_action(action)
        return super().tell(fact)


class ForgetsTheUnfinished(Killed):
    """Takes over, and does not do what its predecessor had begun."""

    def _go_on(self, unfinished: tuple[Action, ...], started: Fact) -> None:
        """Nothing is done again."""


class AcknowledgesTooEarly(Killed):
    """Tells agents that it holds what it has not committed."""

    def _tell_again(self, fact: Fact, *, lost: bool) -> None:
        if not isinstance(fact, AGENTS):
            super()._tell_again(fact, lost=lost)


class HearsTwice(Killed):
    """Takes what an agent tells again for news."""

    def _numbered(self, fact: Fact) -> Fact:
        numbered = super()._numbered(fact)
        return replace(numbered, origin=None) if isinstance(numbered, AGENTS) else numbered


def live_all(kind: type[Killed]) -> None:
    for seed in range(EPISODES_ENOUGH):
        cluster, episode = drawn(seed)
        kind(cluster, seed).live(episode)


@pytest.mark.parametrize("defect", [ActsFirst, ForgetsTheUnfinished, AcknowledgesTooEarly, HearsTwice])
def test_a_planted_defect_is_found(defect: type[Killed]) -> None:
    with pytest.raises(AssertionError):
        live_all(defect)


def test_a_page_tells_no_more_of_a_failed_proof_when_another_one_begins() -> None:
    """Found among 100,000 kills: nothing of the node but that was different, and its incident was over."""
    cluster, episode = of_seed(201781)
    cluster.live(episode)
