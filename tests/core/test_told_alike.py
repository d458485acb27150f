"""What the world tells a second time, or late within the wait that it answers, comes out the same."""

from typing import Any

import pytest
from episodes import CLUSTERS, EPISODES, MISHAPS, Checked
from hypothesis import example, given
from hypothesis import strategies as st
from killed import drawn

from sentinel.core.fold import decide
from sentinel.core.learn import ranks
from sentinel.model.action import Action
from sentinel.model.fact import Commanded, ControllerPaused, ControllerStarted, DeadlinePassed, Fact
from sentinel.model.ids import NodeId

Drawn = tuple[list[float], int, int, int, int]
Episode = list[tuple[str, int]]
OWN = (DeadlinePassed, ControllerPaused, ControllerStarted)
"""What the controller tells itself, once each."""
LATE, TOO_LATE = 2.5, 40.0
"""Times the usual: an answer that takes 0.1 s is waited for 0.3 s, one of 0.5 s for 1.5 s."""
SEEDS = 10


class ToldTwice(Checked):
    """A cluster of which each outside fact is told twice, but for what a human says twice and means."""

    def _learned(self, fact: Fact) -> tuple[Action, ...]:
        is_meant = self._is_meant(fact)
        actions = super()._learned(fact)
        if not (is_meant or isinstance(fact, OWN)):
            again = decide(self.state, fact, self.rules)
            assert again == (), f"{type(fact).__name__} was told before: {again}"
        return actions

    def _is_meant(self, fact: Fact) -> bool:
        """Another try, and the word that a node is well whose maintenance the same command has just ended."""
        if not isinstance(fact, Commanded):
            return False
        node = self.state.nodes.get(NodeId(fact.target))
        ends = fact.command == "undrain" and node is not None and node.maintained is not None
        return ends or fact.command in ("retry", "resume-actions")


def live(kind: type[Checked], cluster: Drawn, episode: Episode) -> Checked:
    lived = kind(*cluster)
    for mishap, number in episode:
        lived.do(mishap, number)
    lived.run(100)
    return lived


def said(lived: Checked) -> Any:
    """Sum up what came out: who was blamed for what, who went, and how the job does."""
    found = [each.diagnosis for each in lived.incidents()]
    blamed = [(each.cause, each.nodes) if each else None for each in found]
    return blamed, lived.stages(), lived.evicted(), sorted(lived.pages()), lived.job.stage, lived.resumed()


def comes_out(cluster: Drawn, episode: Episode, delay: float) -> Any:
    """Let mishaps happen each in a calm time of its own, and answers take so much longer."""
    apart = [each for mishap in episode for each in (mishap, ("wait", 3))]
    return said(live(Checked, ([delay], *cluster[1:]), apart))


@given(CLUSTERS, EPISODES)
@example(([1.0], 4, 2, 5, 0), [("trouble", 19), ("hang", 5), ("crash", 51)])
@example(([1.0], 2, 1, 1, 2), [("silence", 29), ("slow", 17)])
@example(([2.0], 4, 1, 4, 0), [("throttled", 18), ("wait", 23), ("silence", 0)])
@example(([0.2, 1.7], 2, 1, 1, 2), [("finding", 12)])
@example(([1.0], 2, 1, 1, 0), [("finding", 0), ("undrain", 0)])
@example(([3.0], 6, 1, 1, 1), [("pace", 32), ("crash", 45), ("trouble", 19)])
@example(([1.0, 1.0, 0.26, *[1.0] * 4], 3, 2, 2, 1), [("pace", 49), ("tried_again", 44), ("silence", 11)])
@example(([1.0], 5, 1, 3, 1), [("hang", 1), ("wait", 22), ("pace", 13)])
@example(([1.0], 2, 1, 2, 0), [("pace", 20), ("hang", 38), ("silence", 2)])
@example(([1.0], 4, 2, 4, 1), [("pace", 32), ("silence", 53), ("missing", 5)])
def test_what_is_told_twice_decides_nothing_more(cluster: Drawn, episode: Episode) -> None:
    once, twice = live(Checked, cluster, episode), live(ToldTwice, cluster, episode)
    assert [action.id for action in twice.decided] == [action.id for action in once.decided]


def test_what_does_not_know_what_it_was_told_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_is_known", lambda *_: False)
    with pytest.raises(AssertionError, match="told before"):
        live(ToldTwice, ([1.0], 3, 1, 2, 1), [("raise", 0)])


@given(CLUSTERS, st.lists(MISHAPS, min_size=1, max_size=2))
def test_answers_that_take_most_of_their_wait_come_out_alike(cluster: Drawn, episode: Episode) -> None:
    assert comes_out(cluster, episode, LATE) == comes_out(cluster, episode, 1.0)


def test_answers_that_come_after_their_wait_do_not_all() -> None:
    apart = [
        seed for seed in range(SEEDS) if comes_out(*drawn(seed), TOO_LATE) != comes_out(*drawn(seed), 1.0)
    ]
    assert apart, "what is compared would show it"
