"""What is left for people stays in the page that told of it, until it is done; what was told stays told."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from seen_by_people import names, newest, open_incidents, text
from simulated import Simulated, ecc, lost, xid

from sentinel.model.action import Page
from sentinel.model.fact import NodeJoined
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy

HOUR = 3600.0


def body(cluster: Simulated) -> str:
    """What the only page says now."""
    (page,) = newest(cluster)
    return page.body


def lines(cluster: Simulated, word: str) -> list[str]:
    return [line for line in body(cluster).splitlines() if word in line.lower()]


def evicted(**named: int) -> tuple[Simulated, NodeId]:
    cluster = Simulated(**named)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert cluster.evicted() == [bad]
    return cluster, bad


# --- a node that is out --------------------------------------------------------------------------------


def test_a_page_says_which_node_is_out_and_awaits_repair() -> None:
    """Also when the incident is resolved: the job trains, and somebody has still to go to the rack."""
    cluster, bad = evicted()
    assert any(names(bad, line) for line in lines(cluster, "repair"))
    assert any(f"`sentinel undrain {bad}`" in line for line in lines(cluster, "repair"))


def test_it_says_so_until_the_node_is_taken_back() -> None:
    cluster, bad = evicted()
    cluster.run(8 * HOUR)
    assert any(names(bad, line) for line in lines(cluster, "repair"))
    revision = newest(cluster)[0].revision
    cluster.command("undrain", bad)
    cluster.run(60)
    assert (lines(cluster, "repair"), newest(cluster)[0].revision > revision) == ([], True)


def test_taking_the_node_back_edits_the_page_and_opens_none() -> None:
    cluster, bad = evicted()
    before = cluster.pages()
    cluster.command("undrain", bad)
    cluster.run(60)
    assert cluster.pages() == before
    assert newest(cluster)[0].stage == "resolved"


def test_of_two_nodes_that_are_out_each_leaves_by_itself() -> None:
    cluster = Simulated(nodes=8, policy=Policy(evict_share=1.0))
    one, two = cluster.node(0), cluster.node(1)
    for node, found in ((one, ecc()), (two, lost())):
        cluster.finding(node, found)
        cluster.run(HOUR)
    cluster.command("undrain", one)
    cluster.run(60)
    said = [line for line in text(cluster).splitlines() if "repair" in line.lower()]
    assert any(names(two, line) for line in said)
    assert not any(names(one, line) for line in said)


def test_a_lost_node_that_is_heard_again_still_awaits_a_human() -> None:
    """It was evicted: only a human vouches for it."""
    cluster = Simulated()
    dead = cluster.node(0)
    cluster.ports[dead] = ("refused", "refused", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(dead)
    cluster.run(60)
    cluster.heard(dead)
    cluster.run(60)
    assert any(names(dead, line) for line in lines(cluster, "repair"))


def test_a_node_that_was_not_evicted_awaits_no_repair() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(60)
    assert lines(cluster, "repair") == []


# --- no spare left -------------------------------------------------------------------------------------


def test_a_page_says_that_no_spare_is_left() -> None:
    """The next failure will cost ranks, so this is the time to bring one."""
    cluster, _ = evicted(nodes=3)
    assert lines(cluster, "no spare")


def test_with_a_spare_it_does_not() -> None:
    cluster, _ = evicted(nodes=4)
    assert lines(cluster, "no spare") == []


def test_a_spare_that_is_silent_is_none() -> None:
    cluster = Simulated(nodes=4)
    cluster.silence(cluster.spare())
    cluster.run(1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(10)
    assert "no spare" in text(cluster).lower()


def test_it_says_so_until_a_node_joins() -> None:
    cluster, _ = evicted(nodes=3)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 1, "boot"))
    cluster.run(60)
    assert lines(cluster, "no spare") == []


def test_a_job_that_shrank_says_that_no_spare_is_left() -> None:
    cluster, _ = evicted(nodes=2)
    assert lines(cluster, "no spare")


# --- refusals and stopped actions ----------------------------------------------------------------------


def test_a_refusal_stays_in_the_page_while_it_stands() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(8 * HOUR)
    assert any(names(bad, line) for line in lines(cluster, "1 gpu would be left"))
    assert newest(cluster)[0].stage != "resolved"


def test_a_refusal_leaves_the_page_when_what_was_refused_is_done() -> None:
    """A spare comes, so the node goes after all: nothing is left of the refusal."""
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 1, "boot"))
    cluster.run(60)
    assert (cluster.evicted(), cluster.going()) == ([bad], True)
    assert lines(cluster, "1 gpu would be left") == []


def test_a_refused_event_of_a_minute_ago_waits_for_people_though_there_is_room_now() -> None:
    """What is found stands until it clears, but an Xid says only what was: somebody should look first."""
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    cluster.finding(bad, xid(79))
    cluster.run(60)
    cluster.tell(NodeJoined(cluster.now, NodeId("n9"), "10.0.0.9", 1, 1, "boot"))
    cluster.run(60)
    assert cluster.evicted() == []
    assert any(names(bad, line) for line in lines(cluster, "1 gpu would be left"))


def test_a_refusal_leaves_the_page_when_its_reason_is_over() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    cluster.finding(bad, replace(ecc(), health=Health.OK))
    cluster.run(60)
    assert (lines(cluster, "1 gpu would be left"), open_incidents(cluster)) == ([], 0)


def test_a_page_says_that_actions_are_stopped_and_by_whom_until_they_are_not() -> None:
    cluster = Simulated()
    cluster.command("stop-actions")
    cluster.crash(0)
    cluster.run(HOUR)
    assert any("ann" in line for line in lines(cluster, "actions are stopped"))
    cluster.command("resume-actions")
    cluster.run(60)
    assert (lines(cluster, "actions are stopped"), cluster.going()) == ([], True)


def test_actions_that_are_stopped_later_are_told_in_the_page_that_waits_for_them() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(1)
    cluster.command("stop-actions")
    cluster.run(120)
    assert lines(cluster, "actions are stopped")


def test_a_page_says_that_attempts_are_used_up_until_somebody_resumes() -> None:
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(600)
    assert lines(cluster, "no new step")
    cluster.advances = True
    cluster.command("resume-actions")
    cluster.run(60)
    assert (lines(cluster, "no new step"), cluster.going()) == ([], True)


def test_an_open_breaker_is_told_until_the_refused_node_is_gone() -> None:
    """Whether the node goes by itself when the breaker closes is another matter: until then it is told."""
    cluster = Simulated(nodes=6, policy=Policy(evict_share=1.0, evictions_per_hour=1))
    one, two = cluster.node(0), cluster.node(1)
    cluster.finding(one, ecc())
    cluster.run(130)
    cluster.finding(two, lost())
    cluster.run(60)
    assert "breaker is open" in text(cluster)
    cluster.run(HOUR + 120)
    said = any(names(two, line) for line in text(cluster).splitlines() if "stays" in line)
    assert (said, open_incidents(cluster)) == ((False, 0) if two in cluster.evicted() else (True, 1))
    cluster.finding(two, replace(lost(), health=Health.OK))
    cluster.run(60)
    assert ("breaker is open" in text(cluster), open_incidents(cluster)) == (False, 0)


def test_what_is_left_is_no_storm_of_edits() -> None:
    """A page that stays the same is not written again."""
    cluster, _ = evicted(nodes=3)
    before = len(cluster.all(Page))
    cluster.run(24 * HOUR)
    assert len(cluster.all(Page)) == before


# --- what was told stays -------------------------------------------------------------------------------


def test_a_better_diagnosis_is_added_to_the_one_that_was_told() -> None:
    """Who read "a rank crashed" at three and looks at four sees that, and the memory error behind it."""
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.crash(0)
    cluster.run(3)
    assert "rank-crash" in body(cluster)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert ("rank-crash" in body(cluster), "gpu-ecc" in body(cluster)) == (True, True)
    assert cluster.evicted() == [bad]


def test_a_gang_that_broke_without_a_culprit_keeps_that_word_when_one_is_found() -> None:
    cluster = Simulated()
    bad = cluster.node(0)
    for rank in (0, 1):
        cluster.raises(rank, kind="collective")
    cluster.run(6)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert ("gang-broken" in body(cluster), "gpu-ecc" in body(cluster)) == (True, True)


def test_a_silence_that_was_not_understood_keeps_that_word_when_the_node_turns_out_lost() -> None:
    cluster = Simulated(gpus=2)
    whole = cluster.node(0)
    cluster.silence(whole)
    cluster.run(600)
    said = body(cluster)
    assert "not understood" in said
    cluster.ports[whole] = ("refused", "refused", -1)
    cluster.run(60)
    assert ("not understood" in body(cluster), "node-lost" in body(cluster)) == (True, True)


def test_a_diagnosis_that_was_never_told_leaves_no_word() -> None:
    """What the first moments looked like is nobody's business once the cause is known."""
    cluster = Simulated()
    bad = cluster.node(0)
    cluster.crash(0)
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert ("rank-crash" in body(cluster), "gpu-ecc" in body(cluster)) == (False, True)


def crash(cluster: Simulated, rank: int) -> None:
    cluster.crash(rank)


def hang(cluster: Simulated, rank: int) -> None:
    cluster.stall(*(cluster.beat(r, state="T" if r == rank else "S") for r in range(cluster.job.world)))


@pytest.mark.parametrize(("fault", "cause"), [(crash, "rank-crash"), (hang, "rank-hang")])
def test_two_events_on_two_nodes_are_both_told(fault: Callable[[Simulated, int], None], cause: str) -> None:
    """Why the first node was evicted is still said, and the second event is too."""
    cluster = Simulated(nodes=6, world=3)
    bad, other = cluster.node(0), cluster.node(1)
    cluster.finding(bad, lost())
    cluster.run(0.4)
    fault(cluster, 1)
    cluster.run(60)
    said = text(cluster)
    assert (cluster.evicted(), cluster.going()) == ([bad], True)
    assert ("gpu-lost" in said, cause in said) == (True, True)
    assert (names(bad, said), names(other, said)) == (True, True)


def test_the_error_that_stopped_a_job_is_not_hidden_by_a_bad_gpu_later() -> None:
    cluster = Simulated()
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(2)
    assert "code-error" in text(cluster)
    bad = cluster.node(1)
    cluster.run(40)
    cluster.finding(bad, lost(cluster.worker(1).gpu))
    cluster.run(60)
    assert sorted(cluster.causes()) == ["code-error", "gpu-lost"]
    assert (len(cluster.pages()), cluster.evicted()) == (2, [bad])


def test_a_bad_batch_is_not_forgotten_for_an_xid() -> None:
    cluster = Simulated()
    values = (float("nan"), 1.0)
    for _ in range(2):
        cluster.raises(0, "nan", "nan", 7, values)
        cluster.run(1)
    assert "batch" in text(cluster)
    cluster.finding(cluster.node(1), xid(31, cluster.worker(1).gpu, "x", Health.WARNING))
    cluster.crash(1)
    cluster.run(60)
    said = text(cluster)
    assert ("bad-batch" in said, "gpu-app-xid" in said, cluster.going()) == (True, True, True)


def test_what_has_to_be_done_by_hand_is_told_until_it_is_over() -> None:
    """A full disk blames no node and nothing is done about it: its page stays open until it is not full."""
    cluster = Simulated()
    full = Finding(TRAINER, "disk-full", "moe", Health.CRITICAL, "no space left")
    cluster.finding(cluster.node(0), full)
    cluster.run(24 * HOUR)
    assert (newest(cluster)[0].stage != "resolved", len(cluster.pages())) == (True, 1)
    cluster.finding(cluster.node(0), replace(full, health=Health.OK))
    cluster.run(60)
    assert newest(cluster)[0].stage == "resolved"
