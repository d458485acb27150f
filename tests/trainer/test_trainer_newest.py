"""All ranks of the bundled trainer go on from the same newest state, bit for bit."""

import os
from pathlib import Path

import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses

from sentinel.gang.orders import Formed
from sentinel.trainer import checkpoint as store
from sentinel.trainer.settings import TrainerSettings

LISTING = "sentinel.trainer.checkpoint.folders"
READING = "torch.distributed.checkpoint.FileSystemReader.read_data"


@pytest.fixture
def trained(ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path) -> list[str]:
    """The losses of a run that went to step 9, with a snapshot of step 3 and checkpoints of 1 and 5."""
    said: list[str] = ranks.run(
        scenarios.losses_with_one_snapshot, 2, settings, tmp_path, range(10), 3, [1, 5]
    )[0]
    return said


def damage(job: Path, step: int) -> None:
    os.truncate(store.folder(job / "checkpoints", step, 1).path / "__1_0.distcp", 10)


def test_a_newer_checkpoint_is_taken_by_all_ranks(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path, trained: list[str]
) -> None:
    answers = ranks.run(scenarios.losses_after_resume, 2, settings, tmp_path, 9, 4, generation=2)
    assert answers == [(Formed(2, 5, "checkpoint", 4), trained[6:])] * 2


def test_where_the_snapshots_are_newer_no_checkpoint_is_read(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    run = (settings, tmp_path, range(10), 7, [1, 5])
    trained = ranks.run(scenarios.losses_with_one_snapshot, 2, *run)[0]
    failing = {0: "sentinel.trainer.checkpoint.hash_files"}
    answers = ranks.run(scenarios.losses_after_resume, 2, settings, tmp_path, 9, 2, failing, generation=2)
    assert answers == [(Formed(2, 7, "memory", 2), trained[8:])] * 2


def test_a_damaged_newer_checkpoint_leaves_all_ranks_their_snapshot(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path, trained: list[str]
) -> None:
    damage(tmp_path, 5)
    answers = ranks.run(scenarios.losses_after_resume, 2, settings, tmp_path, 9, 6, generation=2)
    said = f"{tmp_path}/checkpoints/step-5-generation-1: __1_0.distcp has 10 bytes, not "
    for formed, losses in answers:
        assert (formed.step, formed.source, formed.lost, losses) == (3, "memory", 6, trained[4:])
        assert [line.startswith(said) for line in formed.damaged] == [True]


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param({0: LISTING}, id="the folders can't be listed"),
        pytest.param({1: READING}, id="one rank can't read its files"),
    ],
)
def test_a_store_that_cannot_be_read_leaves_all_ranks_their_snapshot(
    ranks: RankProcesses,
    settings: TrainerSettings,
    tmp_path: Path,
    trained: list[str],
    failing: dict[int, str],
) -> None:
    answers = ranks.run(scenarios.losses_after_resume, 2, settings, tmp_path, 9, 6, failing, generation=2)
    for formed, losses in answers:
        assert (formed.step, formed.source, losses) == (3, "memory", trained[4:])
        assert len(formed.damaged) == 1
        assert "Input/output error" in formed.damaged[0]


def test_without_a_snapshot_a_store_that_cannot_be_read_is_no_fresh_start(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        ranks.run(scenarios.losses_after_resume, 2, settings, tmp_path, -1, 1, {0: LISTING})


def test_fewer_ranks_take_a_checkpoint_and_no_snapshot(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path: Path, trained: list[str]
) -> None:
    damage(tmp_path, 5)
    formed, _ = ranks.run(scenarios.losses_after_resume, 1, settings, tmp_path, 9, 1, generation=2)[0]
    assert (formed.step, formed.source, formed.lost, len(formed.damaged)) == (1, "checkpoint", 8, 1)
