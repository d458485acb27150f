"""A node that is out comes back by proof, or on a person's word: what it shows, and what comes of it."""

from dataclasses import replace as replace_policy

import pytest
from msgspec.structs import replace
from simulated import Simulated, ecc, xid

from sentinel.core.proofs import progress, refuse
from sentinel.core.state.rows import ProofStage
from sentinel.model.action import Page, Prove, Readmit, Repair
from sentinel.model.collective import MemberFinding
from sentinel.model.fact import Commanded, FindingReported, NodeJoined, NodeLeft
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy


def out(policy: Policy | None = None) -> tuple[Simulated, NodeId]:
    """A cluster whose node of rank 0 was evicted for a memory error, and has been repaired."""
    cluster = Simulated(policy=policy)
    bad = cluster.node(0)
    evict(cluster, bad)
    cluster.finding(bad, replace(ecc(), health=Health.OK))
    cluster.actions.clear()
    return cluster, bad


def evict(cluster: Simulated, node: NodeId) -> None:
    cluster.finding(node, ecc())
    cluster.run(20)
    assert cluster.at(node).is_empty


def stage(cluster: Simulated, node: NodeId) -> ProofStage | None:
    proof = cluster.at(node).proof
    return proof.stage if proof is not None else None


def test_a_node_that_passes_comes_back() -> None:
    cluster, bad = out()
    cluster.command("prove", bad)
    assert [(order.check, order.members) for order in cluster.all(Prove)] == [("", ())]
    assert "runs its own checks" in progress(cluster.at(bad))
    cluster.run(5)
    assert [order.check for order in cluster.all(Prove)] == ["", "gemm", ""]
    assert cluster.all(Prove)[1].members == (bad,), "nobody else is disturbed"
    assert stage(cluster, bad) is ProofStage.PASSED
    assert cluster.at(bad).usable
    assert [action.node for action in cluster.all(Readmit)] == [bad]
    page = cluster.all(Page)[-1].body
    assert f"{bad}: proof passed, asked by ann, because: gemm: tflops 0.5" in page
    assert "Left:" not in page
    assert f"Asked of you: nothing: {bad} is in use again" in page


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(ecc(1), "gpu found on gpu-1: 2 uncorrectable errors", id="what it was out for"),
        pytest.param(replace(ecc(), health=Health.WARNING), "gpu-0", id="not even a warning of that"),
        pytest.param(
            Finding("host", "disk-full", "disk:/", Health.CRITICAL, "no space"), "no space", id="another"
        ),
        pytest.param(xid(48), "Xid 48", id="an event meanwhile"),
    ],
)
def test_a_node_with_which_something_is_wrong_stays_out(found: Finding, said: str) -> None:
    cluster, bad = out()
    cluster.command("prove", bad)
    cluster.finding(bad, found)
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.FAILED
    assert not cluster.at(bad).usable
    assert not cluster.all(Readmit)
    body = cluster.all(Page)[-1].body
    assert f"Left: {bad}: its proof failed: " in body
    assert said in body


@pytest.mark.parametrize(
    "found",
    [
        Finding("memory", "swap", "memory", Health.WARNING, "swaps"),
        Finding("memory", "memory-unreadable", "memory", Health.UNKNOWN, "no meminfo"),
        Finding("nvlink", "not-applicable", "nvlink", Health.SKIPPED, "none here"),
        Finding("trainer", "checkpoint-corrupt", "moe", Health.CRITICAL, "step 7 is damaged"),
    ],
)
def test_what_says_nothing_against_a_node_keeps_it_out_no_longer(found: Finding) -> None:
    cluster, bad = out()
    cluster.finding(bad, found)
    cluster.command("prove", bad)
    cluster.run(5)
    assert cluster.at(bad).usable


def test_an_event_from_before_the_repair_is_no_news() -> None:
    cluster, bad = out()
    cluster.finding(bad, xid(48))
    cluster.run(60)
    cluster.command("prove", bad)
    cluster.run(5)
    assert cluster.at(bad).usable


@pytest.mark.parametrize("health", [Health.CRITICAL, Health.WARNING])
def test_a_device_that_computes_wrong_or_slowly_stays_out(health: Health) -> None:
    cluster, bad = out()
    found = Finding("gemm", "wrong-numbers", "gpu-0", health, "gpu-0 computes wrong: 3 numbers", event=True)
    cluster.found = (MemberFinding(bad, found), MemberFinding(NodeId("n9"), found))
    cluster.command("prove", bad)
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.FAILED
    assert "gpu-0 computes wrong" in cluster.all(Page)[-1].body
    assert [order.check for order in cluster.all(Prove)] == ["", "gemm"], "it ends where it fails"


UNKNOWN = Health.UNKNOWN


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Finding("gpu", "gpu-unreadable", "gpu-0", UNKNOWN, "no ECC counters"), "no ECC counters"),
        (Finding("disk", "probe-failed", "disk", UNKNOWN, "the disk check failed"), "`sentinel check disk`"),
    ],
)
def test_a_check_that_knows_nothing_is_no_proof(found: Finding, said: str) -> None:
    cluster, bad = out()
    cluster.finding(bad, found)
    cluster.command("prove", bad)
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.NOT_RUN
    assert not cluster.at(bad).usable
    assert f"Left: {bad}: its proof could not be run: " in cluster.all(Page)[-1].body
    assert said in cluster.all(Page)[-1].body


def test_a_check_that_gives_no_answer_is_no_proof() -> None:
    cluster, bad = out()
    cluster.mute = {"gpu"}
    cluster.command("prove", bad)
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.NOT_RUN
    assert "no answer from gpu" in progress(cluster.at(bad))


def test_an_order_that_fails_and_a_node_that_never_answers_are_no_proof() -> None:
    cluster, bad = out()
    cluster.fails = {"Prove"}
    cluster.command("prove", bad)
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.NOT_RUN
    cluster._answer = lambda action: None  # type: ignore[method-assign]  # its agent has gone
    cluster.command("prove", bad)
    cluster.run(100)
    assert stage(cluster, bad) is ProofStage.UNDER_WAY
    cluster.run(100)
    assert stage(cluster, bad) is ProofStage.NOT_RUN
    assert "no answer from its own checks in time" in progress(cluster.at(bad))


def test_it_is_tried_again_when_it_is_asked_again() -> None:
    cluster, bad = out()
    cluster.finding(bad, ecc(1))
    cluster.command("prove", bad)
    cluster.run(5)
    cluster.finding(bad, replace(ecc(1), health=Health.OK))
    cluster.command("prove", bad)
    cluster.run(5)
    assert cluster.at(bad).usable
    assert len({order.id for order in cluster.all(Prove)}) == len(cluster.all(Prove)) == 4


def test_a_persons_word_needs_no_proof() -> None:
    cluster, bad = out()
    cluster.command("undrain", bad)
    cluster.run(5)
    assert cluster.at(bad).usable
    assert not cluster.all(Prove)
    assert not cluster.at(bad).probation


@pytest.mark.parametrize("word", ["undrain", "drain"])
def test_a_persons_word_ends_a_proof_that_is_under_way(word: str) -> None:
    cluster, bad = out()
    cluster.command("prove", bad)
    cluster.command(word, bad)
    cluster.run(5)
    assert len(cluster.all(Prove)) == 1
    assert cluster.at(bad).usable is (word == "undrain")
    assert cluster.at(bad).proof is None


def test_a_node_that_was_drained_by_hand_is_proved_when_its_ranks_have_left() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    cluster.command("drain", home)
    cluster.command("prove", home)
    assert "waits until no process of a job is left" in progress(cluster.at(home))
    assert not cluster.all(Prove)
    cluster.run(0.1)
    assert not cluster.all(Prove), "its process may be there until the next generation has formed"
    cluster.run(30)
    assert [order.check for order in cluster.all(Prove)] == ["", "gemm", ""]
    assert cluster.at(home).usable


def test_who_was_evicted_and_then_drained_by_hand_is_proved_of_what_it_was_evicted_for() -> None:
    cluster, bad = out()
    cluster.command("drain", bad)
    cluster.command("prove", bad)
    cluster.finding(bad, replace(ecc(), health=Health.WARNING))
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.FAILED, "not even a warning of that"


@pytest.mark.parametrize("bad", ["n1", "n4"], ids=["with a rank", "idle"])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.5, 30.0])
@pytest.mark.parametrize("fails", [set[str](), {"Evict"}], ids=["emptied", "not emptied"])
def test_an_incident_whose_node_people_have_drained_since_ends(
    bad: NodeId, after: float, fails: set[str]
) -> None:
    cluster = Simulated()
    cluster.fails = fails
    cluster.finding(bad, xid(79))
    cluster.run(after)
    cluster.command("drain", bad)
    cluster.run(60)
    assert [incident.is_over for incident in cluster.incidents()] == [True]
    assert cluster.going()
    assert not cluster.at(bad).usable


def test_a_node_that_is_not_out_has_nothing_to_prove() -> None:
    cluster = Simulated()
    spare = cluster.spare()
    cluster.tell(Commanded(cluster.now, "maintain", spare, "ann", "", cluster.now + 900))
    cluster.command("prove", spare)
    assert cluster.at(spare).usable, "as a person's word it ends the maintenance"
    assert not cluster.all(Prove)


def test_what_is_found_where_maintenance_was_announced_counts_from_then_on() -> None:
    cluster, bad = out()
    cluster.tell(Commanded(cluster.now, "maintain", bad, "ann", "", cluster.now + 900))
    cluster.command("prove", bad)
    cluster.finding(bad, xid(48))
    cluster.run(5)
    assert stage(cluster, bad) is ProofStage.FAILED


def test_what_others_have_cordoned_stays_so() -> None:
    from sentinel.model.fact import NodeCordoned

    cluster, bad = out()
    cluster.tell(NodeCordoned(cluster.now, bad, "kevin", "bad DIMM"))
    cluster.command("prove", bad)
    cluster.run(5)
    cordon = cluster.at(bad).cordon
    assert cordon is not None
    assert cordon.by == "scheduler"


@pytest.mark.parametrize("gone", ["silent", "left"])
def test_a_node_without_an_agent_is_refused_in_one_line(gone: str) -> None:
    cluster, bad = out()
    if gone == "silent":
        cluster.silence(bad)
    else:
        cluster.tell(NodeLeft(cluster.now, bad))
    said = refuse(cluster.at(bad), cluster.rules.policy)
    assert said.startswith(f"{bad} ")
    assert "--no-proof" in said
    assert "\n" not in said
    cluster.command("prove", bad)
    cluster.run(5)
    assert not cluster.all(Prove)
    assert cluster.at(bad).proof is None


def test_nothing_is_measured_where_no_check_is_asked_for() -> None:
    cluster, bad = out(Policy(preflight=()))
    cluster.command("prove", bad)
    cluster.run(5)
    assert [order.check for order in cluster.all(Prove)] == ["", ""]
    assert cluster.at(bad).usable


def test_a_proof_that_is_under_way_survives_the_controller() -> None:
    cluster, bad = out()
    cluster.restarts = True
    cluster.command("prove", bad)
    cluster.run(5)
    assert cluster.at(bad).usable
    assert stage(cluster, bad) is ProofStage.PASSED


# --- afterwards ------------------------------------------------------------------------------------------


def back(policy: Policy | None = None) -> tuple[Simulated, NodeId]:
    """A cluster of two ranks, one of which is on a node that has just come back by proof."""
    cluster, bad = out(policy)
    cluster.command("prove", bad)
    cluster.run(5)
    other = next(cluster.node(rank) for rank in (0, 1))
    cluster.command("drain", other)  # the node that is back is not the only one that is free
    for node in [each.id for each in cluster.state.nodes.values() if each.id not in (bad, cluster.node(1))]:
        cluster.command("drain", node)
    cluster.run(30)
    assert bad in (cluster.node(0), cluster.node(1))
    cluster.actions.clear()
    return cluster, bad


def test_on_probation_the_first_failure_takes_a_node_out() -> None:
    cluster, bad = back(Policy(evict_share=0.5))
    cluster.crash(next(rank for rank in (0, 1) if cluster.node(rank) == bad))
    cluster.run(5)
    assert cluster.evicted() == [bad]
    assert "on probation" in cluster.all(Page)[0].body


def test_another_node_may_fail_as_often_as_ever_meanwhile() -> None:
    cluster, bad = back(Policy(evict_share=0.5))
    cluster.crash(next(rank for rank in (0, 1) if cluster.node(rank) != bad))
    cluster.run(5)
    assert cluster.evicted() == []


def test_after_its_probation_a_node_is_as_any_other() -> None:
    cluster, bad = back(Policy(evict_share=0.5, probation_s=600.0))
    cluster.run(700)
    cluster.crash(next(rank for rank in (0, 1) if cluster.node(rank) == bad))
    cluster.run(5)
    assert cluster.evicted() == []


def test_what_strikes_others_too_takes_no_node_on_probation_out() -> None:
    cluster, bad = back(Policy(evict_share=0.5))
    rank = next(rank for rank in (0, 1) if cluster.node(rank) != bad)
    cluster.crash(rank)
    cluster.run(30)
    cluster.crash(next(rank for rank in (0, 1) if cluster.node(rank) == bad))
    cluster.run(5)
    assert cluster.evicted() == [], "the program crashes wherever it is"


def again_and_again(times: int) -> tuple[Simulated, NodeId]:
    cluster, bad = out()
    for _ in range(times - 1):
        cluster.command("undrain", bad)
        cluster.run(60)
        evict(cluster, bad)
        cluster.finding(bad, replace(ecc(), health=Health.OK))
    return cluster, bad


def test_who_was_evicted_again_and_again_is_inspected_by_people() -> None:
    cluster, bad = again_and_again(3)
    said = refuse(cluster.at(bad), cluster.rules.policy)
    assert "evicted 3 times within 7 days: gpu-ecc (I-0001), gpu-ecc (I-0002), gpu-ecc (I-0003)" in said
    assert f"Left: {bad} is to be inspected: evicted 3 times" in cluster.all(Page)[-1].body
    cluster.actions.clear()
    cluster.command("prove", bad)
    cluster.run(5)
    assert not cluster.all(Prove)
    cluster.command("undrain", bad)
    assert cluster.at(bad).usable, "a person's word"
    assert cluster.at(bad).history == (), "who has seen to it"


def test_who_was_evicted_less_often_or_long_ago_may_prove_that_it_is_well() -> None:
    cluster, bad = again_and_again(2)
    assert refuse(cluster.at(bad), cluster.rules.policy) == ""
    cluster.command("undrain", bad)
    cluster.run(8 * 86400)
    evict(cluster, bad)
    assert refuse(cluster.at(bad), cluster.rules.policy) == ""


def test_an_agent_that_starts_anew_meanwhile_answers_no_more() -> None:
    cluster, bad = out()
    cluster._answer = lambda action: None  # type: ignore[method-assign]
    cluster.command("prove", bad)
    cluster.tell(NodeJoined(cluster.now, bad, "10.0.0.1", 1, 1, "boot"))
    cluster.tell(FindingReported(cluster.now, bad, replace(ecc(), health=Health.OK)))
    cluster.run(200)
    assert stage(cluster, bad) is ProofStage.NOT_RUN


# --- repairs that Sentinel may try itself ----------------------------------------------------------------


LADDER = Policy(repair=("gpu-reset", "reboot"))


def ill(policy: Policy = LADDER) -> tuple[Simulated, NodeId]:
    """A cluster whose node of rank 0 was evicted for a memory error, which stands."""
    cluster = Simulated(policy=policy)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    return cluster, bad


def tried(cluster: Simulated) -> list[tuple[str, tuple[int, ...]]]:
    return [(repair.rung.value, repair.gpus) for repair in cluster.all(Repair)]


def test_nothing_is_repaired_unless_the_operator_allows_it() -> None:
    cluster, bad = ill(Policy())
    cluster.run(60)
    assert not cluster.all(Repair)
    assert cluster.at(bad).is_empty


def test_a_gpu_that_a_reset_helps_brings_its_node_back() -> None:
    cluster, bad = ill()
    while not cluster.all(Repair):
        cluster.run(0.05)
    assert cluster.at(bad).is_empty, "never before"
    assert not cluster.sitting(bad)
    assert tried(cluster) == [("gpu-reset", (0,))]
    cluster.finding(bad, replace(ecc(), health=Health.OK))
    cluster.run(10)
    assert cluster.at(bad).usable
    body = cluster.all(Page)[-1].body
    assert f"{bad}: gpu-reset: done" in body
    assert f"{bad}: proof passed, asked by Sentinel, after gpu-reset" in body


def reboots(cluster: Simulated, node: NodeId, boot: str) -> None:
    cluster.silence(node)
    cluster.run(60)
    cluster.tell(NodeJoined(cluster.now, node, "10.0.0.1", 1, 1, boot))


def test_the_next_rung_follows_where_one_did_not_help_and_then_come_people() -> None:
    cluster, bad = ill()
    cluster.run(20)
    assert tried(cluster) == [("gpu-reset", (0,)), ("reboot", (0,))]
    assert cluster.at(bad).repairing, "it is away"
    cluster.tell(NodeJoined(cluster.now, bad, "10.0.0.1", 1, 1, "boot2"))
    assert cluster.at(bad).repairing, "only its agent started anew"
    reboots(cluster, bad, "other-1")
    cluster.finding(bad, ecc())
    cluster.run(20)
    assert len(tried(cluster)) == 2
    assert not cluster.at(bad).usable
    body = cluster.all(Page)[-1].body
    assert f"Left: {bad}: its proof failed: gpu found on gpu-0" in body
    assert body.count("proof failed, asked by Sentinel") == 2


def test_a_node_that_a_reboot_helps_comes_back() -> None:
    cluster, bad = ill()
    cluster.run(20)
    reboots(cluster, bad, "other-1")
    cluster.run(10)
    assert cluster.at(bad).usable


def test_a_node_that_does_not_come_back_is_peoples_business() -> None:
    cluster, bad = ill()
    cluster.run(20)
    cluster.silence(bad)
    cluster.run(2000)
    assert len(tried(cluster)) == 2
    assert f"{bad}: reboot: not back within 1200 s" in cluster.all(Page)[-1].body


def test_a_rung_that_fails_is_said_and_the_next_one_follows() -> None:
    cluster, bad = ill()
    cluster.fails = {"Repair"}
    cluster.run(20)
    assert tried(cluster) == [("gpu-reset", (0,)), ("reboot", (0,))]
    assert not cluster.all(Prove)
    body = cluster.all(Page)[-1].body
    assert f"{bad}: gpu-reset: not done, no" in body
    assert f"{bad}: reboot: not done, no" in body


@pytest.mark.parametrize("word", ["drain", "stop-actions", "maintain", "prove", "undrain", "ack"])
def test_nothing_is_repaired_where_people_are_at_work(word: str) -> None:
    cluster, bad = ill()
    cluster.now += 0.01  # nobody says it in the same instant
    until = cluster.now + 900
    target = {"stop-actions": "", "ack": "I-0001"}.get(word, bad)
    cluster.tell(Commanded(cluster.now, word, target, "ann", "", until))
    cluster.run(1)
    assert not cluster.all(Repair)


def test_who_is_to_be_inspected_is_not_repaired() -> None:
    cluster, bad = ill(replace_policy(LADDER, inspect_after=2))
    cluster.finding(bad, replace(ecc(), health=Health.OK))
    cluster.command("undrain", bad)
    cluster.run(60)
    cluster.actions.clear()
    evict(cluster, bad)
    assert not cluster.all(Repair)


def test_what_no_repair_helps_is_not_repaired() -> None:
    cluster = Simulated(policy=LADDER)
    home = cluster.node(0)
    cluster.finding(home, Finding("host", "host-memory-uncorrectable", "memory", Health.CRITICAL, "EDAC"))
    cluster.run(60)
    assert not cluster.all(Repair)
