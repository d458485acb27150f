"""The run without faults: the same model, batches and world size, to compare every loss with bit for bit."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sentinel.demo.sandbox import Sandbox, json_lines


def reference(sandbox: Sandbox, steps: int, skip: Sequence[int] = ()) -> dict[int, str]:
    """Run the trainer undisturbed and give each step's loss as hex."""
    root = sandbox.cluster.root
    out, config = root / "reference.jsonl", root / "trainer.json"
    argv = [sys.executable, "-m", "sentinel.trainer.reference", "--world", str(sandbox.world)]
    argv += ["--steps", str(steps), "--config", str(config), "--out", str(out)]
    argv += ["--skip", ",".join(map(str, skip))] if skip else []
    env = {key: value for key, value in os.environ.items() if not key.startswith("SENTINEL_")}
    env |= {"SENTINEL_HOST_ROOT": str(root), "TMPDIR": str(root)}  # it goes when the cluster goes
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return {line["step"]: line["loss"] for line in json_lines(out)}


def differing(log: Path, wanted: dict[int, str]) -> list[int]:
    """Return the steps whose last logged loss is not the reference's."""
    seen = {line["step"]: line["loss"] for line in map(json.loads, log.read_text().splitlines())}
    return [step for step, loss in sorted(seen.items()) if step in wanted and wanted[step] != loss]
