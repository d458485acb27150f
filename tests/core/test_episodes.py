"""Whatever goes wrong in whatever order: invariants hold after every fact, and the fold is deterministic."""

import pytest
from episodes import CLUSTERS, EPISODES, Checked
from hypothesis import example, given

from sentinel.core import fold, group
from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.core.touched import Touched
from sentinel.model.action import Page

Drawn = tuple[list[float], int, int, int, int]


def live(cluster: Drawn, episode: list[tuple[str, int]]) -> Checked:
    checked = Checked(*cluster)
    for kind, number in episode:
        checked.do(kind, number)
    checked.run(100)
    return checked


@given(CLUSTERS, EPISODES)
@example(([1.0], 4, 1, 1, 1), [("silence", 1), ("missing", 0), ("drain", 0), ("finding", 18)])
@example(([1.0], 3, 1, 1, 1), [("drain", 0), ("drain", 1), ("command", 0)])
@example(([0.25], 1, 1, 1, 0), [("raise", 0), ("crash", 0), ("again", 1), ("wait", 3), ("missing", 0)])
@example(([1.0], 4, 1, 2, 0), [("tried_again", 17), ("trouble", 26), ("finding", 1), ("wait", 3)])
def test_the_invariants_hold_after_every_fact(cluster: Drawn, episode: list[tuple[str, int]]) -> None:
    live(cluster, episode)


@pytest.mark.parametrize("left_out", ["incidents", "nodes", "jobs"])
def test_a_fold_that_settles_too_little_is_found(monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    looks_away = type("LooksAway", (Touched,), {left_out: ()})
    monkeypatch.setattr(fold, "Touched", looks_away)
    with pytest.raises(AssertionError, match="what is settled is settled"):
        live(([1.0], 4, 1, 2, 1), [("finding", 0), ("crash", 1), ("silence", 0), ("wait", 2)])


@given(CLUSTERS, EPISODES)
def test_the_same_facts_give_the_same_actions(cluster: Drawn, episode: list[tuple[str, int]]) -> None:
    lived = live(cluster, episode)
    state, again = State(), []
    for number, fact in enumerate(lived.facts):
        if number % 50 == 49:
            state = State.from_bytes(state.to_bytes())
        again += decide(state, fact, lived.rules)
    assert [repr(action) for action in again] == [repr(action) for action in lived.decided]
    assert state.to_bytes() == lived.state.to_bytes()


@given(CLUSTERS, EPISODES)
@example(([1.0], 2, 1, 1, 0), [("pace", 1), ("silence", 1)])
@example(([0.25], 4, 2, 4, 2), [("crash", 0), ("wait", 2), ("slow", 0)])
@example(([0.25], 1, 1, 1, 0), [("out_of_memory", 0), ("wait", 1), ("slow", 0)])
@example(([1.0], 3, 1, 3, 1), [("raise", 0), ("wait", 2), ("slow", 0)])
@example(
    ([2.0], 5, 1, 1, 1),
    [("silence", 0), ("undrain", 1), ("crash", 0), ("finding", 6), ("wait", 1), ("missing", 0)],
)
@example(([1.0], 3, 1, 1, 1), [("slow", 0), ("finding", 0), ("silence", 29)])
@example(([1.1], 2, 2, 3, 1), [("silence", 27), ("slow", 58), ("slow", 21)])
@example(
    ([1.0], 3, 1, 2, 1),
    [("throttled", 3), ("slow", 51), ("silence", 0), ("trouble", 50), ("raise", 45)],
)
@example(
    ([1.0], 4, 1, 3, 1),
    [("standby_dies", 36), ("tried_again", 0), ("trouble", 20), ("silence", 8), ("ends", 19), ("crash", 1)],
)
@example(
    ([1.0], 4, 1, 2, 2),
    [
        ("slow", 48),
        ("silence", 0),
        ("finding", 49),
        ("silence", 38),
        ("trouble", 43),
        ("wait", 38),
        ("ends", 41),
    ],
)
@example(
    ([0.5, 2.0], 5, 2, 4, 2),
    [
        ("pace", 37),
        ("wait", 39),
        ("prove", 25),
        ("maintain", 49),
        ("out_of_memory", 44),
        ("wait", 34),
        ("out_of_memory", 40),
        ("control", 7),
        ("slow", 0),
        ("again", 27),
    ],
)
def test_when_all_is_well_again_the_job_runs_or_says_why(
    cluster: Drawn, episode: list[tuple[str, int]]
) -> None:
    lived = live(cluster, episode)
    lived.all_is_well()
    lived.run(700)
    assert lived.job.stage.value in ("running", "stopped", "finished"), lived.job.stage
    left = [each for each in lived.state.open_incidents() if lived.job.stage.value != "stopped"]
    assert lived.knows_outside(), "no cordon of ours is left behind"
    assert left == [], "every incident ends; what stopped a job is open until people start it again"


PROMISE = "nothing, while Sentinel repairs it"


@given(CLUSTERS, EPISODES)
@example(([1.0], 1, 1, 1, 0), [("silence", 1)])
@example(([1.0], 2, 1, 2, 0), [("maintain", 0), ("raise", 0), ("finding", 1), ("maintain", 1)])
@example(([1.0], 4, 1, 1, 0), [("finding", 18), ("drain", 2)])
@example(([1.0], 2, 1, 1, 1), [("crash", 15), ("wait", 46), ("prove", 52), ("slow", 53)])
@example(
    ([1.0], 6, 2, 5, 2),
    [("slow", 38), ("out_of_memory", 39), ("wait", 49), ("scheduler", 7), ("out_of_memory", 21)],
)
@example(
    ([1.0], 3, 2, 4, 0),
    [("down", 36), ("drain", 12), ("hang", 54), ("wait", 3), ("out_of_memory", 36), ("out_of_memory", 39)],
)
def test_nobody_is_told_to_wait_for_a_repair_that_nobody_does(
    cluster: Drawn, episode: list[tuple[str, int]]
) -> None:
    """Half an hour after the last news whatever is promised is under way, or only has to be seen to last."""
    lived = live(cluster, episode)
    lived.fails, lived.never_starts = set(), set()
    lived.run(2000)
    if lived.state.stopped or lived.state.frozen:
        return
    for incident in lived.state.open_incidents():
        job = lived.state.job_of(incident)
        told = [page for page in lived.decided if isinstance(page, Page) and page.incident == incident.id]
        if not (told and PROMISE in told[-1].body) or group.has_recovered(lived.state, incident):
            continue
        orders = [each for each in lived.state.unfinished.values() if not isinstance(each, Page)]
        under_way = any(getattr(order, "incident", None) == incident.id for order in orders)
        slow = job is not None and job.usual_step_s > 0
        assert under_way or slow or group.forms(lived.state, incident), told[-1].body
