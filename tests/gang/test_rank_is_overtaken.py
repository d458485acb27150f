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
from sentinel.gang.snapshots import SnapshotHolder
memory, settings = map(Path, sys.argv[1:])
trainable, job_dir = "sentinel.trainer.moe_trainer:MoeTrainer", str(memory / "job")
spec = WorkerSpec("moe", trainable, str(settings), "gloo", job_dir, 1, 0, 60.0, 60.0, b"secret")
holders = (SnapshotHolder(memory, "127.0.0.1", key=b"secret").address,)
runner = RankRunner(spec, "w1", memory)
for generation in 3, 57, 58:
    store = ("127.0.0.1", runner.serve_store(generation, 1, "127.0.0.1"))
    print(runner.form(FormOrder(generation, 0, 1, 0, store, holders, None)), flush=True)
os._exit(0)  # a rank never ends in peace: its threads would be in the way
"""
SETTINGS = {"dim": 8, "expert_dim": 8, "sequence": 8, "batch": 1, "records": 16, "world_max": 1, "layers": 1}


def test_an_older_generation_is_told_whose_the_directory_is(tmp_path: Path) -> None:
    settings = tmp_path / "trainer.json"
    settings.write_text(json.dumps({"data": str(tmp_path / "data"), **SETTINGS}))
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / FENCE).write_text("57")
    argv = [sys.executable, "-c", RANK, str(tmp_path), str(settings)]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=True).stdout.splitlines()
    assert told[0] == "Overtaken(generation=3, newest=57)"
    assert told[1] == "Overtaken(generation=57, newest=57)"
    assert told[2].startswith("Formed(generation=58")
    assert (tmp_path / "job" / FENCE).read_text() == "58"


def test_a_damaged_fence_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / FENCE).write_text("")
    assert [claim(tmp_path, generation) for generation in (4, 3, 4, 5)] == [-1, 4, 4, -1]


def test_a_directory_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert claim(tmp_path / "file" / "job", 4) == -1
