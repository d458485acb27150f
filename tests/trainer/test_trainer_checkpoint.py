import os
from pathlib import Path

import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses

from sentinel.trainer import checkpoint as store
from sentinel.trainer.settings import TrainerSettings

KEY = b"the job's key for its checkpoints"


def write_checkpoint(directory: Path, step: int, generation: int = 1) -> store.Checkpoint:
    target = store.folder(directory, step, generation)
    target.path.mkdir(parents=True)
    (target.path / "__0_0.distcp").write_bytes(bytes(range(200)))
    store.commit(target, 1, store.hash_files(target.path, ["__0_0.distcp"]), KEY)
    return target


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("slow_rank", [0, 1])
def test_who_stands_while_an_earlier_one_is_written_leaves_one_of_the_step_at_which_it_stands(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path, slow_rank: int
) -> None:
    """A gang that changes its size goes on from there: no step of it is trained again."""
    scenario = scenarios.stands_while_one_is_written
    assert ranks.run(scenario, 2, settings, tmp_path, range(5), slow_rank) == [(4, 4), (4, 4)]


def test_damaged_newest_is_passed_over_and_reported(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    saved = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(8), [3, 5])[0]
    flip_byte(store.folder(tmp_path, 5, 1).path / "__1_0.distcp")
    answers = ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 4, generation=2)
    for found, damaged, after in answers:
        assert found == 3
        assert len(damaged) == 1
        assert "step-5-generation-1: hash of __1_0.distcp differs" in damaged[0]
        assert after == saved[0][4:]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: os.truncate(path / "__0_0.distcp", 10), id="truncated"),
        pytest.param(lambda path: (path / "__0_0.distcp").unlink(), id="file missing"),
        pytest.param(lambda path: flip_byte(path / "manifest.json"), id="manifest changed"),
        pytest.param(lambda path: os.truncate(path / "COMMIT", 0), id="empty mark"),
    ],
)
def test_damaged_checkpoint_is_never_taken(tmp_path, damage) -> None:
    older, newer = write_checkpoint(tmp_path, 10), write_checkpoint(tmp_path, 20)
    damage(newer.path)
    found, damaged = store.newest_verified(tmp_path, KEY)
    assert found == older
    assert len(damaged) == 1
    assert str(newer.path) in damaged[0]


def test_a_later_generations_checkpoint_is_newer_than_what_it_passed_over(tmp_path) -> None:
    passed_over, fresh = write_checkpoint(tmp_path, 50), write_checkpoint(tmp_path, 30, generation=2)
    assert store.newest_verified(tmp_path, KEY) == (fresh, [])
    flip_byte(fresh.path / "__0_0.distcp")
    assert store.newest_verified(tmp_path, KEY)[0] == passed_over


def test_uncommitted_folder_is_no_checkpoint(tmp_path) -> None:
    (write_checkpoint(tmp_path, 10).path / "COMMIT").unlink()
    assert store.newest_verified(tmp_path, KEY) == (None, [])
    assert store.newest_verified(tmp_path / "missing", KEY) == (None, [])


def test_older_generation_may_not_commit(tmp_path) -> None:
    store.claim(tmp_path, 3, KEY)
    with pytest.raises(store.StaleGenerationError, match="3 has taken over"):
        write_checkpoint(tmp_path, 10, generation=2)
    assert store.newest_verified(tmp_path, KEY) == (None, [])


def test_commit_overtaken_by_a_new_generation_is_withdrawn(tmp_path, monkeypatch) -> None:
    claims = []

    def claim_overtaken(directory: Path, generation: int, key: bytes) -> None:
        claims.append(generation)
        if len(claims) == 2:  # between the look and the mark
            claim(directory, generation + 1, key)
        claim(directory, generation, key)

    claim = store.claim
    monkeypatch.setattr(store, "claim", claim_overtaken)
    with pytest.raises(store.StaleGenerationError):
        write_checkpoint(tmp_path, 10)
    assert store.newest_verified(tmp_path, KEY) == (None, [])


def test_save_of_a_fenced_generation_is_reported_and_leaves_nothing(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    store.claim(tmp_path, 9, b"")
    (_, report), _ = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(2), [1])
    assert "generation 1 may not commit: 9 has taken over" in report
    assert store.folders(tmp_path) == []


def test_fenced_generation_may_not_load_on_any_rank(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    store.claim(tmp_path, 9, b"")
    with pytest.raises(store.StaleGenerationError):
        ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 1)


def test_damaged_fence_does_not_stop_a_restore(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(2), [1])
    (tmp_path / store.FENCE).write_text("")
    answers = ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 1, generation=2)
    assert [found for found, *_ in answers] == [1, 1]


def test_three_newest_are_kept(tmp_path) -> None:
    leftover = store.folder(tmp_path, 45, 1)
    leftover.path.mkdir(parents=True)
    written = [write_checkpoint(tmp_path, step) for step in (10, 20, 30, 40, 50)]
    store.retain(written[-1], 3, KEY)
    assert store.folders(tmp_path) == written[:1:-1]


def test_full_disk_does_not_stop_training(ranks: RankProcesses, settings: TrainerSettings, tmp_path) -> None:
    undisturbed = ranks.run(scenarios.losses, 2, settings, range(6))[0]
    for losses, report, report_after in ranks.run(scenarios.losses_while_disk_is_full, 2, settings, tmp_path):
        assert losses == undisturbed
        assert "checkpoint of step 1 failed, " in report
        assert " bytes free on disk: rank 0: " in report
        assert report_after == ""
    assert [found.step for found in store.folders(tmp_path)] == [4]


COPIES = "sentinel.trainer.moe_trainer.MoeTrainer._copies"
THREAD = "sentinel.trainer.saver.threading.Thread.start"
FOLDER = "sentinel.trainer.saver.private.make_shared_folder"


@pytest.mark.parametrize(
    ("broken", "rank"),
    [
        pytest.param(COPIES, 0, id="no memory for the copies of the first"),
        pytest.param(COPIES, 1, id="no memory for the copies of the second"),
        pytest.param(THREAD, 0, id="no thread for the first"),
        pytest.param(THREAD, 1, id="no thread for the second"),
        pytest.param(FOLDER, 0, id="no folder"),
    ],
)
def test_a_rank_that_can_t_save_is_named_by_all_at_once_and_training_goes_on(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path, broken: str, rank: int
) -> None:
    undisturbed = ranks.run(scenarios.losses, 2, settings, range(6))[0]
    scenario = scenarios.losses_while_one_rank_can_t_save
    for losses, said, left, report in ranks.run(scenario, 2, settings, tmp_path, rank, broken):
        assert losses == undisturbed
        assert said.startswith("checkpoint of step 1 failed, ")
        assert said.endswith(f" bytes free on disk: rank {rank}: RuntimeError: no room")
        assert left == []
        assert (report.committed, report.error) == (4, "")
    assert [found.step for found in store.folders(tmp_path)] == [4]


def test_all_ranks_hear_that_nothing_was_committed(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    store.claim(tmp_path, 9, b"")
    answers = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(2), [1])
    assert all("generation 1 may not commit: 9 has taken over" in said for _, said in answers)


def test_a_folder_that_is_there_already_is_nobody_s_to_remove(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    theirs = store.folder(tmp_path, 1, 1).path / "theirs"
    theirs.parent.mkdir()
    theirs.write_text("")
    for _, said in ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, range(2), [1]):
        assert said.endswith(f"rank 0: {theirs.parent}: File exists")
    assert theirs.exists()


@pytest.mark.parametrize("keep", [1, 3])
def test_retention_keeps_what_a_new_generation_wrote_after_all_newer_ones_were_damaged(
    tmp_path, keep
) -> None:
    for step in (200, 250, 300):
        os.truncate(write_checkpoint(tmp_path, step).path / "__0_0.distcp", 10)
    fresh = write_checkpoint(tmp_path, 50, generation=2)
    store.retain(fresh, keep, KEY)
    assert store.newest_verified(tmp_path, KEY)[0] == fresh
    assert len(store.folders(tmp_path)) == keep
