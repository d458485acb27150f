import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses

from sentinel.trainer.settings import TrainerSettings

STEPS = range(12)


@pytest.fixture(scope="module")
def undisturbed(ranks: RankProcesses, settings: TrainerSettings) -> list[str]:
    first, second = ranks.run(scenarios.losses, 2, settings, STEPS)
    assert first == second, "every rank gets the same global loss"
    return first


def test_training_learns(undisturbed: list[str]) -> None:
    assert float.fromhex(undisturbed[-1]) < float.fromhex(undisturbed[0]) - 0.2


def test_memory_snapshot_continues_bit_for_bit(
    ranks: RankProcesses, settings: TrainerSettings, undisturbed: list[str]
) -> None:
    answers = ranks.run(scenarios.losses_then_state, 2, settings, STEPS[:5])
    states = [state for _, state in answers]
    resumed = ranks.run(scenarios.losses_from_state, 2, settings, states, STEPS[5:], generation=2)
    assert answers[0][0] + resumed[0] == undisturbed


def test_processes_that_change_their_ranks_continue_bit_for_bit(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    """As where a job shrinks and grows back: a process has had another rank in a group of this size."""
    before, _ = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, STEPS, [4], generation=11)[0]
    after = ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 7, generation=12, seats=(1, 0))
    assert after == [(4, [], before[5:])] * 2


@pytest.mark.parametrize("block_by_block", [False, True])
def test_checkpoint_continues_bit_for_bit(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path, block_by_block: bool
) -> None:
    settings = TrainerSettings(**{**asdict(settings), "shard_blocks": block_by_block})
    before = ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, STEPS, [4])[0]
    assert before[1] == ""
    after = ranks.run(scenarios.losses_from_checkpoint, 2, settings, tmp_path, 7, generation=2)[0]
    assert after == (4, [], before[0][5:])


def test_checkpoint_of_two_ranks_continues_on_one(
    ranks: RankProcesses, settings: TrainerSettings, tmp_path
) -> None:
    """The one rank goes on with its own shard of data: what must agree is the loss on that shard."""
    ranks.run(scenarios.losses_with_saves, 2, settings, tmp_path, STEPS[:5], [4])
    two = ranks.run(scenarios.next_local_loss, 2, settings, tmp_path, generation=2)[0]
    one = ranks.run(scenarios.next_local_loss, 1, settings, tmp_path, generation=3)[0]
    assert one == pytest.approx(two, abs=5e-7)


def test_reference_run_gives_the_same_losses(
    settings: TrainerSettings, undisturbed: list[str], tmp_path
) -> None:
    config, out = tmp_path / "trainer.json", tmp_path / "losses.jsonl"
    config.write_text(json.dumps({**asdict(settings), "step_seconds": 0.5}))
    command = [sys.executable, "-m", "sentinel.trainer.reference", "--world", "2", "--steps", "12"]
    subprocess.run([*command, "--config", config, "--out", out], check=True, timeout=60)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(STEPS)
    assert [line["loss"] for line in lines] == undisturbed
