"""A new agent takes over from one that was killed."""

import asyncio

from agent_node import Node, until


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
