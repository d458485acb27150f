"""What goes wrong while something is being repaired: again, elsewhere, or with nobody left to take over.

The cases share one cluster and use it up from the first to the last.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from sentinel.demo.fault import Victim, edit_gpu, kill, ranks, records
from sentinel.demo.network import available
from sentinel.demo.observe import rows
from sentinel.demo.sandbox import Sandbox, wait

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

WITHIN_S = 90.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    topology = "loopback" if available() else "netns"
    options: dict[str, Any] = {"job": {"min_world": 1}, "policy": {"evict_share": 1.0}}
    with Sandbox.start(nodes=3, gpus_per_node=1, world=2, topology=topology, **options) as sandbox:
        yield sandbox


@pytest.fixture
def whole(sandbox: Sandbox) -> Sandbox:
    """The stage with a running job, and a warm standby wherever one belongs."""
    wait("training", WITHIN_S, lambda: len(sandbox.steps()) > 1, 0.1)
    for node in wait("status", WITHIN_S, sandbox.status)["nodes"]:
        sandbox.command("undrain", target=node["node"], who="test", reason="repaired")
    wait("the cluster is whole", WITHIN_S, sandbox.ready, 0.1)
    return sandbox


def job(sandbox: Sandbox) -> dict[str, Any]:
    return wait("the controller answers", WITHIN_S, sandbox.job)


def advances(sandbox: Sandbox, generation: int, world: int) -> None:
    """Wait for a new step of a later generation with this many ranks."""
    high = max(line["step"] for line in sandbox.steps())

    def stepped() -> bool:
        last, now = sandbox.steps()[-1], job(sandbox)
        grown = last["g"] > generation and last["step"] > high
        return grown and len(now["seats"]) == world and now["stage"] == "running"

    wait(f"a new step with {world} ranks", WITHIN_S, stepped, 0.1)


def new_incidents(sandbox: Sandbox, before: set[str]) -> list[dict[str, Any]]:
    """Wait until every incident since `before` is resolved."""

    def resolved() -> list[dict[str, Any]]:
        fresh = [row for row in rows(sandbox) if row["incident"] not in before]
        return fresh if all(row["stage"] == "resolved" for row in fresh) else []

    found: list[dict[str, Any]] = wait("incidents resolve", WITHIN_S, resolved, 0.1)
    return found


def known(sandbox: Sandbox) -> set[str]:
    return {row["incident"] for row in rows(sandbox)}


def kill_worker(sandbox: Sandbox, worker: str) -> None:
    pid = next(record.pid for record in records(sandbox) if record.worker == worker)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ordered_after(sandbox: Sandbox, generation: int) -> dict[str, Any]:
    """Wait until a later generation is ordered; it has not stepped yet."""

    def ordered() -> dict[str, Any] | None:
        now = job(sandbox)
        return now if now["generation"] > generation else None

    found: dict[str, Any] = wait("a generation is ordered", WITHIN_S, ordered, 0.005)
    return found


def test_second_rank_dies_while_the_first_is_replaced(whole: Sandbox) -> None:
    before, generation = known(whole), job(whole)["generation"]
    first, second = ranks(whole)
    kill(first)
    ordered_after(whole, generation)
    kill(second)
    advances(whole, generation, world=2)
    assert {row["cause"] for row in new_incidents(whole, before)} == {"rank-crash"}
    assert not {first.pid, second.pid} & {victim.pid for victim in ranks(whole)}


def test_replacement_dies_as_soon_as_it_is_seated(whole: Sandbox) -> None:
    before, generation = known(whole), job(whole)["generation"]
    victim: Victim = ranks(whole)[0]
    kill(victim)
    seats = ordered_after(whole, generation)["seats"]
    kill_worker(whole, next(seat["worker"] for seat in seats if seat["rank"] == victim.rank))
    advances(whole, generation, world=2)
    assert {row["cause"] for row in new_incidents(whole, before)} <= {"rank-crash", "crash-loop"}


def test_without_a_spare_the_job_shrinks(whole: Sandbox) -> None:
    """Two nodes are lost to their GPUs: the spare takes the first one's place, nobody the second's."""
    for world in (2, 1):
        generation, victim = job(whole)["generation"], ranks(whole)[0]
        edit_gpu(whole, victim.node, victim.gpu, present=False)
        advances(whole, generation, world)


def test_last_node_is_not_evicted_and_says_why(sandbox: Sandbox) -> None:
    last = ranks(sandbox)[0]
    edit_gpu(sandbox, last.node, last.gpu, ecc_uncorrectable=3)

    def refusals() -> list[str]:
        decisions = (sandbox.status() or {"decisions": []})["decisions"]
        return [
            decision["what"]
            for decision in decisions
            if decision["refused"] and last.node in decision["what"]
        ]

    found = wait("a refusal", WITHIN_S, refusals, 0.1)
    assert re.search(rf"evict {last.node}: .*{last.node} stays", found[0])
    cordons = {node["node"]: node["cordon"] for node in wait("status", WITHIN_S, sandbox.status)["nodes"]}
    assert cordons[last.node] == ""
