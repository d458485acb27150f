"""What a job that does not train waits for, and that observing does not keep it from starting."""

import pytest
from simulated import JOB, Simulated

from sentinel.core.settle.why import needs
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Page, StartWorker
from sentinel.model.fact import JobSubmitted, NodeJoined
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy

OTHER = JobId("other")


class Stillborn(Simulated):
    """Generations form and never make a step."""

    def advance(self, job: JobId = JOB) -> None:
        """Nothing."""


def asked(cluster: Simulated, job: JobId = JOB) -> tuple[JobStage, str]:
    known = cluster.state.jobs[job]
    return known.stage, needs(cluster.state, known, cluster.rules)


def submit(cluster: Simulated, world: int) -> None:
    cluster.tell(JobSubmitted(cluster.now, OTHER, world, "x:y", 0, world))


def test_a_job_that_trains_needs_nothing() -> None:
    assert asked(Simulated(nodes=2, world=2)) == (JobStage.RUNNING, "")


@pytest.mark.parametrize("observe_only", [False, True])
def test_a_job_starts_where_sentinel_only_observes(observe_only: bool) -> None:
    cluster = Simulated(nodes=2, world=2, policy=Policy(observe_only=observe_only))
    assert asked(cluster) == (JobStage.RUNNING, "")
    cluster.crash(0)
    cluster.run(5)
    refused = (JobStage.BROKEN, "permission: observe-only mode")
    assert asked(cluster) == (refused if observe_only else (JobStage.RUNNING, ""))


@pytest.mark.parametrize("wait", [0.0, 1.2, 2.0])
def test_a_start_that_was_stopped_midway_goes_on_where_sentinel_only_observes(wait: float) -> None:
    cluster = Simulated(nodes=4, world=2, policy=Policy(observe_only=True))
    submit(cluster, world=2)
    cluster.run(wait)
    cluster.command("stop-actions")
    cluster.run(100)
    cluster.command("resume-actions")
    cluster.run(10)
    assert asked(cluster, OTHER) == (JobStage.RUNNING, "")


def test_a_start_that_failed_is_not_tried_again_where_sentinel_only_observes() -> None:
    cluster = Stillborn(nodes=2, world=2, policy=Policy(observe_only=True))
    cluster.run(2000)
    assert asked(cluster) == (JobStage.BROKEN, "permission: observe-only mode")


def test_a_job_waits_for_gpus() -> None:
    cluster = Simulated(nodes=2, world=2)
    submit(cluster, world=3)
    cluster.run(5)
    assert asked(cluster, OTHER) == (JobStage.WAITING, "3 GPUs, and finds 2 GPUs on 2 usable nodes")


def pages_of(cluster: Simulated) -> list[Page]:
    return [action for action in cluster.actions if isinstance(action, Page)]


def test_a_job_that_waits_for_gpus_that_nobody_has_is_told_to_people_with_what_to_type() -> None:
    cluster = Simulated(nodes=2, world=2)
    submit(cluster, world=3)
    cluster.run(cluster.rules.policy.room_s - 0.1)
    assert pages_of(cluster) == []
    cluster.run(0.2)
    [page] = pages_of(cluster)
    assert page.title == "A job waits for GPUs that nobody has"
    assert "other waits for 3 GPUs, and finds 2 GPUs on 2 usable nodes: `ray start --address" in page.body
    cluster.run(600)
    assert pages_of(cluster) == [page]


def test_it_is_over_when_the_job_trains_or_is_not_wanted_any_more() -> None:
    for ends in ("room", "stop"):
        cluster = Simulated(nodes=2, world=2)
        submit(cluster, world=3)
        cluster.run(70)
        if ends == "room":
            for number in (3, 4, 5):
                cluster.tell(NodeJoined(cluster.now, NodeId(f"n{number}"), f"10.0.0.{number}", 1, 1, "b"))
            cluster.run(10)
            assert asked(cluster, OTHER)[0] is JobStage.RUNNING
        else:
            cluster.command("stop-job", OTHER)
            cluster.run(5)
        assert cluster.stages() == ["resolved"]


def test_a_job_that_waits_for_what_others_have_is_in_a_queue_and_wakes_nobody() -> None:
    cluster = Simulated(nodes=3, world=2)
    submit(cluster, world=2)
    cluster.run(600)
    assert pages_of(cluster) == []


def test_a_job_waits_for_another_jobs_gpus() -> None:
    cluster = Simulated(nodes=3, world=2)
    submit(cluster, world=2)
    cluster.run(5)
    reason = "a place: other needs 2 ranks and has room for 1: no spare is left"
    assert asked(cluster, OTHER) == (JobStage.WAITING, reason)


def test_a_job_waits_for_its_workers() -> None:
    cluster = Simulated(nodes=4, world=2)
    submit(cluster, world=2)
    cluster.run(1.1)
    assert len([a for a in cluster.all(StartWorker) if a.job == OTHER]) == 2
    assert asked(cluster, OTHER) == (JobStage.WAITING, "2 workers")


def test_a_job_waits_for_permission() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.command("stop-actions")
    submit(cluster, world=2)
    cluster.run(5)
    assert asked(cluster, OTHER) == (JobStage.WAITING, "permission: actions are stopped: ann: because")
    cluster.crash(0)
    cluster.run(5)
    assert asked(cluster) == (JobStage.BROKEN, "permission: actions are stopped: ann: because")
