"""A new agent takes over from one that was killed."""

import asyncio
import subprocess
from collections.abc import Callable

import pytest
from agent_node import GPU, Controller, Node, until

from sentinel.adapters.transport import Reports
from sentinel.model.report import Event, FindingSeen, ProbedSeen, ProbeNow

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def test_the_next_agent_opens_the_snapshot_door_that_peers_know(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            first = controller.hellos[0].port
            node.processes[0].kill()
            node.processes[0].wait()
            node.agent(controller.reports.endpoint)
            await until(lambda: len({hello.boot for hello in controller.hellos}) > 1, node)
            assert controller.hellos[-1].port == first

    asyncio.run(scenario())


def test_the_next_agent_tells_what_the_kernel_wrote_while_there_was_none(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            node.processes[0].kill()
            node.processes[0].wait()
            with node.kernel_log.open("a") as log:
                log.write("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n")
            node.agent(controller.reports.endpoint)
            await until(lambda: len({hello.boot for hello in controller.hellos}) > 1, node)
            told = await controller.event(
                lambda event: isinstance(event, FindingSeen) and event.finding.code == "xid-79"
            )
            assert isinstance(told, FindingSeen)
            assert told.finding.component == "gpu-0"

    asyncio.run(scenario())


def _says(code: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, FindingSeen) and event.finding.code == code


async def _next_agent(node: Node, controller: Controller) -> None:
    node.processes[-1].kill()
    node.processes[-1].wait()
    seen = len({hello.boot for hello in controller.hellos})
    controller.events.clear()
    node.agent(controller.reports.endpoint)
    await until(lambda: len({hello.boot for hello in controller.hellos}) > seen, node)


def test_the_next_agent_tells_what_the_controller_has_not_acknowledged_and_nothing_else(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched(acknowledging=False) as controller:
            node.describe({**GPU, "ecc_uncorrectable": 2})
            with node.kernel_log.open("a") as log:
                log.write("[7.1] NVRM: Xid (PCI:0000:01:00): 48, pid=7, name=python3, DBE\n")
            told = [await controller.event(_says(code)) for code in ("ecc-uncorrectable", "xid-48")]
            await _next_agent(node, controller)
            again = [await controller.event(_says(code)) for code in ("ecc-uncorrectable", "xid-48")]
            assert again == told
            controller.acknowledging = True
            end = str(node.kernel_log.stat().st_size)
            await until(lambda: (node.memory / "kernel-log").read_text().split()[-1] == end, node)
            await _next_agent(node, controller)
            await controller.order(ProbeNow("now"))
            await controller.event(lambda event: isinstance(event, ProbedSeen) and "gpu" in event.checks)
            assert not any(map(_says("ecc-uncorrectable"), controller.events.values()))
            assert not any(map(_says("xid-48"), controller.events.values()))

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode != 0,
    reason="no pid namespaces here",
)
def test_an_agent_whose_pid_is_its_predecessor_s_is_told_from_it(node: Node) -> None:
    """In a container of its own every agent has the same pid; its events count from 1 again."""

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", node.keys) as reports:
            controller = Controller(reports)
            listening = asyncio.create_task(controller.listen())
            for _ in range(2):
                container = node.agent(reports.endpoint, prefix=CONTAINER)
                seen = len(controller.hellos)
                await until(lambda seen=seen: len(controller.hellos) > seen, node)
                assert node.agent_card().pid == 1
                container.kill()
                container.wait()
            assert len({hello.boot for hello in controller.hellos}) == 2
            listening.cancel()

    asyncio.run(scenario())
