"""A job whose workers end by its own code as they start: what keeps it from starting, and who is asked."""

import pytest
from seen_by_people import newest
from simulated import JOB, Simulated

from sentinel.core.page.left import left_in_all
from sentinel.core.settle.why import needs, resubmitted, why
from sentinel.logbook.entry import render
from sentinel.model.action import Evict, StartWorker, StopJob
from sentinel.model.policy import Policy

MISSING = "FileNotFoundError: [Errno 2] No such file or directory: '/none/data'"
NO_MODULE = "ModuleNotFoundError: No module named 'flash_attn'"
FULL = "OSError: [Errno 28] No space left on device: '/mnt/cache'"
CUDA = "RuntimeError: CUDA error: invalid device ordinal"
ERRORS = {
    MISSING: "job-setting",
    "PermissionError: [Errno 13] Permission denied: '/none/data'": "job-setting",
    NO_MODULE: "code-error",
    "TypeError: MyTrainer.__init__() missing 1 required positional argument: 'lr'": "code-error",
    "AttributeError: module 'mine' has no attribute 'Trainer'": "code-error",
    CUDA: "code-error",
    FULL: "io-error",
    "OSError: [Errno 116] Stale file handle: '/mnt/data'": "io-error",
    "ConnectionRefusedError: [Errno 111] Connection refused": "io-error",
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB": "out-of-memory-again",
}
STOP = {"job-setting", "code-error", "out-of-memory-again"}


def of(error: str, *nodes: str, world: int = 3, **more: int) -> Simulated:
    """A job whose workers end by an error on these nodes of four, or on all, as they start."""
    names = nodes or tuple(f"n{number}" for number in range(1, more.get("nodes", 4) + 1))
    return Simulated(
        **{"nodes": 4, **more}, world=world, min_world=world, raise_at_start=dict.fromkeys(names, error)
    )


def said(cluster: Simulated, name: str) -> str:
    reasons = why(name, cluster.state, cluster.rules, cluster.now)
    assert reasons is not None
    return "\n".join(f"{kind}: {text}" for kind, text in reasons)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("nodes", [1, 4])
@pytest.mark.parametrize("error", ERRORS)
def test_what_no_worker_gets_over_is_the_cause(error: str, nodes: int, world: int) -> None:
    cause = ERRORS[error]
    if nodes == 1 and cause == "io-error":
        cause = "start-failed"  # of one node it can't be told that others have it, too
    cluster = of(error, nodes=nodes, gpus=4, world=world)
    cluster.run(30)
    (incident,) = cluster.incidents()
    assert (cluster.causes(), cluster.evicted()) == ([cause], [])
    assert incident.diagnosis is not None
    assert error in incident.diagnosis.why
    (page,) = newest(cluster)
    assert error in page.body
    assert (page.severity, page.body.count("Asked of you: to do what its runbook says")) == ("critical", 1)
    stopped = cluster.job.stage.value == "stopped"
    assert stopped is (cause in STOP)
    if stopped:
        assert "then `sentinel retry moe`" in page.body
        assert any("`sentinel retry moe`" in line for line in left_in_all(cluster.state, cluster.rules))
    for name in (JOB, incident.id):
        assert error in said(cluster, name)
    assert error in render(incident)


@pytest.mark.parametrize("error", ERRORS)
def test_few_workers_are_started_in_vain(error: str) -> None:
    cluster = of(error)
    cluster.run(600)
    nodes, tries = len(cluster.state.nodes), cluster.rules.policy.start_attempts
    started = len([fact for fact in cluster.facts if getattr(fact, "kind", "") == "start"])
    most = (
        nodes * (tries + 600 / cluster.rules.policy.trust_s + 1) if ERRORS[error] == "io-error" else 2 * nodes
    )
    assert started <= most


@pytest.mark.parametrize("error", [MISSING, NO_MODULE, CUDA, FULL])
def test_of_one_node_it_is_said_which_and_the_job_starts_elsewhere(error: str) -> None:
    cluster = of(error, "n2")
    cluster.run(60)
    assert (cluster.going(), "n2" in [cluster.node(rank) for rank in range(3)]) == (True, False)
    assert (cluster.all(Evict), cluster.all(StopJob)) == ([], [])
    assert set(cluster.causes()) <= {"", "start-failed"}
    cluster.settle()
    assert set(cluster.stages()) == {"resolved"}


@pytest.mark.parametrize("error", [MISSING, NO_MODULE, CUDA, FULL])
def test_of_one_node_that_the_job_needs_the_node_and_the_error_are_told(error: str) -> None:
    cluster = of(error, "n2", world=4)
    cluster.run(2 + cluster.rules.policy.place_s)
    assert error in needs(cluster.state, cluster.job, cluster.rules), "before it is sure"
    cluster.run(60)
    (page,) = newest(cluster)
    assert (page.cause, page.severity, "n2" in page.title) == ("start-failed", "critical", True)
    assert f"on n2: {error}" in page.body
    assert "Asked of you: to do what its runbook says" in page.body
    assert (cluster.all(Evict), cluster.all(StopJob)) == ([], [])
    cluster.raise_at_start.clear()
    cluster.command("retry", JOB)
    cluster.run(5)
    cluster.settle()
    assert (cluster.going(), cluster.stages()) == (True, ["resolved"])


def test_what_is_mended_starts_by_retry_and_what_comes_again_is_told_again() -> None:
    cluster = of(MISSING)
    cluster.run(30)
    cluster.command("ack", "I-0001")
    cluster.command("retry", JOB)
    cluster.run(30)
    assert cluster.causes() == ["job-setting", "job-setting"]
    cluster.raise_at_start.clear()
    cluster.command("retry", "I-0002")
    cluster.run(30)
    cluster.settle()
    assert (cluster.going(), set(cluster.stages())) == (True, {"resolved"})


def test_a_mount_that_comes_late_on_one_node_is_nobodys_business() -> None:
    cluster = of(MISSING, "n2", world=4)
    cluster.run(1 + cluster.rules.policy.place_s)
    assert cluster.stages() == ["open"]
    cluster.raise_at_start.clear()
    cluster.run(30)
    assert (cluster.going(), newest(cluster), cluster.stages()) == (True, [], ["resolved"])


def test_a_standby_that_does_not_start_stops_no_job_that_trains() -> None:
    cluster = Simulated(nodes=4, world=2)
    cluster.raise_at_start = dict.fromkeys(cluster.state.nodes, MISSING)
    for worker in list(cluster.workers):
        if worker.stage.value == "standby":
            cluster._exits(worker, JOB, "signal 9")
    cluster.run(120)
    assert (cluster.going(), cluster.incidents()) == (True, [])


def test_a_spare_on_which_no_worker_starts_is_none_and_is_told_until_one_does() -> None:
    cluster = Simulated(nodes=3, world=2)
    spare = cluster.spare()
    cluster.raise_at_start = {spare: NO_MODULE}
    (idle,) = (worker for worker in cluster.workers if worker.node == spare)
    cluster._exits(idle, JOB, "signal 9")
    for _ in range(20):
        cluster.run(60)
        left = left_in_all(cluster.state, cluster.rules)
        assert left == (
            f"no worker starts on {spare}: {NO_MODULE}",
            "no spare is left for the next node that fails",
        )
        assert f"is: usable, but no worker starts here: {NO_MODULE}" in said(cluster, spare)
    assert (cluster.going(), cluster.incidents()) == (True, [])
    cluster.raise_at_start.clear()
    cluster.run(2 * cluster.rules.policy.trust_s)
    assert left_in_all(cluster.state, cluster.rules) == ()
    assert "is: in use" in said(cluster, spare)


def test_who_is_lost_and_has_nobody_to_follow_is_lost_by_what_keeps_others_from_starting() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=3, standbys=0)
    cluster.raise_at_start = dict.fromkeys(cluster.state.nodes, MISSING)
    cluster.crash(0)
    cluster.run(600)
    (page,) = newest(cluster)
    assert MISSING in page.body
    assert page.severity == "critical"
    assert "nothing, while Sentinel repairs it" not in page.body


def test_a_worker_whose_end_is_heard_of_before_its_start_has_failed_counts_once() -> None:
    cluster = of(CUDA, "n2", world=4, policy=Policy(start_attempts=3))  # type: ignore[arg-type]
    cluster.run(30)
    assert cluster.at("n2").misstarts == 3
    assert len({each.worker for each in cluster.all(StartWorker) if each.node == "n2"}) <= 3


def test_of_a_retry_that_meets_another_error_only_that_is_asked_of_people() -> None:
    cluster = of(NO_MODULE)
    cluster.run(30)
    cluster.raise_at_start = dict.fromkeys(cluster.raise_at_start, MISSING)
    cluster.command("retry", JOB)
    assert "sentinel retry" not in newest(cluster)[0].body, "its page knows at once that it is tried again"
    cluster.run(30)
    assert (cluster.causes(), cluster.stages()) == (["code-error", "job-setting"], ["resolved", "open"])
    (asks,) = (line for line in left_in_all(cluster.state, cluster.rules) if line.startswith(JOB))
    assert "job-setting (I-0002)" in asks
    assert NO_MODULE not in said(cluster, JOB)
    assert "waits for GPUs" not in said(cluster, JOB), "it waits for people"
    assert [
        line.count(MISSING) for line in said(cluster, JOB).splitlines() if "no worker starts on n1" in line
    ] == [1]


def test_a_retry_says_what_starts_again() -> None:
    cluster = of(MISSING)
    cluster.run(30)
    before = dict(cluster.state.jobs.items())
    cluster.command("retry", "I-0001")
    told = resubmitted(before, cluster.state, cluster.rules)
    assert told.startswith("moe starts again, and needs 3 workers")
    assert resubmitted(dict(cluster.state.jobs.items()), cluster.state, cluster.rules) == ""
