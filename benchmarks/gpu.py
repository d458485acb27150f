"""The whole loop on real GPUs: NVML, NCCL, ranks killed and stopped, a real Xid; prints what it saw.

Run it as root on a machine with NVIDIA GPUs: `PYTHONPATH=. python -m benchmarks.gpu`. With several GPUs it is
one node with a rank on each, and an out-of-bounds write raises a real Xid 31 in the kernel log; a single GPU
is shared by three nodes, two of which carry a rank.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_trainable import OUT_OF_BOUNDS
from sentinel.demo.fault import GPU, Expected, Fault, Injection, Simple, pick
from sentinel.demo.faults import FAULTS
from sentinel.demo.observe import Before, observe
from sentinel.demo.stage import Stage, StageError, wait

JOB = {"backend": "nccl", "trainable": "benchmarks.gpu_trainable:GpuTrainer", "checkpoint_every": 200}


def write_out_of_bounds(stage: Stage, chance: random.Random) -> Injection:
    """Have one rank write where its GPU has no memory; the driver logs Xid 31 and ends its context."""
    victim = pick(stage, chance)
    place = stage.host_of(victim.node).root / OUT_OF_BOUNDS
    at = time.time()
    place.write_text(str(victim.gpu))
    return Injection(at, victim.place, place.unlink, (victim.pid,))


XID = Simple("gpu-app-xid", Expected(frozenset({"gpu-app-xid"})), write_out_of_bounds)
REPEATED = Expected(frozenset({"gpu-app-xid-repeat"}), names=GPU)
AGAIN = Simple("gpu-app-xid-repeat", REPEATED, write_out_of_bounds)
"""The second time on one GPU it is suspect; the only node stays all the same, and the page says why."""


def shape(gpus: int) -> tuple[dict[str, Any], list[tuple[Fault, int]]]:
    """Give the stage's options and the faults with their seeds; one seed picks the same GPU again."""
    usual = [(FAULTS[name], seed) for seed, name in enumerate(("rank-crash", "rank-hang") * 2)]
    if gpus == 1:
        return {"nodes": 3, "gpus_per_node": 1, "world": 2}, usual
    return {"nodes": 1, "gpus_per_node": gpus, "world": gpus}, [*usual, (XID, 7), (AGAIN, 7)]


def main() -> int:
    """Run all faults; 0 if all came out as they must."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-m", "sentinel.cli", "check", "--gpus", "nvml", "gpu"], check=False)
    listed = subprocess.run(["nvidia-smi", "-L"], check=True, capture_output=True, text=True).stdout
    options, faults = shape(len(listed.splitlines()))
    wrong = 0
    with Stage.start(**options, step_seconds=0.05, nvml=True, job=JOB) as stage:
        try:
            wait("training", 90.0, lambda: len(stage.steps()) > 1)
            for fault, seed in faults:
                wrong += _inject(stage, fault, seed)
        except StageError:
            wrong += 1
            raise
        finally:
            if wrong:
                _show_logs(stage)
    return 1 if wrong else 0


def _inject(stage: Stage, fault: Fault, seed: int) -> bool:
    """Break something, print what came out, and say whether it was wrong."""
    if fault is not AGAIN:  # undrained, a node's earlier failures count no more
        for node in stage.cluster.nodes:
            stage.command("undrain", target=node.name, who="benchmark")
    wait("whole again", 120.0, stage.ready)
    seen = len(stage.steps())
    wait("20 more steps", 60.0, lambda: len(stage.steps()) > seen + 20)
    before = Before.look(stage)
    injection = fault.inject(stage, random.Random(seed))
    result = observe(stage, fault, seed, before, injection)
    injection.undo()
    print(json.dumps(result.to_plain()), flush=True)
    return bool(result.wrong)


def _show_logs(stage: Stage) -> None:
    logs = [*stage.state_dir.glob("*.log"), *stage.cluster.root.glob("n*/r/session*/logs/worker*.err")]
    for path in logs:
        print(f"--- {path}\n{path.read_text(errors='replace')[-2500:]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
