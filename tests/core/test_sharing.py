"""What is free goes by priority, then by submission; what runs is not stopped for it."""

import pytest
from seen_by_people import resumed, seated, submit
from simulated import JOB, Simulated, ecc, lost

from sentinel.core.settle.why import needs
from sentinel.model.ids import JobId
from sentinel.model.policy import Policy

OTHER, THIRD = JobId("other"), JobId("third")


def both_lose_a_node(cluster: Simulated, first: JobId) -> None:
    """Two jobs lose a node at once, and there is one spare."""
    jobs = [first, *({JOB, OTHER} - {first})]
    for job in jobs:
        cluster.finding(seated(cluster, job)[0], ecc() if job == JOB else lost())
    cluster.run(60)


def wide() -> Simulated:
    """Return five nodes: for two jobs of two ranks there is one spare."""
    return Simulated(nodes=5, min_world=1, policy=Policy(evict_share=1.0))


@pytest.mark.parametrize("affected_first", [JOB, OTHER])
def test_a_job_of_higher_priority_gets_the_spare_though_it_was_submitted_later(affected_first: JobId) -> None:
    """When both need it in the same moment; whoever has it already keeps it while it runs."""
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1, priority=5)
    cluster.command("stop-actions")
    both_lose_a_node(cluster, affected_first)
    cluster.command("resume-actions")
    cluster.run(60)
    assert (len(seated(cluster, OTHER)), len(seated(cluster, JOB))) == (2, 1)


def test_a_place_is_kept_for_a_job_whose_worker_has_to_start_there_first() -> None:
    """The other one has a warm standby there, and decides nothing until then."""
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1, priority=5)
    cluster.command("stop-actions")
    both_lose_a_node(cluster, JOB)
    cluster.command("resume-actions")
    assert needs(cluster.state, cluster.job, cluster.rules) == "its turn: other is seated first"
    cluster.run(60)
    assert (cluster.going(), len(cluster.seats)) == (True, 1)


@pytest.mark.parametrize("affected_first", [JOB, OTHER])
def test_of_equal_jobs_the_one_submitted_first_gets_the_spare(affected_first: JobId) -> None:
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1)
    cluster.command("stop-actions")
    both_lose_a_node(cluster, affected_first)
    cluster.command("resume-actions")
    cluster.run(60)
    assert (len(seated(cluster, JOB)), len(seated(cluster, OTHER))) == (2, 1)


def test_of_two_jobs_that_wait_the_one_submitted_first_starts_first() -> None:
    cluster = Simulated(nodes=2)
    for job in (OTHER, THIRD):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, OTHER)), resumed(cluster, THIRD)) == (1, [])


def test_a_job_that_has_room_is_not_kept_waiting_by_one_that_has_none() -> None:
    """An idle GPU helps nobody; the larger job starts as soon as there is room for all of it."""
    cluster = Simulated(nodes=3)
    submit(cluster, OTHER, 3)
    submit(cluster, THIRD, 1)
    assert (resumed(cluster, OTHER), len(resumed(cluster, THIRD))) == ([], 1)


def test_the_name_of_a_job_gives_it_no_turn() -> None:
    cluster = Simulated(nodes=2)
    for job in (THIRD, JobId("a-job")):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, THIRD)), resumed(cluster, JobId("a-job"))) == (1, [])


def test_of_two_jobs_that_wait_the_one_of_higher_priority_starts_first() -> None:
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2, priority=0)
    submit(cluster, THIRD, 2, priority=1)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, THIRD)), resumed(cluster, OTHER)) == (1, [])


def test_a_running_job_is_not_stopped_for_one_of_higher_priority() -> None:
    """Priority says who gets what is free; who preempts jobs is the scheduler."""
    cluster = Simulated(nodes=2)
    submit(cluster, OTHER, 2, priority=9)
    cluster.run(60)
    assert (cluster.going(), cluster.resumed(), resumed(cluster, OTHER)) == (True, [], [])


def test_a_standby_of_a_low_job_makes_room_for_a_high_jobs_rank() -> None:
    """A warm standby is no use of a GPU: a node with nothing else on it is a spare."""
    cluster = wide()
    submit(cluster, OTHER, 2, min_world=1, standbys=1, priority=5)
    bad = seated(cluster, OTHER)[0]
    cluster.finding(bad, ecc())
    cluster.run(60)
    assert (len(seated(cluster, OTHER)), bad in seated(cluster, OTHER)) == (2, False)


def test_a_job_submitted_again_keeps_its_place_in_the_queue() -> None:
    """Submitting twice is no news, so it is no reason to wait longer."""
    cluster = Simulated(nodes=2)
    for job in (OTHER, THIRD, OTHER):
        submit(cluster, job, 2)
    cluster.command("stop-job", JOB)
    cluster.run(20)
    assert (len(resumed(cluster, OTHER)), resumed(cluster, THIRD)) == (1, [])
