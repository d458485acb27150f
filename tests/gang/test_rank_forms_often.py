"""A survivor goes through many generations and leaves nothing of them open."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

RANK = """
import os
import sys
from pathlib import Path
from sentinel.gang.group import sockets
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.rank import RankRunner
from sentinel.gang.snapshots import SnapshotHolder, job_key
memory, settings = map(Path, sys.argv[1:])
key = job_key(b"secret", "moe")
spec = WorkerSpec("moe", "sentinel.trainer.moe_trainer:MoeTrainer", str(settings), "gloo", str(memory),
                  1, 0, 60.0, 60.0, key)
holder = SnapshotHolder(memory, "127.0.0.1", key=b"secret")
runner = RankRunner(spec, "w1", memory)
for generation in range(1, 17):
    port = runner.serve_store(generation, 1, "127.0.0.1")
    runner.form(FormOrder(generation, 0, 1, 0, ("127.0.0.1", port), (holder.address,), None))
    print(len(sockets()), flush=True)
os._exit(0)  # a rank never ends in peace: its threads would be in the way
"""
SETTINGS = {"dim": 8, "expert_dim": 8, "sequence": 8, "batch": 1, "records": 16, "world_max": 1, "layers": 1}


def test_sockets_of_old_generations_are_closed(tmp_path: Path) -> None:
    settings = tmp_path / "trainer.json"
    settings.write_text(json.dumps({"data": str(tmp_path / "data"), **SETTINGS}))
    argv = [sys.executable, "-c", RANK, str(tmp_path), str(settings)]
    output = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=True).stdout.split()
    sockets = [*map(int, output)]
    assert min(sockets[8:]) <= max(sockets[:8]), "one may be on its way out when they are counted"
