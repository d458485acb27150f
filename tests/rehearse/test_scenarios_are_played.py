"""What a scenario's steps do to the virtual cluster, and what Sentinel makes of it."""

from typing import Any

import pytest

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.run import rehearse
from sentinel.rehearse.verdict import Verdict

BOOKS = runbooks.load()


def play(*steps: dict[str, Any], policy: Policy | None = None, **cluster: Any) -> Verdict:
    scenario = of_plain({"steps": list(steps), "cluster": cluster}, "test")
    return rehearse(scenario, policy or Policy(), BOOKS)[0]


def causes(verdict: Verdict) -> list[str]:
    return [incident.cause for incident in verdict.incidents]


def test_nothing_happens_when_nothing_happens() -> None:
    verdict = play({"run": 86_400.0})
    assert (verdict.incidents, verdict.pages, verdict.resumes, verdict.trains) == ([], [], 0, True)
    assert verdict.seconds < 5, "a quiet day is leapt over"


@pytest.mark.parametrize(
    ("steps", "cause", "evicted"),
    [
        pytest.param([{"crash": [0, "signal 9"]}], "rank-crash", [], id="a rank is killed"),
        pytest.param([{"beat": [0, {"state": "T"}]}], "rank-hang", [], id="a rank is stopped"),
        pytest.param([{"beat": [1, {"phase": "data"}]}], "data-stall", [], id="a loader hangs"),
        pytest.param([{"gpu": ["n1", 0, {"present": False}]}], "gpu-lost", ["n1"], id="a GPU is gone"),
        pytest.param([{"gpu": ["n2", 0, {"ecc_uncorrectable": 3}]}], "gpu-ecc", ["n2"], id="memory errors"),
        pytest.param([{"silence": ["n1"]}], "node-cut", ["n1"], id="a node is cut off"),
        pytest.param([{"node_dies": ["n1"]}], "node-lost", ["n1"], id="a node is gone"),
        pytest.param([{"agent_dies": "n1"}], "agent-dead", [], id="an agent is gone"),
        pytest.param([{"control_cut": ["n1", "n2", "n3", "n4"]}], "control-cut", [], id="we are cut off"),
        pytest.param([{"gcs": "lost"}], "gcs-dead", [], id="Ray's GCS is gone"),
        pytest.param([{"journal": "failed"}], "journal-failed", [], id="the journal's disk is full"),
        pytest.param([{"code_raises": [0, "ValueError: x"]}], "code-error", [], id="the code raises"),
        pytest.param([{"code_raises": ["n1", "ValueError: x"]}], "node-suspect", ["n1"], id="on one node"),
        pytest.param([{"raise": [1, "loss", "nan"]}], "silent-corruption", ["n2"], id="a NaN, then none"),
        pytest.param(
            [{"raise": [1, "step 7", "miscomputed"]}], "silent-corruption", ["n2"], id="devices compared"
        ),
        pytest.param([{"code_raises": [1, "loss", "nan"]}], "bad-batch", [], id="a NaN each time"),
    ],
)
def test_faults_are_told_apart(steps: list[dict[str, Any]], cause: str, evicted: list[str]) -> None:
    verdict = play(*steps, {"run": 30})
    assert (causes(verdict), verdict.evicted, verdict.defects) == ([cause], evicted, [])


def test_a_straggler_is_found_among_three() -> None:
    verdict = play({"slow": [2, 4]}, {"run": 60}, world=3)
    assert (causes(verdict), verdict.evicted) == (["straggler"], ["n3"])


def test_all_loaders_wait_for_storage() -> None:
    slow = [{"beat": [rank, {"phase": "data"}]} for rank in (0, 1)]
    assert causes(play(*slow, {"run": 20})) == ["storage-stall"]


def test_a_line_names_a_rank_by_its_pid() -> None:
    said = "[1.0] NVRM: Xid (PCI:0000:01:00): 31, pid={pid1}, name=python3, Ch 00000008. MMU Fault"
    verdict = play({"kernel": ["rank1", said]}, {"crash": [1, "signal 6"]}, {"run": 10})
    (incident,) = verdict.incidents
    assert (incident.cause, [(s.node, s.rank) for s in incident.suspects]) == ("gpu-app-xid", [("n2", 1)])


def test_a_job_that_is_held_makes_no_step() -> None:
    assert not play({"hold": 1}, {"crash": [0, "exit 1"]}, {"run": 20}).trains
    assert play({"hold": 1}, {"crash": [0, "exit 1"]}, {"run": 20}, {"release": 1}, {"run": 20}).trains


def test_an_operator_takes_part() -> None:
    stopped = play({"command": ["stop-actions"]}, {"gpu": ["n1", 0, {"present": False}]}, {"run": 20})
    assert (stopped.evicted, [refused.why for refused in stopped.refused]) == (
        [],
        ["actions are stopped: operator: rehearsed"],
    )
    drained = play({"command": ["drain", "n1"]}, {"run": 20})
    assert (drained.evicted, drained.incidents, drained.resumes) == ([], [], 1)


def test_a_step_that_finds_nobody_is_told() -> None:
    verdict = play({"crash": [0, "signal 9"]}, {"crash": [0, "signal 9"]}, {"command": ["ack", "I-9"]})
    assert verdict.ignored == ["step 2: nobody sits there", "step 3: no incident 'I-9' is open"]


def test_another_controller_goes_on() -> None:
    verdict = play({"crash": [0, "signal 9"]}, {"controller_restarts": 1}, {"run": 20})
    assert (causes(verdict), verdict.resumes, verdict.trains) == (["rank-crash"], 1, True)


def test_a_node_that_is_heard_again_closes_what_was_about_it() -> None:
    verdict = play({"control_cut": ["n1"]}, {"run": 20}, {"heard": ["n1"]}, {"run": 20})
    assert [incident.stage for incident in verdict.incidents] == ["resolved"]


def test_the_policy_decides() -> None:
    lost = ({"gpu": ["n1", 0, {"present": False}]}, {"run": 20})
    assert play(*lost).evicted == ["n1"]
    observed = play(*lost, policy=Policy(observe_only=True))
    assert observed.evicted == []
    assert "observe-only mode" in observed.refused[0].why


def test_actions_may_fail() -> None:
    verdict = play({"fails": ["resume"]}, {"crash": [0, "signal 9"]}, {"run": 300})
    assert not verdict.trains
    assert verdict.refused[-1].why == "4 attempts brought no new step"


def test_the_same_scenario_comes_out_the_same() -> None:
    steps = ({"crash": [0, "signal 9"]}, {"run": 3}, {"silence": ["n2"]}, {"run": 30})
    one, other = play(*steps), play(*steps)
    assert (one.order, one.pages, one.incidents) == (other.order, other.pages, other.incidents)


def test_a_bad_batch_lies_at_one_step_and_is_gone_when_that_is_left_out() -> None:
    verdict = play({"code_raises": [1, "loss", "nan"]}, {"run": 10})
    assert (causes(verdict), verdict.resumes, verdict.trains) == (["bad-batch"], 2, True)


@pytest.mark.parametrize("dead_s", [0.0, 5.0])
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.5])
def test_a_controller_that_dies_amid_a_recovery_does_nothing_twice(after_s: float, dead_s: float) -> None:
    died = ({"controller_dies": 1}, {"run": dead_s}, {"controller_restarts": 1})
    verdict = play({"crash": [0, "signal 9"]}, {"run": after_s}, *died, {"run": 20})
    assert (causes(verdict), verdict.resumes, verdict.trains) == (["rank-crash"], 1, True)


def test_nobody_commands_a_controller_that_is_not_there() -> None:
    verdict = play({"controller_dies": 1}, {"command": ["drain", "n1"]})
    assert verdict.ignored == ["step 2: no controller is there"]


def test_a_rank_without_a_step_and_without_the_controller_ends_itself() -> None:
    cut = ({"command": ["stop-actions"]}, {"silence": ["n1"]}, {"run": 15}, {"heard": ["n1"]}, {"run": 1})
    assert play(*cut, {"crash": [0, "signal 9"]}).ignored == ["step 6: nobody sits there"]
    assert play(*cut[:2], {"run": 5}, *cut[3:], {"crash": [0, "signal 9"]}).ignored == []


def test_a_record_is_as_before_when_nothing_is_set_in_it() -> None:
    stopped = ({"beat": [0, {"state": "T"}]}, {"run": 1}, {"beat": [0, {}]}, {"run": 20})
    verdict = play(*stopped)
    assert (verdict.incidents, verdict.trains) == ([], True)


def test_whether_it_trains_is_seen_on_the_ranks_themselves() -> None:
    verdict = play({"command": ["stop-actions"]}, {"crash": [0, "signal 9"]})
    assert not verdict.trains, "nobody has heard of it yet"


def test_an_agent_tells_what_ended_while_there_was_none() -> None:
    steps = ({"agent_dies": "n1"}, {"crash": [0, "signal 11"]}, {"run": 20})
    verdict = play(*steps, nodes=3, gpus=2)
    assert causes(verdict) == ["agent-dead", "rank-crash"]
    assert (verdict.resumes, verdict.trains) == (1, True)


def test_two_jobs_do_not_share_their_processes() -> None:
    steps = ({"submit": ["other", 1, 1]}, {"run": 20}, {"crash": [0, "signal 9"]}, {"run": 30})
    verdict = play(*steps, nodes=3, gpus=2)
    assert (causes(verdict), verdict.resumes) == (["rank-crash"], 2), "one generation of each job"


def test_a_scheduler_that_takes_no_cordon_is_told_again_and_people_hear_of_it_if_it_stays_so() -> None:
    steps = {"fails": ["cordon", "readmit"]}, {"command": ["drain", "n4"]}, {"run": 600}
    away = play(*steps)
    assert (causes(away), len(away.pages), away.defects) == (["scheduler-untold"], 1, [])
    back = play(*steps, {"command": ["undrain", "n4"]}, {"fails": []}, {"run": 120})
    assert [each.stage for each in back.incidents] == ["resolved"]


ILL, WELL = {"gpu": ["n2", 0, {"ecc_uncorrectable": 3}]}, {"gpu": ["n2", 0, {"ecc_uncorrectable": 0}]}


@pytest.mark.parametrize(
    ("meanwhile", "resumes"),
    [
        pytest.param([WELL, {"run": 30}], 2, id="it is repaired, and the job grows back"),
        pytest.param([], 1, id="it is not, and the job stays small"),
    ],
)
def test_a_node_comes_back_when_it_has_shown_that_it_is_well(
    meanwhile: list[dict[str, Any]], resumes: int
) -> None:
    asked = {"command": ["prove", "n2"]}, {"run": 60}
    verdict = play(ILL, {"run": 60}, *meanwhile, *asked, nodes=2, gpus=2, world=4)
    assert (causes(verdict), verdict.evicted) == (["gpu-ecc"], ["n2"])
    assert (verdict.resumes, verdict.defects) == (resumes, [])
