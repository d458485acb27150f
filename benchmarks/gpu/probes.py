"""Collective probes over NCCL between hosts of a simulated network that share real GPUs.

`PYTHONPATH=. python -m benchmarks.gpu.probes`, as root on a machine with an NVIDIA GPU: six hosts are network
namespaces; a job trains on two of them, and the others measure with each other through NCCL, each a host of
its own for it. Then the way between two is slowed, and the link of one: each has to be named, and nobody
else. Without a GPU they measure through gloo.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from benchmarks.gpu.nvml import has_driver
from sentinel.demo.fault import ranks
from sentinel.demo.sandbox import Sandbox, wait

MEGABITS = 100.0
"""A hundredth and less of what the namespaces give."""


def main() -> int:
    """Probe; 0 if those and only those were named that had to be."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    with Sandbox.start(
        nodes=6, gpus_per_node=1, world=2, topology="netns", nvml=has_driver(), step_seconds=0.05, slack=False
    ) as sandbox:
        wait("training", 120.0, lambda: len(sandbox.steps()) > 20)
        taken = {each.node for each in ranks(sandbox)}
        idle = [host.name for host in sandbox.cluster.nodes if host.name not in taken]
        one, other, third = idle[:3]
        wrong: int = _probe(sandbox, "all_reduce", idle, "nothing broken")
        wrong += _probe(sandbox, "pair", idle, "nothing broken")
        both, broken = {(one, "pair-slow"), (third, "pair-slow")}, _between(sandbox, one, third)
        wrong += _probe(sandbox, "pair", idle, f"{one} - {third} slowed", broken, both)
        broken = _link(sandbox, other)
        wrong += _probe(sandbox, "pair", idle, f"link of {other} slowed", broken, {(other, "link-slow")})
    return 1 if wrong else 0


@contextmanager
def _between(sandbox: Sandbox, one: str, other: str) -> Iterator[None]:
    network = sandbox.cluster.network
    assert network is not None
    network.slow_between(one, other, MEGABITS)
    yield
    network.slow_between(one, other, 0)


@contextmanager
def _link(sandbox: Sandbox, node: str) -> Iterator[None]:
    network = sandbox.cluster.network
    assert network is not None
    network.slow(node, MEGABITS)
    yield
    network.slow(node, 0)


def _probe(
    sandbox: Sandbox,
    check: str,
    nodes: Sequence[str],
    what: str,
    broken: AbstractContextManager[None] | None = None,
    expected: Collection[tuple[str, str]] = (),
) -> bool:
    """Ask as an operator would; say whether it came out wrong."""
    argv = [sys.executable, "-m", "sentinel.cli", "--config", str(sandbox.config), "probe", check, "--json"]
    before = len(sandbox.steps())
    with broken or nullcontext():
        begun = time.monotonic()
        asked = subprocess.run(
            [*argv, "--nodes", ",".join(nodes)],
            capture_output=True,
            text=True,
            env={**os.environ, **sandbox.env},
        )
        took = time.monotonic() - begun
    steps = len(sandbox.steps()) - before
    print(f"\n{check}, {what}: {took:.1f} s, exit {asked.returncode}; the job made {steps} steps")
    if asked.returncode not in (0, 1, 3, 4) or not asked.stdout.strip():
        print(asked.stdout[-2000:], asked.stderr[-2000:])
        return True
    told = json.loads(asked.stdout)
    _show(told["samples"])
    for each in told["findings"]:
        print(f"  named: {each['node']} {each['finding']['code']}: {each['finding']['summary']}")
    named = {(each["node"], each["finding"]["code"]) for each in told["findings"]}
    return named != {*expected} or bool(told["error"])


def _show(samples: Sequence[Mapping[str, Any]]) -> None:
    for each in samples:
        if each["error"] or each["node"] == each["members"][0]:
            values = "  ".join(f"{name} {value:.4g}" for name, value in each["values"].items())
            print(
                f"  round {each['round']}  {' '.join(each['members'])}  {values or each['error']}", flush=True
            )


if __name__ == "__main__":
    sys.exit(main())
