"""What watching costs a node: processor share and memory of agent and prober, with N idle ranks.

    python benchmarks/agent.py [--ranks 8] [--seconds 20]

The ranks beat as training ones do, the controller is a real one's receiving end, the GPUs are simulated.
Prints one JSON line: `cpu_percent` of one core and `pss_mb` of agent and prober together, and each alone.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentinel.adapters.agent_card import read
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.model.ids import NodeId
from sentinel.model.report import Ack, Hello

RANK = """
import sys, time
from pathlib import Path
from sentinel.heartbeat import HeartbeatWriter
beats = HeartbeatWriter(Path(sys.argv[1]), job="bench", worker=sys.argv[2], gpu=int(sys.argv[3]))
beats.place(int(sys.argv[3]), 1, gpu=int(sys.argv[3]))
for step in range(10**9):
    beats.phase("compute")
    time.sleep(0.5)
    beats.step_done(step, loss=1.0)
"""
GPU = {
    "present": True,
    "ecc_uncorrectable": 0,
    "remap_pending": False,
    "remap_failed": False,
    "temperature_c": 45,
}


def cpu_seconds(pid: int) -> float:
    """Time on a processor of all threads, to the nanosecond."""
    spent = (task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(path.read_text().split()[0]) for path in spent) / 1e9


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


async def acknowledge(reports: Reports) -> None:
    while True:
        node, message = await reports.recv()
        if not isinstance(message, Hello):
            await reports.send(node, Ack(max((number for number, _ in message.events), default=0)))


def simulated(gpus: int) -> list[dict[str, object]]:
    """Healthy GPUs of a device file."""
    return [
        {"index": n, "uuid": f"GPU-{n}", "pci": f"0000:{n + 1:02x}:00", "throttle_reasons": 0, **GPU}
        for n in range(gpus)
    ]


def start(root: Path, endpoint: str, ranks: int) -> list[subprocess.Popen[bytes]]:
    (root / "gpus.json").write_text(json.dumps({"gpus": simulated(ranks)}))
    (root / "kern.log").touch()
    memory = root / "m"
    flags = f"--controller {endpoint} --keys {root}/keys --node bench --memory {memory}"
    kernel_log = "/dev/kmsg" if os.access("/dev/kmsg", os.R_OK) else root / "kern.log"
    flags += f" --gpus simulated:{root}/gpus.json --kernel-log {kernel_log}"
    started = [subprocess.Popen([sys.executable, "-m", "sentinel.runtime.agent", *flags.split()])]
    for rank in range(ranks):
        record = memory / "beats" / f"w{rank}.beat"
        started.append(subprocess.Popen([sys.executable, "-c", RANK, str(record), f"w{rank}", str(rank)]))
    return started


async def measure(ranks: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        root = Path(directory)
        async with Reports("tcp://127.0.0.1:0", ensure_keys(root / "keys")) as reports:
            reports.enrolment.enroll(NodeId("bench"))
            listening = asyncio.create_task(acknowledge(reports))
            processes = start(root, reports.endpoint, ranks)
            try:
                while (card := read(root / "m")) is None or not card.prober_pid:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(4)  # what starting costs is over
                pids = {"agent": processes[0].pid, "prober": card.prober_pid}
                before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
                await asyncio.sleep(seconds)
                took = time.monotonic() - began
                shares = {n: 100 * (cpu_seconds(pid) - before[n]) / took for n, pid in pids.items()}
                sizes = {name: pss_mb(pid) for name, pid in pids.items()}
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.wait()
                listening.cancel()
    result = {"ranks": ranks, "cpu_percent": sum(shares.values()), "pss_mb": sum(sizes.values())}
    result |= {f"{name}_cpu_percent": share for name, share in shares.items()}
    result |= {f"{name}_pss_mb": size for name, size in sizes.items()}
    return {name: round(value, 2) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.ranks, given.seconds))))


if __name__ == "__main__":
    main()
