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
from sentinel.demo.stage import Stage, wait

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

WITHIN_S = 90.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    topology = "loopback" if available() else "netns"
    options: dict[str, Any] = {"job": {"min_world": 1}, "policy": {"evict_share": 1.0}}
    with Stage.start(nodes=3, gpus_per_node=1, world=2, topology=topology, **options) as stage:
        yield stage


@pytest.fixture
def whole(stage: Stage) -> Stage:
    """The stage with a running job, and a warm standby wherever one belongs."""
    wait("training", WITHIN_S, lambda: len(stage.steps()) > 1, 0.1)
    for node in wait("status", WITHIN_S, stage.status)["nodes"]:
        stage.command("undrain", target=node["node"], who="test", reason="repaired")
    wait("the cluster is whole", WITHIN_S, stage.ready, 0.1)
    return stage


def job(stage: Stage) -> dict[str, Any]:
    return wait("the controller answers", WITHIN_S, stage.job)


def advances(stage: Stage, generation: int, world: int) -> None:
    """Wait for a new step of a later generation with this many ranks."""
    high = max(line["step"] for line in stage.steps())

    def stepped() -> bool:
        last, now = stage.steps()[-1], job(stage)
        grown = last["g"] > generation and last["step"] > high
        return grown and len(now["seats"]) == world and now["stage"] == "running"

    wait(f"a new step with {world} ranks", WITHIN_S, stepped, 0.1)


def new_incidents(stage: Stage, before: set[str]) -> list[dict[str, Any]]:
    """Wait until every incident since `before` is resolved."""

    def resolved() -> list[dict[str, Any]]:
        fresh = [row for row in rows(stage) if row["incident"] not in before]
        return fresh if all(row["stage"] == "resolved" for row in fresh) else []

    found: list[dict[str, Any]] = wait("incidents resolve", WITHIN_S, resolved, 0.1)
    return found


def known(stage: Stage) -> set[str]:
    return {row["incident"] for row in rows(stage)}


def kill_worker(stage: Stage, worker: str) -> None:
    pid = next(record.pid for record in records(stage) if record.worker == worker)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ordered_after(stage: Stage, generation: int) -> dict[str, Any]:
    """Wait until a later generation is ordered; it has not stepped yet."""

    def ordered() -> dict[str, Any] | None:
        now = job(stage)
        return now if now["generation"] > generation else None

    found: dict[str, Any] = wait("a generation is ordered", WITHIN_S, ordered, 0.005)
    return found


def test_second_rank_dies_while_the_first_is_replaced(whole: Stage) -> None:
    before, generation = known(whole), job(whole)["generation"]
    first, second = ranks(whole)
    kill(first)
    ordered_after(whole, generation)
    kill(second)
    advances(whole, generation, world=2)
    assert {row["cause"] for row in new_incidents(whole, before)} == {"rank-crash"}
    assert not {first.pid, second.pid} & {victim.pid for victim in ranks(whole)}


def test_replacement_dies_as_soon_as_it_is_seated(whole: Stage) -> None:
    before, generation = known(whole), job(whole)["generation"]
    victim: Victim = ranks(whole)[0]
    kill(victim)
    seats = ordered_after(whole, generation)["seats"]
    kill_worker(whole, next(seat["worker"] for seat in seats if seat["rank"] == victim.rank))
    advances(whole, generation, world=2)
    assert {row["cause"] for row in new_incidents(whole, before)} <= {"rank-crash", "crash-loop"}


def test_without_a_spare_the_job_shrinks(whole: Stage) -> None:
    """Two nodes are lost to their GPUs: the spare takes the first one's place, nobody the second's."""
    for world in (2, 1):
        generation, victim = job(whole)["generation"], ranks(whole)[0]
        edit_gpu(whole, victim.node, victim.gpu, present=False)
        advances(whole, generation, world)


def test_last_node_is_not_evicted_and_says_why(stage: Stage) -> None:
    last = ranks(stage)[0]
    edit_gpu(stage, last.node, last.gpu, ecc_uncorrectable=3)

    def refusals() -> list[str]:
        told = (stage.status() or {"decisions": []})["decisions"]
        return [
            decision["what"] for decision in told if decision["refused"] and last.node in decision["what"]
        ]

    found = wait("a refusal", WITHIN_S, refusals, 0.1)
    assert re.search(rf"evict {last.node}: .*{last.node} stays", found[0])
    cordons = {node["node"]: node["cordon"] for node in wait("status", WITHIN_S, stage.status)["nodes"]}
    assert cordons[last.node] == ""
