"""What a command costs before it says anything, beside other tools that the same machine has."""

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "web"))  # the cluster that the pages' tests show

from sample_cluster import TROUBLE, Cluster, an_incident

from sentinel.adapters.keys import ensure_keys
from sentinel.logbook.book import Logbook
from sentinel.web.app import create_app

SENTINEL = (sys.executable, "-m", "sentinel.cli")
OURS = (
    "",
    "--help",
    "drain --help",
    "config",
    "status",
    "status --json",
    "incidents",
    "incidents INC-7",
    "silences",
    "learn --help",
    "runbook list",
)
BIN = Path(sys.executable).parent
OTHERS = (("ray", "--help"), ("torchrun", "--help"), ("pip", "--help"))


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of a command: by the clock, and of processor time, which a busy machine hardly changes."""

    clock: float
    processor: float


def run_once(argv: Sequence[str], env: Mapping[str, str]) -> Took:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    clock, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def commands() -> dict[str, list[str]]:
    """Give each command by the name that a user types."""
    ours = {f"sentinel {words}".strip(): [*SENTINEL, *words.split()] for words in OURS}
    there = {f"{tool} {words}": [str(BIN / tool), *words.split()] for tool, words in OTHERS}
    return ours | {name: argv for name, argv in there.items() if shutil.which(argv[0])}


def serve(state: Path) -> tuple[uvicorn.Server, threading.Thread, int]:
    """Serve a small cluster in trouble at a port of its own."""
    cluster = Cluster(Logbook(state / "logbook"), TROUBLE)
    cluster.book.write(an_incident())
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(cluster, cluster.command, ensure_keys(state / "keys").api_token)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    return server, thread, listening.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each command, by turns")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, thread, port = serve(Path(folder))
        asked = {"SENTINEL_CLUSTER__STATE_DIR": folder, "SENTINEL_CLUSTER__WEB_PORT": str(port)}
        env = {**os.environ, **asked}
        try:
            took: dict[str, list[Took]] = {name: [] for name in commands()}
            for _ in range(given.runs):
                for name, argv in commands().items():
                    took[name].append(run_once(argv, env))
        finally:
            server.should_exit = True
            thread.join()
    report(took)


def report(took: Mapping[str, Sequence[Took]]) -> None:
    peer = statistics.median(each.processor for each in took.get("ray --help", took["sentinel --help"]))
    print("| command | s, median | worst | s of processor | ÷ ray --help |\n|---|---:|---:|---:|---:|")
    for name, runs in took.items():
        clock, used = [each.clock for each in runs], statistics.median(each.processor for each in runs)
        seconds = f"{statistics.median(clock):.2f} | {max(clock):.2f} | {used:.2f}"
        print(f"| `{name}` | {seconds} | {used / peer:.2f} |")


if __name__ == "__main__":
    main()
