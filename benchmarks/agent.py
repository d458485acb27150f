"""What watching costs a node: processor share and memory of agent, prober and children, with N idle ranks.

    python -m benchmarks.agent [--ranks 8] [--seconds 20] [--stand-in] [--checks none]

The ranks beat as training ones do, the controller is a real one's receiving end. The GPUs, one of each rank,
are simulated, or, with `--stand-in`, met through NVIDIA's own binding and a stand-in for its library. Checks
run at their own pace, all of them or none. Prints one JSON line: `cpu_percent` of one core and `pss_mb`
together, and of each alone.
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

import psutil

from sentinel.adapters.agent_card import read
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.demo import nvml
from sentinel.model.ids import NodeId
from sentinel.model.report import Ack, Hello

SETTLES_S = 15.0
"""What starting costs is over then: imports, and each check's first run."""
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
WITHOUT_CHECKS = """
import sentinel.checks
sentinel.checks.load = dict
from sentinel.runtime.agent.__main__ import main
main()
"""
GPU = {
    "present": True,
    "ecc_uncorrectable": 0,
    "remap_pending": False,
    "remap_failed": False,
    "temperature_c": 45,
}


def cpu_seconds(pid: int) -> float:
    """Time on a processor of all threads, to the nanosecond, and of children that have ended, to 10 ms."""
    spent = (task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir())
    ended = psutil.Process(pid).cpu_times()
    own = sum(int(path.read_text().split()[0]) for path in spent) / 1e9
    return own + ended.children_user + ended.children_system


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


def start(
    root: Path, endpoint: str, ranks: int, *, stand_in: bool, checks: bool
) -> list[subprocess.Popen[bytes]]:
    gpus, env = f"simulated:{root}/gpus.json", dict[str, str]()
    if stand_in:
        gpus, env = "nvml", nvml.environment(nvml.build(root), nvml.StandIn(root / "gpus", ranks).file)
    else:
        (root / "gpus.json").write_text(json.dumps({"gpus": simulated(ranks)}))
    (root / "kern.log").touch()
    memory = root / "m"
    flags = f"--controller {endpoint} --keys {root}/keys --node bench --memory {memory}"
    kernel_log = "/dev/kmsg" if os.access("/dev/kmsg", os.R_OK) else root / "kern.log"
    flags += f" --gpus {gpus} --kernel-log {kernel_log}"
    agent = ["-m", "sentinel.runtime.agent"] if checks else ["-c", WITHOUT_CHECKS]
    started = [subprocess.Popen([sys.executable, *agent, *flags.split()], env=os.environ | env)]
    for rank in range(ranks):
        record = memory / "beats" / f"w{rank}.beat"
        started.append(subprocess.Popen([sys.executable, "-c", RANK, str(record), f"w{rank}", str(rank)]))
    return started


def pids_of(agent: int, prober: int) -> dict[str, list[int]]:
    """Give the processes that watch: what agent and prober have started belongs to them."""
    children = {each.pid for each in psutil.Process(agent).children(recursive=True)}
    return {"agent": [agent], "prober": [prober], "children": sorted(children - {prober})}


async def measure(
    ranks: int, seconds: float, *, stand_in: bool = False, checks: bool = True
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        root = Path(directory)
        async with Reports("tcp://127.0.0.1:0", ensure_keys(root / "keys")) as reports:
            reports.enrolment.enroll(NodeId("bench"))
            listening = asyncio.create_task(acknowledge(reports))
            processes = start(root, reports.endpoint, ranks, stand_in=stand_in, checks=checks)
            try:
                while (card := read(root / "m")) is None or not card.prober_pid:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(SETTLES_S)
                pids = pids_of(processes[0].pid, card.prober_pid)
                before = {pid: cpu_seconds(pid) for each in pids.values() for pid in each}
                began = time.monotonic()
                await asyncio.sleep(seconds)
                took = time.monotonic() - began
                spent = {pid: cpu_seconds(pid) - before[pid] for pid in before}
                shares = {name: 100 * sum(spent[pid] for pid in each) / took for name, each in pids.items()}
                sizes = {name: sum(map(pss_mb, each)) for name, each in pids.items()}
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
    parser.add_argument("--stand-in", action="store_true", help="ask NVIDIA's own binding")
    parser.add_argument("--checks", choices=("all", "none"), default="all")
    given = parser.parse_args()
    asked = {"stand_in": given.stand_in, "checks": given.checks == "all"}
    print(json.dumps(asyncio.run(measure(given.ranks, given.seconds, **asked))))


if __name__ == "__main__":
    main()
