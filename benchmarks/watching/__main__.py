"""`python -m benchmarks.watching`: the same training watched and alone in turns, and what watchers use."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import agent
from benchmarks.watching.report import report

WORLD = 2
START_S = 30.0
AGENT_RANKS = 8
"""Ranks of one node, as on a machine with eight GPUs."""


@contextlib.contextmanager
def watchers(root: Path) -> Iterator[list[int]]:
    """A desk and an agent with its prober, each the leader of a process group of its own."""
    (root / "gpus.json").write_text(json.dumps({"gpus": agent.simulated(WORLD)}))
    (root / "kern.log").touch()
    started = [_start("benchmarks.watching.desk", f"--root {root} --world {WORLD}")]
    try:
        _wait_for(root / "endpoint")
        memory = root / "memory"
        flags = f"--controller {(root / 'endpoint').read_text()} --keys {root}/keys --node bench"
        flags += f" --memory {memory} --gpus simulated:{root}/gpus.json --kernel-log {root}/kern.log"
        started.append(_start("sentinel.runtime.agent", flags))
        _wait_for(memory / "agent.json")
        time.sleep(2)  # the first probes are over
        yield [each.pid for each in started]
    finally:
        for each in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def train(root: Path, groups: Sequence[int], rounds: int, steps: int) -> list[dict[str, Any]]:
    """What rank 0 writes: the calls of a step by name, then a line for each round."""
    flags = f"--world {WORLD} --rounds {rounds} --steps {steps} --root {root}"
    flags += f" --watchers {' '.join(map(str, groups))}"
    ranks = [_start("benchmarks.watching.rank", f"--rank {rank} {flags}") for rank in range(WORLD)]
    try:
        if any(rank.wait() for rank in ranks):
            sys.exit("a rank failed; its words are above")
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads(line) for line in (root / "blocks.jsonl").read_text().splitlines()]


def _start(module: str, flags: str) -> "subprocess.Popen[bytes]":
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", module, *flags.split()], env=env, start_new_session=True)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > deadline:
            sys.exit(f"{path} did not appear within {START_S:.0f} s")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=40, help="of each block; under 2 s, or links time out")
    parser.add_argument("--seconds", type=float, default=20.0, help="of looking at agent and prober")
    parser.add_argument("--results", type=Path, help="append to this file, and report on all that it holds")
    parser.add_argument("--write", type=Path, help="write the report to this Markdown file too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        root = Path(directory)
        with watchers(root) as groups:
            calls, *rounds = train(root, groups, given.rounds, given.steps)
    if given.results:
        with given.results.open("a") as kept:
            kept.writelines(f"{json.dumps(each)}\n" for each in rounds)
        rounds = [json.loads(line) for line in given.results.read_text().splitlines()]
    text = report(calls, rounds, asyncio.run(agent.measure(AGENT_RANKS, given.seconds)))
    print(text)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(text)


if __name__ == "__main__":
    main()
