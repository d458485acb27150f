"""Real ranks replay a step together: a device that computes wrong is named, and nothing of it is kept."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import rank_scenarios as scenarios
from rank_processes import RankProcesses
from test_trainer_faults import write_weight

from sentinel.model.trainable import ReplayResult, ReplayWhy, StepResult
from sentinel.trainer.replay import FIRST_STEPS
from sentinel.trainer.settings import TrainerSettings

WORLD, BAD = 3, 1
AT = FIRST_STEPS + 2
"""The step that goes wrong: what is usual is known by then."""
SIZES = {"dim": 12, "expert_dim": 12, "heads": 2, "sequence": 8, "batch": 2, "records": 64}


@pytest.fixture(scope="module")
def gang() -> Iterator[RankProcesses]:
    processes = RankProcesses(WORLD)
    yield processes
    processes.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> TrainerSettings:
    """A model none of whose tensors can be shared out evenly, so that gradients are padded."""
    data = str(tmp_path_factory.mktemp("replays") / "data")
    return TrainerSettings(data=data, world_max=WORLD, replay_every=1000, **SIZES)


@pytest.fixture(scope="module")
def undisturbed(gang: RankProcesses, small: TrainerSettings) -> list[str]:
    return gang.run(scenarios.losses, WORLD, replace(small, replay_every=0), range(AT + 3))[0]


def train(
    gang: RankProcesses,
    settings: TrainerSettings,
    folder: Path,
    edits: Mapping[int, str],
    steps: Sequence[int],
) -> list[StepResult]:
    """What all ranks say alike."""
    job = settings, folder / "device.json", BAD, edits, steps
    found = gang.run(scenarios.steps_with_a_bad_device, WORLD, *job)
    said = [[(each.step, each.replayed, each.local_losses) for each in mine] for mine in found]
    assert all(str(mine) == str(said[0]) for mine in said), "all ranks decide alike"
    return found[0]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        pytest.param("flip_next", "gave two results for one batch", id="once"),
        pytest.param("flip", "differs from all others", id="always"),
    ],
)
def test_a_device_that_flips_bits_is_named_and_nothing_of_its_step_is_kept(
    gang: RankProcesses, small: TrainerSettings, undisturbed: list[str], tmp_path: Path, edit: str, said: str
) -> None:
    steps = [*range(AT), AT, AT, AT + 1, AT + 2]  # the step is trained anew
    edits = {AT: edit, AT + 1: "healthy"}
    found = train(gang, small, tmp_path, edits, steps)
    wrong = found.pop(AT)
    assert wrong.replayed is not None
    assert (wrong.replayed.result, wrong.replayed.ranks) == (ReplayResult.NAMED, (BAD,))
    assert said in wrong.replayed.said
    assert wrong.loss.hex() == undisturbed[AT], "the loss itself shows nothing"
    assert [each.loss.hex() for each in found] == undisturbed
    replays = {each.step: each.replayed for each in found if each.replayed}
    assert [(step, each.result) for step, each in replays.items()] == [(FIRST_STEPS - 1, ReplayResult.AGREED)]


def test_a_device_that_gives_nan_once_is_named_from_the_first_step_on(
    gang: RankProcesses, small: TrainerSettings, undisturbed: list[str], tmp_path: Path
) -> None:
    found = train(gang, small, tmp_path, {2: "corrupt_next"}, [0, 1, 2, 2])
    wrong = found.pop(2)
    assert math.isnan(wrong.loss)
    assert wrong.replayed is not None
    assert (wrong.replayed.why, wrong.replayed.ranks) == (ReplayWhy.NOT_FINITE, (BAD,))
    assert [each.loss.hex() for each in found] == undisturbed[:3]


def test_a_bad_batch_is_nan_on_every_device_and_accuses_none(
    gang: RankProcesses, small: TrainerSettings, tmp_path: Path
) -> None:
    own = replace(small, data=str(tmp_path / "data"))
    gang.run(scenarios.losses, WORLD, own, range(1))
    write_weight(own, rank=BAD, step=2, weight=math.nan)
    *_, last = train(gang, own, tmp_path, {}, range(3))
    assert math.isnan(last.loss)
    assert last.replayed is not None
    assert (last.replayed.result, tuple(last.replayed.ranks)) == (ReplayResult.AGREED, ())


@pytest.mark.parametrize("apart", [False, True])
def test_replays_in_rotation_change_no_loss(
    gang: RankProcesses, small: TrainerSettings, apart: bool, tmp_path: Path
) -> None:
    often = replace(small, replay_every=2, shard_blocks=apart)
    found = train(gang, often, tmp_path, {}, range(AT + 3))
    never = replace(often, replay_every=0)
    assert [each.loss.hex() for each in found] == gang.run(scenarios.losses, WORLD, never, range(AT + 3))[0]
    assert [each.step for each in found if each.replayed] == [FIRST_STEPS - 1, *range(FIRST_STEPS, AT + 3, 2)]
    assert {each.replayed.result for each in found if each.replayed} == {ReplayResult.AGREED}
