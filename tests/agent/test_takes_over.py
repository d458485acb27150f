"""A new agent takes over from one that was killed."""

import asyncio
import subprocess

import pytest
from agent_node import Controller, Node, until

from sentinel.adapters.transport import Reports
from sentinel.model.report import FindingSeen

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
                assert node.agent_card()["pid"] == 1
                container.kill()
                container.wait()
            assert len({hello.boot for hello in controller.hellos}) == 2
            listening.cancel()

    asyncio.run(scenario())
