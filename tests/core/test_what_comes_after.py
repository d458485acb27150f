"""What breaks after people took an old trouble in hand is told anew, whatever was retried or acknowledged."""

from collections.abc import Callable

import pytest
from seen_by_people import newest
from simulated import JOB, Simulated, ecc, lost

from sentinel.model.action import StopJob
from sentinel.model.fact import JobSubmitted

OOM = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
FULL = "OSError: [Errno 28] No space left on device: '/mnt/data'"
STOPS: dict[str, str] = {
    "out-of-memory-again": OOM,
    "code-error": "ValueError: no such layer",
    "job-setting": "FileNotFoundError: [Errno 2] No such file or directory: '/data/7'",
}
BREAKS: dict[str, Callable[[Simulated, int], None]] = {
    "io-error": lambda cluster, rank: cluster.raises(rank, FULL),
    "rank-crash": lambda cluster, rank: cluster.crash(rank),
    "gpu-lost": lambda cluster, rank: cluster.finding(cluster.node(rank), lost()),
}


def stopped(error: str) -> Simulated:
    """A job that its own error has stopped, which somebody has acknowledged."""
    cluster = Simulated(6, world=3)
    cluster.advances = False
    for _ in range(2):
        cluster.raises(1, error)
        cluster.run(5)
    assert len(cluster.all(StopJob)) == 1
    cluster.run(5)
    cluster.actions.clear()
    cluster.command("ack", "I-0001")
    cluster.advances = True
    return cluster


def breaks(cluster: Simulated, what: str) -> None:
    BREAKS[what](cluster, 1)
    cluster.run(3)
    if what == "io-error":
        BREAKS[what](cluster, 2)
        cluster.run(3)


def again(cluster: Simulated, how: str) -> None:
    if how == "submitted":
        for worker in cluster.workers:
            cluster.state.workers.forget(worker)
        cluster.tell(JobSubmitted(cluster.now, JOB, 3, "x:y", 1, 1))
    else:
        cluster.command("retry", how)


@pytest.mark.parametrize("how", [JOB, "I-0001", "submitted"])
@pytest.mark.parametrize("cause", STOPS)
@pytest.mark.parametrize("what", BREAKS)
def test_what_breaks_a_job_that_people_started_again_is_an_incident_of_its_own(
    cause: str, what: str, how: str
) -> None:
    cluster = stopped(STOPS[cause])
    again(cluster, how)
    cluster.run(2 + cluster.rules.policy.place_s)
    assert cluster.going()
    breaks(cluster, what)
    old, new = cluster.incidents()
    assert old.diagnosis is not None
    assert new.diagnosis is not None
    assert (old.diagnosis.cause, old.acked_by) == (cause, "ann")
    assert (new.diagnosis.cause in (what, "rank-exception"), new.acked_by) == (True, "")
    first, second = newest(cluster)
    assert (first.cause, second.incident) == (cause, new.id)
    assert what not in first.body
    cluster.settle()
    assert cluster.stages() == ["resolved", "resolved"]
    assert not cluster.all(StopJob), "what stopped it before stops it no more"


@pytest.mark.parametrize("what", BREAKS)
def test_so_is_what_breaks_it_before_its_first_step(what: str) -> None:
    cluster = stopped(OOM)
    cluster.advances = False
    cluster.command("retry", JOB)
    cluster.run(2 + cluster.rules.policy.place_s)
    cluster.advances = True
    breaks(cluster, what)
    cluster.settle()
    assert [page.incident for page in newest(cluster)] == ["I-0001", "I-0002"]
    assert cluster.stages() == ["resolved", "resolved"]


def test_the_same_error_again_stops_it_again_and_is_told_anew() -> None:
    cluster = stopped(OOM)
    cluster.command("retry", JOB)
    cluster.run(2 + cluster.rules.policy.place_s)
    cluster.advances = False
    for _ in range(2):
        cluster.raises(1, OOM)
        cluster.run(5)
    assert len(cluster.all(StopJob)) == 1
    assert [page.cause for page in newest(cluster)] == ["out-of-memory-again"] * 2
    assert [each.acked_by for each in cluster.incidents()] == ["ann", ""]


def test_a_retry_that_helped_ends_what_was_given_up() -> None:
    cluster = Simulated(4, world=2)
    cluster.advances = False
    cluster.crash(0)
    cluster.run(600)
    assert newest(cluster)[0].severity == "critical"
    cluster.command("retry", "I-0001")
    cluster.advances = True
    cluster.run(2)
    cluster.run(60)
    assert cluster.going()
    cluster.crash(0)
    cluster.run(3)
    assert len(cluster.incidents()) == 2


# --- what an acknowledgement covers -----------------------------------------------------------------------


def acked(first: str) -> Simulated:
    cluster = Simulated(8, world=3)
    breaks(cluster, first)
    cluster.command("ack", "I-0001")
    assert cluster.incidents()[0].acked_by == "ann"
    return cluster


@pytest.mark.parametrize(
    ("first", "second"), [("rank-crash", "gpu-lost"), ("gpu-lost", "io-error"), ("io-error", "gpu-lost")]
)
def test_it_is_not_of_what_is_found_later(first: str, second: str) -> None:
    cluster = acked(first)
    breaks(cluster, second)
    (incident,) = cluster.incidents()
    assert incident.acked_by == ""
    assert "Acknowledged" not in newest(cluster)[0].body


def test_nor_of_a_further_node_that_is_taken_out() -> None:
    cluster = acked("gpu-lost")
    cluster.finding(cluster.node(0), lost())
    cluster.run(3)
    (incident,) = cluster.incidents()
    assert (len(cluster.evicted()), incident.acked_by) == (2, "")


@pytest.mark.parametrize(("first", "second"), [("gpu-lost", "rank-crash"), ("rank-crash", "rank-crash")])
def test_it_is_of_what_repairs_itself_and_of_what_it_was_read_of(first: str, second: str) -> None:
    cluster = acked(first)
    breaks(cluster, second)
    (incident,) = cluster.incidents()
    assert incident.acked_by == "ann"


def test_it_is_of_more_of_the_same_on_the_same_node() -> None:
    cluster = Simulated(4, gpus=2, world=2)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(3)
    cluster.command("ack", "I-0001")
    cluster.finding(bad, ecc(1))
    cluster.run(3)
    assert cluster.incidents()[0].acked_by == "ann"
