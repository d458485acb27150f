"""A rank trains on while the volume of its snapshots or of its checkpoints has no room."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.demo.network import available

pytest.importorskip("torch")

RANK = """
import msgspec, sys, time
from pathlib import Path
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.rank import RankRunner
from sentinel.gang.snapshots import SnapshotHolder, job_key
memory, job, settings = map(Path, sys.argv[1:])
key = job_key(b"secret", "moe")
spec = WorkerSpec("moe", "sentinel.trainer.moe_trainer:MoeTrainer", str(settings), "gloo", str(job), 1, 0,
                  60.0, 60.0, key)
holder = SnapshotHolder(memory, "127.0.0.1", key=b"secret")
runner = RankRunner(spec, "w1", memory)
print("ready", flush=True)
sys.stdin.readline()
port = runner.serve_store(1, 1, "127.0.0.1")
runner.form(FormOrder(1, 0, 1, 0, ("127.0.0.1", port), (holder.address,), None))
while True:
    print(msgspec.json.encode(runner.status()).decode(), flush=True)
    time.sleep(0.05)
"""
SETTINGS = {"dim": 8, "expert_dim": 8, "sequence": 8, "batch": 1, "records": 16, "world_max": 1, "layers": 1}


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Two small volumes, for `memory` and for `job`."""
    made = {name: tmp_path / name for name in ("memory", "job")}
    for path in made.values():
        path.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "sentinel-test", str(path)], check=True
        )
    yield made
    for path in made.values():
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(volume: Path) -> None:
    with (volume / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@pytest.mark.root
@pytest.mark.skipif(bool(available()), reason="mounting a small volume needs root")
@pytest.mark.parametrize("full", ["memory", "job"])
def test_training_goes_on_while_a_volume_is_full(tmp_path: Path, volumes: dict[str, Path], full: str) -> None:
    settings = tmp_path / "trainer.json"
    settings.write_text(json.dumps({"data": str(tmp_path / "data"), "step_seconds": 0.02, **SETTINGS}))
    argv = [sys.executable, "-c", RANK, str(volumes["memory"]), str(volumes["job"]), str(settings)]
    rank = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert rank.stdout
        assert rank.stdout.readline() == "ready\n"
        fill(volumes[full])
        assert rank.stdin
        print(file=rank.stdin, flush=True)
        steps = (int(json.loads(line)["step"]) for line in rank.stdout)
        assert any(step > 40 for step in itertools.islice(steps, 300))
    finally:
        rank.kill()
        rank.communicate()
