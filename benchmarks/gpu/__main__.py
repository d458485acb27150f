"""All that is measured on real GPUs, in one report: `PYTHONPATH=. python -m benchmarks.gpu --write FILE`.

Run it as root on a machine with NVIDIA GPUs. Each part is a process of its own with a limit: what fails says
so in the report, and the others run all the same.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pynvml

GEMM = """
import json
from sentinel.checks.gemm import measure
from sentinel.model.collective import Meeting
print(json.dumps(measure(Meeting(("here",), ("127.0.0.1",), 1, 0, 60.0)), indent=1))
"""

PARTS: Mapping[str, tuple[str, tuple[str, ...], float]] = {
    "What a look at the GPUs costs": ("nvml", ("-m", "benchmarks.gpu.nvml", "--rounds", "30"), 120.0),
    "What the checks say of this machine": ("check", ("-m", "sentinel.cli", "check"), 120.0),
    "How fast they compute and copy": ("gemm", ("-c", GEMM), 120.0),
    "Probes over NCCL, with ways slowed on purpose": ("probes", ("-m", "benchmarks.gpu.probes"), 240.0),
    "A job whose ranks are killed, stopped, and write out of bounds": (
        "loop",
        ("-m", "benchmarks.gpu.loop"),
        240.0,
    ),
    "What fifty generations leave in a survivor": ("survivors", ("-m", "benchmarks.gpu.survivors"), 600.0),
}
"""Heading → short name, arguments for Python, and seconds that it may take."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    names = [name for name, _, _ in PARTS.values()]
    parser.add_argument("--only", default=",".join(names), help=f"some of {', '.join(names)}")
    parser.add_argument("--limit-s", type=float, default=1e9, help="of each part at most")
    parser.add_argument("--write", type=Path, default=Path("run/gpu.md"))
    given = parser.parse_args()
    given.write.parent.mkdir(parents=True, exist_ok=True)
    text, failed = _about(), 0
    for heading, (name, argv, limit) in PARTS.items():
        if name not in given.only.split(","):
            continue
        begun = time.monotonic()
        code, said = _run(argv, min(limit, given.limit_s))
        failed += code != 0
        how = f"`{name}`: exit {code}, {time.monotonic() - begun:.0f} s"
        text += f"\n## {heading}\n\n{how}\n\n```\n{said.strip()}\n```\n"
        given.write.write_text(text)  # what there is so far is kept
        print(how, flush=True)
    return 1 if failed else 0


def _run(argv: tuple[str, ...], limit: float) -> tuple[int, str]:
    done = subprocess.Popen(
        [sys.executable, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = done.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        done.terminate()  # it takes what it started with it
        said, _ = done.communicate()
        said += f"\nended after {limit:.0f} s"
    return done.returncode, said


def _about() -> str:
    pynvml.nvmlInit()
    gpus = [
        pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(n))
        for n in range(pynvml.nvmlDeviceGetCount())
    ]
    about = {
        "GPUs": f"{len(gpus)} x {gpus[0]}",
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "cores": len(os.sched_getaffinity(0)),
        "date": time.strftime("%Y-%m-%d"),
    }
    return (
        f"# {about['GPUs']}\n\n"
        + ", ".join(f"{name} {value}" for name, value in list(about.items())[1:])
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
