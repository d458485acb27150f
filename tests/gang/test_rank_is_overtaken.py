"""A generation that is older than the directory's does not train there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.gang.fence import FENCE, claim

pytest.importorskip("torch")

RANK = """
import os
import sys
from pathlib import Path
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.rank import RankRunner
from sentinel.gang.snapshots import SnapshotHolder, job_key
memory, settings = map(Path, sys.argv[1:])
trainable, job_dir = "sentinel.trainer.moe_trainer:MoeTrainer", str(memory / "job")
key = job_key(b"secret", "moe")
spec = WorkerSpec("moe", trainable, str(settings), "gloo", job_dir, 1, 0, 60.0, 60.0, key, "ours")
holders = (SnapshotHolder(memory, "127.0.0.1", key=b"secret").address,)
runner = RankRunner(spec, "w1", memory)
for generation, takes_over in (57, "theirs"), (58, ""), (59, "others"), (60, "theirs"), (61, ""):
    store = ("127.0.0.1", runner.serve_store(generation, 1, "127.0.0.1"))
    order = FormOrder(generation, 0, 1, 0, store, holders, None, takes_over=takes_over)
    print(runner.form(order), flush=True)
os._exit(0)  # a rank never ends in peace: its threads would be in the way
"""
SETTINGS = {"dim": 8, "expert_dim": 8, "sequence": 8, "batch": 1, "records": 16, "world_max": 1, "layers": 1}


def test_another_journals_directory_is_taken_over_only_if_that_is_asked_for(tmp_path: Path) -> None:
    settings = tmp_path / "trainer.json"
    settings.write_text(json.dumps({"data": str(tmp_path / "data"), **SETTINGS}))
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / FENCE).write_text("57 theirs\n")
    argv = [sys.executable, "-c", RANK, str(tmp_path), str(settings)]
    output = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=True).stdout.splitlines()
    assert [line.partition("(")[0] for line in output] == ["Overtaken"] * 3 + ["Formed"] * 2
    assert output[0] == "Overtaken(generation=57, newest=57, journal='theirs')"
    assert (tmp_path / "job" / FENCE).read_text() == "61 ours\n"


@pytest.mark.parametrize(
    ("there", "generation", "takes_over", "newest"),
    [
        pytest.param(None, 1, "", -1, id="nobody was there"),
        pytest.param("", 4, "", -1, id="damaged"),
        pytest.param("4 ours", 5, "", -1, id="our next"),
        pytest.param("4 ours", 4, "", -1, id="ours again: a new controller asks once more"),
        pytest.param("4 ours", 3, "", 4, id="ours, late"),
        pytest.param("4 theirs", 3, "theirs", 4, id="theirs is newer"),
        pytest.param("4 theirs", 4, "theirs", 4, id="the same number is theirs"),
        pytest.param("4 theirs", 5, "theirs", -1, id="taken over"),
        pytest.param("4 theirs", 5, "", 4, id="not asked to take over"),
        pytest.param("4 theirs", 5, "others", 4, id="asked to take over from somebody else"),
        pytest.param("4 theirs", 99, "", 4, id="however large the number"),
    ],
)
def test_whose_a_directory_is(
    tmp_path: Path, there: str | None, generation: int, takes_over: str, newest: int
) -> None:
    if there is not None:
        (tmp_path / FENCE).write_text(there)
    owner = claim(tmp_path, "ours", generation, takes_over=takes_over)
    kept = (tmp_path / FENCE).read_text()
    assert (owner, kept) == ((owner, there) if owner else (None, f"{generation} ours\n"))
    assert (owner.newest if owner else -1) == newest


def test_a_directory_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert claim(tmp_path / "file" / "job", "ours", 4) is None
