"""Exceptions and losses that are not finite: code or machine, batch or GPU."""

from simulated import Simulated

from sentinel.model.action import Refusal, Resume, StopJob
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

NAN = float("nan")


def raises_at_each(cluster: Simulated, rank: int) -> None:
    cluster.advances = False
    cluster.raises(rank)
    cluster.run(1)


def test_an_exception_is_tried_once_more_on_another_node() -> None:
    cluster = Simulated()
    home = cluster.node(0)
    cluster.raises(0)
    cluster.run(5)
    ((moved, _),) = cluster.resumed()
    assert moved != home
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-exception"], [], True)


def test_an_exception_that_follows_the_code_stops_the_job_and_evicts_nobody() -> None:
    cluster = Simulated()
    raises_at_each(cluster, 0)
    raises_at_each(cluster, 0)
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["code-error"], [], 1)
    assert len(cluster.all(StopJob)) == 1
    assert len(cluster.resumed()) == 1
    assert cluster.job.stage.value == "stopped"


def test_an_exception_of_all_ranks_follows_the_code_too() -> None:
    cluster = Simulated(nodes=4, world=3)
    cluster.advances = False
    for _ in range(2):
        for rank in (2, 0, 1):
            cluster.raises(rank)
        cluster.run(1)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), len(cluster.all(StopJob))) == (["code-error"], [], 1)


def test_an_exception_that_stays_with_the_node_suspects_the_node() -> None:
    cluster = Simulated(nodes=3, world=3)
    bad = cluster.node(0)
    raises_at_each(cluster, 0)
    assert cluster.node(0) != bad, "ranks exchanged places"
    other = next(rank for rank in range(3) if cluster.node(rank) == bad)
    cluster.advances = True
    cluster.raises(other)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["node-suspect"], [bad])


def raise_on(cluster: Simulated, node: str) -> list[int]:
    """Let every rank of a node raise at once, the last first; returns which."""
    ranks = [rank for rank in reversed(range(cluster.job.world)) if cluster.node(rank) == node]
    for rank in ranks:
        cluster.raises(rank)
    cluster.run(1)
    return ranks


def test_a_node_on_which_several_ranks_raise_is_suspected_once_all_of_them_passed_elsewhere() -> None:
    cluster = Simulated(nodes=3, gpus=2, world=4)
    bad = cluster.node(0)
    cluster.advances = False
    assert raise_on(cluster, bad) == [1, 0]
    assert cluster.evicted() == []
    cluster.advances, cluster.step = True, 6
    assert raise_on(cluster, bad) == [0]
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["node-suspect"], [bad])
    cluster.settle()
    assert (cluster.stages(), cluster.going(), len(cluster.pages())) == (["resolved"], True, 1)


def test_a_node_on_which_the_second_rank_passes_the_second_time_is_not_suspected() -> None:
    cluster = Simulated(nodes=3, gpus=2, world=4)
    cluster.step = 6
    raise_on(cluster, cluster.node(0))
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["rank-exception"], [], True)


def test_ranks_of_one_node_that_raise_wherever_they_are_follow_the_code() -> None:
    cluster = Simulated(nodes=3, gpus=2, world=4)
    bad = cluster.node(0)
    cluster.advances = False
    raise_on(cluster, bad)
    raise_on(cluster, bad)
    cluster.raises(0)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["code-error"], [])


def test_an_exception_where_there_is_no_other_node_is_tried_in_place() -> None:
    cluster = Simulated(nodes=1, gpus=2, world=2, standbys=1)
    cluster.raises(0)
    cluster.run(10)
    assert (cluster.resumed(), cluster.going()) == ([["n1", "n1"]], True)


def test_the_move_is_kept_while_its_worker_starts() -> None:
    cluster = Simulated(nodes=3, world=2, standbys=0)
    home = cluster.node(0)
    cluster.raises(0)
    cluster.run(5)
    assert cluster.resumed()[0][0] != home


def nan(cluster: Simulated, *ranks: int) -> None:
    values = tuple(NAN if rank in ranks else 1.0 for rank in range(cluster.job.world))
    for rank in range(cluster.job.world):
        cluster.raises(rank, "loss is nan", "nan", 7, values)
    cluster.run(0.45)


def test_a_nan_is_replayed_first() -> None:
    cluster = Simulated()
    nan(cluster, 1)
    (resume,) = cluster.all(Resume)
    assert resume.replay
    assert cluster.causes() == ["loss-nan"]


def test_the_same_nan_on_the_same_batch_skips_the_batch() -> None:
    cluster = Simulated()
    cluster.advances = False
    nan(cluster, 1)
    cluster.advances = True
    nan(cluster, 1)
    cluster.run(5)
    assert cluster.all(Resume)[-1].skip == (7,)
    cluster.settle()
    assert (cluster.causes(), cluster.evicted(), cluster.stages()) == (["bad-batch"], [], ["resolved"])


def test_a_nan_of_all_ranks_that_comes_again_is_no_batchs_and_ends_with_people() -> None:
    cluster = Simulated(world=3)
    cluster.advances = False
    for _ in range(cluster.rules.policy.resume_attempts + 1):
        nan(cluster, 0, 1, 2)
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["loss-nan"], [], 1)
    assert not any(resume.skip for resume in cluster.all(Resume))
    assert "brought no new step" in cluster.all(Refusal)[-1].reason


def test_a_nan_that_does_not_come_again_suspects_that_ranks_node() -> None:
    cluster = Simulated()
    bad = cluster.node(1)
    nan(cluster, 1)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["silent-corruption"], [bad], True)
    cluster.settle()
    assert cluster.stages() == ["resolved"]


def test_a_nan_is_its_own_gpus_though_another_node_replayed_the_step() -> None:
    cluster = Simulated(nodes=5)
    bad = cluster.node(1)
    values = (1.0, NAN)
    for rank in range(2):
        cluster.raises(rank, "loss is nan", "nan", 7, values)
    cluster.command("drain", bad)
    cluster.run(5)
    assert bad not in cluster.resumed()[0]
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["silent-corruption"], [], True)


def test_a_nan_on_several_ranks_that_does_not_come_again_suspects_nobody() -> None:
    cluster = Simulated()
    nan(cluster, 0, 1)
    cluster.run(5)
    cluster.settle()
    assert (cluster.causes(), cluster.evicted(), cluster.stages()) == (["loss-nan"], [], ["resolved"])


def compared(cluster: Simulated, *wrong: int, but: tuple[int, ...] = ()) -> None:
    """All ranks but these say whose device computes wrong."""
    values = tuple(float(rank in wrong) for rank in range(cluster.job.world))
    for rank in range(cluster.job.world):
        if rank not in but:
            cluster.raises(rank, "step 7 was computed again", "miscomputed", 7, values)
    cluster.run(0.45)


def test_a_device_that_the_ranks_found_to_compute_wrong_is_out_before_the_next_step() -> None:
    cluster = Simulated(nodes=4, world=3)
    bad = cluster.node(1)
    compared(cluster, 1)
    assert (cluster.causes(), cluster.evicted()) == (["silent-corruption"], [bad])
    cluster.run(5)
    (seats,) = cluster.resumed()
    assert bad not in seats
    cluster.settle()
    assert (cluster.stages(), cluster.going(), len(cluster.pages())) == (["resolved"], True, 1)
    assert not any(resume.replay or resume.skip for resume in cluster.all(Resume))


def test_whom_only_others_accuse_stays() -> None:
    cluster = Simulated(nodes=4, world=3)
    compared(cluster, 1, but=(1,))
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["unknown"], [], True)


def test_ranks_that_accuse_different_ones_accuse_nobody() -> None:
    cluster = Simulated(nodes=4, world=3)
    for rank, values in enumerate([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]):
        cluster.raises(rank, "step 7 was computed again", "miscomputed", 7, values)
    cluster.run(10)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == (["unknown"], [], True)


def test_a_device_that_has_to_stay_is_told_once_and_people_are_asked() -> None:
    cluster = Simulated(nodes=3, world=3)
    cluster.advances = False
    for _ in range(cluster.rules.policy.resume_attempts + 1):
        compared(cluster, 1)
        cluster.run(5)
    assert (cluster.causes(), len(cluster.pages())) == (["silent-corruption"], 1)
    assert not any(resume.skip for resume in cluster.all(Resume))


def test_a_product_that_came_out_wrong_is_the_same_cause() -> None:
    cluster = Simulated()
    bad = cluster.node(1)
    found = Finding("gemm", "wrong-numbers", "gpu-0", Health.CRITICAL, "computes wrong", event=True)
    cluster.finding(bad, found)
    cluster.run(5)
    assert (cluster.causes(), cluster.evicted()) == (["silent-corruption"], [bad])


def test_an_old_generations_exception_is_ignored() -> None:
    cluster = Simulated()
    old = cluster.job.generation
    cluster.crash(0)
    cluster.run(5)
    before = len(cluster.actions)
    from sentinel.model.fact import RankRaised
    from sentinel.model.ids import JobId

    worker = cluster.worker(1)
    fact = RankRaised(
        cluster.now, JobId("moe"), 1, worker.id, NodeId(worker.node), 0, 1, old, 3, "user", "E", ""
    )
    cluster.tell(fact)
    cluster.run(5)
    assert len(cluster.actions) == before
