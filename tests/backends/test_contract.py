"""What Sentinel may rely on, whatever the scheduler: the same tests for each back end."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import file_backend
import pytest

from sentinel import backends
from sentinel.backends.port import BackendError, Context, KnownNode, Nodes
from sentinel.config import Cluster, Ray, Settings
from sentinel.model.ids import NodeId

N1, N2 = NodeId("n1"), NodeId("n2")


@dataclass
class Place:
    """A cluster of two nodes, n1 and n2, and what others may do to it."""

    nodes: Nodes
    others_cordon: Callable[[str], None]
    keeps_ours: bool
    """It is told of our cordons, and lists them."""

    def tries(self, *promises: Callable[["Place"], Awaitable[None]]) -> None:
        """See one promise after the other kept, beside the back end's own work."""

        async def beside() -> None:
            context = Context(lambda _: None, lambda: 0.0, frozenset(), needed=True)
            running = asyncio.create_task(self.nodes.run(context))
            try:
                async with asyncio.timeout(90):
                    while self.nodes.trouble:
                        await asyncio.sleep(0.05)
                    for promise in promises:
                        await promise(self)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(beside())

    async def node(self, name: NodeId) -> KnownNode:
        return {each.node: each for each in await self.nodes.known(10.0)}[name]

    async def heard_of_others(self, name: NodeId) -> KnownNode:
        """Wait for the scheduler to say that somebody else has it cordoned."""
        async with asyncio.timeout(30):
            while (found := await self.node(name)).cordon is None or found.cordon.ours:
                await asyncio.sleep(0.05)
        return found


@pytest.fixture
def files(tmp_path: Path) -> Place:
    folder = tmp_path / "nodes"
    folder.mkdir()
    for number, name in enumerate(("n1", "n2"), start=1):
        (folder / name).write_text(f"address=10.0.0.{number}\nstate=idle\n")

    def cordon(name: str) -> None:
        with (folder / name).open("a") as file:
            file.write("state=drained\nwho=kevin\nreason=bad DIMM\n")

    settings = Settings(cluster=Cluster(state_dir=tmp_path, backend="file_backend"))
    return Place(backends.load("file_backend").connect(settings).nodes, cordon, keeps_ours=True)


BUSY = """
import ray, sys
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ray.init(namespace="contract", log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=0)
class Busy:
    def here(self):
        return 1
place = NodeAffinitySchedulingStrategy(sys.argv[1], soft=False)
busy = Busy.options(name="busy", lifetime="detached", scheduling_strategy=place).remote()
assert ray.get(busy.here.remote()) == 1
"""
"""A node with nothing on it ends as soon as Ray drains it; such an actor holds it, as a rank does."""


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    pytest.importorskip("ray")
    from sentinel.demo.ray_cluster import Cluster as RayCluster

    with RayCluster.start(nodes=2, gpus_per_node=1, topology="loopback") as cluster:
        for name, value in cluster.driver_env.items():
            monkeypatch.setenv(name, value)
        subprocess.run([sys.executable, "-c", BUSY, cluster.node_ids["n2"]], check=True, env=os.environ)

        def cordon(name: str) -> None:
            ours = f"--address={cluster.address}", f"--node-id={cluster.node_ids[name]}"
            why = "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"
            command = Path(sys.executable).with_name("ray"), "drain-node", *ours, *why
            subprocess.run([*command, "--deadline-remaining-seconds=600"], check=True, env=os.environ)

        settings = Settings(cluster=Cluster(state_dir=tmp_path), ray=Ray(address=cluster.address))
        yield Place(backends.load("ray").connect(settings).nodes, cordon, keeps_ours=False)


@pytest.fixture(params=["files", pytest.param("ray", marks=pytest.mark.cluster)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def test_a_back_end_keeps_the_contract(place: Place) -> None:
    """One after the other, for a real cluster takes long to start, and its drains can't be taken back."""
    place.tries(
        _lists_its_nodes,
        _is_looked_at,
        _has_our_cordon_once_and_takes_it_back_once,
        _has_no_need_of_a_node_that_is_gone,
        _keeps_what_others_have_cordoned,
    )


async def _lists_its_nodes(place: Place) -> None:
    known = {each.node: each for each in await place.nodes.known(10.0)}
    assert {N1, N2} <= {name for name, each in known.items() if each.trains}
    assert all(each.address and each.cordon is None for each in known.values())


async def _is_looked_at(place: Place) -> None:
    await place.nodes.known(10.0)
    assert await place.nodes.look(N1) == "ok"
    assert await place.nodes.look(NodeId("nowhere")) == "unknown"


async def _has_our_cordon_once_and_takes_it_back_once(place: Place) -> None:
    for _ in range(2):
        assert await place.nodes.cordon(N1, "I-0001: gpu-lost")
        cordon = (await place.node(N1)).cordon
        assert (cordon is not None) is place.keeps_ours
        assert cordon is None or (cordon.ours, cordon.reason) == (True, "I-0001: gpu-lost")
    for _ in range(2):
        assert await place.nodes.uncordon(N1)
        assert (await place.node(N1)).cordon is None


async def _has_no_need_of_a_node_that_is_gone(place: Place) -> None:
    """What is dead is evicted, too, and given back."""
    assert await place.nodes.cordon(NodeId("nowhere"), "I-0001: node-lost")
    assert await place.nodes.uncordon(NodeId("nowhere"))


async def _keeps_what_others_have_cordoned(place: Place) -> None:
    await asyncio.to_thread(place.others_cordon, "n2")
    before = (await place.heard_of_others(N2)).cordon
    assert before is not None
    assert before.by
    assert before.reason
    for context in (await place.nodes.cordon(N2, "I-0002: gpu-ecc"), await place.nodes.uncordon(N2)):
        assert before.reason in context, "whoever has it is named"
    assert (await place.node(N2)).cordon == before, "it is theirs still"
    assert (await place.node(N1)).cordon is None


def test_a_scheduler_that_is_gone_says_so(tmp_path: Path) -> None:
    nodes = file_backend.FileNodes(tmp_path / "gone", "sentinel/a")
    assert nodes.trouble
    with pytest.raises(BackendError, match="gone"):
        asyncio.run(nodes.known(1.0))
