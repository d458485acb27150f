"""Whose error explains a rank's end, and what speaks against a GPU only when it comes again."""

from typing import Any

import pytest
from msgspec.structs import replace
from simulated import Simulated, ecc

from sentinel.model.action import Evict, Page
from sentinel.model.finding import Finding, Health


def xid(number: int, line: str, code: str = "", gpu: int = 0, **evidence: Any) -> Finding:
    health = Health.WARNING if number in (13, 31, 74, 94) else Health.CRITICAL
    said = {"xid": number, "line": line, **evidence}
    return Finding("xid", code or f"xid-{number}", f"gpu-{gpu}", health, f"Xid {number}", said, event=True)


def strikes(*faults: dict[str, Any], apart: float = 7200.0) -> Simulated:
    """A rank that dies of one program's error after the other, always on one GPU."""
    cluster = Simulated(nodes=6)
    for number, fault in enumerate(faults):
        cluster.finding(cluster.node(0), xid(fault.pop("number", 31), f"[{number}.0] x", **fault))
        cluster.crash(0)
        cluster.run(apart)
    return cluster


def test_a_strangers_error_explains_and_accuses_nobody() -> None:
    stranger: dict[str, Any] = {"code": "xid-31-stranger", "owner": "stranger"}
    cluster = strikes(dict(stranger), dict(stranger))
    assert (cluster.causes()[-1], cluster.evicted()) == ("rank-crash", [])
    assert cluster.at("n1").app_xids == ()


def test_a_strangers_error_alone_opens_nothing() -> None:
    cluster = Simulated()
    for line in "abc":
        cluster.finding(cluster.node(0), xid(31, line, "xid-31-stranger", owner="stranger"))
        cluster.run(3600)
    assert (cluster.incidents(), cluster.actions) == ([], [])


def test_an_error_of_nobody_knows_whom_may_explain_and_never_accuses() -> None:
    cluster = strikes({"owner": "unknown"}, {"owner": "unknown"}, {"owner": "unknown"})
    assert (cluster.causes()[-1], cluster.evicted()) == ("gpu-app-xid", [])


@pytest.mark.parametrize(
    ("first", "second", "evicts"),
    [
        pytest.param("ours", "ours", True, id="ours twice"),
        pytest.param("ours", "unknown", False, id="the second may be somebody else's"),
        pytest.param("unknown", "ours", False, id="the first may be somebody else's"),
    ],
)
def test_only_our_own_errors_make_a_gpu_suspect(first: str, second: str, evicts: bool) -> None:
    cluster = strikes({"owner": first}, {"owner": second})
    assert bool(cluster.evicted()) is evicts


A, B = "GPC 9 TPC 1", "GPC 2 TPC 4"


@pytest.mark.parametrize(
    ("places", "evicts"),
    [
        pytest.param([A, A], True, id="the same part"),
        pytest.param([A, B], False, id="another part"),
        pytest.param([A, B, A], False, id="spread over the GPU is software"),
        pytest.param([None, None], True, id="a driver that does not say which part"),
        pytest.param([A, None], False, id="one with a part and one without"),
        pytest.param([None, A, None], True, id="twice without a part"),
    ],
)
def test_an_xid_13_makes_a_gpu_suspect_only_on_the_same_part_of_it(
    places: list[str | None], evicts: bool
) -> None:
    faults = [{"number": 13, "owner": "ours", **({"place": place} if place else {})} for place in places]
    cluster = strikes(*faults)
    assert bool(cluster.evicted()) is evicts
    assert cluster.causes()[-1] == ("gpu-app-xid-repeat" if evicts else "gpu-app-xid")


def test_one_fault_that_strikes_many_parts_at_once_is_software_when_it_comes_again() -> None:
    cluster = Simulated(nodes=6)
    for again in range(2):
        for part in range(60):
            place = f"GPC {part // 10} TPC {part % 10}"
            line = f"[{again}.{part:03}] x"
            cluster.finding(cluster.node(0), xid(13, line, owner="ours", place=place))
        cluster.crash(0)
        cluster.run(7200)
    assert (cluster.evicted(), set(cluster.causes())) == ([], {"gpu-app-xid"})


def link(line: str, number: int = 8, limit: int = 2) -> Finding:
    about = {"link": number, "place": f"link {number}", "strikes": limit}
    return xid(74, line, "nvlink-strike", **about)


@pytest.mark.parametrize(
    ("links", "limit", "apart", "evicts"),
    [
        pytest.param([8], 2, 3600, False, id="once"),
        pytest.param([8, 8], 2, 3600, True, id="twice on one link"),
        pytest.param([8, 9], 2, 3600, False, id="on two links"),
        pytest.param([8, 8], 3, 3600, False, id="twice where three are too many"),
        pytest.param([8, 8, 8], 3, 3600, True, id="three times"),
        pytest.param([8, 8], 2, 90_000, False, id="days apart"),
        pytest.param([8, 8], 2, 1, False, id="several lines of one fault"),
    ],
)
def test_a_link_is_broken_from_so_many_errors_within_a_day_on(
    links: list[int], limit: int, apart: float, evicts: bool
) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for number, each in enumerate(links):
        cluster.finding(bad, link(f"[{number}.0] x", each, limit))
        cluster.run(apart)
    assert (cluster.causes(), cluster.evicted()) == ((["nvlink"], [bad]) if evicts else ([], []))


@pytest.mark.parametrize("code", ["nvlink-ignorable", "nvlink-secondary"])
def test_a_link_error_that_means_nothing_explains_no_crash(code: str) -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), xid(74, "x", code, place="link 8"))
    cluster.crash(0)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted()) == (["rank-crash"], [])


def counter(count: int) -> Finding:
    said = f"GPU 0 has {count} uncorrectable ECC errors"
    about = {"ecc_uncorrectable": count}
    return Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.CRITICAL, said, about)


@pytest.mark.parametrize(
    ("contained", "count", "cause", "evicts"),
    [
        pytest.param(1, 1, "gpu-app-xid", False, id="as many as were contained"),
        pytest.param(2, 2, "gpu-app-xid", False, id="two of two"),
        pytest.param(2, 1, "gpu-app-xid", False, id="two lines of one error"),
        pytest.param(1, 2, "gpu-ecc", True, id="more than were contained"),
        pytest.param(0, 1, "gpu-ecc", True, id="none was contained"),
    ],
)
def test_a_counter_that_rises_by_contained_errors_accuses_nobody(
    contained: int, count: int, cause: str, evicts: bool
) -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for number in range(contained):
        cluster.finding(bad, xid(94, f"[{number}.0] x", owner="ours"))
    cluster.crash(0)
    cluster.run(0.2)
    cluster.finding(bad, counter(count))
    cluster.run(10)
    assert (cluster.causes(), bool(cluster.evicted())) == ([cause], evicts)


def test_a_counter_that_goes_on_rising_is_no_longer_contained() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, xid(94, "x", owner="ours"))
    cluster.crash(0)
    cluster.run(1)
    cluster.finding(bad, counter(1))
    cluster.run(3600)
    assert cluster.evicted() == []
    cluster.finding(bad, counter(2))
    cluster.run(10)
    assert (cluster.causes()[-1], cluster.evicted()) == ("gpu-ecc", [bad])


def test_contained_errors_from_before_a_reset_explain_none_after_it() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.finding(bad, xid(94, "x", owner="ours"))
    cluster.finding(bad, counter(1))
    cluster.run(60)
    healed = Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.OK, "cleared")
    cluster.finding(bad, healed)
    cluster.finding(bad, counter(1))
    cluster.run(10)
    assert cluster.evicted() == [bad]


def test_a_contained_error_is_remembered_over_a_new_controller() -> None:
    cluster = Simulated()
    cluster.restarts = True
    cluster.finding(cluster.node(0), xid(94, "x", owner="ours"))
    cluster.finding(cluster.node(0), counter(1))
    cluster.run(10)
    assert cluster.evicted() == []


def aside(code: str = "kernel-pcie-uncorrected", line: str = "AER: x") -> Finding:
    return Finding("kernel", code, "pcie", Health.WARNING, "a PCIe error", {"line": line}, event=True)


def test_a_kernel_line_that_decides_nothing_opens_nothing() -> None:
    cluster = Simulated()
    for number in range(100):
        cluster.finding(cluster.node(0), aside(line=f"[{number}.0] AER"))
    cluster.run(600)
    assert (cluster.incidents(), cluster.actions) == ([], [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kernel_line_that_decides_nothing_stands_beside_the_evidence(when: str) -> None:
    cluster = Simulated()
    node = cluster.node(0)
    if when == "before":
        cluster.finding(node, aside())
    cluster.crash(0)
    if when == "after":
        cluster.finding(node, aside())
    cluster.run(0.3)
    cluster.run(10)
    (incident,) = cluster.incidents()
    found = [fact.finding.code for fact in incident.evidence if hasattr(fact, "finding")]
    assert found == ["kernel-pcie-uncorrected"]
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-crash"], [], True)


def test_a_storm_of_lines_that_decide_nothing_leaves_room_for_what_does() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.crash(0)
    for number in range(500):
        cluster.finding(bad, aside(line=f"[{number}.0] AER"))
    cluster.finding(bad, ecc())
    cluster.run(10)
    (incident,) = cluster.incidents()
    assert (cluster.causes(), cluster.evicted(), len(incident.evidence) < 20) == (["gpu-ecc"], [bad], True)


def test_what_decides_nothing_keeps_no_incident_open() -> None:
    cluster = Simulated(nodes=4)
    cluster.state.stopped = "ann"  # so that nothing is acted on
    node = cluster.spare()
    cluster.finding(node, ecc())
    cluster.finding(node, aside())
    cluster.run(1)
    cluster.finding(node, Finding("gpu", "ecc-uncorrectable", "gpu-0", Health.OK, "cleared"))
    cluster.run(1)
    assert cluster.stages() == ["resolved"]


def unanswered(health: Health = Health.WARNING) -> Finding:
    return Finding("gpu", "gpu-unknown-error", "gpu-0", health, "GPU 0 can't be read: Unknown Error")


def test_a_driver_that_has_no_answer_for_long_is_paged_and_nobody_is_evicted() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), unanswered())
    cluster.run(20)
    assert cluster.actions == []
    cluster.run(20)
    assert (cluster.causes(), len(cluster.all(Page)), cluster.all(Evict)) == (["gpu-unreadable"], 1, [])
    assert cluster.going()
    cluster.finding(cluster.node(0), unanswered(Health.OK))
    cluster.run(5)
    assert cluster.stages() == ["resolved"]


def test_a_driver_that_has_no_answer_for_moments_wakes_nobody() -> None:
    cluster = Simulated()
    for _ in range(5):
        cluster.finding(cluster.node(0), unanswered())
        cluster.run(10)
        cluster.finding(cluster.node(0), unanswered(Health.OK))
        cluster.run(10)
    assert (cluster.incidents(), cluster.actions) == ([], [])


def test_a_gpu_that_needs_a_reset_is_evicted() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    said = "GPU 0 needs a reset: GPU requires restart"
    cluster.finding(bad, Finding("gpu", "gpu-reset-required", "gpu-0", Health.CRITICAL, said))
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["gpu-reset"], [bad], True)


@pytest.mark.parametrize(("code", "cause"), [("oom-kill", "host-oom"), ("oom-kill-stranger", "rank-crash")])
def test_a_strangers_end_for_memory_does_not_explain_ours(code: str, cause: str) -> None:
    cluster = Simulated()
    killed = Finding("oom", code, "memory", Health.WARNING, "killed", {"line": "x", "pid": 7}, event=True)
    cluster.finding(cluster.node(0), killed)
    cluster.crash(0)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted()) == ([cause], [])


def test_contained_errors_that_are_told_as_one_burst_are_counted_each() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    event = replace(xid(94, "x", owner="ours"), burst="b", count=2)
    cluster.finding(bad, event)
    cluster.crash(0)
    cluster.run(1)
    cluster.finding(bad, replace(event, count=4))
    cluster.finding(bad, counter(4))
    cluster.run(10)
    assert cluster.evicted() == []
    cluster.finding(bad, counter(5))
    cluster.run(10)
    assert cluster.evicted() == [bad]
