import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sentinel.trainer.data import ensure_dataset, read_batch
from sentinel.trainer.layout import layout_of, shard_path
from sentinel.trainer.settings import TrainerSettings, read_settings


def test_dataset_is_a_function_of_its_seed(poisoned: TrainerSettings, tmp_path) -> None:
    layout = layout_of(poisoned)
    ensure_dataset(tmp_path / "again", layout)
    ensure_dataset(tmp_path / "other", replace(layout, seed=1))
    first, again, other = (
        shard_path(place, 1).read_bytes() for place in (poisoned.data, tmp_path / "again", tmp_path / "other")
    )
    assert first == again != other


def test_many_may_create_one_dataset(poisoned: TrainerSettings, tmp_path) -> None:
    layout = layout_of(poisoned)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ensure_dataset(tmp_path / "one", layout), range(4)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "one"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "dataset.json", "shard-000.bin", "shard-001.bin",
    ]  # fmt: skip


def test_dataset_of_another_layout_is_refused(poisoned: TrainerSettings) -> None:
    with pytest.raises(ValueError, match="another layout"):
        ensure_dataset(poisoned.data, replace(layout_of(poisoned), batch=3))


def test_batches_differ_by_step_and_rank_and_repeat(poisoned: TrainerSettings) -> None:
    layout = layout_of(poisoned)
    tokens = {
        (step, rank): read_batch(poisoned.data, layout, step, rank).token_BT.tolist()
        for step in (0, 1, layout.records)
        for rank in (0, 1)
    }
    assert tokens[0, 0] == tokens[layout.records, 0]
    assert len({json.dumps(value) for value in tokens.values()}) == 4


def test_targets_are_the_tokens_that_follow(poisoned: TrainerSettings) -> None:
    batch = read_batch(poisoned.data, layout_of(poisoned), 0, 0)
    assert batch.target_BT[:, :-1].tolist() == batch.token_BT[:, 1:].tolist()
    assert batch.weight_BT.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        pytest.param("t.json", '{"data": "d", "dims": 3}', "unknown trainer setting 'dims'", id="unknown"),
        pytest.param("t.toml", 'data = "d"\ndim = "64"', "dim must be int, not '64'", id="wrong type"),
        pytest.param("t.json", '{"data": "d", "batch": true}', "batch must be int", id="bool is no number"),
        pytest.param("t.json", "{}", "`data` is missing", id="missing"),
        pytest.param("t.json", "{", "t.json: Expecting property name", id="cut short"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, name: str, text: str, error: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=error) as raised:
        read_settings(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_job_without_settings_has_its_data_in_its_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SENTINEL_JOB_DIR", str(tmp_path))
    assert read_settings(dim=48) == TrainerSettings(data=str(tmp_path / "data"), dim=48)
    (tmp_path / "t.json").write_text('{"data": "d"}')
    assert read_settings(tmp_path / "t.json").data == "d"


def test_chosen_values_win_over_the_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "t.toml").write_text('data = "d"\ndim = 32\nstep_seconds = 1\n')
    monkeypatch.setenv("SENTINEL_TRAINER", str(tmp_path / "t.toml"))
    assert read_settings(dim=48) == TrainerSettings(data="d", dim=48, step_seconds=1)
