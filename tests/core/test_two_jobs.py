"""Two jobs on one cluster: neither takes the other's place, its deadlines or its chance to start."""

from simulated import JOB, Simulated

from sentinel.core.state.rows import Job
from sentinel.model.action import Refusal, Resume
from sentinel.model.fact import JobSubmitted, NodeLeft
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId

OTHER = JobId("moe-2")
THROTTLED = Finding("gpu", "throttle", "gpu-0", Health.CRITICAL, "GPU 0 slows down", {})


def submit(cluster: Simulated, world: int = 2) -> Job:
    cluster.tell(JobSubmitted(cluster.now, OTHER, world, "x:y", 0, world))
    cluster.run(10)
    return cluster.state.jobs[OTHER]


def test_a_node_stays_when_only_another_job_has_the_gpus_that_would_be_left() -> None:
    cluster = Simulated(nodes=4, world=2, min_world=2)
    submit(cluster)
    cluster.finding(cluster.node(0), THROTTLED)
    cluster.run(60)
    assert (cluster.evicted(), cluster.at(cluster.node(0)).cordon, cluster.going()) == ([], None, True)
    assert "1 GPU would be left, moe needs 2" in str(cluster.all(Refusal))


def test_the_smallest_world_of_each_job_on_a_node_counts() -> None:
    cluster = Simulated(nodes=2, gpus=2, world=3, min_world=1)
    submit(cluster, world=1)
    hosted = cluster.state.workers.is_hosted
    (shared,) = (node for node in cluster.state.nodes if hosted(JOB, node) and hosted(OTHER, node))
    cluster.finding(shared, THROTTLED)
    cluster.run(60)
    assert cluster.evicted() == []
    assert "0 GPUs would be left, moe-2 needs 1" in str(cluster.all(Refusal))


def test_a_job_that_waits_for_room_starts_when_another_is_stopped() -> None:
    cluster = Simulated(nodes=2, world=2)
    submit(cluster)
    assert not [resume for resume in cluster.all(Resume) if resume.job == OTHER]
    cluster.command("stop-job", JOB)
    cluster.run(5)
    assert [resume.job for resume in cluster.all(Resume)] == [OTHER]
    seated = cluster.state.seated(cluster.state.jobs[OTHER])
    assert len({worker.node for _, worker in seated}) == 2


def test_a_job_that_is_submitted_again_keeps_the_deadlines_of_one_whose_name_goes_on() -> None:
    cluster = Simulated(nodes=4, world=2, standbys=0)
    cluster.advances = False
    other = submit(cluster)
    ends = other.deadline()
    assert ends in cluster.state.deadlines, "it has made no step yet"
    for node in {cluster.node(0), cluster.node(1)}:
        cluster.tell(NodeLeft(cluster.now, node))
    cluster.command("stop-job", JOB)
    assert not cluster.workers
    cluster.tell(JobSubmitted(cluster.now, JOB, 2, "x:y", 1, 1))
    assert ends in cluster.state.deadlines
