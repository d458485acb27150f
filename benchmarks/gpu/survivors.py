"""What each generation leaves in a rank that survives them all: memory, descriptors, threads.

`PYTHONPATH=. python -m benchmarks.gpu.survivors`, as root on a machine with NVIDIA GPUs: rank 1 is killed and
stopped by turns, again and again, while rank 0 keeps its process, its CUDA context and its NCCL library.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pynvml

from benchmarks.gpu.loop import keep_all, shape, show_logs
from sentinel.demo.fault import ranks
from sentinel.demo.sandbox import Sandbox, SandboxError, wait

JOB = {"backend": "nccl", "trainable": "benchmarks.gpu.trainable:GpuTrainer", "checkpoint_every": 1000}
OFTEN = {"flap_pause_s": 0.1, "flap_pause_limit_s": 0.2, "crashes_per_hour": 20, "resume_attempts": 20}
"""So many breaks of one rank in a few minutes would be people's business."""
FIRST = 5
"""What is loaded for the first time when a generation forms anew is left out of the slope."""


class Held(NamedTuple):
    """What a process holds, or the GPUs as a whole."""

    descriptors: float
    threads: float
    host_mib: float
    gpu_mib: float


def look(pid: int) -> Held:
    """Look at a process; GPU memory is that of all processes, for a container's pids are not the driver's."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    used = 0
    for index in range(pynvml.nvmlDeviceGetCount()):
        used += int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index)).used)
    opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Held(opened, int(status["Threads"]), int(status["VmRSS"].split()[0]) / 1024, used / 2**20)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.survivors", description=__doc__)
    parser.add_argument("--breaks", type=int, default=50)
    parser.add_argument("--for-s", type=float, default=1e9, help="begin no further one after so long")
    parser.add_argument("--keep", type=Path, help="directory for the journal, the logbook and the logs")
    given = parser.parse_args()
    pynvml.nvmlInit()
    gpus = pynvml.nvmlDeviceGetCount()
    options, _ = shape(gpus)
    if gpus == 1:  # two ranks share it
        options |= {"nodes": 4, "world": 2}
    begun, held, took = time.monotonic(), list[Held](), list[tuple[str, float]]()
    with Sandbox.start(
        **options, step_seconds=0.02, nvml=True, job=JOB, policy=OFTEN, slack=False
    ) as sandbox:
        wait("training", 120.0, lambda: len(sandbox.steps()) > 1)
        wait("whole", 120.0, sandbox.ready)
        survivor = _rank(sandbox, 0)
        for number in range(given.breaks):
            if time.monotonic() - begun > given.for_s:
                break
            try:
                took.append(_break(sandbox, number))
            except SandboxError as error:
                print(f"break {number}: {error}")
                break
            if _rank(sandbox, 0) != survivor:
                print(f"break {number}: rank 0 is another process now")
                break
            held.append(look(survivor))
            print(number, *took[-1], held[-1], flush=True)
        generation = sandbox.steps()[-1]["g"]
        if len(held) < given.breaks:
            show_logs(sandbox)
        if given.keep is not None:
            keep_all(sandbox, given.keep)
    _report(held, took, generation, given.breaks)
    return 0 if len(held) == given.breaks else 1


def _rank(sandbox: Sandbox, rank: int) -> int:
    return next(each.pid for each in ranks(sandbox) if each.rank == rank)


def _break(sandbox: Sandbox, number: int) -> tuple[str, float]:
    """End rank 1, or stop it; give how, and seconds to the next step of a new generation."""
    last = sandbox.steps()[-1]
    name = "SIGSTOP" if number % 2 else "SIGKILL"
    at = time.time()
    os.kill(_rank(sandbox, 1), getattr(signal, name))
    wait(f"{name}: a new generation", 60.0, lambda: sandbox.steps()[-1]["g"] > last["g"])
    fresh = next(line for line in sandbox.steps() if line["g"] > last["g"])
    for node in sandbox.cluster.nodes:
        sandbox.command("undrain", target=node.name, who="benchmark")
    wait("somebody to sit down next", 60.0, lambda: _spared(sandbox))
    seen = len(sandbox.steps())
    wait("20 more steps", 60.0, lambda: len(sandbox.steps()) > seen + 20)
    return name, fresh["at"] - at


def _spared(sandbox: Sandbox) -> bool:
    """Tell whether all ranks train and two standbys are warm; to wait for every one would take minutes."""
    job = ((sandbox.status() or {}).get("jobs") or [{}])[0]
    return job.get("stage") == "running" and len(job["seats"]) == sandbox.world and len(job["standbys"]) > 1


def _report(held: Sequence[Held], took: Sequence[tuple[str, float]], generation: int, wanted: int) -> None:
    print(f"\n{len(held)} of {wanted} breaks, {generation} generations; rank 0 kept its process\n")
    for name in sorted({name for name, _ in took}):
        seconds = [each for of, each in took if of == name]
        spread = f"{statistics.median(seconds):.2f} s to a new step, most {max(seconds):.2f}"
        print(f"{name}: {len(seconds)} times, {spread}")
    if len(held) <= FIRST:
        return
    print(f"\n| of rank 0 | after {FIRST} | after {len(held)} | most | a generation |\n|---|---|---|---|---|")
    rows: Sequence[tuple[str, Callable[[Held], float]]] = (
        ("descriptors", lambda each: each.descriptors),
        ("threads", lambda each: each.threads),
        ("host memory, MiB", lambda each: each.host_mib),
        ("memory of all GPUs, MiB, all processes", lambda each: each.gpu_mib),
    )
    for name, of in rows:
        values = [of(each) for each in held]
        slope, _ = statistics.linear_regression(range(len(values) - FIRST), values[FIRST:])
        print(f"| {name} | {values[FIRST]:.0f} | {values[-1]:.0f} | {max(values):.0f} | {slope:+.3f} |")


if __name__ == "__main__":
    sys.exit(main())
