import math
import os
import struct

import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses

from sentinel.trainer.layout import layout_of, shard_path
from sentinel.trainer.settings import TrainerSettings

STEPS = range(5)


def write_weight(settings: TrainerSettings, rank: int, step: int, weight: float) -> None:
    with shard_path(settings.data, rank).open("r+b") as shard:
        shard.seek(layout_of(settings).weight_offset(step))
        shard.write(struct.pack("<f", weight))


def test_nan_batch_changes_nothing_and_names_its_rank(
    ranks: RankProcesses, poisoned: TrainerSettings
) -> None:
    write_weight(poisoned, rank=1, step=4, weight=math.nan)
    for same, [result] in ranks.run(scenarios.unchanged_by_nan, 2, poisoned, STEPS):
        assert same
        assert math.isnan(result.loss)
        assert [math.isnan(loss) for loss in result.local_losses] == [False, True]


def test_skipping_the_nan_batch_equals_a_run_that_never_met_it(
    ranks: RankProcesses, settings: TrainerSettings, poisoned: TrainerSettings
) -> None:
    write_weight(poisoned, rank=0, step=2, weight=math.nan)
    met = ranks.run(scenarios.losses_skipping_what_is_nan, 2, poisoned, STEPS)[0]
    assert met == ranks.run(scenarios.losses_with_skips, 2, settings, STEPS, [2])[0]
    assert float.fromhex(met[2]) == 0.0, "a skipped step trains on nothing"


def test_votes_and_local_losses_come_in_rank_order(ranks: RankProcesses, settings: TrainerSettings) -> None:
    first, second = ranks.run(scenarios.results, 2, settings, [0], {0: 7, 1: 3})
    assert first[0].votes == second[0].votes == [7, 3]
    assert first[0].local_losses == second[0].local_losses
    assert first[0].loss == sum(first[0].local_losses) / 2


def test_slow_gpu_shows_outside_collectives_on_its_rank_alone(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    device = tmp_path / "device.json"
    device.write_text('{"gpus": [{"index": 0, "speed": 1.0}, {"index": 1, "speed": 0.1}]}')
    fast, slow = ranks.run(scenarios.outside_on_device, 2, settings, str(device), 0.05)
    assert slow > 2 * fast


def test_wrong_result_of_a_gpu_is_nan_once_per_edit(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    answers = ranks.run(scenarios.steps_around_a_corrupt_one, 1, settings, tmp_path / "device.json")
    assert [math.isnan(loss) for loss in answers[0]] == [False, True, False]


def test_lost_gpu_raises(ranks: RankProcesses, settings: TrainerSettings, tmp_path) -> None:
    device = tmp_path / "device.json"
    device.write_text('{"gpus": [{"index": 0, "present": false}]}')
    with pytest.raises(RuntimeError, match="device lost"):
        ranks.run(scenarios.outside_on_device, 1, settings, str(device), 0.0)


def test_fifo_in_place_of_a_shard_blocks_the_loader(ranks: RankProcesses, poisoned: TrainerSettings) -> None:
    shard = shard_path(poisoned.data, 0)
    shard.unlink()
    os.mkfifo(shard)
    assert ranks.run(scenarios.phases_until_fed, 1, poisoned, shard) == [["data"]]
