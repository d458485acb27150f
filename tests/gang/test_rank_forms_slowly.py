"""Set-up may take its time; to meet the other members may not."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

RANK = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
sys.argv[2:3] = ["silent"]
import slow_rank
from sentinel.gang import rank
from sentinel.gang.orders import FormOrder, WorkerSpec
from sentinel.gang.snapshots import SnapshotHolder, job_key
rank.FORM_TIMEOUT_S = 1.0
memory, world, (setup_s, within_s, lease_s) = Path(sys.argv[1]), int(sys.argv[3]), map(float, sys.argv[4:7])
slow_rank.Slow.setup = lambda self, place, beats: (setattr(self, "_beats", beats), time.sleep(setup_s))
holder = SnapshotHolder(memory, "127.0.0.1", key=b"secret")
key = job_key(b"secret", "job")
spec = WorkerSpec("job", "slow_rank:Slow", "", "gloo", str(memory / "job"), 1, 0, 60.0, lease_s, key)
runner = rank.RankRunner(spec, "w1", memory)
store = ("127.0.0.1", runner.serve_store(1, world, "127.0.0.1"))
order = FormOrder(1, 0, world, 0, store, (holder.address,), None, within_s=within_s)
began = time.monotonic()
try:
    told = runner.form(order)
except RuntimeError as error:
    told = error
print(round(time.monotonic() - began), told, flush=True)
os._exit(0)  # a rank never ends in peace: its threads would be in the way
"""


@pytest.mark.parametrize(
    ("world", "setup_s", "within_s", "lease_s", "expected"),
    [
        pytest.param(1, 9.0, 60.0, 60.0, "Formed(generation=1", id="set-up takes longer than to meet may"),
        pytest.param(1, 9.0, 60.0, 1.0, "Formed(generation=1", id="and no controller is there"),
        pytest.param(1, 60.0, 8.0, 60.0, "did not form in time", id="set-up takes longer than it may"),
        pytest.param(2, 0.0, 60.0, 60.0, "rank 0 (w1): ", id="a member never comes"),
    ],
)
def test_a_rank_has_as_long_as_its_order_says_once_all_have_met(
    tmp_path: Path, world: int, setup_s: float, within_s: float, lease_s: float, expected: str
) -> None:
    argv = [sys.executable, "-c", RANK, str(tmp_path), str(Path(__file__).parent)]
    argv += [str(world), str(setup_s), str(within_s), str(lease_s), "3600"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    seconds, _, answer = said.partition(" ")
    assert expected in answer
    assert int(seconds) < 12
