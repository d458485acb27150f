"""The whole loop on one real GPU: NVML, NCCL, ranks killed and stopped; prints what it saw.

Run it on a machine with an NVIDIA GPU: `PYTHONPATH=. python -m benchmarks.gpu`. Three simulated nodes share
the GPU; two of them carry a rank.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from sentinel.demo.fault import Injection
from sentinel.demo.faults import FAULTS
from sentinel.demo.observe import Before, observe
from sentinel.demo.stage import Stage, StageError, wait

JOB = {"backend": "nccl", "trainable": "benchmarks.gpu_trainable:OneGpuTrainer", "checkpoint_every": 200}


def main() -> int:
    """Run crash and hang a few times; 0 if all came out as they must."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-m", "sentinel.cli", "check", "--gpus", "nvml", "gpu"], check=False)
    wrong = 0
    with Stage.start(nodes=3, gpus_per_node=1, world=2, step_seconds=0.05, nvml=True, job=JOB) as stage:
        try:
            wait("training", 90.0, lambda: len(stage.steps()) > 1)
        except StageError:
            _show_logs(stage)
            raise
        for seed in range(4):
            wait("whole again", 120.0, stage.ready)
            seen = len(stage.steps())
            wait("20 more steps", 60.0, lambda seen=seen: len(stage.steps()) > seen + 20)
            fault = FAULTS[("rank-crash", "rank-hang")[seed % 2]]
            before = Before.look(stage)
            injection: Injection = fault.inject(stage, random.Random(seed))
            result = observe(stage, fault, seed, before, injection)
            print(json.dumps(result.to_plain()), flush=True)
            wrong += bool(result.wrong)
            for node in stage.cluster.nodes:
                stage.command("undrain", target=node.name, who="benchmark")
        if wrong:
            _show_logs(stage)
    return 1 if wrong else 0


def _show_logs(stage: Stage) -> None:
    logs = [*stage.state_dir.glob("*.log"), *stage.cluster.root.glob("n*/r/session*/logs/worker*.err")]
    for path in logs:
        print(f"--- {path}\n{path.read_text(errors='replace')[-2500:]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
