"""What comes and goes is one incident, told once, with growing pauses; it is over when it stays away."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from seen_by_people import Timed, names, newest, text, titles
from simulated import JOB, Simulated, ecc

from sentinel.model.fact import GcsBack, GcsLost, JobPaced, NodeJoined
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy

SETTLED_S = float(getattr(Policy(), "settled_s", 10.0))
FLAPS_S = 90.0
FORMED_S = 2.0
"""A crash is repaired well within this."""


def collectives_fail(cluster: Simulated) -> None:
    """A link is so slow that collectives time out on both sides."""
    for rank in range(cluster.job.world):
        cluster.raises(rank, kind="collective")


def until_it_goes(cluster: Simulated) -> None:
    for _ in range(3000):
        if cluster.going():
            return
        cluster.run(0.1)
    raise AssertionError("the job does not go")


def flap(cluster: Timed, fault: Callable[[Simulated], None]) -> list[float]:
    """Break the job whenever it goes again, for a while; give how long each re-forming was waited for."""
    end, breaks = cluster.now + FLAPS_S, []
    while cluster.now < end:
        if cluster.going():
            breaks.append(cluster.now)
            fault(cluster)
        cluster.run(1)
    cluster.run(400)
    formed = cluster.formed_at()
    return [min((at for at in formed if at >= broke), default=cluster.now) - broke for broke in breaks]


# --- one incident --------------------------------------------------------------------------------------


def test_a_link_that_fails_again_and_again_is_one_incident_with_one_page() -> None:
    cluster = Timed()
    flap(cluster, collectives_fail)
    assert (set(cluster.causes()) <= {"gang-broken"}, len(cluster.pages())) == (True, 1)
    assert ([page.stage for page in newest(cluster)], cluster.going()) == (["resolved"], True)


def test_the_pauses_between_re_formings_grow() -> None:
    cluster = Timed()
    pauses = flap(cluster, collectives_fail)
    assert all(after >= before for before, after in pairwise(pauses))
    assert pauses[-1] >= 2 * pauses[0]


def test_the_first_break_does_not_wait_longer_for_it() -> None:
    cluster = Timed()
    assert flap(cluster, collectives_fail)[0] <= cluster.rules.policy.broken_s


def test_a_link_that_flaps_gives_few_generations() -> None:
    """With pauses that double from 4.5 s, five fit into 90 s; so many fit if they grow by half."""
    cluster = Timed()
    flap(cluster, collectives_fail)
    assert len(cluster.resumed()) <= 7


def test_a_pause_is_no_longer_than_people_wait() -> None:
    """Two minutes after the link is well, the job goes."""
    cluster = Timed()
    end = cluster.now + 600
    while cluster.now < end:
        if cluster.going():
            collectives_fail(cluster)
        cluster.run(1)
    cluster.run(120)
    assert cluster.going()


def test_after_a_long_quiet_time_pauses_are_short_again() -> None:
    cluster = Timed()
    flap(cluster, collectives_fail)
    cluster.run(7200)
    broke = cluster.now
    collectives_fail(cluster)
    cluster.run(60)
    assert cluster.formed_at()[-1] - broke <= cluster.rules.policy.broken_s
    assert len(cluster.pages()) == 2, "and it is news"


def test_a_crash_amid_the_flapping_is_not_kept_waiting() -> None:
    """A cause that is found is repaired at once: the pause is for what nobody is to blame for."""
    cluster = Timed()
    for _ in range(4):
        collectives_fail(cluster)
        cluster.run(1)
        until_it_goes(cluster)
    cluster.run(1)
    before = cluster.now
    cluster.crash(0)
    cluster.run(60)
    assert min(at for at in cluster.formed_at() if at > before) - before <= FORMED_S
    assert "rank-crash" in text(cluster)


def test_a_page_that_flaps_is_edited_and_never_said_to_be_resolved_meanwhile() -> None:
    cluster = Timed()
    end = cluster.now + FLAPS_S
    while cluster.now < end:
        if cluster.going():
            collectives_fail(cluster)
        cluster.run(1)
    assert "resolved" not in {page.stage for page in newest(cluster)}
    cluster.run(400)
    assert [page.stage for page in newest(cluster)] == ["resolved"]


# --- whose fault it is ---------------------------------------------------------------------------------


def test_a_link_with_nobody_to_blame_blames_nobody_however_often_it_fails() -> None:
    cluster = Timed()
    flap(cluster, collectives_fail)
    assert cluster.evicted() == []
    assert not any(names(node, titles(cluster)) for node in cluster.state.nodes)


def test_a_node_whose_link_comes_and_goes_is_the_only_one_blamed() -> None:
    cluster = Timed(nodes=6)
    flapping = cluster.node(0)

    def cut(_: Simulated) -> None:
        if flapping in [worker.node for _, worker in cluster.state.seated(cluster.job)]:
            cluster.raises(1, kind="collective")
            cluster.silence(flapping)
            cluster.later(3, lambda: cluster.heard(flapping))

    flap(cluster, cut)
    assert set(cluster.evicted()) <= {flapping}
    others = [node for node in cluster.state.nodes if node != flapping]
    assert not any(names(node, titles(cluster)) for node in others)
    assert (len(cluster.pages()), cluster.going()) == (1, True)


def test_a_flapping_node_that_nothing_can_replace_is_one_page() -> None:
    """It has to stay, so the job forms anew whenever it is there, and people are told once."""
    cluster = Timed(nodes=2, min_world=2)
    flapping, other = cluster.node(0), cluster.node(1)
    cluster.ports[flapping] = ("timeout", "timeout", -1)

    def cut(_: Simulated) -> None:
        cluster.raises(1, kind="collective")
        cluster.silence(flapping)
        cluster.later(3, lambda: cluster.heard(flapping))

    flap(cluster, cut)
    assert (cluster.evicted(), len(cluster.pages()), cluster.going()) == ([], 1, True)
    assert not names(other, titles(cluster))


def test_hangs_that_change_sides_evict_neither_end_of_a_link() -> None:
    """Now one rank is behind and now its peer: that is what is between them, and neither node."""
    cluster = Timed(nodes=6)
    both = {cluster.node(0), cluster.node(1)}
    for number in range(8):
        until_it_goes(cluster)
        beats = [cluster.beat(number % 2), cluster.beat(1 - number % 2, "compute", enqueued=9)]
        cluster.stall(*beats)
        cluster.run(8)
    cluster.run(400)
    assert (both & set(cluster.evicted()), len(cluster.pages()), cluster.going()) == (set(), 1, True)
    assert cluster.causes() == ["link-suspect"]


def test_a_rank_that_hangs_again_and_again_is_no_links() -> None:
    cluster = Timed(nodes=6)
    for _ in range(2):
        until_it_goes(cluster)
        cluster.stall(cluster.beat(0, "compute", enqueued=9), cluster.beat(1))
        cluster.run(8)
    assert (cluster.causes(), names(cluster.node(0), titles(cluster))) == (["rank-hang"], True)


@pytest.mark.parametrize("ports", [("ok", "ok", 5), ("timeout", "timeout", 5)])
def test_reports_that_come_and_go_while_training_goes_on_wake_nobody_more_than_once(
    ports: tuple[str, str, int],
) -> None:
    cluster = Timed()
    node = cluster.node(0)
    cluster.ports[node] = ports
    for _ in range(15):
        cluster.silence(node)
        cluster.run(3)
        cluster.heard(node)
        cluster.run(3)
    assert (len(cluster.pages()) <= 1, cluster.evicted(), cluster.resumed()) == (True, [], [])


def test_a_gcs_that_comes_and_goes_is_one_page() -> None:
    cluster = Timed()
    for _ in range(10):
        cluster.tell(GcsLost(cluster.now, "head:6379", "refused"))
        cluster.run(2)
        cluster.tell(GcsBack(cluster.now, "head:6379"))
        cluster.run(2)
    cluster.run(60)
    assert [page.stage for page in newest(cluster)] == ["resolved"]


# --- when it is over -----------------------------------------------------------------------------------


def crashed(**named: int) -> Simulated:
    """Return a cluster whose job has just made its first new step after a crash."""
    cluster = Simulated(**named)
    cluster.tell(JobPaced(cluster.now, JOB, 0.1))
    cluster.crash(0)
    until_it_goes(cluster)
    return cluster


def test_the_first_new_step_is_not_the_end_of_an_incident() -> None:
    cluster = crashed()
    assert cluster.stages() == ["mitigating"]
    cluster.run(0.8 * SETTLED_S)
    assert cluster.stages() == ["mitigating"]
    cluster.run(0.4 * SETTLED_S)
    assert cluster.stages() == ["resolved"]
    assert [page.stage for page in newest(cluster)] == ["resolved"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_break_before_it_has_settled_is_the_same_incident(rank: int) -> None:
    """Also that of another rank: the incident is that the job does not train, and its page names both."""
    cluster = crashed()
    broke = {cluster.node(0), cluster.node(rank)}
    cluster.run(0.5 * SETTLED_S)
    cluster.crash(rank)
    cluster.run(0.8 * SETTLED_S)
    assert (len(cluster.incidents()), cluster.stages(), len(cluster.pages())) == (1, ["mitigating"], 1)
    assert all(names(node, newest(cluster)[0].title) for node in broke)
    cluster.run(SETTLED_S)
    assert (cluster.stages(), cluster.going()) == (["resolved"], True)


def test_a_break_after_it_has_settled_is_another() -> None:
    cluster = crashed()
    cluster.run(SETTLED_S + 120)
    cluster.crash(1)
    cluster.run(60)
    assert len(cluster.pages()) == 2


def test_a_stall_that_passes_while_it_settles_puts_the_end_off() -> None:
    cluster = crashed()
    cluster.run(0.5 * SETTLED_S)
    cluster.stall(cluster.beat(0), cluster.beat(1))
    cluster.run(0.1)
    cluster.advance()
    cluster.run(0.7 * SETTLED_S)
    assert "mitigating" in cluster.stages()
    cluster.run(SETTLED_S)
    assert set(cluster.stages()) == {"resolved"}


def test_a_job_that_is_slower_than_before_has_not_settled() -> None:
    cluster = crashed()
    cluster.tell(JobPaced(cluster.now, JOB, 0.3))
    cluster.run(3 * SETTLED_S)
    assert cluster.stages() == ["mitigating"]
    cluster.tell(JobPaced(cluster.now, JOB, 0.1))
    cluster.run(1.2 * SETTLED_S)
    assert cluster.stages() == ["resolved"]


def test_a_job_with_fewer_ranks_has_not_settled_until_it_has_all_again() -> None:
    cluster = Simulated(nodes=2, min_world=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(3 * SETTLED_S)
    assert (cluster.going(), cluster.stages()) == (True, ["mitigating"])
    cluster.tell(NodeJoined(cluster.now, NodeId("n3"), "10.0.0.3", 1, 1, "boot"))
    cluster.run(5 + 1.2 * SETTLED_S)
    assert ([len(nodes) for nodes in cluster.resumed()][-1], cluster.stages()) == (2, ["resolved"])


def test_another_cause_while_it_settles_is_told_beside_the_first() -> None:
    """A crash on one node and a bad GPU on another are two causes, whether one page tells both or two do."""
    cluster = crashed(nodes=5)
    cluster.run(0.5 * SETTLED_S)
    bad = cluster.node(1)
    cluster.finding(bad, ecc())
    cluster.run(60)
    said = "\n".join(f"{page.title}\n{page.body}" for page in newest(cluster))
    assert ("rank-crash" in said, "gpu-ecc" in said, cluster.evicted()) == (True, True, [bad])


def test_a_break_after_it_has_settled_with_fewer_ranks_is_another_and_is_answered_once() -> None:
    cluster = Simulated(nodes=2, min_world=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(3 * SETTLED_S)
    assert (cluster.going(), cluster.stages()) == (True, ["mitigating"])
    cluster.crash(0)
    cluster.run(2 * SETTLED_S)
    assert (cluster.causes(), len(cluster.pages()), cluster.going()) == (["gpu-ecc", "rank-crash"], 2, True)
    assert len(cluster.resumed()) == 2


def test_a_pace_that_stays_slow_is_the_jobs_own_in_the_end() -> None:
    cluster = crashed()
    cluster.tell(JobPaced(cluster.now, JOB, 0.3))
    cluster.run(cluster.rules.policy.new_pace_s + 2 * SETTLED_S)
    assert cluster.stages() == ["resolved"]


def test_an_incident_that_settles_is_still_one_after_a_restart() -> None:
    cluster = crashed()
    cluster.restarts = True
    cluster.run(0.5 * SETTLED_S)
    assert cluster.stages() == ["mitigating"]
    cluster.run(SETTLED_S)
    assert cluster.stages() == ["resolved"]
