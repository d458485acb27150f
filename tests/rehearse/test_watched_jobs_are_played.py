"""A job that somebody else starts is played: its launcher, the command that starts it again, and people."""

from typing import Any

import pytest
from test_scenarios_are_played import causes, play

from sentinel.rehearse.verdict import Verdict


def watched(*steps: dict[str, Any], command: bool = True, **cluster: Any) -> Verdict:
    verdict = play(*steps, watched=True, restart_command=command, **cluster)
    assert (verdict.defects, verdict.resumes) == ([], 0)
    return verdict


def blamed(verdict: Verdict) -> list[tuple[str | None, int | None]]:
    return [(each.node, each.rank) for incident in verdict.incidents for each in incident.suspects]


@pytest.mark.parametrize("command", [True, False])
def test_nothing_happens_to_it_when_nothing_happens(command: bool) -> None:
    verdict = watched({"run": 3600}, command=command)
    assert (verdict.incidents, verdict.restarts, verdict.trains) == ([], 0, True)


@pytest.mark.parametrize(
    ("steps", "cause", "who", "evicted"),
    [
        pytest.param([{"crash": [1, "signal 9"]}], "rank-crash", ("n2", 1), [], id="killed"),
        pytest.param([{"raise": [1, "ValueError: x"]}], "rank-crash", ("n2", 1), [], id="raised"),
        pytest.param([{"beat": [1, {"state": "T"}]}], "rank-hang", ("n2", 1), [], id="stopped"),
        pytest.param(
            [{"gpu": ["n2", 0, {"present": False}]}], "gpu-lost", ("n2", None), ["n2"], id="GPU lost"
        ),
        pytest.param([{"node_dies": ["n2"]}], "node-lost", ("n2", None), ["n2"], id="node lost"),
    ],
)
def test_its_command_starts_it_again_once(
    steps: list[dict[str, Any]], cause: str, who: tuple[str, int | None], evicted: list[str]
) -> None:
    verdict = watched(*steps, {"run": 120}, world=3)
    assert (causes(verdict), blamed(verdict)[0][0]) == ([cause], who[0])
    assert who[1] is None or blamed(verdict) == [who]
    assert (verdict.restarts, verdict.evicted, verdict.trains) == (1, evicted, True)
    assert [each.stage for each in verdict.incidents] == ["resolved"]


def test_without_a_command_people_are_asked_and_start_it() -> None:
    crash = {"crash": [0, "signal 9"]}
    left = watched(crash, {"run": 60}, command=False)
    assert (causes(left), left.restarts, left.trains) == (["rank-crash"], 0, False)
    assert any("no job.restart_command says how" in each.why for each in left.refused)
    started = watched(crash, {"run": 60}, {"starts": ["n3", "n4"]}, {"run": 30}, command=False)
    assert (started.trains, [each.stage for each in started.incidents]) == (True, ["resolved"])


def test_a_slow_rank_trains_on_until_somebody_ends_the_job() -> None:
    slow = watched({"slow": [2, 4]}, {"run": 60}, world=3)
    assert (causes(slow), slow.restarts, slow.trains) == (["straggler"], 0, True)
    ended = watched({"slow": [2, 4]}, {"run": 60}, {"crash": [0, "signal 15"]}, {"run": 60}, world=3)
    assert (ended.restarts, ended.trains, ended.incidents[0].stage) == (1, True, "resolved")


def test_a_job_that_was_asked_to_end_is_not_started_again() -> None:
    verdict = watched({"crash": [0, "signal 15"]}, {"run": 60})
    assert (causes(verdict), verdict.restarts) == (["job-ended"], 0)


def test_ranks_that_are_done_end_it_without_an_incident() -> None:
    verdict = watched({"crash": [0, "exit 0"]}, {"crash": [1, "exit 0"]}, {"run": 60})
    assert (verdict.incidents, verdict.restarts) == ([], 0)


def test_a_command_that_fails_is_peoples_business() -> None:
    verdict = watched({"fails": ["restart-job"]}, {"crash": [0, "signal 9"]}, {"run": 60})
    assert (verdict.restarts, verdict.trains) == (1, False)
    assert any("start it again" in each.why for each in verdict.refused)


def test_another_controller_goes_on_with_it() -> None:
    verdict = watched(
        {"controller_dies": 1},
        {"crash": [0, "signal 9"]},
        {"run": 10},
        {"controller_restarts": 1},
        {"run": 60},
    )
    assert (causes(verdict), verdict.restarts, verdict.trains) == (["rank-crash"], 1, True)
