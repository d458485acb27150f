"""The whole loop on real GPUs: NVML, NCCL, ranks killed and stopped, a real Xid; prints what it saw.

Run it as root on a machine with NVIDIA GPUs: `PYTHONPATH=. python -m benchmarks.gpu.loop`. With several GPUs
it is one node with a rank on each; a single GPU is shared by four nodes, three of which carry a rank. A write
out of bounds raises a real Xid 31 in the kernel log. With three ranks a bit of the gradients that one rank's
GPU computed is turned as well; its node goes, and comes back by proof: checks, and products with known
answers on the real GPU. `--keep DIR` keeps the journal, logbook and logs.

The kernel names a process by the host's number. Where processes are counted as the kernel counts them, the
second Xid on one GPU must make that GPU suspect. In a container nobody can tell whose the number is: each Xid
still explains its rank's end, and the second accuses the GPU no more than the first. To see both on one host,
run it a second time behind `unshare --pid --fork --mount-proc`.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.trainable import OUT_OF_BOUNDS
from sentinel.core.state.rows import ProofStage
from sentinel.demo.fault import GPU, Expected, Fault, Injection, Simple, pick
from sentinel.demo.faults import FAULTS
from sentinel.demo.keep import keep
from sentinel.demo.observe import Before, observe
from sentinel.demo.result import Result
from sentinel.demo.sandbox import Sandbox, SandboxError, wait
from sentinel.heartbeat import counts_as_the_kernel

JOB = {"backend": "nccl", "trainable": "benchmarks.gpu.trainable:GpuTrainer", "checkpoint_every": 200}
IDLE = {"idle_probes": True, "idle_look_s": 5.0}
"""A node without a rank passes its pre-flight as soon as it may."""


def write_out_of_bounds(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Have one rank write where its GPU has no memory; the driver logs Xid 31 and ends its context."""
    victim = pick(sandbox, chance)
    place = sandbox.host_of(victim.node).root / OUT_OF_BOUNDS
    at = time.time()
    place.write_text(str(victim.gpu))
    return Injection(at, victim.place, place.unlink, (victim.pid,))


ONCE = Expected(frozenset({"gpu-app-xid"}))
REPEATED = Expected(frozenset({"gpu-app-xid-repeat"}), names=GPU)
"""The second time on one GPU it is suspect; the only node stays all the same, and the page says why."""
XID = Simple("gpu-app-xid", ONCE, write_out_of_bounds)
AGAIN = Simple("gpu-app-xid again", REPEATED if counts_as_the_kernel() else ONCE, write_out_of_bounds)


def shape(gpus: int) -> tuple[dict[str, Any], list[tuple[Fault, int]]]:
    """Give the stage's options and the faults with their seeds; one seed picks the same GPU again."""
    usual = [(FAULTS[name], seed) for seed, name in enumerate(("rank-crash", "rank-hang") * 2)]
    if gpus == 1:
        wrong = [(FAULTS["silent-corruption"], seed) for seed in (8, 9)]
        return {"nodes": 4, "gpus_per_node": 1, "world": 3}, [*usual, (XID, 7), *wrong]
    return {"nodes": 1, "gpus_per_node": gpus, "world": gpus}, [*usual, (XID, 7), (AGAIN, 7)]


def main() -> int:
    """Run all faults; 0 if all came out as they must."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.loop")
    parser.add_argument("--keep", type=Path, help="directory for the journal, the logbook and the logs")
    kept: Path | None = parser.parse_args().keep
    print(f"processes are counted as the kernel does: {counts_as_the_kernel()}", flush=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-m", "sentinel.cli", "check", "--gpus", "nvml", "gpu"], check=False)
    listed = subprocess.run(["nvidia-smi", "-L"], check=True, capture_output=True, text=True).stdout
    options, faults = shape(len(listed.splitlines()))
    wrong = 0
    with Sandbox.start(**options, step_seconds=0.05, nvml=True, job=JOB, policy=IDLE) as sandbox:
        try:
            wait("training", 90.0, lambda: len(sandbox.steps()) > 1)
            for fault, seed in faults:
                wrong += _inject(sandbox, fault, seed)
            wrong += _take_back(sandbox)
            for host in sandbox.cluster.nodes:
                said = sandbox.http.get(f"{sandbox.url}/api/why/{host.name}").text
                print(f"why {host.name}: {said}", flush=True)
        except SandboxError:
            wrong += 1
            raise
        finally:
            if wrong:
                show_logs(sandbox)
            if kept is not None:
                keep_all(sandbox, kept)
    return 1 if wrong else 0


def _inject(sandbox: Sandbox, fault: Fault, seed: int) -> bool:
    """Break something, print what came out, and say whether it was wrong."""
    failed = 0 if fault is AGAIN else _take_back(sandbox)
    asked = time.monotonic()
    wait("whole again", 120.0, sandbox.ready)
    print(f"whole again after {time.monotonic() - asked:.1f} s: {_nodes(sandbox)}", flush=True)
    seen = len(sandbox.steps())
    wait("20 more steps", 60.0, lambda: len(sandbox.steps()) > seen + 20)
    before = Before.look(sandbox)
    injection = fault.inject(sandbox, random.Random(seed))
    result = observe(sandbox, fault, seed, before, injection)
    injection.undo()
    print(json.dumps(result.to_plain()), flush=True)
    if fault in (XID, AGAIN):
        print(_since_the_line(result), flush=True)
    return bool(result.wrong or failed)


def _take_back(sandbox: Sandbox) -> int:
    """Have each node that is out prove that it is well, and count who can't; of others no failure counts."""
    failed = 0
    for host in sandbox.cluster.nodes:
        name = host.name
        if not _node(sandbox, name)["cordon"]:
            sandbox.command("undrain", target=name, who="benchmark")
            continue
        asked = time.monotonic()
        sandbox.command("prove", target=name, who="benchmark", reason="it is repaired")
        wait(f"the proof of {name}", 180.0, partial(_is_proved, sandbox, name))
        took, node = time.monotonic() - asked, _node(sandbox, name)
        print(f"{name} after {took:.1f} s: {node['proof']}", flush=True)
        if node["cordon"]:
            failed += 1
            sandbox.command("undrain", target=name, who="benchmark", reason="the benchmark goes on")
    return failed


def _is_proved(sandbox: Sandbox, name: str) -> bool:
    node = _node(sandbox, name)
    return not node["cordon"] or node["proof_stage"] in (ProofStage.FAILED, ProofStage.NOT_RUN)


def _node(sandbox: Sandbox, name: str) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = (sandbox.status() or {}).get("nodes", [])
    unknown = {"cordon": "unknown", "proof": "", "proof_stage": ""}
    return next((node for node in nodes if node["node"] == name), unknown)


def _nodes(sandbox: Sandbox) -> str:
    nodes = (sandbox.status() or {}).get("nodes", [])
    return ", ".join(f"{node['node']} {node['cordon'] or 'in use'}" for node in nodes)


def _since_the_line(result: Result) -> str:
    """Say when the driver wrote its line, and how long after it the incident was there."""
    lines = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    booted, told = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC), list[float]()
    with suppress(BlockingIOError):
        while record := os.read(lines, 8192).decode(errors="replace"):
            head, _, said = record.partition(";")
            if "NVRM: Xid" in said:
                told.append(booted + int(head.split(",")[2]) / 1e6)
    os.close(lines)
    if not told or result.detected_s is None or result.injected_at is None:
        return f"{len(told)} lines of the driver, detected: {result.detected_s}"
    after = result.injected_at + result.detected_s - told[-1]
    line = told[-1] - result.injected_at
    return f"the driver's line came {line:.3f} s after the order, the incident {after:.3f} s after the line"


def _logs(sandbox: Sandbox) -> list[Path]:
    """What controller, agents and ranks wrote."""
    ranks = sandbox.cluster.root.glob("n*/r/session*/logs/worker*.err")
    agents = (log for host in sandbox.cluster.nodes for log in host.memory.glob("*.log"))
    return [*sandbox.state_dir.glob("*.log"), *agents, *ranks]


def keep_all(sandbox: Sandbox, target: Path) -> None:
    """Copy journal, logbook and all logs."""
    keep(sandbox, target)
    for log in _logs(sandbox):
        shutil.copy2(log, target / f"{log.parent.name}-{log.name}")


def show_logs(sandbox: Sandbox) -> None:
    """Print the end of each log of controller, agents and ranks."""
    for path in _logs(sandbox):
        print(f"--- {path}\n{path.read_text(errors='replace')[-2500:]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
