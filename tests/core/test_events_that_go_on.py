"""An event that goes on is counted: no new evidence, no new page; and what is new stays new."""

import pytest
from msgspec.structs import replace
from simulated import Simulated, xid

from sentinel.core.detect.watch import Watch
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import FindingSeen, Report


def burst(number: int, count: int = 1, *, name: str = "", line: str = "line", gpu: int = 0) -> Finding:
    """Give one telling of a burst, as an agent's book gives it."""
    health = Health.CRITICAL if number in (48, 79, 95) else Health.WARNING
    event = replace(xid(number, gpu, line, health), burst=name or f"{number}-{gpu}", count=count)
    return replace(event, evidence={"line": line, "last_line": f"{line} {count}"}) if count > 1 else event


def event(cluster: Simulated, node: NodeId) -> list[int]:
    """Give the counts of the bursts that are evidence."""
    return [
        fact.finding.count
        for incident in cluster.incidents()
        for fact in incident.evidence
        if isinstance(fact, FindingReported) and fact.node == node
    ]


@pytest.mark.parametrize("number", [79, 95, 31])
def test_what_goes_on_is_counted_and_nothing_is_decided_again(number: int) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, burst(number))
    cluster.crash(0)
    cluster.run(0.5)
    decided = len(cluster.actions)
    for count in (5, 600, 5000, 5000, 800):
        cluster.finding(bad, burst(number, count))
    assert len(cluster.actions) == decided
    assert event(cluster, bad) == [5000]
    assert [fact.finding.count for fact in cluster.at(bad).recent] == [5000]
    cluster.run(20)
    assert len(cluster.pages()) == 1
    cluster.finding(bad, burst(number, 9000))
    cluster.run(5)
    assert (len(cluster.pages()), len(cluster.incidents())) == (1, 1)


def test_several_bursts_are_evidence_each() -> None:
    cluster = Simulated(gpus=2)
    bad = cluster.node(0)
    bursts = [burst(48), burst(95), burst(95, gpu=1), burst(48, name="later")]
    for count in (1, 9):
        for each in bursts:
            cluster.finding(bad, replace(each, count=count))
    assert event(cluster, bad) == [9, 9, 9, 9]
    assert len(cluster.pages()) == 1


def test_a_rank_that_dies_on_another_node_in_a_storm_is_replaced_as_without_it() -> None:
    resumed = []
    for storm in (False, True):
        cluster = Simulated(nodes=4)
        bad = cluster.spare()
        for count in range(1, 500 * storm):
            cluster.finding(bad, burst(31, count))
        cluster.crash(1)
        for count in range(500, 500 + 500 * storm):
            cluster.finding(bad, burst(31, count))
        cluster.run(5)
        resumed.append((cluster.resumed(), cluster.causes(), cluster.going()))
    assert resumed[0] == resumed[1]


def test_a_crash_in_a_long_storm_is_explained_by_it() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, burst(31))
    cluster.run(30)
    cluster.crash(0)
    cluster.finding(bad, burst(31, 400))
    cluster.probed(bad)
    cluster.run(5)
    assert cluster.causes() == ["gpu-app-xid"]


def crashes(cluster: Simulated, number: int, name: str, count: int = 1, age_s: float = 0.0) -> None:
    """Let rank 0 die of an Xid on its node's GPU, and its job go on."""
    node = cluster.node(0)
    cluster.finding(node, replace(burst(number, count, name=name, line=name), age_s=age_s))
    cluster.crash(0)
    cluster.run(60)
    assert cluster.going()


def test_the_second_burst_on_a_gpu_within_a_day_makes_it_suspect() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    crashes(cluster, 31, "first")
    assert cluster.evicted() == []
    crashes(cluster, 31, "second")
    assert (cluster.causes()[-1], cluster.evicted()) == ("gpu-app-xid-repeat", [bad])


def test_one_burst_told_often_is_one_fault() -> None:
    cluster = Simulated()
    crashes(cluster, 31, "first")
    cluster.finding(cluster.node(0), replace(burst(31, 900, name="first"), age_s=60.0))
    cluster.run(60)
    assert cluster.evicted() == []
    assert len(cluster.at(cluster.node(0)).app_xids) == 1


def test_a_burst_that_ends_a_rank_late_is_one_fault() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for count in (1, 20, 400):
        cluster.finding(bad, burst(31, count))
        cluster.run(30)
    crashes(cluster, 31, "31-0", count=500)
    assert (cluster.causes(), cluster.evicted()) == (["gpu-app-xid"], [])


def test_a_burst_that_goes_on_after_the_job_did_makes_its_gpu_suspect() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    crashes(cluster, 31, "one")
    crashes(cluster, 31, "one", count=700)
    assert (cluster.causes()[-1], cluster.evicted()) == ("gpu-app-xid-repeat", [bad])


def test_a_fault_of_days_ago_is_not_the_first_of_two_nor_why_a_rank_dies() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), replace(burst(31, name="old"), age_s=3 * 86400.0))
    cluster.crash(0)
    cluster.run(60)
    assert cluster.causes() == ["rank-crash"]
    crashes(cluster, 31, "new")
    assert cluster.evicted() == []


@pytest.mark.parametrize(("age_s", "evicts"), [(50.0, False), (30.0, True), (0.0, True)])
def test_what_was_before_a_human_vouched_for_the_node_is_old(age_s: float, evicts: bool) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, burst(79))
    cluster.run(30)
    cluster.command("undrain", bad)
    cluster.run(40)
    before = len(cluster.evicted())
    cluster.finding(bad, replace(burst(79, name="again"), age_s=age_s))
    cluster.run(5)
    assert (len(cluster.evicted()) > before) is evicts


def test_a_burst_that_goes_on_after_a_human_vouched_is_a_new_fault() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, burst(79))
    cluster.run(30)
    cluster.command("undrain", bad)
    cluster.run(1)
    before = len(cluster.evicted())
    cluster.finding(bad, burst(79, 50))
    cluster.run(5)
    assert len(cluster.evicted()) == before + 1


def test_an_event_of_an_agent_that_counts_nothing_is_known_by_its_line() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for _ in range(2):
        cluster.finding(bad, xid(79, line="[7.0] the same"))
    assert len(event(cluster, bad)) == 1
    cluster.finding(bad, xid(79, line="[8.0] another"))
    assert len(event(cluster, bad)) == 2


def test_two_tellings_in_one_report_are_both_heard_in_order() -> None:
    cluster = Simulated()
    node = cluster.node(0)
    events = tuple(enumerate((FindingSeen(burst(79)), FindingSeen(burst(79, 9))), 1))
    facts = Watch(Policy(), 0.0).report(Report(node, "boot", 1, (), events), cluster.state, cluster.now)
    assert [fact.finding.count for fact in facts if isinstance(fact, FindingReported)] == [1, 9]
